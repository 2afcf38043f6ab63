"""The children of one version: which of them makes a run, and what follows when one ends.

Runs are made in the order in which they came, each by the child that has the fewest. A child that
ends fails the runs that it had, and no others: those that wait go on waiting for the one that
replaces it, or for another.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final

from salver.children.child import Child
from salver.children.description import Description
from salver.children.first_load import FirstLoad
from salver.children.limits import KILL, BackOff, ChildLimits
from salver.children.run import Outcome, Run
from salver.children.unwanted_runs import UnwantedRuns
from salver.children.waiting import WaitingRuns, is_large, kind_of_end
from salver.children.warm_up import WarmUps
from salver.errors import (
    Overloaded,
    ServingError,
    Unavailable,
)
from salver.instruments.threads import Pool
from salver.scheduling.lane import TooLate
from salver.vocabulary.servable import ServableId

__all__ = ["Counts", "Instances"]

_log = logging.getLogger("salver.children")

_STARTED_RUNS: Final = 1000  # of a model that starts them itself
_NO_CLOSE_S: Final = 5.0
_BUSY_CLOSE_S: Final = 0.5
_REAP_S: Final = 5.0


@dataclass(slots=True)
class Counts:
    """What is counted of a version's runs; by the loop.

    Attributes:
        ran: called after each run.
        rejected: called for each that found the queue full.
        too_late: called for each whose time would have been over before its turn.
        restarted: called with why, when a child has ended that is to be replaced.
    """

    ran: Callable[[], None]
    rejected: Callable[[], None]
    too_late: Callable[[], None]
    restarted: Callable[[str], None]


class _Slot:
    """The place of one child, and of those that replace it."""

    __slots__ = ("back_off", "child", "number", "ready_s")

    def __init__(self, number: int) -> None:
        self.number = number
        self.child: Child | None = None
        self.back_off = BackOff()
        self.ready_s = 0.0  # 0: not yet


class Instances:
    """The children of one version. Safe to use from any thread, but where it says otherwise.

    Attributes:
        id: of the version.
        warm_ups: of its children.
    """

    def __init__(
        self,
        id: ServableId,
        loop: asyncio.AbstractEventLoop,
        copying: Pool,
        start: "Callable[[int, Instances], object]",
        *,
        num_instances: int,
        is_serial: bool,
        limits: Callable[[], ChildLimits],
        most_running: Callable[[], int],
        most_queued: Callable[[], float],
        counts: Counts,
        note: Callable[[str | None], None] = lambda _text: None,
    ) -> None:
        """Start nothing yet.

        Args:
            id: of the version.
            loop: in which children are heard.
            copying: reads and writes what is large.
            start: starts the child of a place; `attached` or `not_started` is called in the loop.
            num_instances: how many there are to be.
            is_serial: whether one run of the model is made at a time.
            limits: what holds now.
            most_running: runs of a model at a time for which nobody says it.
            most_queued: runs that may wait.
            counts: see there.
            note: told in the loop what becomes of the children; None: all is well.
        """
        self._note = note
        self.id = id
        self._loop = loop
        self._copying = copying
        self._start = start
        self._is_serial = is_serial
        self._starts_runs = False
        self._limits = limits
        self._most_running = most_running
        self._most_queued = most_queued
        self._counts = counts
        self._slots = [_Slot(number) for number in range(num_instances)]
        self._lock = threading.Lock()  # guards what follows, and the children's `running`
        self._started = threading.Condition(self._lock)
        self._starting = 0  # children that are being started
        self._waiting = WaitingRuns()
        self._ready: list[Child] = []
        self._has_loaded = False
        self._is_closing = False
        self._failure: ServingError | None = None  # of the latest try to replace a child
        self._first_load = FirstLoad(id, num_instances)
        self._unwanted = UnwantedRuns(id, loop, limits)
        self.warm_ups = WarmUps(id, loop, self)

    # -- its load; in load threads ---------------------------------------------------------------

    def load(self, check: Callable[[], None]) -> Description:
        """Start all children, and wait for them.

        Args:
            check: raises when the load has been given up.

        Raises:
            ServingError: one cannot load the model; none is left.
        """
        try:
            for slot in self._slots:
                self._begin(slot)
            description = self._first_load.wait(check)
        except BaseException:
            self.close(0.0)
            raise
        self._starts_runs = description.starts_runs
        with self._lock:
            self._has_loaded = True
        # One may have ended meanwhile.
        self._in_loop(self._replace_missing)
        return description

    # -- children; in the loop -------------------------------------------------------------------

    def attached(self, number: int, child: Child) -> None:
        """A child was started."""
        with self._lock:
            is_closing = self._is_closing
            self._slots[number].child = child
            self._slots[number].ready_s = 0.0
            self._starting -= 1
            self._started.notify_all()
        if is_closing:
            child.kill("it is needed no more", "")
        if not self._has_loaded:
            self._first_load.attached(number, child)

    def not_started(self, number: int, error: ServingError) -> None:
        """There is no process for it."""
        with self._lock:
            self._starting -= 1
            self._started.notify_all()
        if not self._has_loaded:
            self._first_load.attached(number, error)
        else:
            self._failed_again(self._slots[number], error)

    def has_loaded(self, child: Child) -> None:
        """It can be given runs, once it is warmed up."""
        self.warm_ups.begin(child, partial(self._admit, child))

    def _admit(self, child: Child) -> None:
        slot = self._slot(child)
        if slot is None or child.code is not None:
            return
        slot.ready_s = self._loop.time()
        with self._lock:
            self._ready.append(child)
            self._failure = None
            are_all = len(self._ready) == len(self._slots)
        if are_all:
            self._note(None)
        self._dispatch(child)

    def takes_many(self, child: Child) -> None:
        """It can have more runs than one."""
        self._dispatch(child)

    def has_ended(self, child: Child) -> None:
        """It runs nothing any more."""
        with self._lock:
            if child in self._ready:
                self._ready.remove(child)
            is_closing = self._is_closing
        cause = child.end
        runs = list(child.in_flight.values())
        child.in_flight.clear()
        for run in runs:
            self._counts.ran()
            run.settle(
                Unavailable(
                    f"The process that ran model {self.id.name}, version {self.id.version}, has "
                    f"ended: {cause}",
                    hint="It is replaced. Only requests that it was working on have failed.",
                )
            )
        slot = self._slot(child)
        if slot is None or is_closing:
            return
        if not self._has_loaded:
            return  # the load says why
        lived_s = self._loop.time() - slot.ready_s if slot.ready_s else 0.0
        is_own_fault = child.kind_of_reason != "timeout"
        if not slot.ready_s:
            failure = child.ready.exception()
            error = failure if isinstance(failure, ServingError) else Unavailable(cause)
            self._failed_again(slot, error)
            return
        slot.child, slot.ready_s = None, 0.0
        self._counts.restarted(child.kind_of_reason or kind_of_end(child.code or 0))
        delay_s = slot.back_off.delay_s(lived_s, is_own_fault=is_own_fault)
        self._note(self._replaced(cause))
        _log.warning(
            "%s: process %d has ended: %s. %d requests have failed; another is started%s",
            *(self.id, child.pid, cause, len(runs)),
            f" in {delay_s:g} s" if delay_s else "",
        )
        self._loop.call_later(delay_s, self._restart, slot)

    def _failed_again(self, slot: _Slot, error: ServingError) -> None:
        """A child could not be replaced: who waits for it is told, unless there is another."""
        slot.child, slot.ready_s = None, 0.0
        delay_s = slot.back_off.delay_s(0.0, is_own_fault=True)
        _log.warning("%s: its process cannot be replaced: %s", self.id, error.message)
        self._note(self._replaced(error.message))
        with self._lock:
            self._failure = error
            waiting: list[Run] = []
            if not self._ready:
                waiting = self._waiting.take_all()
        for run in waiting:
            run.settle(self._unavailable(error))
        self._loop.call_later(max(delay_s, 0.1), self._restart, slot)

    def _replaced(self, cause: str) -> str:
        missing = len(self._slots) - len(self._ready)
        return f"{missing} of {len(self._slots)} processes being replaced: {cause}"

    def _unavailable(self, error: ServingError) -> Unavailable:
        return Unavailable(
            f"Model {self.id.name}, version {self.id.version}, has no process to run it: "
            f"{error.message}",
            hint="Another is tried to be started, every ten seconds at least.",
        )

    def _restart(self, slot: _Slot) -> None:
        with self._lock:
            if self._is_closing or slot.child is not None:
                return
        self._begin(slot)

    def _begin(self, slot: _Slot) -> None:
        with self._lock:
            self._starting += 1
        self._start(slot.number, self)

    def _replace_missing(self) -> None:
        for slot in self._slots:
            child = slot.child
            if child is not None and child.code is not None:
                slot.child = None
                self._counts.restarted(child.kind_of_reason or kind_of_end(child.code))
                self._restart(slot)

    def _slot(self, child: Child) -> _Slot | None:
        return next((slot for slot in self._slots if slot.child is child), None)

    @property
    def children(self) -> Sequence[Child]:
        """Those that there are."""
        return [slot.child for slot in self._slots if slot.child is not None]

    # -- runs; from any thread -------------------------------------------------------------------

    def _most_of(self, child: Child | None) -> int:
        """How many runs a child may have."""
        limits = self._limits()
        if self._starts_runs:
            is_async = child is not None and child.takes_many
            return limits.max_concurrent_runs or _STARTED_RUNS if is_async else 1
        if self._is_serial:
            return 1
        if limits.max_concurrent_runs:
            return limits.max_concurrent_runs
        # With several, one that is ended for one run takes the others with it.
        return 1 if limits.on_timeout == KILL else self._most_running()

    @property
    def most_together(self) -> int:
        """How many merged runs all children may have, together.

        Of a model that starts its runs itself only the first tells whether it takes many: as many
        as its options say.
        """
        if self._starts_runs:
            return (self._limits().max_concurrent_runs or 1) * len(self._slots)
        return self._most_of(None) * len(self._slots)

    def submit(self, run: Run, *, is_limited: bool) -> None:
        """See `programs.Runs`."""
        with self._lock:
            if self._is_closing:
                raise Unavailable(f"{self.id} is being unloaded")
            child = None if self._waiting else self._free_child()
            if child is None:
                if is_limited:
                    self._check_queue(run)
                self._waiting.append(run)
                return
            child.running += 1
            child.give(run)
        self._send(child, run)

    def submit_to(self, child: Child, run: Run) -> None:
        """Have a certain child make a run, which need not answer others yet.

        Raises:
            Unavailable: it has ended, or is to end.
        """
        with self._lock:
            if self._is_closing or child.code is not None:
                raise Unavailable(f"The process of {self.id} is needed no more")
            child.running += 1
            child.give(run)
        self._send(child, run)

    def _check_queue(self, run: Run) -> None:
        if self._failure is not None and not self._ready:
            raise self._unavailable(self._failure)
        running = sum(child.running for child in self._ready)
        try:
            self._waiting.check(run, self._most_queued(), running, self.id.name)
        except Overloaded:
            self._counts.rejected()
            raise
        except TooLate as late:
            self._counts.too_late()
            raise late.error from None

    def _free_child(self) -> Child | None:
        free: Child | None = None
        for child in self._ready:
            is_free = child.running < self._most_of(child)
            if is_free and (free is None or child.running < free.running):
                free = child
        return free

    def _send(self, child: Child, run: Run) -> None:
        if is_large(run.feeds) and not run.is_merged:  # which has a thread
            self._copying.submit(lambda: self._send_now(child, run))
        else:
            self._send_now(child, run)

    def _send_now(self, child: Child, run: Run) -> None:
        try:
            child.send(run)
        except ServingError as error:
            self._in_loop(child.fail, run, error)
        except Exception as error:  # noqa: BLE001 - handed to who waits
            _log.error("A run cannot be sent to a process of %s", self.id, exc_info=error)
            self._in_loop(child.fail, run, Unavailable(f"The run cannot be sent: {error}"))

    def answered(self, child: Child, run: Run, outcome: Outcome) -> None:
        """A child has answered; called in the loop."""
        with self._lock:
            child.running -= 1
            self._waiting.ran(monotonic() - run.began_s)
        if self._waiting:
            self._dispatch(child)
        self._counts.ran()
        run.settle(outcome)

    def _dispatch(self, child: Child) -> None:
        """Give a child what waits, as far as it has room."""
        while True:
            with self._lock:
                if not self._waiting or not child.is_ready or child not in self._ready:
                    return
                if child.running >= self._most_of(child):
                    return
                run = self._waiting.take()
                child.running += 1
                child.give(run)
            if is_large(run.feeds):
                self._copying.submit(partial(self._send_now, child, run))
            else:
                self._send_now(child, run)

    # -- what nobody waits for; in the loop ------------------------------------------------------

    def give_up(self, run: Run) -> None:
        """See `programs.Runs`."""
        with self._lock:
            run.is_given_up = True
            child = run.child
            if child is None:
                self._waiting.gave_up(run)
        if child is None:
            run.settle([])
        else:
            self._unwanted.stop(child, run)

    def stop_before(self, moment_s: float) -> None:
        """Stop the merged runs that began before a moment, by `time.monotonic`; in the loop."""
        for child in self.children:
            for run in list(child.in_flight.values()):
                if run.is_merged and run.began_s < moment_s:
                    self._unwanted.stop(child, run)

    # -- its end ---------------------------------------------------------------------------------

    def close(self, timeout_s: float = _NO_CLOSE_S) -> None:
        """End all children. Not to be called in the loop, unless that has ended.

        Args:
            timeout_s: how long they may take to end by themselves.
        """
        with self._lock:
            self._is_closing = True
            waiting = self._waiting.take_all()
            self._started.wait_for(lambda: not self._starting, _REAP_S)
        for run in waiting:
            run.settle(Unavailable(f"{self.id} is being unloaded"))
        children = self.children
        for child in children:
            is_busy = bool(child.in_flight)
            if timeout_s and not is_busy:
                self._in_loop(child.finish)
        for child in children:
            left_s = min(timeout_s, _BUSY_CLOSE_S) if child.in_flight else timeout_s
            if not left_s or not child.ended.wait(left_s):
                self._in_loop(child.kill, "it is needed no more", "")
        for child in children:
            child.ended.wait(_REAP_S)
        self._in_loop(self._note, None)

    def resident_bytes(self) -> int:
        """The memory that the children have now which answer."""
        return sum(child.resident_bytes() for child in self.children if child.is_ready)

    def check_memory(self) -> None:
        """End the children that have more memory than they may; called in the loop."""
        most = self._limits().max_resident_bytes
        if not most:
            return
        for child in self.children:
            if child.is_ready and (taken := child.resident_bytes()) > most:
                child.kill(f"it had {taken} bytes, of max_resident_bytes {most}", "memory")

    def _in_loop(self, call: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: the processes end with this one
            self._loop.call_soon_threadsafe(partial(call, *arguments))

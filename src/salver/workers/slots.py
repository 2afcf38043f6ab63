"""Keeps as many workers as there are to be: starts them, replaces those that end, renews them.

One thread for each slot. A worker that ends is replaced at once, and later and later if it ends
again and again, unless a model ended it. A renewal brings the successor up before the predecessor
leaves.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from salver.errors import Cancelled, Internal, ServingError, Unavailable
from salver.lifecycle.loader import Deadly
from salver.vocabulary.servable import ServableId
from salver.workers.catch_up import CannotCatchUp
from salver.workers.group import LOADS_AT_ONCE, WorkerGroup
from salver.workers.member import Member
from salver.workers.messages import Drain

__all__ = ["Lose", "Slots", "Spawn", "pause_s"]

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_LONG_RUN_S: Final = 30.0  # a worker that ran so long does not end again and again
_LEAVE_S: Final = 10.0  # of a worker that leaves, beside its drain
_FAILED_STARTS: Final = 3  # in a row, before the first that came up: it will never do
_FAILED_LOADS: Final = 2  # in a row by the deaths of new workers, before a version is given up

Spawn = Callable[[int], Member]
"""Starts a process for a slot; the member is yet to be started."""

Lose = Callable[[ServableId, ServingError], bool]
"""Gives up a version that no worker can have any more; False where some worker has it."""


def pause_s(failures: int) -> float:
    """How long to wait before a worker is started when so many in a row have failed."""
    if failures <= 1:
        return 0.0
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * float(2 ** min(failures - 2, 16)))


@dataclass(frozen=True, slots=True)
class _Renew:
    idle_s: float
    timeout_s: float
    only: Member | None = None  # the predecessor, if it matters which
    done: "Future[Member | None]" = field(default_factory=Future)  # the predecessor


@dataclass(slots=True)
class _Slot:
    number: int
    events: "queue.SimpleQueue[Any]" = field(default_factory=queue.SimpleQueue)
    member: Member | None = None
    failures: int = 0  # in a row
    is_cautious: bool = False  # one load at a time, since the last worker died of one, perhaps
    failed_loads: dict[ServableId, int] = field(default_factory=dict)


class Slots:
    """The slots. Safe to use from any thread."""

    def __init__(
        self,
        group: WorkerGroup,
        spawn: Spawn,
        count: int,
        lose: Lose,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        """Start nothing yet.

        Args:
            group: that workers are admitted to.
            spawn: see there; called from the threads of the slots.
            count: how many workers there are to be.
            lose: see there.
            clock: seconds, monotonic.
            wait: waits for an event so many seconds; a test's own clock goes in here.
        """
        self._group = group
        self._spawn = spawn
        self._lose = lose
        self._clock = clock
        self._wait = wait
        self._slots = [_Slot(number) for number in range(count)]
        self._stopping = threading.Event()
        self._settling = threading.Condition()  # its lock guards what follows
        self._up: set[int] = set()  # slots that have come up once
        self._refusal: ServingError | None = None
        self._present: set[Member] = set()
        self.deaths = 0
        self._threads = [
            threading.Thread(
                target=self._keep, args=(slot,), name=f"salver-slot-{slot.number}", daemon=True
            )
            for slot in self._slots
        ]

    def start(self) -> None:
        """Start the workers."""
        for thread in self._threads:
            thread.start()

    def wait_until_up(self) -> None:
        """Wait until every slot has had a worker that serves.

        Raises:
            Unavailable: workers end before they have come so far as to load models.
            Cancelled: `stop` was called.
        """
        with self._settling:
            self._settling.wait_for(
                lambda: (
                    len(self._up) == len(self._slots)
                    or self._refusal is not None
                    or self._stopping.is_set()
                )
            )
            if self._stopping.is_set():
                raise Cancelled("The server was told to stop while its workers started")
            if self._refusal is not None:
                raise self._refusal

    def replace(
        self, members: Iterable[Member] | None = None, *, idle_s: float, timeout_s: float
    ) -> bool:
        """Replace workers, one after the other; called from a thread that may wait for them.

        Args:
            members: which, as far as they serve yet; None for all.
            idle_s: see `Drain`.
            timeout_s: see `Drain`.

        Returns:
            Whether all were replaced. If not, those that were not go on.
        """
        chosen: Iterable[tuple[_Slot, Member | None]]
        if members is None:
            chosen = [(slot, None) for slot in self._slots]
        else:
            chosen = [(self._slots[member.slot], member) for member in members]
        return all(self._renewed(slot, _Renew(idle_s, timeout_s, only)) for slot, only in chosen)

    def _renewed(self, slot: _Slot, renewal: _Renew) -> bool:
        slot.events.put(renewal)
        try:
            old = renewal.done.result()
        except Cancelled:
            return False
        except ServingError as error:
            _log.error("Worker %d was not replaced: %s", slot.number, error.message)
            return False
        if old is not None:  # so that there is never more than one process too many
            limit_s = renewal.idle_s + renewal.timeout_s + _LEAVE_S
            if not old.ended.wait(limit_s):
                _log.warning("%s does not leave within %g s: it is killed", old, limit_s)
                old.kill()
        return True

    def stop(self) -> None:
        """Start no worker any more; those there are stay."""
        self._stopping.set()
        for slot in self._slots:
            slot.events.put(None)
        with self._settling:
            self._settling.notify_all()

    def present(self) -> tuple[Member, ...]:
        """All workers that have not ended: those that come up and those that leave too."""
        with self._settling:
            return tuple(self._present)

    def join(self, timeout_s: float) -> None:
        """Wait for the threads, after `stop` and the end of the workers."""
        until_s = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until_s - time.monotonic()))

    def ended(self, member: Member) -> None:
        """To be called when a worker has ended, whatever for."""
        self._group.remove(member)
        with self._settling:
            self._present.discard(member)
        self._slots[member.slot].events.put(member)

    # -- a slot ----------------------------------------------------------------------------------

    def _keep(self, slot: _Slot) -> None:
        renewal: _Renew | None = None
        while not self._stopping.is_set():
            fresh = self._start_worker(slot)
            if fresh is None:
                if renewal is not None and slot.member is not None:
                    renewal.done.set_exception(Unavailable("its successor does not come up"))
                    renewal = self._wait_for_renewal(slot)
                continue
            old = self._drain_predecessor(slot, renewal)
            slot.member = fresh
            with self._settling:
                self._up.add(slot.number)
                self._settling.notify_all()
            if renewal is not None:
                renewal.done.set_result(old)
            renewal = self._wait_for_renewal(slot)
        refused: list[Any] = [renewal]
        while not slot.events.empty():
            refused.append(slot.events.get())
        for each in refused:
            if isinstance(each, _Renew) and not each.done.done():
                each.done.set_exception(Cancelled("the server stops"))

    def _wait_for_renewal(self, slot: _Slot) -> _Renew | None:
        """Wait until another worker is needed; the renewal that needs it, if one does."""
        while True:
            match slot.events.get():
                case None:  # no more workers
                    return None
                case _Renew(only=only) as renewal if only not in (None, slot.member):
                    renewal.done.set_result(None)  # it has been replaced already
                case _Renew() as renewal:
                    return renewal
                case Member() as member if member is slot.member:
                    slot.member = None
                    self._note_death(slot, member)
                    return None
                case _:  # a predecessor has left, or a successor did not come up
                    continue

    def _start_worker(self, slot: _Slot) -> Member | None:
        """Another worker that serves; None if it did not come up."""
        self._wait(self._stopping, pause_s(slot.failures))
        if self._stopping.is_set():
            return None
        born_s = self._clock()
        try:
            member = self._spawn(slot.number)
        except (OSError, RuntimeError) as error:  # no process, or no thread to talk to it
            _log.error("A worker cannot be started: %s", error)
            slot.failures += 1
            return None
        member.born_s = born_s
        with self._settling:
            self._present.add(member)
        member.start()
        if self._stopping.is_set():  # whoever stops may not have seen it
            member.kill()
        try:
            self._bring_up(slot, member)
        except CannotCatchUp as failure:
            slot.failures += 1
            self._note_failure(slot, member, failure)
            member.kill()
            return None
        except ServingError:  # the server stops
            return None
        return member

    def _bring_up(self, slot: _Slot, member: Member) -> None:
        member.said_hello.wait()
        if not member.has_greeted:
            error = Internal(f"Worker {slot.number} ended before it could serve: {member.cause}")
            raise CannotCatchUp(None, error, is_death=True)
        self._group.admit(member, loads_at_once=1 if slot.is_cautious else LOADS_AT_ONCE)
        slot.is_cautious = False
        slot.failed_loads.clear()

    def _note_failure(self, slot: _Slot, member: Member, failure: CannotCatchUp) -> None:
        if self._stopping.is_set():
            return
        text = f"{member.cause}" if failure.is_death and member.cause else failure.error.message
        _log.error("%s did not come up: %s", member, text)
        if failure.is_death:
            self.deaths += 1
            slot.is_cautious = True
        if failure.id is not None:
            self._count_failed_load(slot, failure, failure.id)
        with self._settling:
            if not self._up and not member.has_greeted and slot.failures >= _FAILED_STARTS:
                self._refusal = Unavailable(f"Worker processes end when they start: {text}")
                self._settling.notify_all()

    def _count_failed_load(self, slot: _Slot, failure: CannotCatchUp, id: ServableId) -> None:
        count = slot.failed_loads[id] = slot.failed_loads.get(id, 0) + 1
        error = failure.error
        if failure.is_death:
            if count < _FAILED_LOADS:
                return
            error = Deadly(f"Workers die while they load {id}: {error.message}")
        if self._lose(id, error):
            _log.error("No worker can load servable version %s any more: it is given up", id)
            slot.failures = 0

    def _note_death(self, slot: _Slot, member: Member) -> None:
        if self._stopping.is_set():
            return
        self.deaths += 1
        has_run_long = self._clock() - member.born_s >= _LONG_RUN_S
        if member.was_ended_by_model:  # it is no worse a worker than others
            slot.failures = 0
        else:
            slot.failures = 1 if has_run_long else slot.failures + 1
        _log.error("%s has ended and is replaced: %s", member, member.cause)

    def _drain_predecessor(self, slot: _Slot, renewal: _Renew | None) -> Member | None:
        """Let the predecessor go, if there is one."""
        old, slot.member = slot.member, None
        if old is None or renewal is None or old.ended.is_set():
            return None
        self._group.remove(old)
        _log.info("%s leaves: its successor serves", old)
        old.notify(Drain(renewal.timeout_s, renewal.idle_s))
        return old

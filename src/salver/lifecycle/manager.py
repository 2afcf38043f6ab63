"""Carries out what `machine` decides: one thread that decides, pools that load and unload.

Everything that happens becomes a message to the manager's thread, which is the only one to touch
the machine. Loads and unloads run in their pools and report back the same way.

Source of the log lines: TensorFlow Serving `core/loader_harness.cc` and `core/basic_manager.cc`.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar

from salver.errors import Cancelled, ServingError
from salver.instruments.files import Footprint, footprint
from salver.lifecycle.attempt import Attempt, Local
from salver.lifecycle.budget import Budget
from salver.lifecycle.fetching import Fetcher, Fetching
from salver.lifecycle.file_changes import FileChanges, Findings, Retryable
from salver.lifecycle.handles import ServingMap
from salver.lifecycle.late_loads import CANCELLED
from salver.lifecycle.loader import Closable, Footprinter, Load, LoadOptions, followed_by
from salver.lifecycle.machine import (
    CancelLoad,
    Instruction,
    LoadServable,
    Machine,
    PublishServable,
    UnloadServable,
    WithdrawServable,
)
from salver.lifecycle.mailbox import Mailbox, release_waiting
from salver.lifecycle.monitor import Monitor, VersionState
from salver.lifecycle.policy import availability_preserving
from salver.lifecycle.pools import Pools
from salver.lifecycle.state import Event, State
from salver.lifecycle.tries import Tries
from salver.vocabulary.servable import ServableId

__all__ = ["Manager"]

_logger = logging.getLogger(__name__)

T = TypeVar("T", bound=Closable)


_ORDER: Final = (CancelLoad, PublishServable, WithdrawServable, UnloadServable, LoadServable)
"""When several things are to be done, what frees comes before what loads."""


def _left_s(until_s: float | None) -> float | None:
    return None if until_s is None else max(0.0, until_s - time.monotonic())


@dataclass(slots=True)
class _LoadedVersion(Generic[T]):
    """A version in memory.

    Attributes:
        seen: how its files looked before it was loaded.
        local: what was fetched for it, until it is unloaded.
        is_in_vain: nobody wanted it any more when it had been loaded.
    """

    model: T
    seen: Footprint | None
    local: Local | None
    is_in_vain: bool = False


class Manager(Generic[T]):
    """Keeps what is loaded equal to what is aspired to. Safe to use from any thread."""

    def __init__(
        self,
        load: Load[T],
        options: LoadOptions,
        *,
        serving: ServingMap[T],
        monitor: Monitor,
        after_change: Callable[[], None] = lambda: None,
        abandon: Callable[[ServableId], None] = lambda _id: None,
        copies: Callable[[ServableId], int] = lambda _id: 1,
        is_current: Callable[[T], bool] = lambda _model: True,
        look: Footprinter = footprint,
        fetcher: Fetcher | None = None,
        is_fetched_first: Callable[[ServableId], bool] = lambda _id: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the manager's thread.

        Args:
            load: loads one version; called from load threads.
            options: threads and retries.
            serving: where loaded versions are published.
            monitor: where their states are.
            after_change: called in the manager's thread after each load and unload that succeeded.
            copies: how many processes hold a version, of each that loads it.
            abandon: called in the manager's thread when a load that is running was given up, for
                who can make it return; it must return at once itself.
            is_current: whether a model is as it would be loaded now; see `reload`.
            look: takes the footprint of a version directory, or of a version that is elsewhere.
            fetcher: brings versions that are elsewhere; None where all are on this machine.
            is_fetched_first: whether a version that is elsewhere is fetched before `load` is
                called; else that sees to it.
            clock: seconds, monotonic; call `wake` after moving one that is not real.
        """
        self._serving = serving
        self._monitor = monitor
        self._changed = followed_by(after_change)
        self._is_current = is_current
        self._clock = clock
        self._machine = Machine(availability_preserving)
        self._paths: dict[str, dict[int, str]] = {}
        self._failed: dict[ServableId, Retryable] = {}
        self._retryable: tuple[Retryable, ...] = ()
        self._loaded: dict[ServableId, _LoadedVersion[T]] = {}
        self._quarantined: frozenset[ServableId] = frozenset()  # replaced whole: others read it
        self._to_load_again: set[ServableId] = set()  # of these: as soon as they are unloaded
        self._outdated: set[ServableId] = set()  # being taken away, to be loaded again
        self._is_stopping = False
        self._ending = threading.Condition()
        self._has_ended = False
        self._has_only_loads = False  # in the way of its end
        self._messages = Mailbox()
        self._file_changes = FileChanges(look, clock)
        self._budget = Budget(
            options.max_model_memory_bytes,
            options.transient_load_bytes,
            options.num_copies,
            copies=copies,
        )
        self._pools: Pools[T] = Pools(
            *(load, look, options),
            budget=self._budget,
            monitor=monitor,
            post=self._messages.put,
            on_tried=lambda attempt, outcome: self._tries.tried(attempt, outcome),
            abandon=abandon,
            clock=clock,
        )
        self._fetching = Fetching(
            fetcher,
            look,
            budget=self._budget,
            monitor=monitor,
            post=self._messages.put,
            on_end=lambda fetch: self._tries.fetched(fetch),
            clock=clock,
            is_due=is_fetched_first,
        )
        self._tries: Tries[T] = Tries(
            options,
            machine=self._machine,
            monitor=monitor,
            budget=self._budget,
            fetching=self._fetching,
            pools=self._pools,
            came_up=self._came_up,
            gave_up=self._gave_up,
            after_change=self._changed,
            clock=clock,
        )
        self._thread = threading.Thread(target=self._run, name="salver-manager", daemon=True)
        self._thread.start()

    # -- what others call ------------------------------------------------------------------------

    def aspire(self, name: str, versions: Mapping[int, str]) -> None:
        """Set the versions of `name` to serve: version → where it is. Returns at once."""
        self._messages.put(partial(self._aspired, name, dict(versions)))

    def settle(self) -> None:
        """Wait until everything requested before this call has been decided on, if not done."""
        with self._ending:
            if self._has_ended:
                return
            done = self._messages.put_settle()
        done.wait()

    def wake(self) -> None:
        """Poll the clock again."""
        self._messages.put(lambda: None)

    @property
    def reserved(self) -> Mapping[ServableId, int]:
        """Version → the memory set aside for it in bytes, by an estimate from its files."""
        return self._budget.reserved

    def end_initial_load(self) -> None:
        """Go from the load threads of start-up to those of ordinary times."""
        self._pools.end_initial_load()

    def quarantine(self, id: ServableId, error: ServingError) -> None:
        """Have a version that is ready fail, since it does harm. Returns at once.

        It is withdrawn and unloaded, and loaded again when its files change or `again` is called.
        """
        self._messages.put(partial(self._quarantine, id, error))

    def again(self, id: ServableId) -> None:
        """Load a version that has failed or was quarantined. Returns at once."""
        self._messages.put(partial(self._load_again, id))

    def reload(self, name: str) -> None:
        """Load the versions of a name again that would be loaded in another way now.

        A version is unloaded before it is loaded again. One that has failed is tried again, since
        the new way may be a better one. Returns at once.
        """
        self._messages.put(partial(self._reload_all, name))

    def is_quarantined(self, id: ServableId) -> bool:
        """Whether a version that is wanted stays away because it was quarantined."""
        return id in self._quarantined

    def recheck(self) -> Findings:
        """Look at the files of versions that failed or wait; try again those that have changed.

        Runs in the calling thread and reads directories.
        """
        findings = self._file_changes.check(self._retryable)
        for version in findings.rested:
            self._messages.put(partial(self._files_changed, version.id, version.seen))
        return findings

    def interrupt(self) -> None:
        """Fetch nothing more, now and for ever. May be called from a signal handler."""
        self._fetching.interrupt()

    def close(self, timeout_s: float | None = None, load_grace_s: float | None = None) -> bool:
        """Unload everything and join all threads.

        Requests that hold a version are waited for, and so is a load that is running.

        Args:
            timeout_s: how long to wait altogether; what is still held or running then is left
                to the end of the process.
            load_grace_s: how long to wait when nothing but running loads is left, since nobody
                wants what they load; None for no other limit.

        Returns:
            Whether everything was unloaded and all threads are gone.
        """
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._messages.put(self._stop)
        if not self._wait_for_end(until_s, load_grace_s):
            return False
        self._thread.join()
        left_s = _left_s(until_s)
        grace_s = left_s
        if load_grace_s is not None:
            grace_s = load_grace_s if left_s is None else min(left_s, load_grace_s)
        # What was given up runs yet, perhaps for ever.
        has_ended = self._pools.close(grace_s if self._pools.late.num_abandoned else left_s)
        return self._fetching.close(grace_s) and has_ended

    def _wait_for_end(self, until_s: float | None, load_grace_s: float | None) -> bool:
        with self._ending:
            if load_grace_s is None:
                return self._ending.wait_for(lambda: self._has_ended, _left_s(until_s))
            left_s = _left_s(until_s)
            grace_s = load_grace_s if left_s is None else min(left_s, load_grace_s)
            self._ending.wait_for(lambda: self._has_ended, grace_s)
            self._ending.wait_for(lambda: self._has_ended or self._has_only_loads, _left_s(until_s))
            return self._has_ended

    # -- the manager's thread: messages ----------------------------------------------------------

    def _run(self) -> None:
        while not (self._is_stopping and not self._machine.names):
            try:
                self._step()
            except Exception:  # noqa: PERF203 - the thread must go on
                _logger.exception("The manager failed to take a step")
        with self._ending:
            self._has_ended = True
            self._ending.notify_all()
            release_waiting(self._messages.take_rest())

    def _step(self) -> None:
        taken = self._messages.take(self._pause_s())
        try:
            instructions: list[Instruction] = []
            for message in taken:
                if not isinstance(message, threading.Event):
                    instructions += self._guarded(message)
            self._perform(instructions)
            while (refused := self._tries.serve_queue()) is not None:
                self._perform(refused)
            self._tries.begin_due(self._clock())
            self._report_late()
            self._refresh_retryable()
            self._note_what_is_left()
        finally:
            release_waiting(taken)

    @staticmethod
    def _guarded(do: Callable[[], list[Instruction] | None]) -> list[Instruction]:
        """Whatever is wrong with one message or instruction, the others are still due."""
        try:
            return do() or []
        except Exception:
            _logger.exception("The manager failed to take a step")
            return []

    def _note_what_is_left(self) -> None:
        if self._is_stopping:
            with self._ending:
                self._has_only_loads = self._machine.states == {State.LOADING}
                self._ending.notify_all()

    def _pause_s(self) -> float | None:
        """How long nothing is to be done by itself: until a try is due, or late; None for ever."""
        late = (self._pools.late, self._pools.late_unloads, self._fetching)
        due = [self._tries.due_s, *(each.due_s for each in late)]
        times = [due_s for due_s in due if due_s is not None]
        return min(times) - self._clock() if times else None

    def _stop(self) -> list[Instruction]:
        self._is_stopping = True
        return [i for name in self._machine.names for i in self._machine.aspire(name, [])]

    def _aspired(self, name: str, paths: Mapping[int, str]) -> list[Instruction]:
        if self._is_stopping:
            return []
        kept = {
            version: path
            for version, path in self._paths.get(name, {}).items()
            if self._machine.state(ServableId(name, version)) is not None
        }
        self._paths[name] = {**kept, **paths}
        if not self._paths[name]:
            del self._paths[name]
        return self._machine.aspire(name, paths)

    def _came_up(self, attempt: Attempt, model: T) -> list[Instruction]:
        loaded = self._loaded[attempt.id] = _LoadedVersion(model, attempt.seen, attempt.local)
        self._budget.loaded(attempt.id)
        instructions = self._machine.happened(attempt.id, Event.LOADED)
        loaded.is_in_vain = self._machine.state(attempt.id) is State.UNLOADING
        return instructions

    def _gave_up(self, failed: Retryable) -> None:
        self._failed[failed.id] = failed

    def _drained(self, id: ServableId) -> list[Instruction]:
        _logger.info("Done quiescing servable version %s", id)
        return self._machine.happened(id, Event.DRAINED)

    def _unloaded(self, id: ServableId) -> list[Instruction]:
        _logger.info("Done unloading servable version %s", id)
        loaded = self._loaded.pop(id)
        seen, local, is_in_vain = loaded.seen, loaded.local, loaded.is_in_vain
        del loaded  # the model must be gone when `after_change` is called
        if local is not None:
            local.close()
        if id in self._quarantined:  # which has ended for all who look
            self._failed[id] = Retryable(id, self._path(id), seen, self._clock(), 0)
        else:
            error = Cancelled(CANCELLED) if is_in_vain else None
            self._monitor.publish(id, VersionState.END, error)
        self._budget.release(id)
        self._changed()
        instructions = [*self._machine.happened(id, Event.UNLOADED), *self._tries.room_made()]
        if id in self._outdated:
            self._outdated.remove(id)
            if self._machine.state(id) is State.ERROR and self._machine.is_aspired(id):
                instructions += self._machine.happened(id, Event.RETRY)
        if id in self._to_load_again:
            self._to_load_again.remove(id)
            instructions += self._load_again(id)
        return instructions

    def _files_changed(self, id: ServableId, seen: Footprint | None) -> list[Instruction]:
        if self._tries.restart(id, seen):
            return []
        failed = self._failed.get(id)
        if failed is None or failed.seen != seen or not self._machine.is_aspired(id):
            return []
        del self._failed[id]
        self._tries.note_restart(failed)
        return self._machine.happened(id, Event.RETRY)

    def _quarantine(self, id: ServableId, error: ServingError) -> list[Instruction]:
        instructions = self._machine.quarantine(id)
        if instructions:
            _logger.error("Servable version %s is taken away: %s", id, error.status)
            self._quarantined |= {id}
            self._monitor.publish(id, VersionState.END, error)
        return instructions

    def _load_again(self, id: ServableId) -> list[Instruction]:
        if id in self._quarantined and id not in self._failed:
            self._to_load_again.add(id)
        if id not in self._failed or not self._machine.is_aspired(id):
            return []
        del self._failed[id]
        return self._machine.happened(id, Event.RETRY)

    def _reload_all(self, name: str) -> list[Instruction]:
        return [i for each in self._machine.snapshots(name) for i in self._reload(each.id)]

    def _reload(self, id: ServableId) -> list[Instruction]:
        self._tries.hasten(id)
        if self._machine.state(id) is not State.READY:
            return self._load_again(id)
        if self._is_current(self._loaded[id].model):
            return []
        _logger.info("Servable version %s is loaded again, in another way", id)
        self._outdated.add(id)
        return self._machine.quarantine(id)

    # -- the manager's thread: instructions ------------------------------------------------------

    def _perform(self, instructions: list[Instruction]) -> None:
        # By kinds, each in the order it came: a thousand models are a thousand instructions.
        waiting: dict[type, deque[Instruction]] = {kind: deque() for kind in _ORDER}
        while True:
            for instruction in instructions:
                waiting[type(instruction)].append(instruction)
            first = next(filter(None, waiting.values()), None)
            if first is None:
                return
            instructions = self._guarded(partial(self._carry_out, first.popleft()))

    def _carry_out(self, instruction: Instruction) -> list[Instruction]:
        match instruction:
            case LoadServable(id):
                return self._tries.begin(id, self._path(id))
            case CancelLoad(id):
                return self._tries.cancel(id)
            case PublishServable(id):
                self._publish(id)
            case WithdrawServable(id):
                _logger.info("Quiescing servable version %s", id)
                if id not in self._quarantined:
                    self._monitor.publish(id, VersionState.UNLOADING)
                self._serving.withdraw(id, partial(self._messages.put, partial(self._drained, id)))
            case UnloadServable(id):  # pragma: no branch - the last one there is
                self._pools.unload(id, self._loaded[id].model, partial(self._unloaded, id))
        return []

    def _publish(self, id: ServableId) -> None:
        self._serving.publish(id, self._loaded[id].model)
        self._monitor.publish(id, VersionState.AVAILABLE)
        _logger.info("Successfully loaded servable version %s", id)
        if not self._is_current(self._loaded[id].model):  # it has changed meanwhile
            self._messages.put(partial(self._reload_all, id.name))
        self._changed()

    def _report_late(self) -> None:
        for given_up in self._tries.give_up_late(self._clock()):
            self._perform(given_up)
        self._pools.late_unloads.report(self._clock())
        self._fetching.look(self._clock())

    def _path(self, id: ServableId) -> str:
        """Where a version is; empty where it is aspired to no more."""
        return self._paths.get(id.name, {}).get(id.version, "")

    def _refresh_retryable(self) -> None:
        self._failed = {
            id: failed
            for id, failed in self._failed.items()
            if self._machine.state(id) is State.ERROR
        }
        self._quarantined = frozenset(
            id
            for id in self._quarantined
            if self._machine.is_aspired(id)
            and self._machine.state(id) in (State.QUIESCING, State.UNLOADING, State.ERROR)
        )
        self._to_load_again &= self._quarantined
        self._tries.keep_refused(self._failed.keys())
        self._retryable = (*self._failed.values(), *map(Retryable.of, self._tries.delayed))

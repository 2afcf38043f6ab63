"""Carries out what `machine` decides: one thread that decides, pools that load and unload.

Everything that happens becomes a message to the manager's thread, which is the only one to touch
the machine. Loads and unloads run in their pools and report back the same way; a load that waits
for its next try holds no thread.

Source of the log lines: TensorFlow Serving `core/loader_harness.cc`, `core/basic_manager.cc` and
`util/retrier.cc`.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Generic, TypeVar

from salver.errors import Cancelled, ServingError
from salver.files import Footprint, footprint
from salver.lifecycle.attempt import Attempt
from salver.lifecycle.budget import Budget, Queue
from salver.lifecycle.handles import ServingMap
from salver.lifecycle.late_loads import CANCELLED, LateLoads, LateUnloads
from salver.lifecycle.loader import Closable, Footprinter, Load, LoadOptions
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
from salver.lifecycle.messages import (
    Again,
    Aspire,
    Begun,
    Condemn,
    Discarded,
    Drained,
    Failed,
    FilesChanged,
    Loaded,
    NoRoom,
    Stop,
    Troubled,
    UnloadBegun,
    Unloaded,
    Wake,
)
from salver.lifecycle.monitor import Monitor, VersionState
from salver.lifecycle.policy import availability_preserving
from salver.lifecycle.pools import Pools
from salver.lifecycle.state import LEAVING, Event, State
from salver.lifecycle.unrest import Findings, Unrest
from salver.servable import ServableId

__all__ = ["Manager"]

_logger = logging.getLogger(__name__)

T = TypeVar("T", bound=Closable)


_ORDER: dict[type[Instruction], int] = {
    CancelLoad: 0,
    PublishServable: 1,
    WithdrawServable: 2,
    UnloadServable: 3,
    LoadServable: 4,
}
"""When several things are to be done, what frees comes before what loads."""


def _left_s(until_s: float | None) -> float | None:
    return None if until_s is None else max(0.0, until_s - time.monotonic())


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
        look: Footprinter = footprint,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the manager's thread.

        Args:
            load: loads one version; called from load threads.
            options: threads and retries.
            serving: where loaded versions are published.
            monitor: where their states are.
            after_change: called in the manager's thread after each load and unload that succeeded.
            abandon: called in the manager's thread when a load that is running was given up, for
                whoever can make it return; it must return at once itself.
            look: takes the footprint of a version directory.
            clock: seconds, monotonic; call `wake` after moving one that is not real.
        """
        self._options = options
        self._serving = serving
        self._monitor = monitor
        self._after_change = after_change
        self._clock = clock
        self._machine = Machine(availability_preserving)
        self._paths: dict[str, dict[int, str]] = {}
        self._attempts: dict[ServableId, Attempt] = {}
        self._delayed: dict[ServableId, Attempt] = {}  # of these, those that wait for their time
        self._restarts: dict[ServableId, int] = {}  # of versions about to be tried anew
        self._failed: dict[ServableId, Troubled] = {}
        self._troubled: tuple[Troubled, ...] = ()
        self._models: dict[ServableId, T] = {}
        self._seen: dict[ServableId, Footprint | None] = {}  # of these, before they were loaded
        self._condemned: frozenset[ServableId] = frozenset()  # replaced whole: others read it
        self._pardoned: set[ServableId] = set()  # of the condemned: to be loaded again when gone
        self._in_vain: set[ServableId] = set()
        self._is_stopping = False
        self._ending = threading.Condition()
        self._has_ended = False
        self._has_only_loads = False  # in the way of its end
        self._messages = Mailbox()
        self._unrest = Unrest(look, clock)
        self._budget = Budget(
            options.max_model_memory_bytes, options.transient_load_bytes, options.num_copies
        )
        self._queue = Queue(self._budget)
        self._pools: Pools[T] = Pools(
            *(load, look, options),
            budget=self._budget,
            monitor=monitor,
            post=self._messages.put,
        )
        self._late = LateLoads(
            options.load_timeout_s,
            threads=self._pools.loads,
            budget=self._budget,
            monitor=monitor,
            abandon=abandon,
        )
        self._late_unloads = LateUnloads(self._pools.unloads)
        self._thread = threading.Thread(target=self._run, name="salver-manager", daemon=True)
        self._thread.start()

    # -- what others call ------------------------------------------------------------------------

    def aspire(self, name: str, versions: Mapping[int, str]) -> None:
        """Set the versions of `name` to serve: version → its directory. Returns at once."""
        self._messages.put(Aspire(name, dict(versions)))

    def settle(self) -> None:
        """Wait until everything asked for before this call has been decided on, if not done."""
        with self._ending:
            if self._has_ended:
                return
            done = self._messages.ask()
        done.wait()

    def wake(self) -> None:
        """Look at the clock again."""
        self._messages.put(Wake())

    @property
    def reserved(self) -> Mapping[ServableId, int]:
        """Version → the memory set aside for it in bytes, by an estimate from its files."""
        return self._budget.reserved

    def end_initial_load(self) -> None:
        """Go from the load threads of start-up to those of ordinary times."""
        self._pools.end_initial_load()

    def condemn(self, id: ServableId, error: ServingError) -> None:
        """Have a version that is ready fail, since it does harm. Returns at once.

        It is withdrawn and unloaded, and loaded again when its files change or `again` is called.
        """
        self._messages.put(Condemn(id, error))

    def again(self, id: ServableId) -> None:
        """Load a version that has failed or was condemned. Returns at once."""
        self._messages.put(Again(id))

    def is_condemned(self, id: ServableId) -> bool:
        """Whether a version that is wanted stays away because it was condemned."""
        return id in self._condemned

    def recheck(self) -> Findings:
        """Look at the files of versions that failed or wait; try again those that have changed.

        Runs in the calling thread and reads directories.
        """
        findings = self._unrest.examine(self._troubled)
        for version in findings.rested:
            self._messages.put(FilesChanged(version.id, version.seen))
        return findings

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
        self._messages.put(Stop())
        if not self._wait_for_end(until_s, load_grace_s):
            return False
        self._thread.join()
        left_s = _left_s(until_s)
        if self._late.num_abandoned and load_grace_s is not None:  # they run yet, perhaps for ever
            left_s = load_grace_s if left_s is None else min(left_s, load_grace_s)
        return self._pools.close(left_s)

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
            except Exception:  # noqa: PERF203 - nobody else would go on managing
                _logger.exception("The manager failed to take a step")
        with self._ending:
            self._has_ended = True
            self._ending.notify_all()
            release_waiting(self._messages.take_rest())

    def _step(self) -> None:
        messages = self._messages.take(self._pause_s())
        try:
            instructions: list[Instruction] = []
            for message in messages:
                instructions += self._guarded(partial(self._handle, message))
            self._perform(instructions)
            while self._serve_queue():
                pass
            self._begin_due_tries()
            self._look_for_late()
            self._refresh_troubled()
            self._tell_what_is_left()
        finally:
            release_waiting(messages)

    @staticmethod
    def _guarded(do: Callable[[], list[Instruction]]) -> list[Instruction]:
        """Whatever is wrong with one message or instruction, the others are still due."""
        try:
            return do()
        except Exception:
            _logger.exception("The manager failed to take a step")
            return []

    def _tell_what_is_left(self) -> None:
        if self._is_stopping:
            with self._ending:
                self._has_only_loads = self._machine.states == {State.LOADING}
                self._ending.notify_all()

    def _pause_s(self) -> float | None:
        """How long nothing is to be done by itself: until a try is due, or late; None for ever."""
        due = [a.due_s for a in self._delayed.values()]
        due += [self._late.due_s, self._late_unloads.due_s]
        times = [due_s for due_s in due if due_s is not None]
        return min(times) - self._clock() if times else None

    def _handle(self, message: object) -> list[Instruction]:
        match message:
            case Aspire(name, paths):
                return self._aspired(name, paths)
            case Begun(attempt):
                self._late.begin(attempt, self._clock())
                return []
            case Loaded() | Failed() | NoRoom():
                return self._returned(message)
            case Drained(id):
                _logger.info("Done quiescing servable version %s", id)
                return self._machine.happened(id, Event.DRAINED)
            case UnloadBegun(id):
                self._late_unloads.begin(id, self._clock())
                return []
            case Unloaded(id):
                self._late_unloads.end(id)
                return self._unloaded(id)
            case Discarded(id):
                self._late_unloads.end(id)
                self._changed()
                return []
            case FilesChanged() | Condemn() | Again():
                return self._reconsider(message)
            case Stop():
                self._is_stopping = True
                return [i for n in self._machine.names for i in self._machine.aspire(n, [])]
            case _:
                return []  # Wake and Settle only end the wait

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

    def _returned(self, message: "Loaded[T] | Failed | NoRoom") -> list[Instruction]:
        """A try is over, be it that nobody waits for it any more."""
        self._late.end(message.attempt)
        match message:
            case Loaded(attempt, model) if attempt.is_abandoned:
                _logger.info("%s has returned after it was given up", attempt.description)
                self._pools.discard(attempt.id, model)
            case Failed(attempt, error) if attempt.is_abandoned:
                _logger.info("%s failed after it was given up: %s", attempt.id, error.status)
            case NoRoom(attempt) if attempt.is_abandoned:
                pass
            case Loaded(attempt, model):
                return self._loaded(attempt, model)
            case Failed(attempt, error):
                return self._failed_try(attempt, error)
            case NoRoom(attempt, files):  # pragma: no branch - the last one there is
                return self._no_room(attempt, files)
        return self._room_made()

    def _loaded(self, attempt: Attempt, model: T) -> list[Instruction]:
        del self._attempts[attempt.id]
        self._models[attempt.id] = model
        self._seen[attempt.id] = attempt.seen
        self._budget.loaded(attempt.id)
        instructions = self._machine.happened(attempt.id, Event.LOADED)
        if self._machine.state(attempt.id) is State.UNLOADING:
            self._in_vain.add(attempt.id)
        return instructions

    def _failed_try(self, attempt: Attempt, error: ServingError) -> list[Instruction]:
        retries = self._options.max_num_load_retries
        _logger.error("%s failed: %s", attempt.description, error.status)
        attempt.failed_s = self._clock()
        self._monitor.try_failed(attempt.id, error)
        if not self._machine.is_aspired(attempt.id):
            return self._cancel(attempt)
        if attempt.tries <= retries and not error.is_final:
            attempt.due_s = attempt.failed_s + self._options.retry_interval_s
            self._delayed[attempt.id] = attempt
            self._budget.release(attempt.id)  # the next try sets memory aside anew
            return self._room_made()
        if attempt.tries > retries:
            _logger.info(
                "Retrying of %s exhausted max_num_retries: %d", attempt.description, retries
            )
        return self._give_up(attempt)

    def _cancel(self, attempt: Attempt) -> list[Instruction]:
        _logger.info("Retrying of %s was cancelled.", attempt.description)
        return self._give_up(attempt)

    def _no_room(self, attempt: Attempt, files: Footprint) -> list[Instruction]:
        attempt.seen, attempt.failed_s = files, self._clock()
        if not self._machine.is_aspired(attempt.id):
            return self._cancel(attempt)
        self._queue.wait(attempt, files)
        return []

    def _serve_queue(self) -> bool:
        """Go on with those for whom there is room by now; refuse one if nothing can make room."""
        for attempt in self._queue.take_seated():
            self._submit(attempt)
        if not self._queue.waiting:
            return False
        is_under_way = self._attempts.keys() - self._queue.waiting or self._machine.states & LEAVING
        refused = None if is_under_way else self._queue.refuse_next()
        if refused is None:
            return False
        attempt, error = refused
        _logger.warning("%s (%s)", error.status, error.hint)
        self._perform(self._give_up(attempt, error))
        return True

    def _room_made(self) -> list[Instruction]:
        """Try those again that were refused for want of room, now that there is some."""
        return [
            instruction
            for id in self._queue.take_hopeful()
            if self._machine.state(id) is State.ERROR and self._machine.is_aspired(id)
            for instruction in self._machine.happened(id, Event.RETRY)
        ]

    def _give_up(self, attempt: Attempt, reason: ServingError | None = None) -> list[Instruction]:
        id, error = attempt.id, reason or attempt.final_error or Cancelled(CANCELLED)
        del self._attempts[id]
        self._delayed.pop(id, None)
        self._budget.release(id)
        self._failed[id] = Troubled.of(attempt)
        self._monitor.publish(id, VersionState.END, error)
        _logger.info("Encountered an error for servable version %s: %s", id, error.status)
        return [*self._machine.happened(id, Event.LOAD_FAILED), *self._room_made()]

    def _unloaded(self, id: ServableId) -> list[Instruction]:
        _logger.info("Done unloading servable version %s", id)
        error: ServingError | None = None
        if id in self._in_vain:
            self._in_vain.remove(id)
            error = Cancelled(CANCELLED)
        seen = self._seen.pop(id, None)
        if id in self._condemned:  # which has ended for all who look
            path = self._paths.get(id.name, {}).get(id.version, "")
            self._failed[id] = Troubled(id, path, seen, self._clock(), 0)
        else:
            self._monitor.publish(id, VersionState.END, error)
        self._budget.release(id)
        self._changed()
        instructions = [*self._machine.happened(id, Event.UNLOADED), *self._room_made()]
        if id in self._pardoned:
            self._pardoned.remove(id)
            instructions += self._load_again(id)
        return instructions

    def _files_changed(self, id: ServableId, seen: Footprint | None) -> list[Instruction]:
        attempt, failed = self._attempts.get(id), self._failed.get(id)
        if attempt is not None and attempt.due_s is not None and attempt.seen == seen:
            _logger.info("Files of servable version %s have changed: trying again", id)
            attempt.restarts += 1
            self._submit(attempt)
        elif failed is not None and failed.seen == seen and self._machine.is_aspired(id):
            _logger.info("Files of servable version %s have changed: trying again", id)
            del self._failed[id]
            self._restarts[id] = failed.restarts + 1
            return self._machine.happened(id, Event.RETRY)
        return []

    def _reconsider(self, message: FilesChanged | Condemn | Again) -> list[Instruction]:
        match message:
            case FilesChanged(id, seen):
                return self._files_changed(id, seen)
            case Condemn(id, error):
                return self._condemn(id, error)
            case Again(id):  # pragma: no branch - the last one there is
                return self._load_again(id)

    def _condemn(self, id: ServableId, error: ServingError) -> list[Instruction]:
        instructions = self._machine.condemn(id)
        if instructions:
            _logger.error("Servable version %s is taken away: %s", id, error.status)
            self._condemned |= {id}
            self._monitor.publish(id, VersionState.END, error)
        return instructions

    def _load_again(self, id: ServableId) -> list[Instruction]:
        if id in self._condemned and id not in self._failed:
            self._pardoned.add(id)  # for when it is unloaded
        if id not in self._failed or not self._machine.is_aspired(id):
            return []
        del self._failed[id]
        return self._machine.happened(id, Event.RETRY)

    # -- the manager's thread: instructions ------------------------------------------------------

    def _perform(self, instructions: list[Instruction]) -> None:
        # By kinds, each in the order it came: a thousand models are a thousand instructions.
        waiting: list[deque[Instruction]] = [deque() for _ in _ORDER]
        while True:
            for instruction in instructions:
                waiting[_ORDER[type(instruction)]].append(instruction)
            first = next(filter(None, waiting), None)
            if first is None:
                return
            instructions = self._guarded(partial(self._carry_out, first.popleft()))

    def _carry_out(self, instruction: Instruction) -> list[Instruction]:
        match instruction:
            case LoadServable(id):
                return self._begin_load(id)
            case CancelLoad(id):
                return self._cancel_load(id)
            case PublishServable(id):
                self._publish(id)
            case WithdrawServable(id):
                _logger.info("Quiescing servable version %s", id)
                if id not in self._condemned:
                    self._monitor.publish(id, VersionState.UNLOADING)
                self._serving.withdraw(id, partial(self._messages.put, Drained(id)))
            case UnloadServable(id):  # pragma: no branch - the last one there is
                self._pools.unload(id, self._models.pop(id))
        return []

    def _begin_load(self, id: ServableId) -> list[Instruction]:
        restarts = self._restarts.pop(id, 0)
        if not self._machine.is_aspired(id):  # cancelled before it was begun
            return self._machine.happened(id, Event.LOAD_FAILED)
        self._monitor.publish(id, VersionState.START)
        attempt = self._attempts[id] = Attempt(id, self._paths[id.name][id.version], restarts)
        self._submit(attempt)
        return []

    def _submit(self, attempt: Attempt) -> None:
        attempt.due_s = None
        self._delayed.pop(attempt.id, None)
        self._pools.try_load(attempt)

    def _cancel_load(self, id: ServableId) -> list[Instruction]:
        attempt = self._attempts.get(id)
        if attempt is None or self._machine.is_aspired(id):
            return []
        is_idle = attempt.due_s is not None or self._queue.withdraw(id)
        if is_idle or self._pools.withdraw(id):
            return self._cancel(attempt)
        self._late.hurry(id)
        return []  # it runs; its outcome will find that nobody wants it

    def _publish(self, id: ServableId) -> None:
        self._serving.publish(id, self._models[id])
        self._monitor.publish(id, VersionState.AVAILABLE)
        _logger.info("Successfully loaded servable version %s", id)
        self._changed()

    def _begin_due_tries(self) -> None:
        now_s = self._clock()
        for attempt in list(self._delayed.values()):
            if attempt.due_s is not None and attempt.due_s <= now_s:
                _logger.info("Retrying of %s retry: %d", attempt.description, attempt.tries)
                self._submit(attempt)

    def _look_for_late(self) -> None:
        for attempt, error in self._late.look(self._clock(), self._machine.is_aspired):
            attempt.failed_s = self._clock()
            _logger.error("%s is given up: %s", attempt.description, error.status)
            self._perform(self._give_up(attempt, error))
        self._late_unloads.look(self._clock())

    def _refresh_troubled(self) -> None:
        self._failed = {
            id: failed
            for id, failed in self._failed.items()
            if self._machine.state(id) is State.ERROR
        }
        self._condemned = frozenset(
            id
            for id in self._condemned
            if self._machine.is_aspired(id)
            and self._machine.state(id) in (State.QUIESCING, State.UNLOADING, State.ERROR)
        )
        self._pardoned &= self._condemned
        self._queue.keep_refused(self._failed.keys())
        self._troubled = (*self._failed.values(), *map(Troubled.of, self._delayed.values()))

    def _changed(self) -> None:
        try:
            self._after_change()
        except Exception:
            _logger.exception("What follows a load or unload failed")

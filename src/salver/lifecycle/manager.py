"""Carries out what `machine` decides: one thread that decides, pools that load and unload.

Everything that happens becomes a message to the manager's thread, which is the only one to touch
the machine. Loads and unloads run in their pools and report back the same way; a load that waits
for its next try holds no thread.

Source of the log lines: TensorFlow Serving `core/loader_harness.cc`, `core/basic_manager.cc` and
`util/retrier.cc`.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

from salver.errors import Cancelled, ServingError
from salver.files import Footprint, footprint
from salver.lifecycle.attempt import Attempt
from salver.lifecycle.handles import ServingMap
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
from salver.lifecycle.messages import (
    Aspire,
    Drained,
    Failed,
    FilesChanged,
    Loaded,
    Settle,
    Stop,
    Troubled,
    Unloaded,
    Wake,
)
from salver.lifecycle.monitor import Monitor, VersionState
from salver.lifecycle.policy import availability_preserving
from salver.lifecycle.pools import Pools
from salver.lifecycle.state import Event, State
from salver.lifecycle.unrest import Findings, Unrest
from salver.servable import ServableId

__all__ = ["Manager"]

_logger = logging.getLogger(__name__)

T = TypeVar("T", bound=Closable)

_CANCELLED = "Loading of servable cancelled"
_LONGEST_WAIT_S = 3600.0  # a retry interval may be longer than a queue can wait


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
            look: takes the footprint of a version directory.
            clock: seconds, monotonic; call `wake` after moving one that is not real.
        """
        self._options = options
        self._serving = serving
        self._monitor = monitor
        self._after_change = after_change
        self._clock = clock
        self._machine = Machine(availability_preserving)
        self._paths: dict[ServableId, str] = {}
        self._attempts: dict[ServableId, Attempt] = {}
        self._restarts: dict[ServableId, int] = {}  # of versions about to be tried anew
        self._failed: dict[ServableId, Troubled] = {}
        self._troubled: tuple[Troubled, ...] = ()
        self._models: dict[ServableId, T] = {}
        self._in_vain: set[ServableId] = set()
        self._is_stopping = False
        self._ending = threading.Condition()
        self._has_ended = False
        self._has_only_loads = False  # in the way of its end
        self._messages: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._unrest = Unrest(look, clock)
        self._pools: Pools[T] = Pools(load, look, options, monitor=monitor, post=self._messages.put)
        self._thread = threading.Thread(target=self._run, name="salver-manager", daemon=True)
        self._thread.start()

    # -- what others call ------------------------------------------------------------------------

    def aspire(self, name: str, versions: Mapping[int, str]) -> None:
        """Set the versions of `name` to serve: version → its directory. Returns at once."""
        self._messages.put(Aspire(name, dict(versions)))

    def settle(self) -> None:
        """Wait until everything asked for before this call has been decided on, if not done."""
        done = threading.Event()
        with self._ending:
            if self._has_ended:
                return
            self._messages.put(Settle(done))
        done.wait()

    def wake(self) -> None:
        """Look at the clock again."""
        self._messages.put(Wake())

    def end_initial_load(self) -> None:
        """Go from the load threads of start-up to those of ordinary times."""
        self._pools.end_initial_load()

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
        return self._pools.close(_left_s(until_s))

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
            self._release_waiting(self._take_rest())

    def _step(self) -> None:
        messages = self._take()
        try:
            instructions: list[Instruction] = []
            for message in messages:
                instructions += self._guarded(partial(self._handle, message))
            self._perform(instructions)
            self._begin_due_tries()
            self._refresh_troubled()
            self._tell_what_is_left()
        finally:
            self._release_waiting(messages)

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

    def _take(self) -> list[object]:
        """All messages there are; waits for the first, until a try is due."""
        waiting = [a.due_s for a in self._attempts.values() if a.due_s is not None]
        timeout_s = (
            min(max(0.0, min(waiting) - self._clock()), _LONGEST_WAIT_S) if waiting else None
        )
        try:
            first = self._messages.get(timeout=timeout_s)
        except queue.Empty:
            return []
        return [first, *self._take_rest()]

    def _take_rest(self) -> list[object]:
        rest: list[object] = []
        with suppress(queue.Empty):
            while True:
                rest.append(self._messages.get_nowait())
        return rest

    @staticmethod
    def _release_waiting(messages: list[object]) -> None:
        for message in messages:
            if isinstance(message, Settle):
                message.done.set()

    def _handle(self, message: object) -> list[Instruction]:
        match message:
            case Aspire(name, paths):
                return self._aspired(name, paths)
            case Loaded(attempt, model):
                return self._loaded(attempt, model)
            case Failed(attempt, error):
                return self._failed_try(attempt, error)
            case Drained(id):
                _logger.info("Done quiescing servable version %s", id)
                return self._machine.happened(id, Event.DRAINED)
            case Unloaded(id):
                return self._unloaded(id)
            case FilesChanged(id, seen):
                return self._files_changed(id, seen)
            case Stop():
                self._is_stopping = True
                return [i for n in self._machine.names for i in self._machine.aspire(n, [])]
            case _:
                return []  # Wake and Settle only end the wait

    def _aspired(self, name: str, paths: Mapping[int, str]) -> list[Instruction]:
        if self._is_stopping:
            return []
        self._paths = {
            id: path
            for id, path in self._paths.items()
            if id.name != name or self._machine.state(id) is not None
        }
        self._paths |= {ServableId(name, version): path for version, path in paths.items()}
        return self._machine.aspire(name, paths)

    def _loaded(self, attempt: Attempt, model: T) -> list[Instruction]:
        del self._attempts[attempt.id]
        self._models[attempt.id] = model
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
        if attempt.tries <= retries:
            attempt.due_s = attempt.failed_s + self._options.retry_interval_s
            return []
        _logger.info("Retrying of %s exhausted max_num_retries: %d", attempt.description, retries)
        return self._give_up(attempt)

    def _cancel(self, attempt: Attempt) -> list[Instruction]:
        _logger.info("Retrying of %s was cancelled.", attempt.description)
        return self._give_up(attempt)

    def _give_up(self, attempt: Attempt) -> list[Instruction]:
        id, error = attempt.id, attempt.final_error or Cancelled(_CANCELLED)
        del self._attempts[id]
        self._failed[id] = Troubled.of(attempt)
        self._monitor.publish(id, VersionState.END, error)
        _logger.info("Encountered an error for servable version %s: %s", id, error.status)
        return self._machine.happened(id, Event.LOAD_FAILED)

    def _unloaded(self, id: ServableId) -> list[Instruction]:
        _logger.info("Done unloading servable version %s", id)
        error: ServingError | None = None
        if id in self._in_vain:
            self._in_vain.remove(id)
            error = Cancelled(_CANCELLED)
        self._monitor.publish(id, VersionState.END, error)
        self._changed()
        return self._machine.happened(id, Event.UNLOADED)

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

    # -- the manager's thread: instructions ------------------------------------------------------

    def _perform(self, instructions: list[Instruction]) -> None:
        while instructions:
            instructions.sort(key=lambda i: _ORDER[type(i)])
            instructions = [
                *instructions[1:],
                *self._guarded(partial(self._carry_out, instructions[0])),
            ]

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
        attempt = self._attempts[id] = Attempt(id, self._paths[id], restarts)
        self._submit(attempt)
        return []

    def _submit(self, attempt: Attempt) -> None:
        attempt.due_s = None
        self._pools.try_load(attempt)

    def _cancel_load(self, id: ServableId) -> list[Instruction]:
        attempt = self._attempts.get(id)
        if attempt is None or self._machine.is_aspired(id):
            return []
        if attempt.due_s is not None or self._pools.withdraw(id):
            return self._cancel(attempt)
        return []  # it runs; its outcome will find that nobody wants it

    def _publish(self, id: ServableId) -> None:
        self._serving.publish(id, self._models[id])
        self._monitor.publish(id, VersionState.AVAILABLE)
        _logger.info("Successfully loaded servable version %s", id)
        self._changed()

    def _begin_due_tries(self) -> None:
        now_s = self._clock()
        for attempt in self._attempts.values():
            if attempt.due_s is not None and attempt.due_s <= now_s:
                _logger.info("Retrying of %s retry: %d", attempt.description, attempt.tries)
                self._submit(attempt)

    def _refresh_troubled(self) -> None:
        self._failed = {
            id: failed
            for id, failed in self._failed.items()
            if self._machine.state(id) is State.ERROR
        }
        waiting = [
            Troubled.of(attempt) for attempt in self._attempts.values() if attempt.due_s is not None
        ]
        self._troubled = (*self._failed.values(), *waiting)

    def _changed(self) -> None:
        try:
            self._after_change()
        except Exception:
            _logger.exception("What follows a load or unload failed")

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
from salver.lifecycle.attempt import Attempt, Step
from salver.lifecycle.handles import ServingMap
from salver.lifecycle.loader import Closable, Footprinter, Load, LoadOptions, as_serving_error
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
from salver.lifecycle.state import Event, State
from salver.servable import ServableId
from salver.threads import Job, Pool

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
        self._load = load
        self._options = options
        self._serving = serving
        self._monitor = monitor
        self._after_change = after_change
        self._look = look
        self._clock = clock
        self._machine = Machine(availability_preserving)
        self._paths: dict[ServableId, str] = {}
        self._attempts: dict[ServableId, Attempt] = {}
        self._jobs: dict[ServableId, Job] = {}
        self._failed: dict[ServableId, Troubled] = {}
        self._troubled: tuple[Troubled, ...] = ()
        self._models: dict[ServableId, T] = {}
        self._in_vain: set[ServableId] = set()
        self._is_stopping = False
        self._ending = threading.Lock()
        self._has_ended = False
        self._loads = Pool("salver-load", options.num_initial_load_threads)
        self._unloads = Pool("salver-unload", options.num_unload_threads)
        self._messages: queue.SimpleQueue[object] = queue.SimpleQueue()
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
        self._loads.resize(self._options.num_load_threads)

    def recheck(self) -> tuple[str, ...]:
        """Look at the files of versions that failed or wait; try again those that have changed.

        Runs in the calling thread and reads directories.

        Returns:
            The directories of these versions, which are worth watching.
        """
        troubled = self._troubled
        for version in troubled:
            if self._footprint_or_none(version.path) != version.seen:
                self._messages.put(FilesChanged(version.id, version.seen))
        return tuple(version.path for version in troubled)

    def close(self, timeout_s: float | None = None) -> bool:
        """Unload everything and join all threads.

        Requests that hold a version are waited for, and so is a load that is running.

        Args:
            timeout_s: how long to wait altogether; what is still held or running then is left
                to the end of the process.

        Returns:
            Whether everything was unloaded and all threads are gone.
        """
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._messages.put(Stop())
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
        return self._loads.close(left_s) and self._unloads.close(left_s)

    # -- the manager's thread: messages ----------------------------------------------------------

    def _run(self) -> None:
        while not (self._is_stopping and not self._machine.names):
            try:
                self._step()
            except Exception:  # noqa: PERF203 - nobody else would go on managing
                _logger.exception("The manager failed to take a step")
        with self._ending:
            self._has_ended = True
            self._release_waiting(self._take_rest())

    def _step(self) -> None:
        messages = self._take()
        try:
            instructions: list[Instruction] = []
            for message in messages:
                instructions += self._handle(message)
            self._perform(instructions)
            self._begin_due_tries()
            self._refresh_troubled()
        finally:
            self._release_waiting(messages)

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
            case Failed(attempt):
                return self._failed_try(attempt)
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

    def _failed_try(self, attempt: Attempt) -> list[Instruction]:
        error, retries = attempt.error, self._options.max_num_load_retries
        _logger.error("%s failed: %s", attempt.description, error.status if error else "")
        if not self._machine.is_aspired(attempt.id):
            return self._cancel(attempt)
        if attempt.tries <= retries:
            attempt.due_s = self._clock() + self._options.retry_interval_s
            return []
        _logger.info("Retrying of %s exhausted max_num_retries: %d", attempt.description, retries)
        return self._give_up(attempt)

    def _cancel(self, attempt: Attempt) -> list[Instruction]:
        _logger.info("Retrying of %s was cancelled.", attempt.description)
        return self._give_up(attempt)

    def _give_up(self, attempt: Attempt) -> list[Instruction]:
        id, error = attempt.id, attempt.final_error or Cancelled(_CANCELLED)
        del self._attempts[id]
        self._failed[id] = Troubled(id, attempt.path, attempt.seen)
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
            attempt.start_over()
            self._submit(attempt)
        elif failed is not None and failed.seen == seen and self._machine.is_aspired(id):
            _logger.info("Files of servable version %s have changed: trying again", id)
            del self._failed[id]
            return self._machine.happened(id, Event.RETRY)
        return []

    # -- the manager's thread: instructions ------------------------------------------------------

    def _perform(self, instructions: list[Instruction]) -> None:
        while instructions:
            instructions.sort(key=lambda i: _ORDER[type(i)])
            instructions = [
                *instructions[1:],
                *self._carry_out(instructions[0]),
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
                self._unloads.submit(partial(self._unload, id, self._models.pop(id)))
        return []

    def _begin_load(self, id: ServableId) -> list[Instruction]:
        if not self._machine.is_aspired(id):  # cancelled before it was begun
            return self._machine.happened(id, Event.LOAD_FAILED)
        self._monitor.publish(id, VersionState.START)
        attempt = self._attempts[id] = Attempt(id, self._paths[id])
        self._submit(attempt)
        return []

    def _submit(self, attempt: Attempt) -> None:
        attempt.due_s = None
        job = self._jobs[attempt.id] = partial(self._try, attempt)
        self._loads.submit(job)

    def _cancel_load(self, id: ServableId) -> list[Instruction]:
        attempt = self._attempts.get(id)
        if attempt is None or self._machine.is_aspired(id):
            return []
        if attempt.due_s is not None or self._loads.withdraw(self._jobs[id]):
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
            Troubled(attempt.id, attempt.path, attempt.seen)
            for attempt in self._attempts.values()
            if attempt.due_s is not None
        ]
        self._troubled = (*self._failed.values(), *waiting)
        self._jobs = {id: job for id, job in self._jobs.items() if id in self._attempts}

    def _changed(self) -> None:
        try:
            self._after_change()
        except Exception:
            _logger.exception("What follows a load or unload failed")

    # -- the pools' threads ----------------------------------------------------------------------

    def _try(self, attempt: Attempt) -> None:
        id = attempt.id
        try:
            if attempt.step is Step.RESERVE:
                attempt.reserved(self._look(attempt.path))
                _logger.info("Successfully reserved resources to load servable %s", id)
                _logger.info("Approving load for servable version %s", id)
                _logger.info("Loading servable version %s", id)
                self._monitor.publish(id, VersionState.LOADING)
            else:
                attempt.seen = self._footprint_or_none(attempt.path)
            model = self._load(id, attempt.path)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this version's state
            attempt.failed(as_serving_error(error))
            self._messages.put(Failed(attempt))
        else:
            self._messages.put(Loaded(attempt, model))

    def _unload(self, id: ServableId, model: T) -> None:
        _logger.info("Unloading just-loaded servable version %s", id)
        try:
            model.close()
        except Exception:
            _logger.exception("Servable version %s could not give back what it held", id)
        self._messages.put(Unloaded(id))

    def _footprint_or_none(self, path: str) -> Footprint | None:
        try:
            return self._look(path)
        except ServingError:
            return None

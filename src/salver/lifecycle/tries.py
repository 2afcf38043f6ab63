"""The tries to load versions, from the first to the one that succeeds or is the last.

A try may wait for its files to be fetched, for memory, and for a thread; one that has failed waits
for its time, and holds no thread.

Source of the log lines: TensorFlow Serving `core/basic_manager.cc` and `util/retrier.cc`.
"""

import logging
from collections.abc import Callable, Container, Iterator
from typing import Generic, TypeVar

from salver.errors import Cancelled, ServingError
from salver.instruments.files import Footprint
from salver.lifecycle.attempt import Attempt
from salver.lifecycle.budget import Budget, Queue
from salver.lifecycle.fetching import Fetch, Fetching
from salver.lifecycle.file_changes import Retryable
from salver.lifecycle.late_loads import CANCELLED
from salver.lifecycle.loader import Closable, LoadOptions
from salver.lifecycle.machine import Instruction, Machine
from salver.lifecycle.monitor import Monitor, VersionState
from salver.lifecycle.pools import Pools
from salver.lifecycle.state import LEAVING, Event, State
from salver.vocabulary.servable import TRY_FAILED, ServableId

__all__ = ["Tries"]

_logger = logging.getLogger(__name__)

T = TypeVar("T", bound=Closable)


class Tries(Generic[T]):
    """All tries of a manager. Used by its thread alone."""

    def __init__(
        self,
        options: LoadOptions,
        *,
        machine: Machine,
        monitor: Monitor,
        budget: Budget,
        fetching: Fetching,
        pools: Pools[T],
        came_up: Callable[[Attempt, T], list[Instruction]],
        gave_up: Callable[[Retryable], None],
        after_change: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """Try nothing yet.

        Args:
            options: how often, and after what time.
            machine: decides what follows from what comes of them.
            monitor: where the states are.
            budget: of memory.
            fetching: brings what is elsewhere; its ends are handed to `fetched`.
            pools: load; what comes of it is handed to `tried`.
            came_up: called with what was loaded; returns what follows.
            gave_up: called with each version that is not tried again by itself.
            after_change: called when a model was closed that came after it was given up.
            clock: seconds, monotonic.
        """
        self._options = options
        self._machine = machine
        self._monitor = monitor
        self._budget = budget
        self._queue = Queue(budget)
        self._fetching = fetching
        self._pools = pools
        self._came_up = came_up
        self._gave_up = gave_up
        self._changed = after_change
        self._clock = clock
        self._attempts: dict[ServableId, Attempt] = {}
        self._delayed: dict[ServableId, Attempt] = {}  # of these, those that wait for their time
        self._restarts: dict[ServableId, int] = {}  # of versions about to be tried anew

    @property
    def delayed(self) -> list[Attempt]:
        """Those that wait for their time."""
        return list(self._delayed.values())

    @property
    def due_s(self) -> float | None:
        """When the first of these is due; None where none waits."""
        due = (attempt.due_s for attempt in self._delayed.values())
        return min((due_s for due_s in due if due_s is not None), default=None)

    # -- from the first on -----------------------------------------------------------------------

    def begin(self, id: ServableId, path: str) -> list[Instruction]:
        """Try to load a version, which is at a path; see `LoadServable`."""
        restarts = self._restarts.pop(id, 0)
        if not self._machine.is_aspired(id):  # cancelled before it was begun
            return self._machine.happened(id, Event.LOAD_FAILED)
        self._monitor.publish(id, VersionState.START)
        attempt = self._attempts[id] = Attempt(id, path, restarts)
        self._submit(attempt)
        return []

    def cancel(self, id: ServableId) -> list[Instruction]:
        """Try no more; see `CancelLoad`."""
        attempt = self._attempts.get(id)
        if attempt is None or self._machine.is_aspired(id):
            return []
        is_idle = attempt.due_s is not None or self._queue.withdraw(id)
        if is_idle or self._fetching.cancel(id) or self._pools.withdraw(id):
            return self._cancel(attempt)
        self._pools.late.hurry(attempt)
        return []  # it runs; its outcome will find that nobody wants it

    def begin_due(self, now_s: float) -> None:
        """Try those again whose time has come."""
        for attempt in list(self._delayed.values()):
            if attempt.due_s is not None and attempt.due_s <= now_s:
                _logger.info("Retrying of %s retry: %d", attempt.description, attempt.tries)
                self._submit(attempt)

    def give_up_late(self, now_s: float) -> Iterator[list[Instruction]]:
        """Report the tries that do not return; what follows from each that is given up."""
        for attempt, error in self._pools.late.report(now_s, self._machine.is_aspired):
            attempt.failed_s = self._clock()
            _logger.error("%s is given up: %s", attempt.description, error.status)
            yield self._give_up(attempt, error)

    def serve_queue(self) -> list[Instruction] | None:
        """Go on with those for whom there is room by now; refuse one if nothing can make room.

        Returns:
            What follows from a refusal; then to be called again. None where there is none.
        """
        for attempt in self._queue.take_fitting():
            self._submit(attempt)
        if not self._queue.waiting:
            return None
        is_under_way = self._attempts.keys() - self._queue.waiting or self._machine.states & LEAVING
        refused = None if is_under_way else self._queue.refuse_next()
        if refused is None:
            return None
        attempt, error = refused
        _logger.warning("%s (%s)", error.status, error.hint)
        return self._give_up(attempt, error)

    def room_made(self) -> list[Instruction]:
        """Try those again that were refused for want of room, now that there is some."""
        return [
            instruction
            for id in self._queue.take_retryable()
            if self._machine.state(id) is State.ERROR and self._machine.is_aspired(id)
            for instruction in self._machine.happened(id, Event.RETRY)
        ]

    def keep_refused(self, ids: Container[ServableId]) -> None:
        """Forget what was refused for want of room, but for these."""
        self._queue.keep_refused(ids)

    def restart(self, id: ServableId, seen: Footprint | None) -> bool:
        """Try one at once that waits for its time, as its files have changed; whether it did."""
        attempt = self._attempts.get(id)
        if attempt is None or attempt.due_s is None or attempt.seen != seen:
            return False
        self._log_restart(id, attempt.path, seen)
        attempt.restarts += 1
        attempt.let_go()
        self._submit(attempt)
        return True

    def note_restart(self, failed: Retryable) -> None:
        """One that had been given up is about to begin again, as its files have changed."""
        self._log_restart(failed.id, failed.path, failed.seen)
        self._restarts[failed.id] = failed.restarts + 1

    def hasten(self, id: ServableId) -> None:
        """Try one at once if it waits for its time."""
        attempt = self._attempts.get(id)
        if attempt is not None and attempt.due_s is not None:
            attempt.let_go()
            self._submit(attempt)  # one that runs is looked at when it has loaded

    def _submit(self, attempt: Attempt) -> None:
        attempt.due_s = None
        self._delayed.pop(attempt.id, None)
        if not self._fetching.begin(attempt):
            self._pools.try_load(attempt)

    def _log_restart(self, id: ServableId, path: str, seen: Footprint | None) -> None:
        if seen is None and self._fetching.is_remote(path):
            _logger.info("Servable version %s is to be fetched again", id)
        else:
            _logger.info("Files of servable version %s have changed: trying again", id)

    # -- what came of them -----------------------------------------------------------------------

    def fetched(self, fetch: Fetch) -> list[Instruction]:
        """A fetch is over."""
        attempt = fetch.attempt
        if not self._fetching.end(fetch):
            return []
        attempt.seen = fetch.files
        if fetch.files is not None and fetch.is_too_large:
            return self._no_room(attempt, fetch.files)
        if fetch.error is not None:
            attempt.failed(fetch.error)
            return self._failed_try(attempt, fetch.error)
        assert fetch.local is not None, "one of the three came of it"
        attempt.fetched(fetch.local)
        self._fetching.tell_of(fetch)
        self._monitor.fetched(attempt.id, attempt.directory)
        self._pools.try_load(attempt)
        return []

    def tried(self, attempt: Attempt, outcome: T | ServingError | Footprint) -> list[Instruction]:
        """A try is over."""
        if attempt.is_abandoned:
            attempt.let_go()
            return self._returned_in_vain(attempt, outcome)
        match outcome:
            case ServingError():
                return self._failed_try(attempt, outcome)
            case Footprint():
                return self._no_room(attempt, outcome)
            case _:
                del self._attempts[attempt.id]
                return self._came_up(attempt, outcome)

    def _returned_in_vain(
        self, attempt: Attempt, outcome: T | ServingError | Footprint
    ) -> list[Instruction]:
        """A try is over that had been given up."""
        match outcome:
            case ServingError():
                _logger.info("%s failed after it was given up: %s", attempt.id, outcome.status)
            case Footprint():
                pass
            case _:
                _logger.info("%s has returned after it was given up", attempt.description)
                self._pools.unload(attempt.id, outcome, self._changed)
        return self.room_made()

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
            self._monitor.note(attempt.id, TRY_FAILED + error.message)
            self._budget.release(attempt.id)  # the next try sets memory aside anew
            return self.room_made()
        if attempt.tries > retries:
            _logger.info(
                "Retrying of %s exhausted max_num_retries: %d", attempt.description, retries
            )
        return self._give_up(attempt)

    def _cancel(self, attempt: Attempt) -> list[Instruction]:
        _logger.info("Retrying of %s was cancelled.", attempt.description)
        return self._give_up(attempt)

    def _no_room(self, attempt: Attempt, files: Footprint) -> list[Instruction]:
        attempt.failed_s = self._clock()
        if not self._machine.is_aspired(attempt.id):
            return self._cancel(attempt)
        self._queue.wait(attempt, files)
        return []

    def _give_up(self, attempt: Attempt, reason: ServingError | None = None) -> list[Instruction]:
        id, error = attempt.id, reason or attempt.final_error or Cancelled(CANCELLED)
        del self._attempts[id]
        self._delayed.pop(id, None)
        if not attempt.is_abandoned:  # else its load still reads the files
            attempt.let_go()
        self._budget.release(id)
        self._gave_up(Retryable.of(attempt))
        self._monitor.publish(id, VersionState.END, error)
        _logger.info("Encountered an error for servable version %s: %s", id, error.status)
        return [*self._machine.happened(id, Event.LOAD_FAILED), *self.room_made()]

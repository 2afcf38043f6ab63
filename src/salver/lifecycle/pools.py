"""The threads that load and unload. What came of it is told to the manager.

Source of the log lines: TensorFlow Serving `core/loader_harness.cc` and `core/basic_manager.cc`.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from salver.errors import ResourceExhausted
from salver.files import drop_from_cache
from salver.lifecycle.attempt import Attempt, Step
from salver.lifecycle.budget import Budget
from salver.lifecycle.loader import (
    Closable,
    Footprinter,
    Load,
    LoadOptions,
    as_serving_error,
    look_at,
)
from salver.lifecycle.messages import (
    Begun,
    Discarded,
    Failed,
    Loaded,
    NoRoom,
    UnloadBegun,
    Unloaded,
)
from salver.lifecycle.monitor import Monitor, VersionState
from salver.servable import ServableId
from salver.threads import Job, Pool

__all__ = ["Pools"]

_logger = logging.getLogger(__name__)

T = TypeVar("T", bound=Closable)


class Pools(Generic[T]):
    """One pool for loads, one for unloads. Used by the manager's thread alone.

    Attributes:
        loads: the threads that load.
        unloads: the threads that unload.
    """

    def __init__(
        self,
        load: Load[T],
        look: Footprinter,
        options: LoadOptions,
        *,
        budget: Budget,
        monitor: Monitor,
        post: Callable[[object], None],
    ) -> None:
        """Start no threads yet.

        Args:
            load: loads one version.
            look: takes the footprint of a version directory.
            options: how many threads.
            budget: where memory is set aside before a load.
            monitor: told when a load begins.
            post: takes a `Begun`, `Loaded`, `Failed`, `NoRoom`, `UnloadBegun`, `Unloaded` or
                `Discarded`; called from any thread.
        """
        self._load = load
        self._look = look
        self._options = options
        self._budget = budget
        self._monitor = monitor
        self._post = post
        self._jobs: dict[ServableId, Job] = {}  # of loads that may not have begun
        self.loads = Pool("salver-load", options.num_initial_load_threads)
        self.unloads = Pool("salver-unload", options.num_unload_threads)

    def end_initial_load(self) -> None:
        """Go from the load threads of start-up to those of ordinary times."""
        self.loads.resize(self._options.num_load_threads)

    def try_load(self, attempt: Attempt) -> None:
        """Queue a try; it reports what came of it, also when there is no thread for it."""
        job = self._jobs[attempt.id] = partial(self._try, attempt)
        try:
            self.loads.submit(job)
        except ResourceExhausted as error:
            del self._jobs[attempt.id]
            self._report_failure(attempt, error)

    def withdraw(self, id: ServableId) -> bool:
        """Take back a try that has not begun; False when it has."""
        job = self._jobs.pop(id, None)
        return job is not None and self.loads.withdraw(job)

    def unload(self, id: ServableId, model: T) -> None:
        """Queue the close of a model; it reports `Unloaded`. Without a thread it is closed here."""
        self._queue_close(partial(self._close, id, model, Unloaded(id)))

    def discard(self, id: ServableId, model: T) -> None:
        """The same for one that was loaded too late; it reports `Discarded`."""
        self._queue_close(partial(self._close, id, model, Discarded(id)))

    def close(self, timeout_s: float | None = None) -> bool:
        """Run what is queued, then join the threads; False when time ran out."""
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        has_ended = self.loads.close(timeout_s)
        left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
        return self.unloads.close(left_s) and has_ended

    def _try(self, attempt: Attempt) -> None:
        id = attempt.id
        self._jobs.pop(id, None)
        self._post(Begun(attempt))
        try:
            if not self._reserve(attempt):
                return
            try:
                model = self._load(id, attempt.path)
            finally:
                if self._options.flush_filesystem_caches:
                    drop_from_cache(attempt.path)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this version's state
            self._report_failure(attempt, error)
        else:
            self._post(Loaded(attempt, model))

    def _reserve(self, attempt: Attempt) -> bool:
        """Look at the files and set memory aside; False when there is not enough, as reported.

        Each try does it anew, because files that arrive meanwhile count too.
        """
        id = attempt.id
        if attempt.step is Step.LOAD:
            attempt.seen = found = look_at(attempt.path, self._look)
            if found is None or self._budget.reserve(id, found):
                return True
        else:
            found = self._look(attempt.path)
            if self._budget.reserve(id, found):
                attempt.reserved(found)
                _logger.info("Successfully reserved resources to load servable %s", id)
                _logger.info("Approving load for servable version %s", id)
                _logger.info("Loading servable version %s", id)
                self._monitor.publish(id, VersionState.LOADING)
                return True
        self._post(NoRoom(attempt, found))
        return False

    def _report_failure(self, attempt: Attempt, error: Exception) -> None:
        shown = as_serving_error(error)
        attempt.failed(shown)
        self._post(Failed(attempt, shown))

    def _queue_close(self, close: Job) -> None:
        try:
            self.unloads.submit(close)
        except ResourceExhausted:
            close()

    def _close(self, id: ServableId, model: T, report: object) -> None:
        self._post(UnloadBegun(id))
        _logger.info("Unloading just-loaded servable version %s", id)
        try:
            model.close()
        except Exception:
            _logger.exception("Servable version %s could not give back what it held", id)
        self._post(report)

"""The threads that load and unload, and what of that is late. The outcome goes to the manager.

Source of the log lines: TensorFlow Serving `core/loader_harness.cc` and `core/basic_manager.cc`.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from salver.errors import ResourceExhausted, ServingError
from salver.instruments.files import Footprint, drop_from_cache
from salver.instruments.threads import Job, Pool
from salver.lifecycle.attempt import Attempt, Step
from salver.lifecycle.budget import Budget
from salver.lifecycle.late_loads import LateLoads, LateUnloads
from salver.lifecycle.loader import (
    Closable,
    Footprinter,
    Load,
    LoadOptions,
    as_serving_error,
    close_model,
    footprint_of,
)
from salver.lifecycle.mailbox import Message
from salver.lifecycle.monitor import Monitor, VersionState
from salver.vocabulary.servable import ServableId

__all__ = ["Pools"]

_logger = logging.getLogger(__name__)

T = TypeVar("T", bound=Closable)


class Pools(Generic[T]):
    """One pool for loads, one for unloads. Used by the manager's thread alone.

    Attributes:
        loads: the threads that load.
        late: the loads that are running.
        late_unloads: the models that are being closed.
    """

    def __init__(
        self,
        load: Load[T],
        look: Footprinter,
        options: LoadOptions,
        *,
        budget: Budget,
        monitor: Monitor,
        post: Callable[[Message], None],
        on_tried: "Callable[[Attempt, T | ServingError | Footprint], object]",
        abandon: Callable[[ServableId], None] = lambda _id: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start no threads yet.

        Args:
            load: loads one version.
            look: takes the footprint of a version directory.
            options: how many threads.
            budget: where memory is set aside before a load.
            monitor: notified when a load begins.
            post: has something called in the manager's thread; called from any thread.
            on_tried: called there with what came of a try: the model, why there is none, or how the
                files look for which there is no memory.
            abandon: see `LateLoads`.
            clock: seconds, monotonic.
        """
        self._load = load
        self._look = look
        self._options = options
        self._budget = budget
        self._monitor = monitor
        self._post = post
        self._on_tried = on_tried
        self._clock = clock
        self._jobs: dict[ServableId, Job] = {}  # of loads that may not have begun
        self.loads = Pool("salver-load", options.num_initial_load_threads)
        self._unloads = Pool("salver-unload", options.num_unload_threads)
        self.late = LateLoads(
            options.load_timeout_s,
            threads=self.loads,
            budget=budget,
            monitor=monitor,
            abandon=abandon,
        )
        self.late_unloads = LateUnloads(self._unloads)

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

    def unload(self, id: ServableId, model: T, then: Callable[[], object]) -> None:
        """Queue the close of a model, after which `then` is posted.

        Without a thread it is closed here.
        """
        close = partial(self._close, id, model, then)
        try:
            self._unloads.submit(close)
        except ResourceExhausted:
            close()

    def close(self, timeout_s: float | None = None) -> bool:
        """Run what is queued, then join the threads; False when time ran out."""
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        has_ended = self.loads.close(timeout_s)
        left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
        return self._unloads.close(left_s) and has_ended

    def _try(self, attempt: Attempt) -> None:
        id = attempt.id
        self._jobs.pop(id, None)
        self._post(lambda: self.late.begin(attempt, self._clock()))
        try:
            found = self._reserve(attempt)
            if found is not None:
                self._report(attempt, found)
                return
            try:
                model = self._load(id, attempt.directory)
            finally:
                if self._options.flush_filesystem_caches:
                    drop_from_cache(attempt.directory)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this version's state
            self._report_failure(attempt, error)
        else:
            self._report(attempt, model)

    def _reserve(self, attempt: Attempt) -> Footprint | None:
        """Look at the files and set memory aside; how they look when there is not enough.

        Each try does it anew, because files that arrive meanwhile count too.
        """
        id = attempt.id
        if attempt.step is Step.LOAD:
            found = footprint_of(attempt.directory, self._look)
            attempt.seen = self._seen(attempt, found)
            return None if found is None or self._budget.reserve(id, found) else found
        found = self._look(attempt.directory)
        if not self._budget.reserve(id, found):
            attempt.seen = self._seen(attempt, found)
            return found
        attempt.reserved(self._seen(attempt, found))
        _logger.info("Successfully reserved resources to load servable %s", id)
        _logger.info("Approving load for servable version %s", id)
        _logger.info("Loading servable version %s", id)
        self._monitor.publish(id, VersionState.LOADING)
        return None

    def _seen(self, attempt: Attempt, found: Footprint | None) -> Footprint | None:
        """How the files look where they would change."""
        return found if attempt.local is None else footprint_of(attempt.path, self._look)

    def _report_failure(self, attempt: Attempt, error: Exception) -> None:
        shown = as_serving_error(error)
        attempt.failed(shown)
        self._report(attempt, shown)

    def _report(self, attempt: Attempt, outcome: T | ServingError | Footprint) -> None:
        def tried() -> object:
            self.late.returned(attempt)
            return self._on_tried(attempt, outcome)

        self._post(tried)

    def _close(self, id: ServableId, model: T, then: Callable[[], object]) -> None:
        def closed() -> object:
            self.late_unloads.returned(id)
            return then()

        self._post(lambda: self.late_unloads.begin(id, self._clock()))
        _logger.info("Unloading just-loaded servable version %s", id)
        close_model(id, model)
        self._post(closed)

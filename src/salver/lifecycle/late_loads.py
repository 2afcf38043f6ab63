"""Loads that do not return: reported, given another thread, and given up where a limit is set.

A load cannot be ended from outside. One that is given up goes on in its thread, and what it brings
is closed. The manager checks `LateLoads` and `LateUnloads` in its own thread; `LoadWatch` has a
thread, for loads without a manager.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Final, Generic

from salver.errors import Cancelled, DeadlineExceeded, ServingError
from salver.instruments.threads import Pool
from salver.lifecycle.attempt import Attempt
from salver.lifecycle.budget import Budget
from salver.lifecycle.lateness import K, Late, Lateness
from salver.lifecycle.monitor import Monitor
from salver.vocabulary.servable import ServableId

__all__ = ["CANCELLED", "LateLoads", "LateUnloads", "LoadWatch", "given_up_after", "still_loading"]

_logger = logging.getLogger(__name__)

CANCELLED: Final = "Loading of servable cancelled"

Now = Callable[[], float]
"""Seconds since 1970."""


def given_up_after(id: ServableId, for_s: float) -> DeadlineExceeded:
    """The error of a version whose load was given up."""
    return DeadlineExceeded(
        f"Loading servable: {id} has not returned for {for_s:.0f} s",
        hint="--load_timeout_seconds says how long a load may take. It is tried again when the "
        "files of the version have changed.",
    )


def still_loading(for_s: float, now: Now) -> str:
    """The note on a load that has not returned."""
    since = datetime.fromtimestamp(now() - for_s, timezone.utc)
    return f"still loading since {since:%Y-%m-%d %H:%M:%S} UTC"


class LateLoads(Lateness[Attempt]):
    """The loads of a manager that are running. Used by its thread alone.

    Attributes:
        num_abandoned: loads that were given up, and have not returned yet.
    """

    def __init__(
        self,
        limit_s: float,
        *,
        threads: Pool,
        budget: Budget,
        monitor: Monitor,
        abandon: Callable[[ServableId], None],
        now: Now = time.time,  # noqa: TID251 - the clock that is injected
    ) -> None:
        """Know of none.

        Args:
            limit_s: how long one may take; 0 for any time.
            threads: of the loads.
            budget: where memory is set aside for them.
            monitor: notified of those that are late.
            abandon: called when one is given up, with its version; returns at once.
            now: see there.
        """
        super().__init__(limit_s)
        self._threads = threads
        self._budget = budget
        self._monitor = monitor
        self._abandon = abandon
        self._now = now
        self.num_abandoned = 0

    def returned(self, attempt: Attempt) -> None:
        """A try has returned."""
        if attempt.is_abandoned:
            self.num_abandoned -= 1
            self._budget.returned(attempt.abandoned_bytes)
        if self.end(attempt) or attempt.is_abandoned:
            self._threads.take_back()

    def report(
        self, now_s: float, is_wanted: Callable[[ServableId], bool]
    ) -> list[tuple[Attempt, ServingError]]:
        """Report those that are late.

        Args:
            now_s: the present time.
            is_wanted: whether anybody wants a version yet.

        Returns:
            Those that are given up, each with the error to publish.
        """
        given_up: list[tuple[Attempt, ServingError]] = []
        for late in self.check(now_s, lambda attempt: is_wanted(attempt.id)):
            attempt = late.key
            if late.is_first:
                self._threads.lend()
            if late.is_over:
                self._give_up(attempt)
                error = given_up_after(attempt.id, late.for_s)
                given_up.append((attempt, error if is_wanted(attempt.id) else Cancelled(CANCELLED)))
                continue
            note = still_loading(late.for_s, self._now)
            _logger.warning(
                "%s has not returned for %.0f s, %s. Other loads go on",
                *(attempt.description, late.for_s, note),
            )
            self._monitor.note(attempt.id, note)
        return given_up

    def _give_up(self, attempt: Attempt) -> None:
        attempt.is_abandoned = True
        self.num_abandoned += 1
        attempt.abandoned_bytes = self._budget.abandon(attempt.id)
        self._abandon(attempt.id)


class LateUnloads(Lateness[ServableId]):
    """The models that a manager has closed. Used by its thread alone."""

    def __init__(self, threads: Pool) -> None:
        """Know of none.

        Args:
            threads: of the unloads.
        """
        super().__init__()
        self._threads = threads

    def returned(self, id: ServableId) -> None:
        """The close of a model has returned."""
        if self.end(id):
            self._threads.take_back()

    def report(self, now_s: float) -> None:
        """Report those that are late, and let others run beside them."""
        for late in self.check(now_s, lambda _id: True):
            if late.is_first:
                self._threads.lend()
            _logger.warning(
                "Unloading servable version %s has not returned for %.0f s. Other unloads go on",
                *(late.key, late.for_s),
            )


class LoadWatch(Generic[K]):
    """Watches loads; the thread lives as long as there are any. Safe to use from any thread."""

    def __init__(
        self,
        limit_s: float,
        *,
        clock: Callable[[], float],
        is_wanted: Callable[[K], bool],
        on_late: Callable[[Late[K]], None],
    ) -> None:
        """Watch none yet.

        Args:
            limit_s: how long a load may take; 0 for any time.
            clock: seconds, monotonic; call `check` after moving one that is not real.
            is_wanted: whether anybody wants what a load is to bring.
            on_late: called with each that is late, in the thread that checks.
        """
        self._clock = clock
        self._is_wanted = is_wanted
        self._on_late = on_late
        self._changed = threading.Condition()  # its lock guards what follows
        self._lateness: Lateness[K] = Lateness(limit_s)
        self._thread: threading.Thread | None = None

    def begin(self, key: K) -> None:
        """A load has begun."""
        with self._changed:
            self._lateness.begin(key, self._clock())
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="salver-lazy-watch", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def end(self, key: K) -> None:
        """It has returned."""
        with self._changed:
            self._lateness.end(key)
            self._changed.notify_all()

    def check(self) -> None:
        """Report those that are late now."""
        with self._changed:
            found = self._lateness.check(self._clock(), self._is_wanted)
        for late in found:
            self._on_late(late)

    def _run(self) -> None:
        while True:
            with self._changed:
                due_s = self._lateness.due_s
                if due_s is None:
                    self._thread = None
                    return
                left_s = due_s - self._clock()
                if left_s > 0:
                    self._changed.wait(left_s)
                    continue
            self.check()

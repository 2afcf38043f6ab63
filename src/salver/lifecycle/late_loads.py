"""Loads that do not return: told of, given a thread more, and given up when that was asked for.

A load cannot be ended from outside. One that is given up goes on in its thread, and what it brings
is closed.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Final, Protocol

from salver.errors import Cancelled, DeadlineExceeded, ServingError
from salver.lifecycle.attempt import Attempt
from salver.lifecycle.budget import Budget
from salver.lifecycle.lateness import Lateness
from salver.lifecycle.monitor import Monitor
from salver.servable import ServableId

__all__ = ["CANCELLED", "LateLoads", "LateUnloads", "given_up_after", "still_loading"]

_logger = logging.getLogger(__name__)

CANCELLED: Final = "Loading of servable cancelled"

Now = Callable[[], float]
"""Seconds since 1970."""


class _Threads(Protocol):
    def lend(self) -> None: ...
    def take_back(self) -> None: ...


def given_up_after(id: ServableId, for_s: float) -> DeadlineExceeded:
    """The error of a version whose load was given up."""
    return DeadlineExceeded(
        f"Loading servable: {id} has not returned for {for_s:.0f} s",
        hint="--load_timeout_seconds says how long a load may take. It is tried again when the "
        "files of the version have changed.",
    )


def still_loading(for_s: float, now: Now) -> str:
    """What is told of a load that has not returned."""
    since = datetime.fromtimestamp(now() - for_s, timezone.utc)
    return f"still loading since {since:%Y-%m-%d %H:%M:%S} UTC"


class LateLoads:
    """The loads of a manager that are running. Used by its thread alone.

    Attributes:
        num_abandoned: loads that were given up, and have not returned yet.
    """

    def __init__(
        self,
        limit_s: float,
        *,
        threads: _Threads,
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
            monitor: told of those that are late.
            abandon: called when one is given up, with its version; returns at once.
            now: see there.
        """
        self._lateness: Lateness[ServableId] = Lateness(limit_s)
        self._attempts: dict[ServableId, Attempt] = {}  # that are running, and not given up
        self._threads = threads
        self._budget = budget
        self._monitor = monitor
        self._abandon = abandon
        self._now = now
        self.num_abandoned = 0

    @property
    def due_s(self) -> float | None:
        """When to `look` next; None for never."""
        return self._lateness.due_s

    def begin(self, attempt: Attempt, now_s: float) -> None:
        """A try has begun."""
        self._attempts[attempt.id] = attempt
        self._lateness.begin(attempt.id, now_s)

    def hurry(self, id: ServableId) -> None:
        """Nobody wants a version any more."""
        self._lateness.hurry(id)

    def end(self, attempt: Attempt) -> None:
        """A try has returned."""
        if attempt.is_late:
            attempt.is_late = False
            self._threads.take_back()
        if attempt.is_abandoned:
            self.num_abandoned -= 1
            self._budget.returned(attempt.abandoned_bytes)
        elif self._attempts.pop(attempt.id, None) is not None:
            self._lateness.end(attempt.id)

    def look(
        self, now_s: float, is_wanted: Callable[[ServableId], bool]
    ) -> list[tuple[Attempt, ServingError]]:
        """Tell of those that are late.

        Args:
            now_s: the present time.
            is_wanted: whether anybody wants a version yet.

        Returns:
            Those that are given up, each with the error to publish.
        """
        given_up: list[tuple[Attempt, ServingError]] = []
        for late in self._lateness.look(now_s, is_wanted):
            attempt = self._attempts[late.key]
            if not attempt.is_late:
                attempt.is_late = True
                self._threads.lend()
            if late.is_over:
                error = _error(attempt.id, late.for_s, is_wanted=is_wanted(attempt.id))
                given_up.append((self._given_up(attempt), error))
                continue
            note = still_loading(late.for_s, self._now)
            _logger.warning(
                "%s has not returned for %.0f s, %s. Other loads go on",
                *(attempt.description, late.for_s, note),
            )
            self._monitor.note(attempt.id, note)
        return given_up

    def _given_up(self, attempt: Attempt) -> Attempt:
        del self._attempts[attempt.id]
        attempt.is_abandoned = True
        self.num_abandoned += 1
        attempt.abandoned_bytes = self._budget.abandon(attempt.id)
        self._abandon(attempt.id)
        return attempt


def _error(id: ServableId, for_s: float, *, is_wanted: bool) -> ServingError:
    return given_up_after(id, for_s) if is_wanted else Cancelled(CANCELLED)


class LateUnloads:
    """The models that a manager has closed. Used by its thread alone."""

    def __init__(self, threads: _Threads) -> None:
        """Know of none.

        Args:
            threads: of the unloads.
        """
        self._lateness: Lateness[ServableId] = Lateness()
        self._threads = threads

    @property
    def due_s(self) -> float | None:
        """When to `look` next; None for never."""
        return self._lateness.due_s

    def begin(self, id: ServableId, now_s: float) -> None:
        """The close of a model has begun."""
        self._lateness.begin(id, now_s)

    def end(self, id: ServableId) -> None:
        """It has returned."""
        if self._lateness.end(id):
            self._threads.take_back()

    def look(self, now_s: float) -> None:
        """Tell of those that are late, and let others run beside them."""
        for late in self._lateness.look(now_s, lambda _id: True):
            if late.is_first:
                self._threads.lend()
            _logger.warning(
                "Unloading servable version %s has not returned for %.0f s. Other unloads go on",
                *(late.key, late.for_s),
            )

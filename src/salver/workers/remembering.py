"""The ring of a server of several processes: in the supervisor, so that all tell the same."""

import threading
from collections.abc import Callable
from time import monotonic

from salver.metrics.history import History
from salver.metrics.merged import Report

__all__ = ["Remembering"]


class Remembering:
    """A thread that ends a step of the ring again and again. Safe to use from any thread."""

    def __init__(
        self,
        history: History,
        report: Callable[[], Report],
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Record nothing yet.

        Args:
            history: the ring.
            report: what all workers have counted, as far as they have told.
            clock: the one of the ring.
        """
        self._history = history
        self._report = report
        self._clock = clock
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._record, name="salver-history", daemon=True)

    def start(self) -> None:
        """Begin to record."""
        self._thread.start()

    def stop(self) -> None:
        """Record no more."""
        self._is_over.set()

    def document(self) -> bytes:
        """What happened lately, up to now."""
        return self._history.document(self._report(), self._clock())

    def _record(self) -> None:
        while not self._is_over.wait(self._history.step_s):
            self._history.record(self._report(), self._clock())

"""A process that waits to become a worker, so that one that has ended is soon replaced.

It has imported and opened what a worker needs, which is most of the time that a worker takes to
come up, and has no models. See `docs/decisions/spare-worker.md`.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from salver.workers.periodic import Periodic
from salver.workers.spawning import Prepared

__all__ = ["Spare"]

_EVERY_S: Final = 1.0


class Spare(Periodic):
    """Keeps one such process. Safe to use from any thread."""

    def __init__(
        self,
        prepare: Callable[[], Prepared],
        is_wanted: Callable[[], bool],
        *,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        """Keep none yet.

        Args:
            prepare: starts one.
            is_wanted: whether there should be one now.
            wait: see `Periodic`.
        """
        super().__init__("salver-spare", self.check, lambda: _EVERY_S, wait=wait)
        self._prepare = prepare
        self._is_wanted = is_wanted
        self._lock = threading.Lock()  # guards what follows
        self._kept: Prepared | None = None

    def take(self) -> Prepared | None:
        """The one there is, which is kept no more; None if there is none."""
        with self._lock:
            taken, self._kept = self._kept, None
        if taken is not None and taken.has_ended:
            taken.dismiss()
            return None
        return taken

    def stop(self) -> None:
        """Keep none from here on."""
        super().stop()
        self._dismiss()

    def check(self) -> None:
        """Start one if it is wanted and there is none, or end it."""
        if not self._is_wanted():
            self._dismiss()
            return
        with self._lock:
            if self._kept is not None and not self._kept.has_ended:
                return
        self._dismiss()
        with suppress(OSError):  # none, then
            made = self._prepare()
            with self._lock:
                self._kept = made
            if self.is_stopping:
                self._dismiss()

    def _dismiss(self) -> None:
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is not None:
            kept.dismiss()

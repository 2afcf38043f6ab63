"""A process that waits to become a worker, so that one that has ended is soon replaced.

Most of the time that a worker takes to come up goes to imports and to TensorFlow's library. A spare
has that behind it; it has no models, and takes 70 MB.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from salver.workers.spawning import Prepared

__all__ = ["Spare"]

_log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0


class Spare:
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
            wait: waits for an event so many seconds; a test's own clock goes in here.
        """
        self._prepare = prepare
        self._is_wanted = is_wanted
        self._wait = wait
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # guards what follows
        self._kept: Prepared | None = None

    def start(self) -> None:
        """Begin to look whether one is wanted."""
        threading.Thread(target=self._run, name="salver-spare", daemon=True).start()

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
        self._stopping.set()
        self._dismiss()

    def look(self) -> None:
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
            if self._stopping.is_set():
                self._dismiss()

    def _dismiss(self) -> None:
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is not None:
            kept.dismiss()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wait(self._stopping, _LOOK_S)
            if not self._stopping.is_set():
                self.look()

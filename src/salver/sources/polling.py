"""One thread that looks at something again and again, and at once when that changes on disk."""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from salver.errors import Cancelled
from salver.sources.watcher import Watcher

__all__ = ["Polling", "Wait"]

_logger = logging.getLogger(__name__)

Wait = Callable[[threading.Event, float | None], bool]
"""Waits for an event so many seconds; a test's own clock goes in here."""


class Polling(ABC):
    """The thread, and the watch that wakes it. Safe to use from any thread."""

    def __init__(
        self,
        name: str,
        *,
        what: str = "",
        is_watching: bool = True,
        wait: Wait = threading.Event.wait,
    ) -> None:
        """Do nothing before `start`.

        Args:
            name: of the thread.
            what: is polled, for the log.
            is_watching: whether a change on disk may wake the poll before its time.
            wait: see there.
        """
        self._what = what
        self._wait = wait
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._watcher = Watcher(self._wake.set) if is_watching else None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def _poll(self) -> None:
        """Look once. What it raises ends one poll, and `Cancelled` all."""

    @abstractmethod
    def _pause_s(self) -> float | None:
        """How long to wait after a poll; None until something wakes it."""

    def start(self) -> None:
        """Begin to poll: at once, then after each pause."""
        self._thread.start()

    def poke(self) -> None:
        """Poll now."""
        self._wake.set()

    def stop(self) -> None:
        """Poll no more; `close` waits for the threads."""
        self._closing.set()
        self._wake.set()
        if self._watcher is not None:
            self._watcher.stop()

    def close(self, timeout_s: float | None = None) -> bool:
        """Stop and join the threads.

        Args:
            timeout_s: how long to wait; what is looked at may hang for ever. None for any time.

        Returns:
            Whether the threads have ended.
        """
        self.stop()
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
        has_ended = self._watcher is None or self._watcher.close(left_s)
        return has_ended and not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._closing.is_set():  # asked after the clearing, which may have undone a `stop`
                return
            try:
                self._poll()
            except Cancelled:  # the server stops
                return
            except Exception:
                _logger.exception("The poll%s failed", self._what and f" of {self._what}")
            self._wait(self._wake, self._pause_s())

"""A thread that makes one call again and again."""

import threading
from collections.abc import Callable

__all__ = ["Periodic"]


class Periodic:
    """Calls something after each pause, until it is stopped. Safe to use from any thread."""

    def __init__(
        self,
        name: str,
        call: Callable[[], object],
        pause_s: Callable[[], float],
        *,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        """Call nothing yet.

        Args:
            name: of the thread.
            call: what to call.
            pause_s: how long to wait before the next call, in seconds.
            wait: waits for an event so many seconds; a test's own clock goes in here.
        """
        self._call = call
        self._pause_s = pause_s
        self._wait = wait
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Call it no more; a call that is running goes on."""
        self._stopping.set()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the thread, after `stop`."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self.is_stopping:
            self._wait(self._stopping, self._pause_s())
            if not self.is_stopping:
                self._call()

"""A limit of bytes per second that all fetches share."""

import threading
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Bandwidth"]

_LONGEST_S: Final = 0.1  # that a fetch sleeps before it asks whether it is still wanted
_MOST_BYTES: Final = 1 << 18  # what obstore copies into `bytes` at a time, and holds the GIL for
_LEAST_BYTES: Final = 1 << 14


class Bandwidth:
    """Safe to use from any thread. Nobody is kept from a lock while somebody waits."""

    def __init__(
        self,
        bytes_per_second: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Let everything pass, or so much.

        Args:
            bytes_per_second: 0 for any.
            clock: seconds, monotonic.
            sleep: lets time pass.
        """
        self._rate = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_s = 0.0  # when what was taken so far has been paid for

    @property
    def chunk_bytes(self) -> int:
        """How much to take at a time, so that nobody waits long for another."""
        if not self._rate:
            return _MOST_BYTES
        return max(_LEAST_BYTES, min(self._rate // 10, _MOST_BYTES))

    def take(self, count: int, check: Callable[[], object]) -> None:
        """Wait until so many bytes may have come.

        Args:
            count: of bytes that have come.
            check: called again and again; raises when nobody wants them any more.
        """
        if not self._rate:
            return
        with self._lock:
            self._free_s = max(self._free_s, self._clock()) + count / self._rate
            until_s = self._free_s
        while (left_s := until_s - self._clock()) > 0:
            check()
            self._sleep(min(left_s, _LONGEST_S))

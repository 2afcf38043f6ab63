"""Whether a store still sends what is fetched, or only drips. Pure."""

from typing import Final

__all__ = ["LEAST_BYTES_PER_S", "Pace"]

LEAST_BYTES_PER_S: Final = 1000
"""A fetch that gets fewer bytes, for a while, is given up and tried again later."""

_QUICK_BYTES_PER_S: Final = 1_000_000


class Pace:
    """How fast one fetch goes, by looks at it. Used in one thread.

    Attributes:
        is_quick: whether it goes on so fast that it need not be told of every few bytes.
    """

    def __init__(self, now_s: float, window_s: float) -> None:
        """Begin, with nothing received.

        Args:
            now_s: monotonic.
            window_s: how long that while is.
        """
        self._window_s = window_s
        self.is_quick = False
        self._begun_s = self._looked_s = now_s
        self._waited_s = 0.0
        self._before_bytes = 0

    def look(self, now_s: float, received_bytes: int, *, is_held: bool) -> bool:
        """Whether the store has stalled.

        Args:
            now_s: monotonic.
            received_bytes: since the beginning; never fewer than before.
            is_held: whether it may be us who are slow: a limit of ours, or the disk. The time since
                the last look does not count then.
        """
        if not is_held:
            self._waited_s += now_s - self._looked_s
        self._looked_s = now_s
        self.is_quick = received_bytes > _QUICK_BYTES_PER_S * max(0.1, now_s - self._begun_s)
        if self._waited_s < self._window_s:
            return False
        is_stalled = received_bytes - self._before_bytes < LEAST_BYTES_PER_S * self._waited_s
        self._waited_s, self._before_bytes = 0.0, received_bytes
        return is_stalled

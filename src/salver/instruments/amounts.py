"""Amounts of bytes as people read them, and how fast they come."""

from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["Rate", "amount"]

_UNITS: Final = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "bytes"))
_WINDOW_S: Final = 10.0
_LEAST_S: Final = 0.5  # of a window that says anything


def amount(size_bytes: float) -> str:
    """`3.2 MB`."""
    unit_bytes, unit = _unit(size_bytes)
    return f"{size_bytes / unit_bytes:.3g} {unit}"


def _unit(size_bytes: float) -> tuple[int, str]:
    return next(each for each in _UNITS if max(size_bytes, 1) >= each[0])


class Rate:
    """How fast something comes, of the last seconds. Belongs to one thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Nothing has come.

        Args:
            clock: seconds, monotonic.
        """
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def count(self, done_bytes: int) -> None:
        """Note how much there is now."""
        now_s = self._clock()
        self._seen.append((now_s, done_bytes))
        while len(self._seen) > 2 and now_s - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()

    @property
    def bytes_per_second(self) -> float | None:
        """None while that is not known."""
        if not self._seen:
            return None
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        if last_s - first_s < _LEAST_S:
            return None
        return max(0.0, (last - first) / (last_s - first_s))

    def description(self, done_bytes: int, total_bytes: int) -> str:
        """`3 of 10 MB, 2 MB/s, 4 s left`.

        Args:
            done_bytes: that there are.
            total_bytes: that there will be; 0 where nobody knows.
        """
        unit_bytes, unit = _unit(max(total_bytes, done_bytes))
        done = f"{done_bytes / unit_bytes:.3g}"
        text = f"{done} of {total_bytes / unit_bytes:.3g} {unit}"
        if not total_bytes:
            text = f"{done} {unit} so far"
        rate = self.bytes_per_second
        if not rate:
            return text
        text += f", {amount(rate)}/s"
        left_bytes = total_bytes - done_bytes
        return f"{text}, {_time(left_bytes / rate)} left" if left_bytes > 0 else text


def _time(seconds: float) -> str:
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99 * 60 else f"{seconds / 3600:.0f} h"

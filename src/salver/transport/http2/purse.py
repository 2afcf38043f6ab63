"""What a client may spend on frames that cost us more than it: tokens, refilled by time."""

from collections.abc import Callable

__all__ = ["Purse"]


class Purse:
    """A token bucket that reads the clock only when it is empty.

    Attributes:
        left: tokens. Whoever does useful work may add some; `cap` takes away what is too much.
    """

    __slots__ = ("_burst", "_clock", "_per_s", "_since", "left")

    def __init__(self, burst: int, per_s: float, clock: Callable[[], float]) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._since = clock()
        self.left = burst

    def pay(self) -> bool:
        """Take one token; False if there is none."""
        self.left -= 1
        if self.left >= 0:
            return True
        now = self._clock()
        earned = int((now - self._since) * self._per_s)
        if earned:
            self._since = now
            self.left = min(self._burst, earned) - 1
        return self.left >= 0

    def cap(self) -> None:
        """Keep no more than the first burst."""
        self.left = min(self.left, self._burst)

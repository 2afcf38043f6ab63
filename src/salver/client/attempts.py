"""When to try again, and until when."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from salver.errors import DeadlineExceeded, InvalidArgument

__all__ = ["Deadline", "Retries"]

_FOR_EVER_S = 1e8  # three years: what sockets and gRPC count in ends not far behind


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call that did not reach the server is tried again.

    The pause before the n-th retry is random, up to `first_s` × 2ⁿ and at most `longest_s`: clients
    that failed together do not come back together.

    Attributes:
        count: how many times at most.
        random: a number from 0 to 1.
    """

    count: int = 3
    first_s: float = 0.1
    longest_s: float = 2.0
    random: Callable[[], float] = random.random

    def pause_s(self, retry: int) -> float | None:
        """How long to wait before a retry, the first being 0; None where there is to be none."""
        if retry >= self.count:
            return None
        longest_s = min(self.longest_s, self.first_s * 2.0**retry)
        return longest_s * (0.5 + 0.5 * self.random())


class Deadline:
    """The end of a call's time."""

    def __init__(
        self, timeout_s: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start.

        Args:
            timeout_s: from now; None for no end.
            clock: seconds, monotonic.

        Raises:
            InvalidArgument: it is no number.
        """
        if timeout_s is not None and timeout_s != timeout_s:
            raise InvalidArgument("A timeout is a number of seconds, or None")
        if timeout_s is not None and timeout_s > _FOR_EVER_S:
            timeout_s = None
        self._clock = clock
        self._end_s = None if timeout_s is None else clock() + timeout_s
        self.timeout_s = timeout_s

    def left_s(self) -> float | None:
        """What is left; None for no end.

        Raises:
            DeadlineExceeded: nothing.
        """
        if self._end_s is None:
            return None
        left_s = self._end_s - self._clock()
        if left_s <= 0:
            raise DeadlineExceeded(f"No answer within {self.timeout_s:g} s")
        return left_s

    def is_after(self, pause_s: float) -> bool:
        """Whether there is time left after a pause."""
        return self._end_s is None or self._end_s - self._clock() > pause_s

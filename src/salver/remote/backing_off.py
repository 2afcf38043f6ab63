"""How long to wait after a failure: longer each time, up to a bound, and not all at once. Pure."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["Backoff", "jittered"]

_JITTER: Final = 0.1


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double.

    Attributes:
        first_s: about the first.
        most_s: the longest; what a store asks for itself may be longer.
    """

    first_s: float
    most_s: float

    def wait_s(
        self, failures: int, asked_s: float = 0.0, rand: Callable[[], float] = random.random
    ) -> float:
        """How long to wait after so many failures in a row.

        Args:
            failures: from 1.
            asked_s: what the store wants, at least.
            rand: from 0 to 1.
        """
        doubled_s = min(self.most_s, self.first_s * 2 ** min(failures - 1, 32))
        return max(jittered(doubled_s, rand), asked_s * (1 + _JITTER * rand()))


def jittered(seconds: float, rand: Callable[[], float] = random.random) -> float:
    """About so long, so that many servers that were started together do not poll together."""
    return seconds * (1 - _JITTER + 2 * _JITTER * rand())

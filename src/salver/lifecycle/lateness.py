"""Which loads take longer than loads usually do: when to report it, and when to give one up.

Pure: the caller keeps the time, and does what is to be done.
"""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

__all__ = ["WARN_S", "Late", "Lateness"]

WARN_S: Final = 60.0
"""After so long a load is reported, keeps no other from a thread, and is given up if nobody wants
its version any more."""

_LONGEST_PAUSE_S: Final = 3600.0  # between two reports of a load

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Run:
    begun_s: float
    next_s: float  # when it is due
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class Late(Generic[K]):
    """A load that has not returned.

    Attributes:
        key: of the load.
        for_s: how long it has been running.
        is_first: whether this is the first report of it.
        is_over: whether it is given up; it is forgotten then.
    """

    key: K
    for_s: float
    is_first: bool
    is_over: bool


class Lateness(Generic[K]):
    """The loads that are running. Not thread-safe."""

    def __init__(self, limit_s: float = 0.0) -> None:
        """Know of none.

        Args:
            limit_s: how long one may take; 0 for any time.
        """
        self._limit_s = limit_s or math.inf
        self._runs: dict[K, _Run] = {}

    def begin(self, key: K, now_s: float) -> None:
        """One has begun."""
        self._runs[key] = _Run(now_s, now_s + min(WARN_S, self._limit_s))

    def end(self, key: K) -> bool:
        """One has returned; whether it was late, and not given up."""
        run = self._runs.pop(key, None)
        return run is not None and run.is_late

    def hurry(self, key: K) -> None:
        """Have one due as soon as it is late: nobody wants it any more, perhaps."""
        run = self._runs.get(key)
        if run is not None:
            run.next_s = min(run.next_s, run.begun_s + WARN_S)

    @property
    def due_s(self) -> float | None:
        """When to check again; None for not at all."""
        return min((run.next_s for run in self._runs.values()), default=None)

    def check(self, now_s: float, is_wanted: Callable[[K], bool]) -> list[Late[K]]:
        """Those that are to be reported, or given up, now."""
        due = [(key, run) for key, run in self._runs.items() if run.next_s <= now_s]
        return [self._late(key, run, now_s, is_wanted(key)) for key, run in due]

    def _late(self, key: K, run: _Run, now_s: float, is_wanted: bool) -> Late[K]:
        for_s = now_s - run.begun_s
        is_over = for_s >= self._limit_s or (not is_wanted and for_s >= WARN_S)
        late = Late(key, for_s, not run.is_late, is_over)
        run.is_late = True
        if is_over:
            del self._runs[key]
        pause_s = min(for_s, _LONGEST_PAUSE_S)
        run.next_s = min(now_s + pause_s, run.begun_s + self._limit_s)
        return late

"""Who is served first where requests wait, and which of them will wait for too long. Pure.

*Interactive* requests go before those of *batch* work. So that batch work is not starved, it has
one turn of eight while both wait. All wait in the order in which they came otherwise.
"""

from math import ceil, inf
from typing import Final

from salver.errors import Overloaded

__all__ = [
    "BATCH_TURN",
    "QueueEstimate",
    "Turns",
    "ahead_of_batch",
    "ahead_of_interactive",
    "batch_too_late",
    "places_for_batch",
    "too_late",
]

BATCH_TURN: Final = 8
"""Of so many turns batch work has one, while others wait too. At most an eighth of the runs is what
interactive requests lose by it."""

_RUNS_KNOWN: Final = 4  # before an estimate says anything
_MEMORY: Final = 16  # runs, of which the mean is taken
_MOST_GROWTH: Final = 4.0  # times the mean is as much as one run counts
_LEAST_KNOWN_S: Final = 1e-3
_LONGEST_RETRY_S: Final = 60


class Turns:
    """Decides between the two kinds of one queue, or of several queues."""

    __slots__ = ("_passed",)

    def __init__(self) -> None:
        self._passed = 0  # interactive ones that went before waiting batch work

    def takes_batch(self, *, has_interactive: bool) -> bool:
        """Whether batch work, of which some waits, is next.

        Args:
            has_interactive: whether anything else could be.
        """
        if has_interactive and self._passed < BATCH_TURN - 1:
            self._passed += 1
            return False
        self._passed = 0
        return True


def ahead_of_interactive(interactive: int, batch: int) -> int:
    """How many of those that wait will go before an interactive request that comes now.

    Args:
        interactive: that wait.
        batch: of batch work, that wait.
    """
    return interactive + min(batch, interactive // (BATCH_TURN - 1))


def ahead_of_batch(interactive: int, batch: int) -> int:
    """The same for a request of batch work; of those that come later nothing is known."""
    return batch + min(interactive, (batch + 1) * (BATCH_TURN - 1))


def places_for_batch(places: float) -> float:
    """How many places of a queue batch work may take, so that it never fills it for all.

    Args:
        places: in the queue; infinity for any number.
    """
    return places - ceil(places / BATCH_TURN) if places < inf else inf


class QueueEstimate:
    """How long what is next in a queue takes: a running mean, which one long run changes little.

    It errs on the short side: what is under way is not counted, nor are runs that never end. So a
    request is refused early only where the queue alone takes longer than it may wait.
    """

    __slots__ = ("_known", "mean_s")

    def __init__(self) -> None:
        self.mean_s = 0.0
        self._known = 0

    def ran(self, seconds: float) -> None:
        """Learn from a run."""
        if self._known < _RUNS_KNOWN:  # the first may have built kernels
            self.mean_s = min(seconds, self.mean_s) if self._known else seconds
            self._known += 1
            return
        most_s = max(_MOST_GROWTH * self.mean_s, _LEAST_KNOWN_S)
        self.mean_s += (min(seconds, most_s) - self.mean_s) / _MEMORY

    def wait_s(self, ahead: int, at_once: int) -> float:
        """How long a queue takes; 0 while too little is known.

        Args:
            ahead: runs before the one that is asked for.
            at_once: how many are made at the same time.
        """
        if self._known < _RUNS_KNOWN:
            return 0.0
        return ahead * self.mean_s / max(1, at_once)


def too_late(wait_s: float, timeout_s: float, *, waiting: int, name: str) -> Overloaded:
    """The error of a request whose time will be over before it is its turn.

    Args:
        wait_s: until then.
        timeout_s: that it may take.
        waiting: requests before it.
        name: of the model.
    """
    return _too_late(f"{waiting} requests wait for runs of model {name}", wait_s, timeout_s)


def batch_too_late(wait_s: float, timeout_s: float, *, batches: int) -> Overloaded:
    """The same of a request that would be part of a batch.

    Args:
        wait_s: until then.
        timeout_s: that it may take.
        batches: that run before.
    """
    return _too_late(f"{batches} batches wait", wait_s, timeout_s)


def _too_late(what: str, wait_s: float, timeout_s: float) -> Overloaded:
    return Overloaded(
        f"{what} already, which takes about {wait_s:.2g} s: longer than the {timeout_s:.2g} s "
        "that this request may take",
        hint="Try again in a moment, or with a later deadline.",
        retry_after_s=max(1, min(_LONGEST_RETRY_S, ceil(wait_s))),
    )

"""The runs that wait for a child, in the order in which they came; and what is decided of runs.

`WaitingRuns` is guarded by the lock of its owner.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from salver.children.run import Run
from salver.errors import Overloaded
from salver.scheduling.lane import TooLate
from salver.scheduling.priorities import (
    QueueEstimate,
    Turns,
    ahead_of_batch,
    ahead_of_interactive,
    places_for_batch,
    too_late,
)
from salver.vocabulary.requests import Array

__all__ = ["WaitingRuns", "is_large", "kind_of_end"]

_FEW: Final = 16  # runs that were given up, of which the queue keeps the places
_LARGE_BYTES: Final = 1 << 20
_MANY_STRINGS: Final = 512
_ENDED_FROM_OUTSIDE: Final = (-9, -15)  # SIGKILL, SIGTERM


class WaitingRuns:
    """A queue that runs may leave from the middle; batch work waits behind the others."""

    __slots__ = ("_batch_count", "_batch_queue", "_count", "_estimate", "_queue", "_turns")

    def __init__(self) -> None:
        self._queue: deque[Run] = deque()
        self._batch_queue: deque[Run] = deque()
        self._count = 0
        self._batch_count = 0
        self._turns = Turns()
        self._estimate = QueueEstimate()

    def __len__(self) -> int:
        """Those that were given up are not counted."""
        return self._count + self._batch_count

    def ran(self, seconds: float) -> None:
        """Learn how long a run took."""
        self._estimate.ran(seconds)

    def check(self, run: Run, most: float, at_once: int, name: str) -> None:
        """Refuse a run that would wait for too long, or is too many.

        Args:
            run: that is to wait.
            most: runs that may.
            at_once: how many are made at the same time.
            name: of the model.

        Raises:
            Overloaded: the queue is full.
            TooLate: it takes longer than the run may.
        """
        if len(self) >= (places_for_batch(most) if run.is_batch else most):
            raise Overloaded(
                f"{len(self)} requests wait for runs of model {name} already",
                hint="Try again in a moment; --max_queued_runs_per_model sets this limit.",
            )
        if run.timeout_s is None or not len(self):
            return
        ahead_of = ahead_of_batch if run.is_batch else ahead_of_interactive
        ahead = ahead_of(self._count, self._batch_count)
        wait_s = self._estimate.wait_s(ahead, at_once)
        if wait_s > run.timeout_s:
            raise TooLate(too_late(wait_s, run.timeout_s, waiting=ahead, name=name))

    def append(self, run: Run) -> None:
        """Wait."""
        if run.is_batch:
            self._batch_queue.append(run)
            self._batch_count += 1
        else:
            self._queue.append(run)
            self._count += 1

    def take(self) -> Run:
        """The next; there must be one."""
        if self._batch_count and self._turns.takes_batch(has_interactive=self._count > 0):
            self._batch_count -= 1
            return _first(self._batch_queue)
        self._count -= 1
        return _first(self._queue)

    def gave_up(self, run: Run) -> None:
        """A run that waits was given up; what it was to be fed is let go."""
        run.feeds = []
        if run.is_batch:
            self._batch_count -= 1
            self._batch_queue = _compact(self._batch_queue, self._batch_count)
        else:
            self._count -= 1
            self._queue = _compact(self._queue, self._count)

    def take_all(self) -> list[Run]:
        """All that wait."""
        runs = [run for run in (*self._queue, *self._batch_queue) if not run.is_given_up]
        self._queue.clear()
        self._batch_queue.clear()
        self._count = self._batch_count = 0
        return runs


def _first(queue: deque[Run]) -> Run:
    run = queue.popleft()
    while run.is_given_up:
        run = queue.popleft()
    return run


def _compact(queue: deque[Run], count: int) -> deque[Run]:
    """The same queue; without those that were given up, where they are many."""
    if len(queue) <= 2 * count + _FEW:
        return queue
    return deque([each for each in queue if not each.is_given_up])


def is_large(feeds: Sequence[Array]) -> bool:
    """Whether it takes long to copy arrays, so that a loop should have it done elsewhere."""
    size = 0
    for each in feeds:
        size += each.nbytes
        if each.dtype.hasobject and each.size > _MANY_STRINGS:
            return True
    return size > _LARGE_BYTES


def kind_of_end(code: int) -> str:
    """Why a process has ended, in a word.

    Args:
        code: its exit status, negative for a signal.
    """
    if code >= 0:
        return "exit"
    return "killed" if code in _ENDED_FROM_OUTSIDE else "crash"

"""What waits and runs of one model: its lane in the pool.

A lane is two queues, since batch work waits behind interactive requests; see `priorities`. It knows
about how long it takes until it is somebody's turn, so that who cannot wait that long is told at
once.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from salver.errors import Overloaded
from salver.scheduling.estimates import LoopBudget
from salver.scheduling.priorities import (
    QueueEstimate,
    Turns,
    ahead_of_batch,
    ahead_of_interactive,
    places_for_batch,
    too_late,
)
from salver.tracing.tracer import Tracer
from salver.vocabulary.access import Priority, current_priority

__all__ = ["Lane", "LanePool", "Run", "RunCounts", "RunLimits", "TooLate"]

R = TypeVar("R")

_BATCH: Final = Priority.BATCH
_FEW: Final = 16  # cancelled runs that a queue keeps a place of


class Run(Future[Any]):
    """A call that waits, runs, or has run.

    Attributes:
        call: what to run; None once nobody will.
        is_queued: whether it waits in its lane; under the pool's lock.
        is_batch: whether it waits behind interactive ones.
        line: where it waits; under the pool's lock.
        timeout_s: how long it may take; None: for ever.
    """

    def __init__(self, call: Callable[[], Any], lane: "Lane", timeout_s: float | None) -> None:
        super().__init__()
        self.call: Callable[[], Any] | None = call
        self.is_queued = True
        self.is_batch = current_priority.get() is _BATCH
        self.line = lane.line_of(is_batch=self.is_batch)
        self.timeout_s = timeout_s
        self._lane = lane

    def cancel(self) -> bool:
        """Drop it, unless a thread has taken it up."""
        is_cancelled = super().cancel()
        if is_cancelled and self.is_queued:
            self._lane.drop(self)
        return is_cancelled


class RunCounts:
    """How many runs of one model were made, by where.

    Attributes:
        inline: in the loop; counted there, like the next two.
        pool: in threads of the pool.
        demotions: times that a program was sent back to the pool for a run that was long in the
            loop.
        batch: in batch threads.
        child: in processes of the model's own; counted in the loop.
    """

    __slots__ = ("_lock", "batch", "child", "demotions", "inline", "pool")

    def __init__(self) -> None:
        self.inline = 0
        self.pool = 0
        self.demotions = 0
        self.batch = 0
        self.child = 0
        self._lock = threading.Lock()

    def by_placement(self) -> Mapping[str, int]:
        """Where → how many runs."""
        return {
            "inline": self.inline,
            "pool": self.pool,
            "batch": self.batch,
            "child": self.child,
        }

    def ran_batch(self) -> None:
        """Count a run in a batch thread."""
        with self._lock:
            self.batch += 1


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What one model may have; None as every model has it.

    Attributes:
        most_running: runs at the same time, from 1 up.
        most_queued: runs that may wait; 0 for any number.
    """

    most_running: int | None = None
    most_queued: int | None = None


class TooLate(Exception):
    """A run whose time will be over before its turn; `error` says so."""

    def __init__(self, error: Overloaded) -> None:
        super().__init__(error)
        self.error = error


class LanePool(Protocol):
    """What a lane needs of its pool.

    Attributes:
        lock: guards the lanes.
        loop_budget: see `RunPool`.
        tracer: likewise.
        batch_waiting: runs of batch work that wait, of all lanes; under the lock.
    """

    lock: threading.Lock
    loop_budget: LoopBudget
    tracer: Tracer | None
    batch_waiting: int

    def queue(self, lane: "Lane", run: Run) -> None: ...
    def came_too_late(self, name: str) -> None: ...


class _Line:
    """Runs in the order in which they came. Some were cancelled meanwhile; they are not counted."""

    __slots__ = ("queue", "waiting")

    def __init__(self) -> None:
        self.queue: deque[Run] = deque()
        self.waiting = 0

    def drop(self) -> None:
        """Forget a run that was cancelled, and its place at times."""
        self.waiting -= 1
        if len(self.queue) > 2 * self.waiting + _FEW:
            self.queue = deque([each for each in self.queue if each.is_queued])


class Lane:
    """The runs of one model. Safe to use from any thread.

    Attributes:
        name: of the model.
        loop_budget: of the programs that have the pool in place of the loop.
        tracer: of the pool.
        counts: of the model's runs.
        most_running: runs at the same time; changed under the pool's lock, like the next.
        most_queued: runs that may wait.
        waiting: those that do.
    """

    def __init__(
        self,
        pool: LanePool,
        name: str,
        counts: RunCounts,
        most_running: float,
        most_queued: float,
    ) -> None:
        """Make an empty one; `RunPool.lane` does.

        Args:
            pool: whose threads run its calls.
            name: of the model.
            counts: of its runs.
            most_running: runs at the same time.
            most_queued: runs that may wait.
        """
        self.name = name
        self.loop_budget = pool.loop_budget
        self.tracer = pool.tracer
        self.counts = counts
        self._pool = pool
        # Under the pool's lock, like all below.
        self.limit(most_running, most_queued)
        self.waiting = 0
        self._interactive = _Line()
        self._batch = _Line()
        self._turns = Turns()
        self._estimate = QueueEstimate()
        self._running = 0
        self._slots = 0  # runs under way, or about to be

    def submit(self, call: Callable[[], R], timeout_s: float | None = None) -> "Future[R]":
        """Queue a call; cancelling the future before a thread takes it up drops it.

        It is of batch work if the request is that is being handled; see `current_priority`.

        Args:
            call: what is run.
            timeout_s: how long somebody waits for it; None: for ever.

        Raises:
            Overloaded: the queue is full, or takes longer than that.
            Unavailable: the pool is closed, or the machine has no thread for it.
        """
        run = Run(call, self, timeout_s)
        self._pool.queue(self, run)
        return run

    def drop(self, run: Run) -> None:
        """Let go of a run that was cancelled, if it still waits."""
        with self._pool.lock:
            if not run.is_queued:
                return
            run.is_queued, run.call = False, None
            self.waiting -= 1
            self._pool.batch_waiting -= run.is_batch
            run.line.drop()

    def came_too_late(self) -> None:
        """Count a run whose time would have been over, in a queue of another kind."""
        self._pool.came_too_late(self.name)

    # -- for the pool, which has its lock --------------------------------------------------------

    def limit(self, most_running: float, most_queued: float) -> None:
        """Set what it may have, from the next run on."""
        self.most_running = most_running
        self.most_queued = most_queued
        self._most_unfinished = most_running + most_queued
        self._most_unfinished_of_batch = most_running + places_for_batch(most_queued)

    @property
    def has_interactive(self) -> bool:
        """Whether a run waits that is not of batch work."""
        return self._interactive.waiting > 0

    def opens_another(self) -> bool:
        """Open a slot for a run that waits without one, if there may be one more."""
        opens = self._slots < min(self.most_running, self.waiting + self._running)
        self._slots += opens
        return opens

    def add(self, run: Run) -> bool:
        """Queue a run; whether a slot opens for it.

        Raises:
            Overloaded: the queue is full.
            TooLate: it takes longer than the run may.
        """
        opens = self._slots < self.most_running
        waiting = self.waiting
        most = self._most_unfinished_of_batch if run.is_batch else self._most_unfinished
        if waiting + self._running >= most:
            raise Overloaded(
                f"{waiting} requests wait for runs of model {self.name} already",
                hint="Try again in a moment; --max_queued_runs_per_model sets this limit.",
            )
        if waiting and not opens and run.timeout_s is not None:
            self._check_in_time(run, run.timeout_s)
        line = run.line
        line.queue.append(run)
        line.waiting += 1
        self.waiting = waiting + 1
        if run.is_batch:
            self._pool.batch_waiting += 1
        self._slots += opens
        return opens

    def _check_in_time(self, run: Run, timeout_s: float) -> None:
        ahead_of = ahead_of_batch if run.is_batch else ahead_of_interactive
        ahead = ahead_of(self._interactive.waiting, self._batch.waiting)
        ahead -= self._slots - self._running  # those have a slot, and are about to run
        wait_s = self._estimate.wait_s(ahead, self._slots)
        if wait_s > timeout_s:
            raise TooLate(too_late(wait_s, timeout_s, waiting=ahead, name=self.name))

    def take(self) -> Run | None:
        """The next run, for a slot; None where there is none, and the slot closes."""
        line = self._interactive
        if self._batch.waiting and self._turns.takes_batch(has_interactive=line.waiting > 0):
            line = self._batch
        while line.queue:
            run = line.queue.popleft()
            if run.is_queued:
                run.is_queued = False
                line.waiting -= 1
                self.waiting -= 1
                if run.is_batch:
                    self._pool.batch_waiting -= 1
                self._running += 1
                return run
        self._slots -= 1
        return None

    def take_back(self, run: Run) -> None:
        """Undo the `add` of a run just added, for which a slot has opened."""
        run.line.queue.remove(run)
        run.line.waiting -= 1
        self.waiting -= 1
        self._pool.batch_waiting -= run.is_batch
        self._slots -= 1

    def goes_on(self, seconds: float | None) -> bool:
        """Whether the slot of a run that is over has another to run; if not, it closes.

        Args:
            seconds: that the run took; None where it was not made.
        """
        self._running -= 1
        if seconds is not None:
            self._estimate.ran(seconds)
        if self.waiting and self._slots <= self.most_running:
            return True
        if not self.waiting:
            self._interactive.queue.clear()
            self._batch.queue.clear()
        self._slots -= 1
        return False

    @property
    def is_alone(self) -> bool:
        """Whether it has no run under way but one."""
        return self._slots == 1

    def runs(self) -> list[Run]:
        """Those that wait."""
        return [*self._interactive.queue, *self._batch.queue]

    def line_of(self, *, is_batch: bool) -> _Line:
        """Where a run is to wait."""
        return self._batch if is_batch else self._interactive

"""The threads in which the longer runs happen, shared out among the models.

Each model has a *lane*: a queue of its own, and a number of runs that it may have under way. The
threads serve the lanes in turn, one run each, and first those that have none under way. So a model
whose runs take long, or never end, has its own part of the threads, and the runs of others do not
wait behind its queue. A lane that has nothing under way does not even wait for a thread: where all
are busy, it is given one more, as many again at most. That thread ends when there are enough
without it.

Batch work waits behind interactive requests, of its own model and of others; see `priorities`.

A run whose caller has left is dropped with all it was fed, without waiting for its turn.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from math import inf
from time import perf_counter
from typing import TypeVar
from weakref import WeakValueDictionary

from salver.errors import STOPPING, Overloaded, Unavailable
from salver.scheduling.estimates import LoopBudget
from salver.scheduling.lane import Lane, Run, RunCounts, RunLimits, TooLate
from salver.scheduling.priorities import Turns
from salver.scheduling.worker_threads import WorkerThreads
from salver.tracing.tracer import Tracer

__all__ = ["Lane", "RunCounts", "RunLimits", "RunPool"]

R = TypeVar("R")


class RunPool:
    """The threads, and the lanes they serve. Thread-safe.

    Threads start when they are needed.

    Attributes:
        loop_budget: of the programs that have this pool in place of the loop.
        tracer: takes notes of runs; None where nobody does.
        counts: of runs that are of no model.
        running: calls now in a thread, those whose caller has given up included.
        batch_waiting: calls of batch work that wait; under the lock.
        lock: guards the lanes.
    """

    def __init__(
        self,
        num_threads: int,
        *,
        name: str = "salver-run",
        most_running_per_lane: int | None = None,
        most_queued_per_lane: int | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """Make a pool without threads.

        Args:
            num_threads: the most there may be, but for one of a lane that has none.
            name: what the threads' names begin with.
            most_running_per_lane: runs of one model at the same time; by default as many as there
                are threads.
            most_queued_per_lane: runs of one model that may wait; None for any number.
            tracer: see there.
        """
        self._limit = num_threads
        self._most_running = min(num_threads, most_running_per_lane or num_threads)
        self._most_queued = inf if most_queued_per_lane is None else most_queued_per_lane
        self.loop_budget = LoopBudget()
        self.tracer = tracer
        self.lock = threading.Lock()
        # One item for each slot that waits for a thread; None ends a thread.
        self._slots: queue.SimpleQueue[bool | None] = queue.SimpleQueue()
        # Whose slots those are, in turn; those of lanes that have no other are first.
        self._ready: deque[Lane] = deque()
        self._ready_first: deque[Lane] = deque()
        self._lanes: WeakValueDictionary[str, Lane] = WeakValueDictionary()
        self._limits: Mapping[str, RunLimits] = {}
        self.counts = RunCounts()
        self._counts: dict[str, RunCounts] = {}
        self._own = Lane(self, "", self.counts, inf, inf)
        self._threads = WorkerThreads(name, self._work, "run a model in")
        self._open_slots = 0
        self.running = 0
        self._rejected: dict[str, int] = {}
        self._too_late: dict[str, int] = {}
        self._turns = Turns()
        self.batch_waiting = 0
        self._is_closed = False

    @property
    def rejected(self) -> Mapping[str, int]:
        """Model → requests that found its queue full."""
        with self.lock:
            return dict(self._rejected)

    @property
    def too_late(self) -> Mapping[str, int]:
        """Model → requests that were refused because their time would have been over."""
        with self.lock:
            return dict(self._too_late)

    @property
    def run_counts(self) -> Mapping[str, RunCounts]:
        """Model → its runs, also where its lane is gone."""
        with self.lock:
            return dict(self._counts)

    def lane(self, name: str) -> Lane:
        """The lane of a model, for as long as somebody keeps it."""
        with self.lock:
            lane = self._lanes.get(name)
            if lane is None:
                counts = self._counts.setdefault(name, RunCounts())
                lane = Lane(self, name, counts, *self._limits_of(name))
                self._lanes[name] = lane
            return lane

    def limit(self, limits: Mapping[str, RunLimits]) -> None:
        """Set what models may have: model → limits. Those that are not named have the usual."""
        with self.lock:
            self._limits = limits
            for name, lane in self._lanes.items():
                lane.limit(*self._limits_of(name))
                while not self._is_closed and lane.opens_another():
                    self._open_slots += 1
                    with suppress(Unavailable):  # those there are will do it
                        self._start_thread_for(lane)
                    self._let_run(lane)

    def _limits_of(self, name: str) -> tuple[float, float]:
        own = self._limits.get(name, RunLimits())
        most_queued = self._most_queued if own.most_queued is None else own.most_queued or inf
        return min(self._limit, own.most_running or self._most_running), most_queued

    def submit(self, call: Callable[[], R], timeout_s: float | None = None) -> "Future[R]":
        """Queue a call that is of no model; see `Lane.submit`."""
        return self._own.submit(call, timeout_s)

    def queue(self, lane: Lane, run: Run) -> None:
        """Queue a run in a lane; see `Lane.submit`, which calls this."""
        with self.lock:
            if self._is_closed:
                raise Unavailable(STOPPING)
            try:
                opens = lane.add(run)
            except Overloaded:
                self._count_rejected(lane.name)
                raise
            except TooLate as late:
                self._count_too_late(lane.name)
                raise late.error from None
            if not opens:
                return
            self._open_slots += 1
            try:
                self._start_thread_for(lane)
            except Unavailable:
                lane.take_back(run)
                self._open_slots -= 1
                raise
            self._let_run(lane)

    def rejected_elsewhere(self, name: str) -> None:
        """Count a run of a model that found no place where it is made instead of here."""
        with self.lock:
            self._count_rejected(name)

    def came_too_late(self, name: str = "") -> None:
        """Count a run of a model whose time would have been over, in a queue of another kind."""
        with self.lock:
            self._count_too_late(name)

    def _count_too_late(self, name: str) -> None:
        self._too_late[name] = self._too_late.get(name, 0) + 1

    def _count_rejected(self, name: str) -> None:
        self._rejected[name] = self._rejected.get(name, 0) + 1

    def _let_run(self, lane: Lane) -> None:
        """Have a thread take up a slot that has opened; under the lock."""
        (self._ready_first if lane.is_alone else self._ready).append(lane)
        self._slots.put(True)

    def close(self) -> None:
        """Drop what is queued and join the threads: blocks while a call runs."""
        self.abandon()
        with self.lock:
            threads = self._threads.all
        for thread in threads:
            thread.join()

    def abandon(self) -> None:
        """Drop what is queued and leave running calls to themselves."""
        with self.lock:
            self._is_closed = True
            lanes = (self._own, *self._lanes.values())
            waiting = [run for lane in lanes for run in lane.runs()]
            threads = len(self._threads)
        for run in waiting:
            run.cancel()
        for _ in range(threads):
            self._slots.put(None)

    def _start_thread_for(self, lane: Lane) -> None:
        """Start one more thread, if a slot needs it; under the lock.

        Raises:
            Unavailable: there is no thread at all.
        """
        count = len(self._threads)
        limit = 2 * self._limit if lane.is_alone else self._limit
        if self._open_slots <= count or count >= limit:
            return
        self._threads.start_one()

    def _work(self) -> None:
        leaves = False
        while not leaves and self._slots.get() is not None:
            lane, run = self._next()
            if run is not None:
                leaves = self._run(lane, run)
            del lane, run  # an idle thread keeps no tensors

    def _next(self) -> tuple[Lane, Run | None]:
        with self.lock:
            if self.batch_waiting:
                lane = self._next_lane()
            else:
                lane = (self._ready_first or self._ready).popleft()
            run = lane.take()
            if run is None:
                self._open_slots -= 1
            else:
                self.running += 1
            return lane, run

    def _next_lane(self) -> Lane:
        """Whose turn it is, of lanes that have an open slot, while batch work waits; locked."""
        ready = self._ready_first or self._ready
        lane = ready.popleft()
        if lane.has_interactive or not lane.waiting:
            return lane
        for lanes in (self._ready_first, self._ready):
            for place, other in enumerate(lanes):
                if other.has_interactive:
                    if self._turns.takes_batch(has_interactive=True):
                        return lane
                    del lanes[place]
                    ready.appendleft(lane)
                    return other
        return lane

    def _run(self, lane: Lane, run: Run) -> bool:
        """Make a run; whether this thread is one too many by then."""
        call, run.call = run.call, None
        assert call is not None
        begun_s = perf_counter()
        try:
            if not run.set_running_or_notify_cancel():  # it was cancelled just now
                return self._release(lane, None)
            result = call()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            leaves = self._release(lane, perf_counter() - begun_s)
            run.set_exception(error)
        else:
            leaves = self._release(lane, perf_counter() - begun_s)
            run.set_result(result)
        finally:
            # The error's traceback holds this frame, which would hold the future, and so the error.
            del run, call
        return leaves

    def _release(self, lane: Lane, seconds: float | None) -> bool:
        """Hand the slot of a run that is over to the next of its lane, which has to wait its turn.

        Args:
            lane: of the run.
            seconds: that it took; None where it was not made.

        Returns:
            Whether the calling thread is one too many now; then it is counted no more.
        """
        with self.lock:
            self.running -= 1
            goes_on = lane.goes_on(seconds)
            if goes_on:
                self._ready.append(lane)
            else:
                self._open_slots -= 1
            count = len(self._threads)
            leaves = count > self._limit and self._open_slots < count and not self._is_closed
            if leaves:
                self._threads.leave()
        if goes_on:
            self._slots.put(True)
        return leaves

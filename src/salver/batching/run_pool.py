"""The threads in which the longer runs happen, shared out among the models.

Each model has a *lane*: a queue of its own, and a number of runs that it may have under way. The
threads serve the lanes in turn, one run each, and first those that have none under way. So a model
whose runs take long, or never end, has its own part of the threads, and the runs of others do not
wait behind its queue. A lane that has nothing under way does not even wait for a thread: where all
are busy, it is given one more, as many again at most. That thread ends when there are enough
without it.

A run whose caller has left is dropped with all it was fed, without waiting for its turn.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from math import inf
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from salver.batching.estimates import LoopGuard
from salver.errors import Overloaded, Unavailable

__all__ = ["STOPPING_TEXT", "Lane", "RunPool"]

R = TypeVar("R")

STOPPING_TEXT: Final = "The server is stopping"
_FEW: Final = 16  # cancelled runs that a queue keeps a place of


class _Run(Future[Any]):
    """A call that waits, runs, or has run.

    Attributes:
        call: what to run; None once nobody will.
        is_queued: whether it waits in its lane; under the pool's lock.
    """

    def __init__(self, call: Callable[[], Any], lane: "Lane") -> None:
        super().__init__()
        self.call: Callable[[], Any] | None = call
        self.is_queued = True
        self._lane = lane

    def cancel(self) -> bool:
        """Drop it, unless a thread has taken it up."""
        is_cancelled = super().cancel()
        if is_cancelled and self.is_queued:
            self._lane.drop(self)
        return is_cancelled


class Lane:
    """The runs of one model. Safe to use from any thread.

    Attributes:
        name: of the model.
        loop_guard: of the programs that have the pool in place of the loop.
    """

    def __init__(self, pool: "RunPool", name: str, most_running: float, most_queued: float) -> None:
        """Make an empty one; `RunPool.lane` does.

        Args:
            pool: whose threads run its calls.
            name: of the model.
            most_running: runs at the same time.
            most_queued: runs that may wait.
        """
        self.name = name
        self.loop_guard = pool.loop_guard
        self._pool = pool
        self._most_running = most_running
        self._most_unfinished = most_running + most_queued
        # Under the pool's lock, like all below.
        self._queue: deque[_Run] = deque()
        self._waiting = 0  # in the queue, those that were cancelled not counted
        self._running = 0
        self._slots = 0  # runs under way, or about to be

    def submit(self, call: Callable[[], R]) -> "Future[R]":
        """Queue a call; cancelling the future before a thread takes it up drops it.

        Raises:
            Overloaded: the queue is full.
            Unavailable: the pool is closed, or the machine has no thread for it.
        """
        run = _Run(call, self)
        self._pool.queue(self, run)
        return run

    def drop(self, run: _Run) -> None:
        """Let go of a run that was cancelled, if it still waits."""
        with self._pool.lock:
            if not run.is_queued:
                return
            run.is_queued, run.call = False, None
            self._waiting -= 1
            if len(self._queue) > 2 * self._waiting + _FEW:
                self._queue = deque([each for each in self._queue if each.is_queued])

    # -- for the pool, which has its lock --------------------------------------------------------

    def add(self, run: _Run) -> bool:
        """Queue a run; whether a slot opens for it.

        Raises:
            Overloaded: the queue is full.
        """
        opens = self._slots < self._most_running
        if self._waiting + self._running >= self._most_unfinished:
            raise Overloaded(
                f"{self._waiting} requests wait for runs of model {self.name} already",
                hint="Try again in a moment; --max_queued_runs_per_model sets this limit.",
            )
        self._queue.append(run)
        self._waiting += 1
        self._slots += opens
        return opens

    def take(self) -> _Run | None:
        """The next run, for a slot; None where there is none, and the slot closes."""
        while self._queue:
            run = self._queue.popleft()
            if run.is_queued:
                run.is_queued = False
                self._waiting -= 1
                self._running += 1
                return run
        self._slots -= 1
        return None

    def take_back(self, run: _Run) -> None:
        """Undo the `add` of a run just added, for which a slot has opened."""
        self._queue.remove(run)
        self._waiting -= 1
        self._slots -= 1

    def goes_on(self) -> bool:
        """Whether the slot of a run that is over has another to run; if not, it closes."""
        self._running -= 1
        if self._waiting:
            return True
        self._queue.clear()
        self._slots -= 1
        return False

    @property
    def is_alone(self) -> bool:
        """Whether it has no run under way but one."""
        return self._slots == 1

    def runs(self) -> list[_Run]:
        """Those that wait."""
        return list(self._queue)


class RunPool:
    """The threads, and the lanes they serve. Thread-safe.

    Threads start when they are needed, and are daemons: a run that never ends keeps no process.

    Attributes:
        loop_guard: of the programs that have this pool in place of the loop.
        lock: guards the lanes.
    """

    def __init__(
        self,
        num_threads: int,
        *,
        name: str = "salver-run",
        most_running_per_lane: int | None = None,
        most_queued_per_lane: int | None = None,
    ) -> None:
        """Make a pool without threads.

        Args:
            num_threads: the most there may be, but for one of a lane that has none.
            name: what the threads' names begin with.
            most_running_per_lane: runs of one model at the same time; by default as many as there
                are threads.
            most_queued_per_lane: runs of one model that may wait; None for any number.
        """
        self._limit = num_threads
        self._name = name
        self._most_running = min(num_threads, most_running_per_lane or num_threads)
        self._most_queued = inf if most_queued_per_lane is None else most_queued_per_lane
        self.loop_guard = LoopGuard()
        self.lock = threading.Lock()
        # One item for each slot that waits for a thread; None ends a thread.
        self._slots: queue.SimpleQueue[bool | None] = queue.SimpleQueue()
        # Whose slots those are, in turn; those of lanes that have no other are first.
        self._ready: deque[Lane] = deque()
        self._ready_first: deque[Lane] = deque()
        self._lanes: WeakValueDictionary[str, Lane] = WeakValueDictionary()
        self._own = Lane(self, "", inf, inf)
        self._threads: list[threading.Thread] = []
        self._leaving: list[threading.Thread] = []  # that were too many, and may still be ending
        self._num_started = 0
        self._open_slots = 0
        self._running = 0
        self._rejected: dict[str, int] = {}
        self._is_closed = False

    @property
    def running(self) -> int:
        """Calls now in a thread, those whose caller has given up included."""
        return self._running

    @property
    def rejected(self) -> Mapping[str, int]:
        """Model → requests that found its queue full."""
        with self.lock:
            return dict(self._rejected)

    def lane(self, name: str) -> Lane:
        """The lane of a model, for as long as somebody keeps it."""
        with self.lock:
            lane = self._lanes.get(name)
            if lane is None:
                lane = Lane(self, name, self._most_running, self._most_queued)
                self._lanes[name] = lane
            return lane

    def submit(self, call: Callable[[], R]) -> "Future[R]":
        """Queue a call that is of no model; see `Lane.submit`."""
        return self._own.submit(call)

    def queue(self, lane: Lane, run: _Run) -> None:
        """Queue a run in a lane; see `Lane.submit`, which calls this."""
        with self.lock:
            if self._is_closed:
                raise Unavailable(STOPPING_TEXT)
            try:
                opens = lane.add(run)
            except Overloaded:
                self._rejected[lane.name] = self._rejected.get(lane.name, 0) + 1
                raise
            if not opens:
                return
            self._open_slots += 1
            try:
                self._start_thread_for(lane)
            except Unavailable:
                lane.take_back(run)
                self._open_slots -= 1
                raise
            (self._ready_first if lane.is_alone else self._ready).append(lane)
            self._slots.put(True)

    def close(self) -> None:
        """Drop what is queued and join the threads: blocks while a call runs."""
        self.abandon()
        with self.lock:
            threads = (*self._threads, *self._leaving)
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
        name = f"{self._name}-{self._num_started}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if self._threads:
                return  # those there are will do it
            raise Unavailable(f"No thread to run a model in: {error}") from error
        self._num_started += 1
        self._threads.append(thread)

    def _work(self) -> None:
        leaves = False
        while not leaves and self._slots.get() is not None:
            lane, run = self._next()
            if run is not None:
                leaves = self._run(lane, run)
            del lane, run  # an idle thread keeps no tensors

    def _next(self) -> tuple[Lane, _Run | None]:
        with self.lock:
            lane = (self._ready_first or self._ready).popleft()
            run = lane.take()
            if run is None:
                self._open_slots -= 1
            else:
                self._running += 1
            return lane, run

    def _run(self, lane: Lane, run: _Run) -> bool:
        """Make a run; whether this thread is one too many by then."""
        call, run.call = run.call, None
        assert call is not None
        try:
            if not run.set_running_or_notify_cancel():  # it was cancelled just now
                return self._release(lane)
            result = call()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            leaves = self._release(lane)
            run.set_exception(error)
        else:
            leaves = self._release(lane)
            run.set_result(result)
        finally:
            # The error's traceback holds this frame, which would hold the future, and so the error.
            del run, call
        return leaves

    def _release(self, lane: Lane) -> bool:
        """Hand the slot of a run that is over to the next of its lane, which has to wait its turn.

        Returns:
            Whether the calling thread is one too many now; then it is counted no more.
        """
        with self.lock:
            self._running -= 1
            goes_on = lane.goes_on()
            if goes_on:
                self._ready.append(lane)
            else:
                self._open_slots -= 1
            count = len(self._threads)
            leaves = count > self._limit and self._open_slots < count and not self._is_closed
            if leaves:
                thread = threading.current_thread()
                self._threads.remove(thread)
                self._leaving = [*(t for t in self._leaving if t.is_alive()), thread]
        if goes_on:
            self._slots.put(True)
        return leaves

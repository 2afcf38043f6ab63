"""One pool of threads that runs the batches of every model.

The threads visit the queues that hold something in turn, one batch per visit. An idle thread
sleeps until a batch may be ready: one of them until the next batch times out, the others until
they are called. At most one call is under way at a time; who takes a batch calls the next thread
if there is another.

Batch work waits behind interactive requests, in its own queue and in others; see `priorities`.

One model may have all of the threads, but not keep them from others: for a model that has no batch
under way there is one thread more, as many again at most, and no other model gets that.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from salver.errors import STOPPING, Unavailable
from salver.scheduling.plan import BatchQueue, BatchRules, Piece
from salver.scheduling.priorities import Turns
from salver.scheduling.worker_threads import WorkerThreads
from salver.vocabulary.access import Priority

__all__ = ["BatchScheduler", "Drop", "Process", "ScheduledQueue"]

T = TypeVar("T")

_LONGEST_SLEEP_S: Final = 3600.0  # a batch may wait for longer than a lock can

Process = Callable[[Sequence[Piece[T]]], Callable[[], None]]
"""Runs a batch in a batch thread and returns what tells the callers; neither raises."""
Drop = Callable[[Sequence[Piece[T]]], None]
"""Tells the callers of a batch that it will never run; does not raise."""


class ScheduledQueue(Generic[T]):
    """One queue of a scheduler. Safe to use from any thread."""

    __slots__ = ("_drop", "_owner", "_plan", "_process", "_running", "_scheduler")

    def __init__(
        self,
        scheduler: "BatchScheduler",
        rules: BatchRules,
        process: Process[T],
        drop: Drop[T],
        owner: Hashable = None,
    ) -> None:
        """Make an empty queue.

        Args:
            scheduler: whose threads run the batches.
            rules: when a batch closes.
            process: runs a batch.
            drop: gives up a batch.
            owner: the model; its queues share what it may have of the threads.
        """
        self._owner = owner
        self._scheduler = scheduler
        self._plan: BatchQueue[T] = BatchQueue(rules)
        self._process = process
        self._drop = drop
        self._running = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing runs; may be out of date at once."""
        return not self._running and self._plan.is_empty

    def ahead(self, *, is_batch: bool) -> int:
        """See `BatchQueue.ahead`; may be out of date at once."""
        return self._plan.ahead(is_batch=is_batch)

    @property
    def most_running(self) -> int:
        """How many of its batches may run at the same time."""
        return self._scheduler._most_running_for(self)

    def offer(self, task: T, rows: int, *, is_batch: bool = False) -> Sequence[Piece[T]]:
        """Queue a task; see `BatchQueue.offer`.

        Raises:
            Unavailable: the scheduler is closed too, or the machine has no thread for it.
        """
        return self._scheduler._offer(self, task, rows, is_batch)

    def set_rules(self, rules: BatchRules) -> None:
        """See `BatchQueue.set_rules`."""
        self._scheduler._set_rules(self, rules)

    def withdraw(self, pieces: Sequence[Piece[T]]) -> int:
        """Take back what has not begun; gives its rows. See `BatchQueue.withdraw`."""
        return self._scheduler._withdraw(self, pieces)

    def flush(self) -> None:
        """Run what is queued without waiting for company, and wait until nothing runs."""
        self._scheduler._flush(self)


class BatchScheduler:
    """The batch threads and the queues they visit. Safe to use from any thread.

    Threads start when they are needed.
    """

    def __init__(
        self,
        num_threads: int,
        *,
        thread_pool_name: str,
        most_running_per_owner: int | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Make a scheduler without threads.

        Args:
            num_threads: batches that may run at the same time, but for one of a model that has
                none.
            thread_pool_name: what the threads' names begin with.
            most_running_per_owner: batches of one model at the same time; by default as many as
                there are threads.
            clock: seconds, monotonic.
        """
        self.clock = clock
        self._limit = num_threads
        self._most_running = min(num_threads, most_running_per_owner or num_threads)
        # Guards all below, and the plans and counts of all queues.
        self._lock = threading.Lock()
        # Idle threads, each with a lock of its own that it waits for; to release it is to call the
        # thread, the one that has slept least first. A Condition would be slower, and SimpleQueue
        # does not do: where several threads wait, its `get` may outlive its timeout for ever (it
        # goes on with what is left of the timeout when another was quicker, even if that is less
        # than nothing; CPython 3.11).
        self._sleepers: list[threading.Lock] = []
        self._finished = threading.Condition(self._lock)
        self._flushing = 0  # threads that wait for `_finished`
        self._queues: deque[ScheduledQueue[Any]] = deque()  # those that hold something
        self._running: Counter[Hashable] = Counter()  # batches, by the model
        self._most_running_of: Mapping[Any, int] = {}  # of models that have a limit of their own
        self._threads = WorkerThreads(thread_pool_name, self._work, "run a batch in")
        self._turns = Turns()
        self._has_priorities = False  # whether there ever was batch work
        self._is_calling = False
        self._watched_s = inf  # the moment for which an idle thread has set its alarm
        self._is_closed = False
        self._is_abandoned = False

    def queue(
        self, rules: BatchRules, process: Process[T], drop: Drop[T], owner: Hashable = None
    ) -> ScheduledQueue[T]:
        """A new queue. It costs nothing while it is empty, and is forgotten with its last user."""
        return ScheduledQueue(self, rules, process, drop, owner)

    def limit(self, most_running: Mapping[Any, int]) -> None:
        """Set how many batches run at the same time: model → number, from 1 up.

        Models that are not named have as many as all others.
        """
        with self._lock:
            self._most_running_of = most_running
            if self._queues:
                with suppress(Unavailable):  # the threads there are will do it
                    self._call()

    def close(self) -> None:
        """Run what is queued, then stop: blocks while a batch runs."""
        with self._lock:
            self._is_closed = True
            for queue in self._queues:
                queue._plan.flush()
            self._call_all()
            threads = self._threads.all
        for thread in threads:
            thread.join()

    def abandon(self) -> None:
        """Drop what is queued and leave running batches to themselves."""
        dropped: list[tuple[ScheduledQueue[Any], Sequence[Piece[Any]]]] = []
        with self._lock:
            self._is_closed = self._is_abandoned = True
            for queue in self._queues:
                queue._plan.flush()
                while (taken := queue._plan.take(self.clock())) is not None:
                    dropped.append((queue, taken))
            self._queues.clear()
            self._call_all()
            self._finished.notify_all()
        for queue, batch in dropped:
            queue._drop(batch)

    def _offer(
        self, queue: ScheduledQueue[T], task: T, rows: int, is_batch: bool
    ) -> Sequence[Piece[T]]:
        with self._lock:
            if self._is_closed:
                raise Unavailable(STOPPING)
            was_empty = queue._plan.is_empty
            pieces = queue._plan.offer(task, rows, self.clock(), is_batch=is_batch)
            self._has_priorities |= is_batch
            if was_empty:
                self._queues.append(queue)
            try:
                self._call()
            except Unavailable:
                queue._plan.withdraw(pieces)
                self._drop_if_empty(queue)
                raise
            return pieces

    def _set_rules(self, queue: ScheduledQueue[Any], rules: BatchRules) -> None:
        with self._lock:
            queue._plan.set_rules(rules)
            if self._queues:
                with suppress(Unavailable):  # the threads there are will do it
                    self._call()

    def _withdraw(self, queue: ScheduledQueue[T], pieces: Sequence[Piece[T]]) -> int:
        with self._lock:
            withdrawn = queue._plan.withdraw(pieces)
            if withdrawn:
                self._drop_if_empty(queue)
            return withdrawn

    def _drop_if_empty(self, queue: ScheduledQueue[T]) -> None:
        if queue._plan.is_empty:
            self._queues.remove(queue)

    def _flush(self, queue: ScheduledQueue[T]) -> None:
        with self._lock:
            queue._plan.flush()
            if self._queues:
                self._call()
            self._flushing += 1
            self._finished.wait_for(lambda: queue.is_idle or self._is_abandoned)
            self._flushing -= 1

    def _call(self) -> None:
        """See to it that a thread looks at the queues in time; under the lock."""
        if self._is_calling:
            return
        if self._sleepers:
            if self._next_ready_s() < self._watched_s:
                self._is_calling = True
                self._sleepers.pop().release()
        elif len(self._threads) < self._limit or self._needs_one_more():
            self._threads.start_one()
            self._is_calling = True

    def _needs_one_more(self) -> bool:
        """Whether a model without a batch under way waits while all threads run others'."""
        count = len(self._threads)
        is_full = self._running.total() >= count
        return is_full and count < 2 * self._limit and self._has_idle_owner()

    def _has_idle_owner(self) -> bool:
        return any(not self._running[queue._owner] for queue in self._queues)

    def _most_running_for(self, queue: ScheduledQueue[Any]) -> int:
        return self._most_running_of.get(queue._owner, self._most_running)

    def _may_run(self, queue: ScheduledQueue[Any]) -> bool:
        return self._running[queue._owner] < self._most_running_for(queue)

    def _call_all(self) -> None:
        while self._sleepers:
            self._sleepers.pop().release()

    def _next_ready_s(self) -> float:
        ready_s = inf
        for queue in filter(self._may_run, self._queues):
            at_s = queue._plan.ready_at_s()
            if at_s is not None and at_s < ready_s:
                ready_s = at_s
        return ready_s

    def _work(self) -> None:
        alarm = threading.Lock()
        alarm.acquire()
        while (visited := self._next_batch(alarm)) is not None:
            queue, batch = visited
            tell = queue._process(batch)
            with self._lock:
                queue._running -= 1
                self._running[queue._owner] -= 1
                if not self._running[queue._owner]:
                    del self._running[queue._owner]  # of a model that is gone nothing stays
                if self._is_closed:
                    self._call_all()  # those that found its model at its limit
                if self._flushing:
                    self._finished.notify_all()
            tell()
            del visited, queue, batch, tell  # an idle thread keeps no tensors

    def _next_batch(
        self, alarm: threading.Lock
    ) -> tuple[ScheduledQueue[Any], Sequence[Piece[Any]]] | None:
        with self._lock:
            while True:
                self._is_calling = False
                if visited := self._visit(self.clock()):
                    if self._queues:
                        self._call()
                    return visited
                if self._is_closed and not self._queues:
                    return None
                if len(self._threads) > self._limit and not self._has_idle_owner():
                    self._threads.leave()
                    return None
                self._sleep(alarm)

    def _sleep(self, alarm: threading.Lock) -> None:
        """Wait for a call or for the next batch, whichever comes first; under the lock."""
        ready_s = self._next_ready_s()
        is_watching = ready_s < self._watched_s
        if is_watching:
            self._watched_s = ready_s
        self._sleepers.append(alarm)
        self._lock.release()
        try:
            if is_watching:
                left_s = min(max(0.0, ready_s - self.clock()), _LONGEST_SLEEP_S)
                alarm.acquire(timeout=left_s)
            else:
                alarm.acquire()
        finally:
            self._lock.acquire()
        if alarm in self._sleepers:  # nobody has called
            self._sleepers.remove(alarm)
        else:
            alarm.acquire(blocking=False)  # one that came after the timeout is taken too
        if is_watching and self._watched_s == ready_s:
            self._watched_s = inf

    def _visit(self, now_s: float) -> tuple[ScheduledQueue[Any], Sequence[Piece[Any]]] | None:
        """Visit the queues in turn until one gives a batch."""
        priority = self._chosen(now_s) if self._has_priorities else None
        for _ in range(len(self._queues)):
            queue = self._queues.popleft()
            batch = None
            if self._may_run(queue) and (
                priority is None or queue._plan.ready_priority(now_s) is priority
            ):
                batch = queue._plan.take(now_s)
            if not queue._plan.is_empty:
                self._queues.append(queue)
            if batch is not None:
                queue._running += 1
                self._running[queue._owner] += 1
                return queue, batch
        return None

    def _chosen(self, now_s: float) -> Priority | None:
        """Whose turn it is where some queues have batch work alone; None for everybody's."""
        found = {
            queue._plan.ready_priority(now_s) for queue in self._queues if self._may_run(queue)
        }
        if not found.issuperset(Priority):
            return None
        is_batch = self._turns.takes_batch(has_interactive=True)
        return Priority.BATCH if is_batch else Priority.INTERACTIVE

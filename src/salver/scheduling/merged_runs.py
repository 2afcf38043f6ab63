"""The runs of one queue: tasks in, batches run in the batch threads, answers back in the loop.

Failures are isolated. Tasks that cannot be merged are run apart. When a run fails for what it
was fed, each half of its tasks is run again, until the bad ones are alone. A task that is given up
frees its rows, unless its batch runs; then nobody looks at its part.
"""

import asyncio
import copy
import logging
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Final

from salver.errors import (
    STOPPING,
    Code,
    DeadlineExceeded,
    Internal,
    ResourceExhausted,
    ServingError,
    Unavailable,
    out_of_memory,
)
from salver.scheduling.merge import join_outputs, merge_inputs, shape_key, split_outputs
from salver.scheduling.observer import BatchObserver
from salver.scheduling.plan import BatchRules, Piece
from salver.scheduling.priorities import QueueEstimate, batch_too_late
from salver.scheduling.runner import DEADLINE_TEXT, MeasuredProgram, size_of
from salver.scheduling.scheduler import BatchScheduler
from salver.tracing.batches import note_batch
from salver.tracing.request import RequestTrace
from salver.vocabulary.access import Priority, current_priority
from salver.vocabulary.model import Program
from salver.vocabulary.requests import Array

__all__ = ["MergedRuns", "Task"]

_log = logging.getLogger(__name__)

QUEUED_TOO_LONG_TEXT: Final = "Run() timeout exceeded while waiting in batching queue"

FAULTS_OF_FEEDS: Final = frozenset(
    [Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE, Code.FAILED_PRECONDITION]
)
"""Codes of runs that may be made again without the task that caused them. After others the model
may have done something that must not be done twice."""

CROWDED_S: Final = 10e-3
"""How long after a batch of several tasks a lone task is still taken for the first of several."""

_Outcome = list[Array] | ServingError
_Measured = list[tuple[int, float]]


class Task:
    """One request in a queue. A slot class, because one is made for each.

    Attributes:
        feeds: in the order of the queue.
        rows: of each feed.
        places: of the outputs wanted, among those of the queue; None for all as they are.
        answer: of the loop's.
        on_end: called once, when nothing of it waits or runs any more.
        came_s: when it was queued.
        pieces: where it lies in the queue; set by the loop once it is there.
        timer: answers at the deadline; None without one.
        missing_rows: not yet run or withdrawn; under the lock of its queue, like the next two.
        parts: first row → outputs of a piece.
        error: why a piece failed, the first to do so.
        trace: of its request; set where the program has a tracer, and nowhere else.
    """

    __slots__ = (
        "answer", "came_s", "error", "feeds", "missing_rows", "on_end", "parts", "pieces",
        "places", "rows", "timer", "trace",
    )  # fmt: skip

    def __init__(
        self,
        feeds: Sequence[Array],
        rows: int,
        places: Sequence[int] | None,
        answer: "asyncio.Future[list[Array]]",
        on_end: Callable[[], None],
        came_s: float,
    ) -> None:
        self.feeds = feeds
        self.rows = rows
        self.places = places
        self.answer = answer
        self.on_end = on_end
        self.came_s = came_s
        self.pieces: Sequence[Piece[Task]] = ()
        self.timer: asyncio.TimerHandle | None = None
        self.missing_rows = rows
        self.parts: dict[int, list[Array]] = {}
        self.error: ServingError | None = None
        self.trace: RequestTrace | None

    def result(self) -> _Outcome:
        """What the pieces amount to, once none is missing."""
        if self.error is not None:
            return self.error
        try:
            outputs = join_outputs([self.parts[begin] for begin in sorted(self.parts)])
            return outputs if self.places is None else [outputs[place] for place in self.places]
        except ServingError as error:
            return error
        except BaseException as error:  # noqa: BLE001 - handed to who waits
            return _internal(error)


class MergedRuns:
    """One queue of a version, and the program that runs its batches."""

    def __init__(
        self,
        program: Program,
        feed_names: Sequence[str],
        fetch_names: Sequence[str],
        measured: MeasuredProgram,
        rules: BatchRules,
        scheduler: BatchScheduler,
        observer: BatchObserver,
        owner: Hashable = None,
    ) -> None:
        """Make an empty queue.

        Args:
            program: runs the batches.
            feed_names: of its feeds, in order.
            fetch_names: of its outputs, in order.
            measured: the same program, for lone runs in the loop.
            rules: see there.
            scheduler: whose threads run the batches.
            observer: is told of each batch.
            owner: the model; see `ScheduledQueue`.
        """
        self.measured = measured
        self.rules = rules
        self.observer = observer
        self.feed_names = tuple(feed_names)
        self.fetch_names = tuple(fetch_names)
        self.ended_lone_s = -inf  # the latest run of some length made in the loop
        self.has_lone_run = False  # under way elsewhere, for which no thread waits
        self._crowded_until_s = 0.0
        self.clock = scheduler.clock
        self._run = program.run
        self._lock = threading.Lock()
        self._estimate = QueueEstimate()  # changed under the lock
        self.queue = scheduler.queue(rules, self._process, self._drop, owner)

    def set_rules(self, rules: BatchRules) -> None:
        """Merge by other rules from now on. From any thread."""
        self.rules = rules
        self.queue.set_rules(rules)

    @property
    def is_crowded(self) -> bool:
        """Whether tasks have come together of late; belongs to the loop."""
        return self.clock() < self._crowded_until_s

    def is_calm(self, expected_s: float) -> bool:
        """Whether a run of this length need not wait for company; belongs to the loop."""
        now_s = self.clock()
        return now_s >= self._crowded_until_s and now_s - self.ended_lone_s >= expected_s

    def start(
        self,
        feeds: Sequence[Array],
        rows: int,
        places: Sequence[int] | None,
        timeout_s: float | None,
        on_end: Callable[[], None],
    ) -> "asyncio.Future[list[Array]]":
        """Queue a task; see `StartableProgram.start`. Called in the loop.

        Args:
            feeds: in the order of this queue.
            rows: of each, at least 1.
            places: see `Task`.
            timeout_s: after this the future fails.
            on_end: called once, but not when this raises.

        Raises:
            Overloaded: the queue takes longer than the task may.
            ServingError: the queue does not take the task.
        """
        loop = asyncio.get_running_loop()
        task = Task(feeds, rows, places, loop.create_future(), on_end, self.clock())
        if self.measured.tracer is not None:
            task.trace = self.measured.tracer.current
        is_batch = current_priority.get() is Priority.BATCH
        if timeout_s is not None:
            self._check_in_time(timeout_s, is_batch=is_batch)
        task.pieces = self.queue.offer(task, rows, is_batch=is_batch)
        if timeout_s is not None:
            task.timer = loop.call_later(timeout_s, self._expire, task)
        task.answer.add_done_callback(lambda answer: self._answered(task, answer))
        return task.answer

    def _check_in_time(self, timeout_s: float, *, is_batch: bool) -> None:
        ahead = self.queue.ahead(is_batch=is_batch)
        if not ahead:
            return
        wait_s = self._estimate.wait_s(ahead, self.queue.most_running)
        if wait_s > timeout_s:
            self.measured.came_too_late()
            raise batch_too_late(wait_s, timeout_s, batches=ahead)

    def _answered(self, task: Task, answer: "asyncio.Future[list[Array]]") -> None:
        if task.timer is not None:
            task.timer.cancel()
        if answer.cancelled():
            self._give_up(task)

    def _expire(self, task: Task) -> None:
        if task.answer.done():
            return
        is_queued = self._give_up(task)
        task.answer.set_exception(
            ResourceExhausted(QUEUED_TOO_LONG_TEXT)
            if is_queued
            else DeadlineExceeded(DEADLINE_TEXT)
        )

    def _give_up(self, task: Task) -> bool:
        """Withdraw what still waits; whether that was all of it."""
        rows = self.queue.withdraw(task.pieces)
        with self._lock:
            task.missing_rows -= rows
            has_ended = rows > 0 and task.missing_rows == 0
        if has_ended:
            task.on_end()
        return rows == task.rows

    def _drop(self, pieces: Sequence[Piece[Task]]) -> None:
        self._tell({piece: Unavailable(STOPPING) for piece in pieces}, [], is_crowded=False)

    def _process(self, pieces: Sequence[Piece[Task]]) -> Callable[[], None]:
        measured: _Measured = []
        outcomes: dict[Piece[Task], _Outcome] = {}
        try:
            now_s = self.clock()
            self.observer.batch_taken([now_s - piece.task.came_s for piece in pieces])
            rules = self.rules  # which may be others by the next batch
            for group in self._groups(pieces, rules):
                outcomes.update(self._run_group(group, measured, rules))
        except BaseException as error:  # noqa: BLE001 - handed to all who wait
            outcomes = {piece: outcomes.get(piece, _internal(error)) for piece in pieces}
        return lambda: self._tell(outcomes, measured, is_crowded=len(pieces) > 1)

    def _groups(
        self, pieces: Sequence[Piece[Task]], rules: BatchRules
    ) -> Iterable[Sequence[Piece[Task]]]:
        """The tasks that can be merged, together, in their order."""
        if len(pieces) == 1:
            return [pieces]
        groups: dict[Hashable, list[Piece[Task]]] = {}
        for piece in pieces:
            # A piece of a split task keeps its shape, so that all its pieces fit together.
            is_padding = rules.is_padding and piece.rows == piece.task.rows
            key = shape_key(piece.task.feeds, is_padding=is_padding)
            groups.setdefault(key, []).append(piece)
        return groups.values()

    def _run_group(
        self, pieces: Sequence[Piece[Task]], measured: _Measured, rules: BatchRules
    ) -> Mapping[Piece[Task], _Outcome]:
        try:
            outputs = self._run_merged(pieces, measured, rules)
        except _FaultOfFeeds as fault:
            if len(pieces) == 1:
                return {pieces[0]: fault.error}
            half = len(pieces) // 2
            return {
                **self._run_group(pieces[:half], measured, rules),
                **self._run_group(pieces[half:], measured, rules),
            }
        except ServingError as error:
            return {piece: copy.copy(error) for piece in pieces}
        except BaseException as error:  # noqa: BLE001 - handed to all who wait
            return {piece: _internal(error) for piece in pieces}
        return dict(zip(pieces, outputs, strict=True))

    def _run_merged(
        self, pieces: Sequence[Piece[Task]], measured: _Measured, rules: BatchRules
    ) -> Sequence[list[Array]]:
        sizes = [piece.rows for piece in pieces]
        rows = sum(sizes)
        execution_rows = rules.execution_rows(rows)
        feeds = merge_inputs(
            self.feed_names,
            [_feeds_of(piece) for piece in pieces],
            execution_rows,
            is_padding=rules.is_padding,
        )
        self.observer.batch_merged(len(pieces), rows, execution_rows)
        begun_s = self.clock()
        batch = None
        if self.measured.tracer is not None:
            traces = [piece.task.trace for piece in pieces]
            batch = note_batch(traces, begun_s, rows, execution_rows)
        try:
            outputs = self._run(feeds)
        except ServingError as error:
            if error.code in FAULTS_OF_FEEDS:
                raise _FaultOfFeeds(error) from error
            raise
        finally:
            if batch is not None:
                batch.ended_s = self.clock()
            self.measured.counts.ran_batch()
            self.observer.batch_ran()
        seconds, size = self.clock() - begun_s, size_of(feeds)
        with self._lock:
            self._estimate.ran(seconds)
        measured.append((size, seconds))
        if len(pieces) > 1:  # alone the smallest would not have taken longer
            lone_rows = rules.execution_rows(min(sizes))
            measured.append((size * lone_rows // execution_rows, seconds))
        return split_outputs(outputs, sizes, execution_rows)

    def _tell(
        self,
        outcomes: Mapping[Piece[Task], _Outcome],
        measured: _Measured,
        *,
        is_crowded: bool,
    ) -> None:
        """Join what belongs together, and hand it to the loop in one call."""
        results: dict[asyncio.AbstractEventLoop, list[tuple[Task, _Outcome]]] = {}
        for task in self._ended(outcomes):
            results.setdefault(task.answer.get_loop(), []).append((task, task.result()))
            task.on_end()
        for loop, of_loop in results.items():
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._settle, of_loop, measured, is_crowded)

    def _ended(self, outcomes: Mapping[Piece[Task], _Outcome]) -> Sequence[Task]:
        ended: list[Task] = []
        with self._lock:
            for piece, outcome in outcomes.items():
                task = piece.task
                task.missing_rows -= piece.rows
                if not isinstance(outcome, ServingError):
                    task.parts[piece.begin] = outcome
                elif task.error is None:
                    task.error = outcome
                if task.missing_rows == 0:
                    ended.append(task)
        return ended

    def _settle(
        self, results: Sequence[tuple[Task, _Outcome]], measured: _Measured, is_crowded: bool
    ) -> None:
        if is_crowded:
            self._crowded_until_s = self.clock() + CROWDED_S
        for size, seconds in measured:
            self.measured.ran_elsewhere(size, seconds)
        for task, result in results:
            if task.answer.done():
                continue
            if isinstance(result, ServingError):
                task.answer.set_exception(result)
            else:
                task.answer.set_result(result)


class _FaultOfFeeds(Exception):
    """A run failed for what it was fed."""

    def __init__(self, error: ServingError) -> None:
        super().__init__(error)
        self.error = error


def _feeds_of(piece: Piece[Task]) -> Sequence[Array]:
    feeds = piece.task.feeds
    if piece.rows == piece.task.rows:
        return feeds
    return [array[piece.begin : piece.end] for array in feeds]


def _internal(error: BaseException) -> ServingError:
    if isinstance(error, MemoryError):
        return out_of_memory(error)
    _log.error("A batch failed in a way that no model should", exc_info=error)
    made = Internal(f"The batch failed: {error!r}")
    made.__cause__ = error
    return made

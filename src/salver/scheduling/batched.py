"""Programs whose concurrent runs are merged, for one version of a model.

Which runs can be merged: those with the same set of tensors fed and the same set fetched, in
whichever order; they share a queue. Source: TensorFlow Serving `batching/batching_session.cc`.

An idle server loses nothing by batching. A run known to be shorter than a change of threads is
made in the loop at once, as a batch of one, where nothing of its queue waits or runs and nothing
would be waited for. Of those runs the longer ones, for which company is worth more than the change
of threads costs, are made there only while requests come one at a time.

A model in a child is begun by the loop and answers to it: there a lone task needs no thread either.
One such run is under way at a time; what comes meanwhile is queued, and merged.
"""

import asyncio
import threading
from collections.abc import Callable, Hashable, Sequence
from time import perf_counter
from typing import Final, Protocol
from weakref import WeakValueDictionary

from salver.errors import PermissionDenied
from salver.scheduling.merge import check_can_pad, check_outputs, merge_inputs, rows_of
from salver.scheduling.merged_runs import MergedRuns
from salver.scheduling.observer import BatchObserver
from salver.scheduling.plan import BatchRules, Parameters
from salver.scheduling.run_pool import Lane, RunPool
from salver.scheduling.runner import MeasuredProgram, size_of
from salver.scheduling.scheduler import BatchScheduler
from salver.vocabulary.model import Program
from salver.vocabulary.requests import Array

__all__ = ["BatchedProgram", "TensorNames", "VersionBatching"]


ALWAYS_INLINE_BELOW_S: Final = 25e-6
"""What the loop has to do for a task that is queued: a run this short is made sooner than that."""


class TensorNames(Protocol):
    """What a program runs from and to, by the names of the graph."""

    @property
    def feeds(self) -> Sequence[str]: ...
    @property
    def fetches(self) -> Sequence[str]: ...
    @property
    def targets(self) -> Sequence[str]: ...


class Startable(Protocol):
    """See `MeasuredProgram.start`."""

    def start(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> "list[Array] | asyncio.Future[list[Array]]": ...


class StartsLone(Protocol):
    """A program that runs elsewhere, whose runs the loop can begin."""

    def start_lone(
        self,
        feeds: Sequence[Array],
        rows: int,
        *,
        timeout_s: float | None,
        on_end: Callable[[], None],
    ) -> "asyncio.Future[list[Array]]":
        """Run as a batch of one, all of whose outputs are to have so many rows.

        See `MeasuredProgram.start`; `on_end` is called also where this raises.
        """
        ...


class _WithTargets:
    """A program that also runs to nodes without an output, of which batches know nothing."""

    def start(
        self,
        feeds: Sequence[Array],
        *,
        timeout_s: float | None,
        on_end: Callable[[], None],
    ) -> "asyncio.Future[list[Array]]":
        on_end()
        raise PermissionDenied("BatchingSession does not support target nodes")


class BatchedProgram:
    """A program whose runs are merged with those of others. Belongs to the loop."""

    __slots__ = ("_feed_places", "_fetch_places", "_lone", "_runs", "_unbatched")

    def __init__(
        self,
        runs: MergedRuns,
        unbatched: MeasuredProgram,
        feed_places: Sequence[int] | None,
        fetch_places: Sequence[int] | None,
        lone: StartsLone | None = None,
    ) -> None:
        """Join a queue.

        Args:
            runs: the queue.
            unbatched: the program by itself.
            feed_places: of the queue's feeds, which of ours each is; None where they agree.
            fetch_places: of our outputs, which of the queue's each is; None where they agree.
            lone: begins the run of a task that comes alone; None where the batch threads do.
        """
        self._lone = lone
        self._runs = runs
        self._unbatched = unbatched
        self._feed_places = feed_places
        self._fetch_places = fetch_places

    def start(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> "list[Array] | asyncio.Future[list[Array]]":
        """Run together with what else comes; see `MeasuredProgram.start`.

        Raises:
            InvalidArgument: what is fed cannot be part of a batch.
            Unavailable: the queue is full, or the server stops.
            ServingError: a run in the loop failed.
        """
        runs = self._runs
        outputs: list[Array] | None = None
        try:
            rows = rows_of(feeds)
            if runs.rules.is_padding:
                check_can_pad(feeds)
            runs.observer.task_came(rows, len(feeds))
            if rows:
                if self._feed_places is not None:
                    feeds = [feeds[place] for place in self._feed_places]
                outputs = self._run_now(feeds, rows)
                if outputs is None and not self._is_lone(rows):
                    return runs.start(feeds, rows, self._fetch_places, timeout_s, on_end)
        except BaseException:
            on_end()
            raise
        if outputs is None and rows:
            return self._start_lone(feeds, rows, timeout_s, on_end)
        if outputs is None:  # no rows: in a queue it would wait for some that may never come
            return self._unbatched.start(feeds, timeout_s=timeout_s, on_end=on_end)
        on_end()
        return outputs

    def _run_now(self, feeds: Sequence[Array], rows: int) -> list[Array] | None:
        """Run in the loop, as a batch of one, if that is sooner than through the queue."""
        runs, rules = self._runs, self._runs.rules
        if rules.timeout_s or rows > rules.max_batch_rows or not runs.queue.is_idle:
            return None
        execution_rows = rules.execution_rows(rows)
        estimate = runs.measured.inline_estimate(size_of(feeds) * execution_rows // rows)
        if estimate is None:
            return None
        inline_s = estimate.inline_s
        if inline_s >= ALWAYS_INLINE_BELOW_S and not runs.is_calm(inline_s):
            return None
        runs.observer.batch_taken((0.0,))
        if execution_rows != rows:
            feeds = merge_inputs(
                runs.feed_names, [feeds], execution_rows, is_padding=rules.is_padding
            )
        runs.observer.batch_merged(1, rows, execution_rows)
        try:
            outputs = runs.measured.run_here(feeds, estimate)
        finally:
            runs.observer.batch_ran()
            if estimate.inline_s >= ALWAYS_INLINE_BELOW_S:
                runs.ended_lone_s = runs.clock()
        check_outputs(outputs, execution_rows)
        if execution_rows != rows:
            outputs = [output[:rows] for output in outputs]
        if self._fetch_places is not None:
            outputs = [outputs[place] for place in self._fetch_places]
        return outputs

    def _is_lone(self, rows: int) -> bool:
        """Whether a task is to be begun at once, since nothing else of its queue is about."""
        runs, rules = self._runs, self._runs.rules
        return (
            self._lone is not None
            and not runs.has_lone_run
            and runs.queue.is_idle
            and not rules.timeout_s
            and rows <= rules.max_batch_rows
            and rows == rules.execution_rows(rows)
            and self._fetch_places is None
            and not runs.is_crowded
        )

    def _start_lone(
        self,
        feeds: Sequence[Array],
        rows: int,
        timeout_s: float | None,
        on_end: Callable[[], None],
    ) -> "asyncio.Future[list[Array]]":
        runs = self._runs
        assert self._lone is not None

        def ended() -> None:
            runs.has_lone_run = False
            runs.measured.counts.ran_batch()
            runs.observer.batch_ran()
            on_end()

        runs.observer.batch_taken((0.0,))
        runs.observer.batch_merged(1, rows, rows)
        runs.has_lone_run = True
        return self._lone.start_lone(feeds, rows, timeout_s=timeout_s, on_end=ended)


class VersionBatching:
    """Makes the programs of one version. Thread-safe."""

    def __init__(
        self,
        parameters: Parameters,
        scheduler: BatchScheduler,
        pool: Lane | RunPool,
        observer: BatchObserver,
        *,
        owner: Hashable = None,
        may_run_inline: bool = True,
        lone: Callable[[Program], StartsLone] | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """Check the parameters.

        Args:
            parameters: how this version is batched.
            scheduler: shared by all versions of all models.
            pool: runs what has no rows.
            observer: is told of this version's batches.
            owner: the model; see `ScheduledQueue`.
            may_run_inline: see `MeasuredProgram`.
            lone: what begins the lone runs of a program; None where the batch threads make them.
            clock: measures runs; see `MeasuredProgram`.

        Raises:
            InvalidArgument: the parameters contradict each other.
        """
        self._rules = BatchRules.of(parameters)
        self._scheduler = scheduler
        self._pool = pool
        self._owner = owner
        self._observer = observer
        self._may_run_inline = may_run_inline
        self._lone = lone
        self._clock = clock
        self._lock = threading.Lock()
        # A queue lives as long as a program uses it, or a task is in it.
        self._runs: WeakValueDictionary[Hashable, MergedRuns] = WeakValueDictionary()

    def runner(self, program: Program, names: TensorNames) -> Startable:
        """What batches the runs of a program.

        Args:
            program: resolved from `names`.
            names: tells which programs can be merged with it.
        """
        if names.targets:
            return _WithTargets()
        unbatched = MeasuredProgram(
            program, self._pool, may_run_inline=self._may_run_inline, clock=self._clock
        )
        feeds, fetches = tuple(names.feeds), tuple(names.fetches)
        # A tensor that is fed twice is a mistake, and the model is the one to say so.
        fed: Hashable = frozenset(feeds) if len({*feeds}) == len(feeds) else feeds
        key = (fed, frozenset(fetches))
        with self._lock:
            runs = self._runs.get(key)
            if runs is None:
                runs = MergedRuns(
                    *(program, feeds, fetches, unbatched),
                    *(self._rules, self._scheduler, self._observer, self._owner),
                )
                self._runs[key] = runs
        return BatchedProgram(
            *(runs, unbatched),
            *(_places(runs.feed_names, feeds), _places(fetches, runs.fetch_names)),
            None if self._lone is None else self._lone(program),
        )

    def set_parameters(self, parameters: Parameters) -> None:
        """Merge by other parameters from the next request on. Requests that wait go by them too.

        Raises:
            InvalidArgument: the parameters contradict each other; nothing changes.
        """
        rules = BatchRules.of(parameters)
        with self._lock:
            self._rules = rules
            for runs in list(self._runs.values()):
                runs.set_rules(rules)

    def close(self) -> None:
        """Run what is queued at once and wait for it. Nothing may be started any more."""
        for runs in list(self._runs.values()):
            runs.queue.flush()


def _places(wanted: Sequence[str], given: Sequence[str]) -> Sequence[int] | None:
    """Where each of the wanted names stands among the given; None where they are the same."""
    return None if wanted == given else [given.index(name) for name in wanted]

"""Batches, as those who make them tell of them.

What is told is only queued, and sorted into buckets some hundred events at a time. Measured on
CPython 3.11, a batch of one task: 0.8 µs.

Any thread may call anything here. The queues are deques, whose two ends are safe to use from any
thread; the histograms behind them have locks of their own.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final, TypeVar

from salver.metrics.catalogue import BY_NAME
from salver.metrics.cells import Counters, Histograms
from salver.metrics.text import Distribution, Family

__all__ = ["BatchMetrics", "VersionBatches"]

_PREFIX: Final = "/tensorflow/serving/batching_session/"
_FULL: Final = 256  # runs

_T = TypeVar("_T")

_Labels = tuple[str, ...]
_Size = tuple[_Labels, int, int]
"""Model and version, rows, rows with padding."""


class BatchMetrics:
    """All that is counted of batches."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.came: deque[tuple[int, int]] = deque()  # rows, tensors
        self.waits: deque[tuple[_Labels, Sequence[float]]] = deque()
        self.runs: deque[tuple[_Size, float]] = deque()  # and seconds
        self._sorting = threading.Lock()  # guards what follows, and taking from these queues
        self._listed: set[_Labels] = set()  # versions that have series of their own
        self._queuing_latency = Histograms(BY_NAME[f"{_PREFIX}queuing_latency"])
        self._wrapped_run_count = Counters(BY_NAME[f"{_PREFIX}wrapped_run_count"])
        self._padding_size = Histograms(BY_NAME[f"{_PREFIX}padding_size"])
        self._input_batch_size = Histograms(BY_NAME[f"{_PREFIX}input_batch_size"])
        self._processed_batch_size = Histograms(BY_NAME[f"{_PREFIX}processed_batch_size"])
        self._rows = Histograms(BY_NAME["salver_batch_rows"])
        self._queue_seconds = Histograms(BY_NAME["salver_batch_queue_seconds"])
        self._graph_runs = Histograms(BY_NAME["/tensorflow/core/graph_run_time_usecs_histogram"])

    def of(
        self, model: str, version: int, clock: Callable[[], float] = perf_counter
    ) -> "VersionBatches":
        """What the batches of one version are told to; see `batching.observer.BatchObserver`.

        Args:
            model: its name.
            version: its number.
            clock: seconds, monotonic.
        """
        labels = (model, str(version))
        with self._sorting:
            self._listed.add(labels)
        return VersionBatches(self, labels, clock)

    def forget(self, model: str, version: int) -> None:
        """List a version no more. What has no version keeps its counts."""
        labels = (model, str(version))
        with self._sorting:
            self._sort_queued()
            self._listed.discard(labels)  # what is told later counts in all other series
            for family in (self._rows, self._queue_seconds):
                family.forget(*labels)

    def sort_events(self) -> None:
        """Take what is queued into the buckets."""
        with self._sorting:
            self._sort_queued()

    def _sort_queued(self) -> None:
        for (rows, num_tensors), n in Counter(_drained(self.came)).items():
            self._input_batch_size.observe(value=rows, times=n * num_tensors)
        of_version: dict[_Labels, list[float]] = {}
        for labels, waits_s in _drained(self.waits):
            of_version.setdefault(labels, []).extend(waits_s)
        for labels, waits_s in of_version.items():
            if labels in self._listed:
                self._queue_seconds.observe_all(*labels, values=waits_s)
            self._queuing_latency.observe_all("", values=[wait_s * 1e6 for wait_s in waits_s])
        runs = _drained(self.runs)
        for (labels, rows, executed), n in Counter(size for size, _ in runs).items():
            if labels in self._listed:
                self._rows.observe(*labels, value=rows, times=n)
            self._padding_size.observe(str(executed), value=executed - rows, times=n)
            self._processed_batch_size.observe(value=executed, times=n)
        if runs:
            self._graph_runs.observe_all(values=[run_s * 1e6 for _, run_s in runs])
            self._wrapped_run_count.add(by=len(runs))

    def graph_runs(self) -> Distribution:
        """The runs of batches so far, in microseconds."""
        self.sort_events()
        for _, value in self._graph_runs.family().cells:
            assert isinstance(value, Distribution)
            return value
        return Distribution([0] * (len(self._graph_runs.metric.bounds) + 1), 0.0)

    def rows(self) -> Family:
        """What has been counted by now of the rows of batches, by version."""
        self.sort_events()
        return self._rows.family()

    def families(self) -> list[Family]:
        """What has been counted by now."""
        self.sort_events()
        histograms = (
            *(self._queuing_latency, self._padding_size, self._input_batch_size),
            *(self._processed_batch_size, self._rows, self._queue_seconds),
        )
        return [self._wrapped_run_count.family(), *(each.family() for each in histograms)]


class VersionBatches:
    """Told of the batches of one version, in the words of the protocol."""

    __slots__ = ("_all", "_clock", "_labels", "_local")

    def __init__(self, all: BatchMetrics, labels: _Labels, clock: Callable[[], float]) -> None:
        """Made by `BatchMetrics.of`."""
        self._all = all
        self._labels = labels
        self._clock = clock
        self._local = threading.local()  # what a thread has merged, and when

    def task_came(self, rows: int, num_tensors: int) -> None:
        """A task has been accepted."""
        came = self._all.came
        came.append((rows, num_tensors))
        if len(came) >= 2 * _FULL:  # they were refused, or had no rows
            self._all.sort_events()

    def batch_taken(self, waits_s: Sequence[float]) -> None:
        """A batch leaves its queue."""
        self._all.waits.append((self._labels, waits_s))

    def batch_merged(self, tasks: int, rows: int, execution_rows: int) -> None:
        """The inputs of a run are ready; the same thread will run it."""
        self._local.size = (self._labels, rows, execution_rows)
        self._local.begun_s = self._clock()

    def batch_ran(self) -> None:
        """A run has ended, well or not."""
        local, all = self._local, self._all
        all.runs.append((local.size, self._clock() - local.begun_s))
        if len(all.runs) >= _FULL:
            all.sort_events()


def _drained(queued: deque[_T]) -> list[_T]:
    return [queued.popleft() for _ in range(len(queued))]

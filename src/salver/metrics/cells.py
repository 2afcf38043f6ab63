"""Counters and histograms that any thread may add to, each family under a lock of its own.

For what happens a few thousand times a second at most; requests are counted by `meters`.
"""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from salver.metrics.catalogue import Metric
from salver.metrics.text import Distribution, Family

__all__ = ["Counters", "Histograms"]


class Counters:
    """The cells of a counter, or of a gauge that is set."""

    def __init__(self, metric: Metric, *, most_cells: int | None = None) -> None:
        """Start without cells.

        Args:
            metric: what they count.
            most_cells: past these the cell that was touched longest ago is dropped; None for any
                number.
        """
        self.metric = metric
        self._most = most_cells
        self._lock = threading.Lock()
        self._cells: OrderedDict[tuple[str, ...], int | float] = OrderedDict()

    def add(self, *labels: str, by: float = 1) -> None:
        """Count."""
        with self._lock:
            self._cells[labels] = self._cells.get(labels, 0) + by
            self._touched(labels)

    def put(self, *labels: str, value: float) -> None:
        """Set a gauge."""
        with self._lock:
            self._cells[labels] = value
            self._touched(labels)

    def family(self) -> Family:
        """What has been counted by now."""
        with self._lock:
            return Family(self.metric, list(self._cells.items()))

    def _touched(self, labels: tuple[str, ...]) -> None:
        self._cells.move_to_end(labels)
        if self._most is not None and len(self._cells) > self._most:
            self._cells.popitem(last=False)


class Histograms:
    """The cells of a histogram."""

    def __init__(self, metric: Metric, *, most_cells: int | None = None) -> None:
        """Start without cells; the arguments are those of `Counters`."""
        self.metric = metric
        self._most = most_cells
        self._lock = threading.Lock()
        self._cells: OrderedDict[tuple[str, ...], _Buckets] = OrderedDict()

    def observe(self, *labels: str, value: float, times: int = 1) -> None:
        """Take in a value. One that equals a bound belongs to the bucket above it."""
        bucket = bisect_right(self.metric.bounds, value)
        with self._lock:
            cell = self._cell(labels)
            cell.counts[bucket] += times
            cell.total += value * times

    def observe_all(self, *labels: str, values: Sequence[float]) -> None:
        """Take in many values at a time."""
        buckets = np.searchsorted(self.metric.bounds, values, side="right")
        counts = np.bincount(buckets, minlength=len(self.metric.bounds) + 1).tolist()
        with self._lock:
            cell = self._cell(labels)
            cell.counts = [a + b for a, b in zip(cell.counts, counts, strict=True)]
            cell.total += sum(values)

    def forget(self, *labels: str) -> None:
        """Drop a cell."""
        with self._lock:
            self._cells.pop(labels, None)

    def family(self) -> Family:
        """What has been taken in by now."""
        with self._lock:
            cells = [
                (labels, Distribution(tuple(cell.counts), cell.total))
                for labels, cell in self._cells.items()
            ]
        return Family(self.metric, list(cells))

    def _cell(self, labels: tuple[str, ...]) -> "_Buckets":
        """A cell, made when it is wanted first. Under the lock."""
        cell = self._cells.get(labels)
        if cell is None:
            cell = self._cells[labels] = _Buckets(len(self.metric.bounds) + 1)
            if self._most is not None and len(self._cells) > self._most:
                self._cells.popitem(last=False)
        self._cells.move_to_end(labels)
        return cell


class _Buckets:
    """What one cell has taken in."""

    __slots__ = ("counts", "total")

    def __init__(self, size: int) -> None:
        self.counts = [0] * size
        self.total = 0.0

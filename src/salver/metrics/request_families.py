"""The families that are made of the meters' readings: the reference's, and ours."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from salver.metrics.buckets import L33, SECONDS
from salver.metrics.catalogue import BY_NAME
from salver.metrics.meters import MeterKey, Readings
from salver.metrics.text import Cell, Distribution, Exemplar, Family

__all__ = [
    "COUNTED_METHODS",
    "WARMUP",
    "graph_families",
    "last_requests",
    "ok_counts",
    "ours",
    "request_latency",
    "runtime_latency",
]

COUNTED_METHODS: Final = frozenset({"predict", "classify", "regress"})
"""The calls that the reference counts; it knows nothing of the others."""

WARMUP: Final = "WARMUP"
"""The entrypoint of what a version is asked before it serves: runs, but no requests."""

_TOTAL, _RUN = 0, 1  # of the second axis of `Readings.counts`
_STEP: Final = len(L33) // len(SECONDS)
_STARTS: Final = [0, *range(1, len(L33) + 1, _STEP)]  # fine buckets that begin a coarse one


def ok_counts(readings: Readings) -> dict[str, int]:
    """Model → how many of its requests succeeded."""
    found: dict[str, int] = {}
    totals = readings.counts[:, _TOTAL].sum(axis=1).tolist()
    for row, key in _counted(readings):
        found[key.model] = found.get(key.model, 0) + totals[row]
    return {model: count for model, count in found.items() if count}


def request_latency(readings: Readings) -> list[Cell]:
    """By model, API and entrypoint; the API is lower case in REST, as in a URL."""
    grouped: dict[tuple[str, ...], list[int]] = {}
    for row, key in _counted(readings):
        api = key.method if key.entrypoint == "REST" else key.method.capitalize()
        grouped.setdefault((key.model, api, key.entrypoint), []).append(row)
    return _summed(grouped, readings, _TOTAL)


def runtime_latency(readings: Readings) -> list[Cell]:
    """By model, API and runtime: both protocols together, and warmup."""
    grouped: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(readings.keys):
        if key is not None and key.method in COUNTED_METHODS:
            grouped.setdefault((key.model, key.method.capitalize(), "TF1"), []).append(row)
    return _summed(grouped, readings, _RUN)


def ours(readings: Readings) -> list[Family]:
    """By version and signature, in seconds and with fewer buckets."""
    request = Family(BY_NAME["salver_request_seconds"])
    run = Family(BY_NAME["salver_run_seconds"])
    coarse = np.add.reduceat(readings.counts, _STARTS, axis=2).tolist()
    sums = readings.micros.tolist()
    exemplars: dict[tuple[int, int], list[tuple[int, Exemplar]]] = {}
    for (row, which, bucket), exemplar in sorted(readings.exemplars.items(), key=_place):
        exemplars.setdefault((row, which), []).append((bucket, exemplar))
    for row, key in enumerate(readings.keys):
        if key is None or key.version is None or key.entrypoint == WARMUP:
            continue
        if not sum(coarse[row][_TOTAL]):
            continue
        called = (key.signature, key.method, key.entrypoint, key.protocol)
        labels = (key.model, str(key.version), *called)
        for family, which in ((request, _TOTAL), (run, _RUN)):
            examples = tuple(exemplars.get((row, which), ()))
            value = Distribution(coarse[row][which], sums[row][which] / 1e6, examples)
            family.cells.append((labels, value))
    return [request, run]


def last_requests(readings: Readings) -> Family:
    """When each version has answered its last request."""
    found: dict[tuple[str, ...], float] = {}
    for key, moment_s in zip(readings.keys, readings.last_s.tolist(), strict=True):
        if key is None or key.version is None or key.entrypoint == WARMUP or not moment_s:
            continue
        labels = (key.model, str(key.version))
        found[labels] = max(found.get(labels, 0.0), moment_s)
    return Family(BY_NAME["salver_last_request_timestamp_seconds"], list(found.items()))


def _place(item: tuple[tuple[int, int, int], Exemplar]) -> tuple[int, int, int]:
    return item[0]


def graph_families(readings: Readings, batches: Distribution) -> list[Family]:
    """TensorFlow's own counters of graph runs.

    Args:
        readings: have the runs of single requests.
        batches: those of batches, by `G20`, in microseconds.
    """
    own = readings.graph_counts.tolist()
    counts = [a + b for a, b in zip(own, batches.counts, strict=True)]
    micros = readings.graph_micros + batches.total
    runs, usecs, histogram = (
        Family(BY_NAME[f"/tensorflow/core/{name}"])
        for name in ("graph_runs", "graph_run_time_usecs", "graph_run_time_usecs_histogram")
    )
    if sum(counts):
        runs.cells.append(((), sum(counts)))
        usecs.cells.append(((), round(micros)))
        histogram.cells.append(((), Distribution(counts, micros)))
    return [runs, usecs, histogram]


def _counted(readings: Readings) -> Iterator[tuple[int, MeterKey]]:
    """The rows of requests that came from outside, by a method that the reference counts."""
    for row, key in enumerate(readings.keys):
        if key is not None and key.method in COUNTED_METHODS and key.entrypoint != WARMUP:
            yield row, key


def _summed(
    grouped: dict[tuple[str, ...], list[int]], readings: Readings, which: int
) -> list[Cell]:
    counts, micros = readings.counts[:, which], readings.micros[:, which]
    cells: list[Cell] = []
    for labels, rows in grouped.items():
        of_all = (counts[rows[0]] if len(rows) == 1 else counts[rows].sum(axis=0)).tolist()
        if sum(of_all):
            cells.append((labels, Distribution(of_all, float(micros[rows].sum()))))
    return cells

import itertools
import math

import numpy as np
import pytest

from salver.bench.latencies import Latencies


def test_percentiles_are_within_a_third_of_a_percent() -> None:
    seconds = np.random.default_rng(1).lognormal(-6, 1, 30_000)
    latencies = Latencies()
    for value in seconds.tolist():
        latencies.add(value)
    assert latencies.count == 30_000
    assert latencies.mean_s == pytest.approx(seconds.mean())
    assert latencies.least_s == seconds.min()
    assert latencies.most_s == seconds.max() == latencies.percentile(100)
    ordered = np.sort(seconds)
    for percent in (1, 50, 90, 99, 99.9):
        exact = ordered[math.ceil(round(percent * 300, 6)) - 1]
        assert latencies.percentile(percent) == pytest.approx(exact, rel=0.003)


def test_a_percentile_is_a_latency_that_was_not_exceeded_so_often() -> None:
    latencies = Latencies([0.001] * 90 + [0.1] * 9 + [1.0])
    assert latencies.percentile(90) == pytest.approx(0.001, rel=0.003)
    assert latencies.percentile(91) == pytest.approx(0.1, rel=0.003)
    assert latencies.percentile(99) == pytest.approx(0.1, rel=0.003)
    assert latencies.percentile(99.1) == 1.0


def test_of_nothing_nothing_is_known() -> None:
    latencies = Latencies()
    assert latencies.count == 0
    known = (latencies.mean_s, latencies.least_s, latencies.most_s, latencies.percentile(50))
    assert all(map(math.isnan, known))
    assert latencies.bars(10) == []


def test_counts_of_several_are_added() -> None:
    latencies = Latencies([0.002])
    latencies.add_all(Latencies([0.001, 0.004]))
    assert latencies.count == 3
    assert (latencies.least_s, latencies.most_s) == (0.001, 0.004)
    assert latencies.mean_s == pytest.approx(0.007 / 3)


def test_bars_hold_every_latency_once() -> None:
    seconds = [0.001, 0.0011, 0.01, 0.5, 1e-9, 1e9]  # the last two lie outside of all buckets
    bars = Latencies(seconds).bars(7)
    assert len(bars) <= 7
    assert sum(bar.count for bar in bars) == len(seconds)
    assert all(one.to_s == other.from_s for one, other in itertools.pairwise(bars))


def test_latencies_that_are_equal_make_one_bar() -> None:
    (bar,) = Latencies([0.01] * 5).bars(20)
    assert bar.from_s <= 0.01 <= bar.to_s
    assert bar.count == 5

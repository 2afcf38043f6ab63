import threading

from salver.metrics.catalogue import Kind, Metric
from salver.metrics.cells import Counters, Histograms
from salver.metrics.text import Distribution

COUNTER = Metric("/c", Kind.COUNTER, ("a",), "")
SIZES = Metric("/h", Kind.HISTOGRAM, ("a",), "", (1.0, 2.0, 4.0))


def cells_of(histograms: Histograms) -> dict[tuple[str, ...], object]:
    return dict(histograms.family().cells)


def test_a_counter_counts_each_cell_by_itself() -> None:
    counters = Counters(COUNTER)
    counters.add("x")
    counters.add("x", by=2)
    counters.add("y")
    assert dict(counters.family().cells) == {("x",): 3, ("y",): 1}
    assert counters.family().metric is COUNTER


def test_a_gauge_is_what_it_was_set_to_last() -> None:
    gauges = Counters(COUNTER)
    gauges.put("x", value=5)
    gauges.put("x", value=2.5)
    assert gauges.family().cells == [(("x",), 2.5)]


def test_past_the_most_cells_the_one_touched_longest_ago_goes() -> None:
    counters = Counters(COUNTER, most_cells=2)
    histograms = Histograms(SIZES, most_cells=2)
    for name in ("old", "new", "old", "newest"):
        counters.add(name)
        histograms.observe(name, value=1)
    assert set(dict(counters.family().cells)) == {("old",), ("newest",)}
    assert set(cells_of(histograms)) == {("old",), ("newest",)}


def test_a_value_that_equals_a_bound_is_counted_above_it() -> None:
    histograms = Histograms(SIZES)
    for value in (0, 1, 2, 3.9, 4, 100):
        histograms.observe("x", value=value)
    assert cells_of(histograms) == {("x",): Distribution((1, 1, 2, 2), 110.9)}


def test_many_values_at_a_time_are_as_many_times_one() -> None:
    one, many = Histograms(SIZES), Histograms(SIZES)
    values = [0.5, 1.0, 2.0, 2.0, 4.0, 7.0]
    for value in values:
        one.observe("x", value=value)
    many.observe_all("x", values=values)
    assert cells_of(one) == cells_of(many)


def test_one_value_can_come_several_times() -> None:
    histograms = Histograms(SIZES)
    histograms.observe("x", value=2, times=3)
    assert cells_of(histograms) == {("x",): Distribution((0, 0, 3, 0), 6.0)}


def test_what_is_forgotten_is_no_cell_any_more() -> None:
    histograms = Histograms(SIZES)
    histograms.observe("x", value=2)
    histograms.forget("x")
    histograms.forget("never seen")
    assert histograms.family().cells == []


def test_no_count_of_any_thread_is_lost() -> None:
    counters, histograms = Counters(COUNTER), Histograms(SIZES)

    def count() -> None:
        for _ in range(2000):
            counters.add("x")
            histograms.observe("x", value=3)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.family().cells == [(("x",), 8000)]
    assert cells_of(histograms) == {("x",): Distribution((0, 0, 8000, 0), 24000.0)}

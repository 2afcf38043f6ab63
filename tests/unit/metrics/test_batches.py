import threading

import pytest

from salver.metrics.batches import BatchMetrics
from salver.metrics.text import Distribution
from salver.scheduling.observer import BatchObserver

PREFIX = "/tensorflow/serving/batching_session/"


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def read(metrics: BatchMetrics) -> dict[str, dict[tuple[str, ...], object]]:
    return {
        family.metric.name: {
            labels: (sum(value.counts), round(value.total, 6))
            if isinstance(value, Distribution)
            else value
            for labels, value in family.cells
        }
        for family in metrics.families()
    }


def run_batch(observer: BatchObserver, clock: Clock) -> None:
    """Two tasks of 3 rows and 2 inputs, padded to 8 rows, run in 2 ms."""
    observer.task_came(3, 2)
    observer.task_came(3, 2)
    observer.batch_taken([0.001, 0.003])
    observer.batch_merged(2, 6, 8)
    clock.now_s += 0.002
    observer.batch_ran()


def test_a_batch_is_counted_in_every_family() -> None:
    metrics, clock = BatchMetrics(), Clock()
    run_batch(metrics.of("m", 7, clock), clock)
    assert read(metrics) == {
        f"{PREFIX}wrapped_run_count": {(): 1},
        f"{PREFIX}queuing_latency": {("",): (2, 4000.0)},
        f"{PREFIX}padding_size": {("8",): (1, 2.0)},
        f"{PREFIX}input_batch_size": {(): (4, 12.0)},
        f"{PREFIX}processed_batch_size": {(): (1, 8.0)},
        "salver_batch_rows": {("m", "7"): (1, 6.0)},
        "salver_batch_queue_seconds": {("m", "7"): (2, 0.004)},
    }
    assert metrics.graph_runs().total == pytest.approx(2000.0)
    assert metrics.graph_runs().counts[:3] == (0, 0, 1)


def test_without_a_batch_there_is_nothing() -> None:
    metrics = BatchMetrics()
    assert all(not cells for cells in read(metrics).values())
    assert sum(metrics.graph_runs().counts) == 0


def test_a_forgotten_version_stays_in_the_families_that_have_no_versions() -> None:
    metrics, clock = BatchMetrics(), Clock()
    run_batch(metrics.of("m", 7, clock), clock)
    metrics.forget("m", 7)
    after = read(metrics)
    assert after["salver_batch_rows"] == after["salver_batch_queue_seconds"] == {}
    assert after[f"{PREFIX}wrapped_run_count"] == {(): 1}
    assert after[f"{PREFIX}queuing_latency"] == {("",): (2, 4000.0)}


def test_what_is_queued_is_sorted_before_it_is_much() -> None:
    metrics, clock = BatchMetrics(), Clock()
    observer = metrics.of("m", 7, clock)
    for _ in range(1000):
        run_batch(observer, clock)
        observer.task_came(0, 1)  # runs in no batch
    assert max(len(metrics.came), len(metrics.waits), len(metrics.runs)) <= 1024
    assert read(metrics)[f"{PREFIX}wrapped_run_count"] == {(): 1000}


def test_tasks_that_never_come_to_run_do_not_pile_up() -> None:
    metrics = BatchMetrics()
    observer = metrics.of("m", 7)
    for _ in range(2000):
        observer.task_came(0, 1)
    assert len(metrics.came) < 1000
    assert read(metrics)[f"{PREFIX}input_batch_size"] == {(): (2000, 0.0)}


def test_no_batch_of_any_thread_is_lost() -> None:
    metrics = BatchMetrics()
    observer = metrics.of("m", 7)

    def work() -> None:
        for _ in range(1000):
            observer.task_came(1, 1)
            observer.batch_taken([0.0])
            observer.batch_merged(1, 1, 1)
            observer.batch_ran()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read(metrics)
    assert found[f"{PREFIX}wrapped_run_count"] == {(): 4000}
    assert found[f"{PREFIX}input_batch_size"] == {(): (4000, 4000.0)}
    assert found["salver_batch_rows"] == {("m", "7"): (4000, 4000.0)}


def test_what_is_queued_when_a_version_is_forgotten_does_not_list_it_again() -> None:
    metrics, clock = BatchMetrics(), Clock()
    observer = metrics.of("m", 7, clock)
    run_batch(observer, clock)
    metrics.forget("m", 7)
    run_batch(observer, clock)  # by a thread that was not done with it
    assert read(metrics)["salver_batch_rows"] == {}
    assert read(metrics)["salver_batch_queue_seconds"] == {}
    assert read(metrics)[f"{PREFIX}queuing_latency"] == {("",): (4, 8000.0)}
    assert read(metrics)[f"{PREFIX}wrapped_run_count"] == {(): 2}


def test_a_version_that_is_loaded_again_is_listed_again() -> None:
    metrics, clock = BatchMetrics(), Clock()
    run_batch(metrics.of("m", 7, clock), clock)
    metrics.forget("m", 7)
    run_batch(metrics.of("m", 7, clock), clock)
    assert read(metrics)["salver_batch_rows"] == {("m", "7"): (1, 6.0)}

import pytest

from salver.errors import InvalidArgument
from salver.metrics.loads import MOST_PATHS, LoadMetrics
from salver.metrics.text import Distribution


def read(metrics: LoadMetrics) -> dict[str, dict[tuple[str, ...], object]]:
    return {
        family.metric.name: {
            labels: sum(value.counts) if isinstance(value, Distribution) else value
            for labels, value in family.cells
        }
        for family in metrics.families()
        if family.cells
    }


def test_loads_of_a_backend_are_counted_by_path() -> None:
    metrics = LoadMetrics()
    metrics.model_loaded("/models/m/1", 0.5, is_success=True)
    metrics.model_loaded("/models/m/1", 0.25, is_success=False)
    assert read(metrics) == {
        "/tensorflow/cc/saved_model/load_attempt_count": {
            ("/models/m/1", "success"): 1,
            ("/models/m/1", "fail"): 1,
        },
        "/tensorflow/cc/saved_model/load_latency": {("/models/m/1",): 750_000},
    }


def test_loads_of_versions_are_counted_by_model() -> None:
    metrics = LoadMetrics()
    metrics.version_loaded("m", 2.0, is_success=True)
    metrics.version_loaded("m", 0.5, is_success=False)
    assert read(metrics) == {
        "salver_loads_total": {("m", "success"): 1, ("m", "failure"): 1},
        "salver_load_seconds_total": {("m",): 2.5},
        "salver_last_load_seconds": {("m",): 2.0},
    }


def test_warmups_are_counted_by_path_and_status() -> None:
    metrics = LoadMetrics()
    metrics.warmed_up("/models/m/1", "OK", 1500, 3)
    metrics.warmed_up("/models/m/2", "DATA_LOSS: corrupted", 20, 0)
    assert read(metrics) == {
        "/tensorflow/serving/model_warmup_latency": {
            ("/models/m/1", "OK"): 1,
            ("/models/m/2", "DATA_LOSS: corrupted"): 1,
        },
        "/tensorflow/serving/model_warmup_records_read": {("/models/m/1", "OK"): 3},
    }


def test_a_server_that_sees_versions_for_years_lists_the_last_of_them() -> None:
    metrics = LoadMetrics()
    for version in range(MOST_PATHS + 10):
        metrics.model_loaded(f"/models/m/{version}", 1.0, is_success=True)
    latencies = read(metrics)["/tensorflow/cc/saved_model/load_latency"]
    assert len(latencies) == MOST_PATHS
    assert ("/models/m/0",) not in latencies


def test_what_is_done_within_is_timed_and_judged_by_its_end() -> None:
    metrics = LoadMetrics()
    with metrics.timed_version("m", 1), metrics.timed_model("/m/1"):
        pass
    with pytest.raises(InvalidArgument), metrics.timed_version("m", 1), metrics.timed_model("/m/1"):
        raise InvalidArgument("no model")
    found = read(metrics)
    assert found["salver_loads_total"] == {("m", "success"): 1, ("m", "failure"): 1}
    attempts = found["/tensorflow/cc/saved_model/load_attempt_count"]
    assert attempts == {("/m/1", "success"): 1, ("/m/1", "fail"): 1}
    assert set(found["salver_last_load_seconds"]) == {("m",)}

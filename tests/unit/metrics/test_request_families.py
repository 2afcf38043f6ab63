import pytest

from salver.metrics.meters import MeterKey, Meters
from salver.metrics.request_families import (
    WARMUP,
    graph_families,
    last_requests,
    ok_counts,
    ours,
    request_latency,
    runtime_latency,
)
from salver.metrics.text import Cell, Distribution

NO_BATCHES = Distribution([0] * 21, 0.0)


def counted(*keys: MeterKey) -> Meters:
    """Meters that have counted one request of 50 µs, 20 of them in the model, for each key."""
    meters = Meters()
    for key in keys:
        meters.meter(key).succeeded(0.0, 50e-6, 20e-6)
    return meters


def numbers(cells: list[Cell]) -> dict[tuple[str, ...], int]:
    return {labels: sum(v.counts) for labels, v in cells if isinstance(v, Distribution)}


BOTH = counted(
    MeterKey("m", 1, "a", "predict", "REST"),
    MeterKey("m", 2, "b", "predict", "REST"),
    MeterKey("m", 2, "b", "predict", "GRPC"),
    MeterKey("n", 1, "a", "classify", "GRPC"),
    MeterKey("n", 1, "", "multi_inference", "GRPC"),
    MeterKey("n", 1, "", "session_run", "GRPC"),
    MeterKey("n", 1, "a", "regress", WARMUP),
).read()


def test_successes_are_summed_by_model_of_what_the_reference_counts() -> None:
    assert ok_counts(BOTH) == {"m": 3, "n": 1}


def test_latencies_are_summed_by_the_name_each_api_has() -> None:
    assert numbers(request_latency(BOTH)) == {
        ("m", "predict", "REST"): 2,
        ("m", "Predict", "GRPC"): 1,
        ("n", "Classify", "GRPC"): 1,
    }


def test_run_times_are_summed_over_the_apis_and_have_the_warmups() -> None:
    assert numbers(runtime_latency(BOTH)) == {
        ("m", "Predict", "TF1"): 3,
        ("n", "Classify", "TF1"): 1,
        ("n", "Regress", "TF1"): 1,
    }


def test_what_came_by_the_open_inference_protocol_is_in_ours_alone() -> None:
    rest, grpc = MeterKey("m", 1, "a", "infer", "REST"), MeterKey("m", 1, "a", "infer", "GRPC")
    readings = counted(rest, grpc, MeterKey("m", 1, "a", "predict", "REST")).read()
    assert numbers(ours(readings)[0].cells) == {
        ("m", "1", "a", "infer", "REST", "v2"): 1,
        ("m", "1", "a", "infer", "GRPC", "v2"): 1,
        ("m", "1", "a", "predict", "REST", "tfs"): 1,
    }
    assert ok_counts(readings) == {"m": 1}
    assert numbers(request_latency(readings)) == {("m", "predict", "REST"): 1}
    assert numbers(runtime_latency(readings)) == {("m", "Predict", "TF1"): 1}


def test_the_sum_of_several_rows_is_their_sum() -> None:
    latencies = dict(request_latency(BOTH))["m", "predict", "REST"]
    assert isinstance(latencies, Distribution)
    assert latencies.total == pytest.approx(100.0)


def test_what_has_counted_nothing_has_no_cell() -> None:
    meters = Meters()
    meters.meter(MeterKey("m", 1, "a", "predict", "REST"))
    readings = meters.read()
    assert ok_counts(readings) == {}
    assert request_latency(readings) == runtime_latency(readings) == []
    assert [family.cells for family in ours(readings)] == [[], []]
    assert last_requests(readings).cells == []
    assert [family.cells for family in graph_families(readings, NO_BATCHES)] == [[], [], []]


def test_ours_are_by_version_and_signature_and_in_seconds() -> None:
    request, run = ours(BOTH)
    assert (request.metric.name, run.metric.name) == (
        "salver_request_seconds",
        "salver_run_seconds",
    )
    assert numbers(request.cells) == {
        ("m", "1", "a", "predict", "REST", "tfs"): 1,
        ("m", "2", "b", "predict", "REST", "tfs"): 1,
        ("m", "2", "b", "predict", "GRPC", "tfs"): 1,
        ("n", "1", "a", "classify", "GRPC", "tfs"): 1,
        ("n", "1", "", "multi_inference", "GRPC", "tfs"): 1,
        ("n", "1", "", "session_run", "GRPC", "tfs"): 1,
    }
    _, value = request.cells[0]
    assert isinstance(value, Distribution)
    assert value.total == pytest.approx(50e-6)
    assert value.counts == [0, 1, *[0] * 10]  # 10 to 58.32 µs
    _, value = run.cells[0]
    assert isinstance(value, Distribution)
    assert value.total == pytest.approx(20e-6)


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(9e-6, 0), (59e-6, 2), (400.0, 10), (500.0, 11), (1e9, 11)]
)
def test_ours_have_every_third_bucket(seconds: float, bucket: int) -> None:
    meters = Meters()
    meters.meter(MeterKey("m", 1, "a", "predict", "REST")).succeeded(0.0, seconds, seconds)
    for family in ours(meters.read()):
        _, value = family.cells[0]
        assert isinstance(value, Distribution)
        assert value.counts[bucket] == sum(value.counts) == 1


def test_forgotten_versions_are_in_the_sums_but_not_in_ours() -> None:
    meters = counted(MeterKey("m", 1, "a", "predict", "REST"))
    meters.forget("m", 1)
    readings = meters.read()
    assert ok_counts(readings) == {"m": 1}
    assert numbers(request_latency(readings)) == {("m", "predict", "REST"): 1}
    assert [family.cells for family in ours(readings)] == [[], []]


def test_graph_runs_are_those_of_requests_and_of_batches() -> None:
    batches = Distribution([0, 2, *[0] * 19], 3000.0)
    runs, usecs, histogram = graph_families(BOTH, batches)
    assert runs.cells == [((), 9)]
    assert usecs.cells == [((), 3140)]
    _, value = histogram.cells[0]
    assert isinstance(value, Distribution)
    assert value.counts[:3] == [7, 2, 0]
    assert value.total == pytest.approx(3140.0)


def test_a_version_was_last_asked_by_the_latest_of_its_calls() -> None:
    meters = Meters(lambda: 1000.0, perf_counter=lambda: 10.0)
    for version, signature, entrypoint, ended_s in (
        (1, "a", "REST", 7.0),
        (1, "b", "GRPC", 8.0),
        (1, "a", WARMUP, 9.0),
        (2, "a", "REST", 4.0),
        (3, "a", "REST", 5.0),
    ):
        key = MeterKey("m", version, signature, "predict", entrypoint)
        meters.meter(key).succeeded(0.0, ended_s, 0.0)
    meters.forget("m", 3)
    assert last_requests(meters.read()).cells == [(("m", "1"), 998.0), (("m", "2"), 994.0)]

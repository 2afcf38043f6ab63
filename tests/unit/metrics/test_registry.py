import threading

from prometheus_client.parser import text_string_to_metric_families

from salver.errors import Code
from salver.metrics.catalogue import BY_NAME, CATALOGUE
from salver.metrics.registry import Metrics
from salver.metrics.text import Family, exported_name


def lines(metrics: Metrics) -> list[str]:
    return metrics.draw()().decode().splitlines()


def with_traffic() -> Metrics:
    metrics = Metrics(lambda name: name == "m")
    meter = metrics.meter_factory("m", 1)("serving_default", "predict", "REST")
    meter.succeeded(0.0, 30e-6, 5e-6)
    meter.succeeded(0.0, 30e-6, 5e-6)
    metrics.meter_factory("m", 1)("a", "classify", "GRPC").succeeded(0.0, 1e-3, 1e-3)
    metrics.outcomes.failed("m", Code.INVALID_ARGUMENT, entrypoint="REST", version=1)
    metrics.outcomes.failed("nope", Code.NOT_FOUND, entrypoint="GRPC")
    metrics.outcomes.answered("m", 40e-6)
    metrics.outcomes.answered("", 40e-6)
    return metrics


def test_a_page_without_traffic_has_every_metric_that_is_not_silent() -> None:
    expected = [
        f"# TYPE {exported_name(metric.name)} {metric.kind.value}"
        for metric in sorted(CATALOGUE, key=lambda metric: metric.name)
        if not metric.is_silent_when_unused
    ]
    assert lines(Metrics()) == expected


def test_requests_are_counted_by_model_and_status() -> None:
    found = [line for line in lines(with_traffic()) if line.startswith(":tensorflow:serving:req")]
    assert [line for line in found if "count{" in line and "latency" not in line] == [
        ':tensorflow:serving:request_count{model_name="",status="OK"} 1',
        ':tensorflow:serving:request_count{model_name="m",status="INVALID_ARGUMENT"} 1',
        ':tensorflow:serving:request_count{model_name="m",status="OK"} 4',
        ':tensorflow:serving:request_count{model_name="nope",status="NOT_FOUND"} 1',
    ]


def test_latencies_have_the_apis_names() -> None:
    prefix = ":tensorflow:serving:request_latency_count"
    assert [line for line in lines(with_traffic()) if line.startswith(prefix)] == [
        f'{prefix}{{model_name="",API="",entrypoint="REST"}} 1',
        f'{prefix}{{model_name="m",API="",entrypoint="REST"}} 1',
        f'{prefix}{{model_name="m",API="Classify",entrypoint="GRPC"}} 1',
        f'{prefix}{{model_name="m",API="predict",entrypoint="REST"}} 2',
    ]


def test_failures_are_told_by_version() -> None:
    prefix = "salver_failed_requests_total"
    assert [line for line in lines(with_traffic()) if line.startswith(prefix)] == [
        f'{prefix}{{model_name="m",version="1",code="INVALID_ARGUMENT",entrypoint="REST",'
        'protocol="tfs"} 1',
        f'{prefix}{{model_name="nope",version="",code="NOT_FOUND",entrypoint="GRPC",'
        'protocol="tfs"} 1',
    ]


def test_failures_of_the_open_inference_protocol_are_in_ours_alone() -> None:
    metrics = with_traffic()
    before = [line for line in lines(metrics) if line.startswith(":tensorflow:")]
    metrics.outcomes.failed("m", Code.NOT_FOUND, entrypoint="REST", protocol="v2")
    found = lines(metrics)
    assert [line for line in found if line.startswith(":tensorflow:")] == before
    labels = 'model_name="m",version="",code="NOT_FOUND",entrypoint="REST",protocol="v2"'
    assert f"salver_failed_requests_total{{{labels}}} 1" in found


def test_a_counter_does_not_go_down_when_a_version_goes() -> None:
    metrics = with_traffic()
    before = {line for line in lines(metrics) if line.startswith(":tensorflow:serving:request")}
    metrics.batches.of("m", 1).batch_taken([1.0])
    metrics.forget("m", 1)
    after = lines(metrics)
    assert before <= set(after)
    assert not any('version="1"' in line for line in after)


def test_examples_are_counted_with_their_model() -> None:
    metrics = Metrics()
    metrics.examples_seen("m", 3)
    metrics.examples_seen("m", 5)
    found = lines(metrics)
    assert ':tensorflow:serving:request_example_count_total{model="m"} 8' in found
    assert ':tensorflow:serving:request_example_counts_bucket{model="m",le="4"} 1' in found


def test_collectors_are_asked_when_the_page_is_made_and_add_to_what_is_there() -> None:
    metrics = Metrics()
    metrics.logs.dropped("m", Code.RESOURCE_EXHAUSTED, "queue_full")
    name = "salver_dropped_log_records_total"
    metrics.add_collector(lambda: [Family(BY_NAME[name], [(("access", "disk"), 2)])])
    metrics.add_collector(lambda: [Family(BY_NAME["salver_process_threads"], [((), 7)])])
    found = lines(metrics)
    assert f'{name}{{log="access",reason="disk"}} 2' in found
    assert f'{name}{{log="request",reason="queue_full"}} 1' in found
    assert "salver_process_threads{} 7" in found


def test_totals_are_the_sums_of_counters_and_need_no_collector() -> None:
    metrics = with_traffic()
    metrics.add_collector(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    totals = metrics.totals()
    assert totals["/tensorflow/serving/request_count"] == 7
    assert totals["/tensorflow/core/graph_runs"] == 3
    assert totals["/tensorflow/serving/request_latency"] == 0  # as the reference says of histograms


def test_prometheus_reads_the_page() -> None:
    families = {f.name: f for f in text_string_to_metric_families("\n".join(lines(with_traffic())))}
    counts = families[":tensorflow:serving:request_count"]
    assert counts.type == "counter"
    assert sum(sample.value for sample in counts.samples) == 7


def test_a_page_drawn_while_requests_are_counted_is_that_of_its_moment() -> None:
    metrics = with_traffic()
    draw = metrics.draw()
    pages: list[bytes] = []
    thread = threading.Thread(target=lambda: pages.append(draw()))
    thread.start()
    for _ in range(3000):
        metrics.meter_factory("m", 1)("serving_default", "predict", "REST").succeeded(0.0, 1.0, 1.0)
    thread.join()
    assert ':request_count{model_name="m",status="OK"} 4\n' in pages[0].decode()


def test_what_is_read_is_every_metric_as_it_was_then() -> None:
    metrics = with_traffic()
    read = metrics.read()
    metrics.outcomes.answered("m", 40e-6)
    families = read()
    assert [family.metric for family in families] == list(CATALOGUE)
    (counts,) = [f for f in families if f.metric.name.endswith("serving/request_count")]
    assert dict(counts.cells)["m", "OK"] == 4


def test_the_mark_is_another_one_when_something_was_counted() -> None:
    metrics = with_traffic()
    mark = metrics.mark()
    assert metrics.mark() == mark
    metrics.outcomes.answered("m", 40e-6)
    assert metrics.mark() != mark
    mark = metrics.mark()
    metrics.outcomes.failed("m", Code.INTERNAL, entrypoint="REST")
    assert metrics.mark() != mark
    mark = metrics.mark()
    metrics.meter_factory("m", 1)("serving_default", "predict", "REST").succeeded(0.0, 1e-6, 1e-6)
    assert metrics.mark() != mark

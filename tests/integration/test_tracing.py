"""Traces as they arrive at a collector, slow requests, and logs, of servers as users start them."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from prometheus_client.openmetrics import parser

import salver
from tests.integration.collectors import Collected, grpc_collector, http_collector
from tests.integration.grpc_clients.plain import message
from tests.integration.serving import PATIENCE_S, Server, eventually, running
from tests.web_server import serving

sdk = pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")

PACKAGES = Path(sdk.__path__[0]).parents[1]
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
StartServer = Callable[..., Server]


@pytest.fixture(scope="module")
def collected() -> Iterator[Collected]:
    with http_collector() as found:
        yield found


@pytest.fixture(scope="module")
def traced(collected: Collected, model_path: Callable[[str], Path]) -> Iterator[Server]:
    """Traces what clients ask it to, and nothing else that succeeds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.endpoint)
        patch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        patch.setenv("OTEL_SERVICE_NAME", "scoring")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        base = model_path("half_plus_two")
        flags = ("--model_name=m", f"--model_base_path={base}", "--access_log=-")
        explicit = "--model_control_mode=explicit"  # permits changes of settings
        with running(*flags, explicit, packages=PACKAGES) as server:
            yield server


def families_in(text: str) -> list[Any]:
    """The families of a page, as a client of OpenMetrics reads it."""
    return list(parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def predict(server: Server, traceparent: str = TRACEPARENT) -> requests.Response:
    return requests.post(
        f"{server.url}/v1/models/m:predict",
        json={"instances": [1.0]},
        headers={"traceparent": traceparent},
        timeout=PATIENCE_S,
    )


def test_a_request_over_rest_is_a_part_of_its_clients_trace(
    traced: Server, collected: Collected
) -> None:
    answer = predict(traced)
    assert answer.headers["salver-trace-id"] == TRACE
    spans = collected.of(TRACE, 3)
    request = spans["POST /v1/models/{model}:predict"]
    assert request.parent_span_id.hex() == PARENT
    assert request.kind == request.SPAN_KIND_SERVER
    assert {"read", "run", "write"} <= spans.keys()
    assert spans["run"].parent_span_id == request.span_id
    for span in spans.values():
        assert request.start_time_unix_nano <= span.start_time_unix_nano
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= request.end_time_unix_nano
    assert collected.resources[0]["service.name"] == "scoring"


def test_the_access_log_names_the_trace(traced: Server) -> None:
    trace = "1" * 32
    predict(traced, f"00-{trace}-{PARENT}-01")
    line = json.loads(traced.out.wait_for(trace))
    assert line["trace_id"] == trace
    assert predict(traced, f"00-{'2' * 32}-{PARENT}-00").headers.get("salver-trace-id") is None


def test_a_call_over_grpc_is_a_part_of_its_clients_trace(
    traced: Server, collected: Collected
) -> None:
    trace = "3" * 32
    request = message("PredictRequest", model_spec={"name": "m"})
    request.inputs["x"].dtype = 1
    request.inputs["x"].float_val.append(1.0)
    request.inputs["x"].tensor_shape.dim.add().size = 1
    other = message("PredictRequest", model_spec={"name": "nobody"})
    more: Any = {
        "metadata": (("traceparent", f"00-{trace}-{PARENT}-01"),),
        "timeout": PATIENCE_S,
    }
    own = ("salver-trace-id", trace)
    with grpc.insecure_channel(traced.grpc_target) as channel:
        call = channel.unary_unary(PREDICT)
        _, answered = call.with_call(request.SerializeToString(), **more)
        assert own in [tuple(each) for each in answered.trailing_metadata()]
        with pytest.raises(grpc.RpcError) as raised:
            call(other.SerializeToString(), **more)
    failure: Any = raised.value
    assert own in [tuple(each) for each in failure.trailing_metadata()]
    spans = collected.of(trace, 3)
    assert spans["tensorflow.serving.PredictionService/Predict"].parent_span_id.hex() == PARENT


def test_the_metrics_name_a_trace_as_an_example(traced: Server) -> None:
    trace = "4" * 32
    predict(traced, f"00-{trace}-{PARENT}-01")
    accept = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1"}
    answer = requests.get(f"{traced.url}/metrics", headers=accept, timeout=PATIENCE_S)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    found = [
        (sample.name, sample.exemplar)
        for family in families_in(answer.text)
        for sample in family.samples
        if sample.exemplar is not None and sample.exemplar.labels == {"trace_id": trace}
    ]
    assert {name for name, _ in found} == {
        "salver_request_seconds_bucket",
        "salver_run_seconds_bucket",
    }


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_our_client_makes_the_server_a_part_of_its_callers_trace(
    traced: Server, collected: Collected, protocol: str
) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    url = traced.url if protocol == "rest" else f"grpc://{traced.grpc_target}"
    tracer = TracerProvider(sampler=ALWAYS_ON).get_tracer("test")
    with salver.Client(url) as client:
        with tracer.start_as_current_span("caller") as span:
            assert client.predict("m", [1.0]) is not None
        client.predict("m", [1.0])  # of no span
    own = span.get_span_context()
    spans = collected.of(f"{own.trace_id:032x}", 3)
    parents = {each.parent_span_id.hex() for each in spans.values()}
    assert f"{own.span_id:016x}" in parents


def test_a_load_is_traced(traced: Server, collected: Collected) -> None:
    predict(traced)
    load = collected.named("load")
    assert {a.key: a.value.string_value for a in load.attributes}["salver.model.name"] == "m"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_fetch_is_traced_and_says_whether_it_has_failed(
    launch_server: StartServer, model_path: Callable[[str], Path], tmp_path: Path, is_there: bool
) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "1"), "gztar", model_path("half_plus_two")))
    with serving() as web, http_collector() as collected:
        content = archive.read_bytes()
        web.files["/m.tar.gz"] = content if is_there else content[: len(content) // 2]
        launch_server(
            *("--model_name=m", f"--model_base_path={web.url}/m.tar.gz"),
            *(f"--model_cache={tmp_path / 'cache'}", "--allowed_base_paths=*"),
            environment={
                "OTEL_EXPORTER_OTLP_ENDPOINT": collected.endpoint,
                "OTEL_TRACES_SAMPLER": "parentbased_always_off",
                "OTEL_BSP_SCHEDULE_DELAY": "50",
            },
            packages=PACKAGES,
        )
        fetch = collected.named("fetch")
        assert bool(fetch.status.code) is not is_there


def test_what_is_sampled_changes_while_the_server_runs(traced: Server) -> None:
    path = "/v2/trace/setting"
    assert traced.get(path).json()["trace_level"] == ["OFF"]
    told = traced.post(path, {"trace_level": ["TIMESTAMPS"], "trace_rate": "1"}).json()
    assert (told["trace_level"], told["trace_rate"]) == (["TIMESTAMPS"], "1")
    assert "salver-trace-id" in traced.get("/v1/models/m").headers
    assert traced.post("/v2/models/m/trace/setting", {"trace_rate": "2"}).status_code == 501
    assert traced.post(path, {"trace_rate": "none"}).status_code == 400
    assert traced.post(path, {"trace_level": None}).json()["trace_level"] == ["OFF"]
    audit = f"http://{traced.grpc_target}/admin/v1/audit?limit=2"
    off, on = requests.get(audit, timeout=PATIENCE_S).json()["entries"]
    assert (on["action"], on["via"]) == ("trace_ratio", f"POST {path}")
    assert [each["changes"][0]["after"] for each in (on, off)] == [1.0, 0.0]
    assert "salver-trace-id" not in traced.get("/v1/models/m").headers


def test_requests_that_are_not_sampled_bring_nothing(traced: Server) -> None:
    answer = requests.get(f"{traced.url}/v1/models/m", timeout=PATIENCE_S)
    assert "salver-trace-id" not in answer.headers


def test_spans_go_to_a_collector_over_grpc_too(
    start_server: StartServer,
    model_path: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
    with grpc_collector() as collected:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        base = model_path("half_plus_two")
        server = start_server(
            "--model_name=m", f"--model_base_path={base}", "--grpc_transport=grpcio",
            packages=PACKAGES,
        )  # fmt: skip
        predict(server)
        assert collected.of(TRACE, 3)
        server.stop()


def test_a_collector_that_does_not_answer_keeps_nobody_waiting(
    start_server: StartServer,
    model_path: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(
            "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}"
        )
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "5")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
        base = model_path("half_plus_two")
        flags = ("--model_name=m", f"--model_base_path={base}")
        server = start_server(*flags, packages=PACKAGES)

        def dropped() -> bool:
            assert predict(server).status_code == 200
            page = server.get("/metrics").text
            return any(
                line.startswith("salver_dropped_spans_total{} ") and not line.endswith(" 0")
                for line in page.splitlines()
            )

        eventually("spans are dropped", dropped)
        assert server.stop() == 0


def test_slow_requests_and_the_level_of_the_log_are_those_of_all_workers(
    start_server: StartServer, model_path: Callable[[str], Path]
) -> None:
    base = model_path("half_plus_two")
    server = start_server(
        "--model_name=m", f"--model_base_path={base}", "--workers=2", "--slow_request_ms=1",
        "--log_format=json",
    )  # fmt: skip

    def slow() -> Any:
        # Each worker's first runs take long.
        assert predict(server).status_code == 200
        return server.get("/admin/v1/slow_requests").json()["requests"]

    found = eventually("a request is slow", slow)
    assert found[0]["model"] == "m"
    assert sum(each["seconds"] for each in found[0]["stages"]) <= found[0]["seconds"] + 1e-3
    for _ in range(10):  # whichever worker answers
        told = requests.get(f"{server.url}/admin/v1/slow_requests", timeout=PATIENCE_S).json()
        assert {each["time"] for each in found} <= {each["time"] for each in told["requests"]}

    level = f"http://{server.grpc_target}/admin/v1/log_level"
    assert requests.put(level, json={"level": "warning"}, timeout=PATIENCE_S).ok
    for _ in range(10):
        assert requests.get(level, timeout=PATIENCE_S).json() == {"level": "warning"}
    for line in server.err.text().splitlines():
        if line.startswith("{"):
            assert json.loads(line)["message"]
    for process in ("worker 0", "worker 1"):
        server.err.wait_for('"The log level changes from info to warning"')
        assert f'"process":"{process}"' in server.err.text()

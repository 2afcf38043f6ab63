"""The metrics of real servers, as Prometheus reads them, after real traffic over both APIs."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from salver.metrics.catalogue import CATALOGUE
from salver.metrics.text import exported_name
from tests.integration.grpc_clients.plain import Client, connected, message, outcome
from tests.integration.serving import PATIENCE_S, Server, eventually, running

PATH = "/monitoring/prometheus/metrics"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(server: Server, path: str = PATH) -> Samples:
    """(Name, labels) → value, as Prometheus's own parser has it."""
    text = server.get(path).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float:
    """The sum of the samples of a name that have these labels."""
    wanted = set(labels.items())
    names = (name, f"{name}_total")  # as this parser calls a counter that is not called a total
    return sum(v for (each, has), v in samples.items() if each in names and wanted <= has)


@pytest.fixture(scope="module")
def server(
    model_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    flags = ("--model_name=m", f"--model_base_path={model_path('half_plus_two')}")
    cache = tmp_path_factory.mktemp("cache")  # not that of who runs the tests
    with running(*flags, f"--model_cache={cache}") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with connected(server.grpc_target) as client:
        yield client


@pytest.fixture
def own_base_path(model_path: Callable[[str], Path], tmp_path: Path) -> Path:
    """A base path of the test's own, with one version."""
    (version,) = model_path("half_plus_two").iterdir()
    shutil.copytree(version, tmp_path / "own" / "1")
    return tmp_path / "own"


@pytest.mark.parametrize("workers", [1, 2])
def test_runs_are_counted_by_where_they_are_made(
    model_path: Callable[[str], Path], workers: int
) -> None:
    flags = ("--model_name=m", f"--model_base_path={model_path('half_plus_two')}")
    with running(*flags, "--inline_runs=never", f"--workers={workers}") as server:
        for _ in range(20):
            assert server.predict("m", [1.0]).status_code == 200
        samples = scraped(server)
        assert of(samples, "salver_runs_total", model_name="m", placement="pool") == 20
        assert of(samples, "salver_runs_total", model_name="m") == 20


def test_the_page_has_the_references_form(server: Server) -> None:
    response = server.get(PATH)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain"
    assert response.text.endswith("\n")
    lines = response.text.splitlines()
    assert not any(line.startswith("# HELP") for line in lines)
    for line in lines:
        assert re.fullmatch(r"# TYPE \S+ (counter|gauge|histogram)|[\w:]+\{.*\} [-+.\w]+", line)


def test_what_is_served_is_what_the_catalogue_has(server: Server) -> None:
    text = server.get("/metrics").text
    served = re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE)
    expected = [
        (exported_name(metric.name), metric.kind.value)
        for metric in sorted(CATALOGUE, key=lambda metric: metric.name)
        if not metric.is_silent_when_unused
    ]
    assert served == expected


def test_rest_requests_are_counted(server: Server) -> None:
    before = scraped(server)
    for _ in range(4):
        assert server.predict("m", [1.0]).status_code == 200
    assert server.predict("no", [1.0]).status_code == 404
    assert server.post("/v1/models/m:predict", {"instances": ["a"]}).status_code == 400
    assert server.get("/v1/models/m").status_code == 200
    after = scraped(server)

    def grown(name: str, **labels: str) -> float:
        return of(after, name, **labels) - of(before, name, **labels)

    count = ":tensorflow:serving:request_count"
    assert grown(count, model_name="m", status="OK") == 5
    assert grown(count, model_name="m", status="INVALID_ARGUMENT") == 1
    assert grown(count, model_name="no", status="NOT_FOUND") == 1
    latency = ":tensorflow:serving:request_latency"
    labels = {"model_name": "m", "API": "predict", "entrypoint": "REST"}
    assert grown(f"{latency}_count", **labels) == 4
    assert grown(f"{latency}_bucket", le="+Inf", **labels) == 4
    assert grown(f"{latency}_count", model_name="m", API="", entrypoint="REST") == 1
    runs = grown(":tensorflow:serving:runtime_latency_count", model_name="m", API="Predict")
    assert runs == 4
    assert grown(":tensorflow:core:graph_runs") == 4
    assert grown("salver_request_seconds_count", version="123", method="predict") == 4
    assert 0 < grown("salver_run_seconds_sum") <= grown("salver_request_seconds_sum") < 4 * 10
    assert grown("salver_failed_requests_total", version="123", entrypoint="REST") == 1


def test_grpc_requests_are_counted(server: Server, client: Client) -> None:
    before = scraped(server)
    assert client.predict("m", {"x": [2.0]}) == {"y": [3.0]}
    assert outcome(lambda: client.predict("nope", {"x": [2.0]}))[0] == "NOT_FOUND"
    assert client.states("m") == {123: "AVAILABLE"}
    after = scraped(server)

    def grown(name: str, **labels: str) -> float:
        return of(after, name, **labels) - of(before, name, **labels)

    count = ":tensorflow:serving:request_count"
    assert grown(count) == 2
    assert grown(count, model_name="m", status="OK") == 1
    assert grown(count, model_name="nope", status="NOT_FOUND") == 1
    latency = ":tensorflow:serving:request_latency_count"
    assert grown(latency, model_name="m", API="Predict", entrypoint="GRPC") == 1
    assert grown("salver_failed_requests_total", model_name="nope", entrypoint="GRPC") == 1


def test_a_reload_tells_what_has_grown_meanwhile(server: Server, client: Client) -> None:
    client.predict("m", {"x": [2.0]})
    request = message(
        "ReloadConfigRequest",
        config={
            "model_config_list": {
                "config": [
                    {"name": "m", "base_path": base_path_of(server), "model_platform": "tensorflow"}
                ]
            }
        },
        metric_names=["/tensorflow/cc/saved_model/load_attempt_count", "/none"],
    )
    response = client.call("HandleReloadConfigRequest", request)
    grown = {metric.name: metric.int64_value_increase for metric in response.metric}
    assert grown == {"/tensorflow/cc/saved_model/load_attempt_count": 0, "/none": 0}


def base_path_of(server: Server) -> str:
    arguments = server.process.args
    assert isinstance(arguments, list)
    (found,) = [str(a) for a in arguments if str(a).startswith("--model_base_path=")]
    return found.partition("=")[2]


def test_models_and_the_process_are_told(server: Server) -> None:
    samples = scraped(server)
    assert of(samples, "salver_versions", model_name="m", state="AVAILABLE") == 1
    assert of(samples, "salver_in_flight_requests", model_name="m", version="123") == 0
    assert of(samples, "salver_loads_total", model_name="m", outcome="success") == 1
    assert of(samples, ":tensorflow:cc:saved_model:load_attempt_count", status="success") == 1
    assert of(samples, ":tensorflow:cc:saved_model:load_latency") > 0
    assert of(samples, "salver_build_info") == 1
    assert of(samples, "salver_connections", entrypoint="REST") >= 1
    assert of(samples, "salver_process_cpu_seconds_total") > 0


def test_any_method_gets_the_page_and_a_query_does_not(server: Server) -> None:
    for method in ("POST", "DELETE", "PUT"):
        response = server.session.request(method, server.url + PATH, timeout=PATIENCE_S)
        assert (response.status_code, response.text[:7]) == (200, "# TYPE ")
    refused = server.get(f"{PATH}?name=a")
    assert refused.status_code == 400
    assert refused.text == f"Unexpected path: {PATH}?name=a. Should be {PATH}"
    assert server.get("/monitoring/prometheus/Metrics").status_code == 404


def test_a_version_that_goes_takes_its_series_and_leaves_the_sums(
    start_server: Callable[..., Server], own_base_path: Path
) -> None:
    server = start_server("--model_name=own", f"--model_base_path={own_base_path}")
    for _ in range(3):
        server.predict("own", [1.0])
    shutil.copytree(own_base_path / "1", own_base_path.parent / "next")
    (own_base_path.parent / "next").rename(own_base_path / "2")
    server.wait_until("own", 1, "END")

    def series_of(version: str) -> float:
        return of(scraped(server), "salver_request_seconds_count", version=version)

    server.predict("own", [1.0])
    eventually("the series of version 1 end", lambda: series_of("1") == 0)
    assert series_of("2") == 1
    assert of(scraped(server), ":tensorflow:serving:request_count", model_name="own") >= 4


@pytest.mark.parametrize(
    ("config", "there", "missing"),
    [
        ('enable: true path: "/other"', ["/other", "/metrics"], [PATH]),
        ('enable: false path: "/other"', [], ["/other", "/metrics", PATH]),
    ],
)
def test_a_file_moves_the_page_or_turns_it_off(
    start_server: Callable[..., Server],
    model_path: Callable[[str], Path],
    tmp_path: Path,
    config: str,
    there: list[str],
    missing: list[str],
) -> None:
    file = tmp_path / "monitoring.config"
    file.write_text(f"prometheus_config {{ {config} }}")
    server = start_server(
        "--model_name=m",
        f"--model_base_path={model_path('half_plus_two')}",
        f"--monitoring_config_file={file}",
    )

    def status(path: str) -> int:
        response: requests.Response = server.get(path)
        return response.status_code

    assert [status(path) for path in there] == [200] * len(there)
    assert [status(path) for path in missing] == [404] * len(missing)


@pytest.mark.parametrize("workers", [1, 2])
def test_lost_entries_of_the_audit_log_are_counted_whoever_keeps_it(
    model_path: Callable[[str], Path], workers: int
) -> None:
    name = "salver_dropped_log_records_total"
    flags = ("--model_name=m", f"--model_base_path={model_path('half_plus_two')}")
    with running(*flags, "--audit_log=/dev/full", f"--workers={workers}") as server:
        # That it has begun with its flags is the first entry.
        eventually(
            "an entry is lost", lambda: of(scraped(server), name, log="audit", reason="disk")
        )

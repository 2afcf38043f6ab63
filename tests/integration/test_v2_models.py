"""Models as Triton's clients see and change them: list, load, unload, configuration, statistics."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.serving import Server, eventually

StartServer = Callable[..., Server]
INFER = {"inputs": [{"name": "x", "shape": [3, 1], "datatype": "FP32", "data": [1.0, 2.0, 5.0]}]}


def text(**base_paths: Path) -> str:
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }}\n'
        for name, path in base_paths.items()
    )
    return f"model_config_list {{\n{entries}}}\n"


@pytest.fixture
def half(model_path: Callable[[str], Path]) -> Path:
    return model_path("half_plus_two")


@pytest.fixture
def file(half: Path, tmp_path: Path) -> Path:
    path = tmp_path / "models.conf"
    path.write_text(text(half=half, other=half))
    return path


@pytest.fixture(
    params=["--workers=1", "--workers=2", "--lazy_load_models"],
    ids=["one process", "two workers", "lazy"],
)
def server(request: pytest.FixtureRequest, file: Path, start_server: StartServer) -> Server:
    return start_server(
        f"--model_config_file={file}",
        "--model_config_file_poll_wait_seconds=1",
        "--model_control_mode=explicit",
        "--allowed_hosts=localhost",
        request.param,
    )


@pytest.fixture
def closed(file: Path, start_server: StartServer) -> Server:
    """A server whose clients may not load and unload."""
    return start_server(f"--model_config_file={file}")


def index(server: Server, **asked: Any) -> dict[tuple[str, str], tuple[str, str]]:
    answer = server.post("/v2/repository/index", asked)
    assert answer.status_code == 200
    return {(e["name"], e.get("version", "")): (e["state"], e["reason"]) for e in answer.json()}


def control(server: Server, action: str, name: str = "half", body: Any = None) -> requests.Response:
    url = f"{server.url}/v2/repository/models/{name}/{action}"
    return requests.post(url, json=body, timeout=60)


def refusal(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def infer_statuses(server: Server, name: str = "half", times: int = 8) -> set[int]:
    """By several connections, so that several workers are asked."""
    url = f"{server.url}/v2/models/{name}/infer"
    answers = [requests.post(url, json=INFER, timeout=30) for _ in range(times)]
    return {answer.status_code for answer in answers}


def test_a_model_is_unloaded_and_loaded_by_request(server: Server) -> None:
    assert server.get("/v2/models").json() == {"models": ["half", "other"]}
    assert infer_statuses(server) == {200}
    assert control(server, "unload", body={"parameters": {"unload_dependents": True}}).ok
    state = {state for (name, _), state in index(server).items() if name == "half"}
    assert state == {("UNAVAILABLE", "unloaded")}
    assert {name for name, _ in index(server, ready=True)} == {"other"}
    assert infer_statuses(server) & {200} == set()
    assert server.get("/v2/models/half/ready").status_code >= 400
    assert server.get("/v2/health/ready").status_code == 200
    assert infer_statuses(server, "other") == {200}
    assert control(server, "load").ok
    assert infer_statuses(server) == {200}
    assert {name for name, _ in index(server, ready=True)} == {"half", "other"}


def test_an_unload_lasts_until_the_bytes_of_the_file_change(server: Server, file: Path) -> None:
    assert control(server, "unload").ok
    file.touch()
    assert control(server, "unload", "other").ok
    assert control(server, "load", "other").ok
    assert infer_statuses(server) & {200} == set()
    file.write_text(file.read_text() + "\n")
    eventually("the model is back", lambda: infer_statuses(server, times=4) == {200})


def test_what_a_request_brings_along_is_refused(server: Server) -> None:
    for name in ("config", "file:1/model.onnx", "other"):
        status, said = refusal(control(server, "load", body={"parameters": {name: "e30="}}))
        assert (status, f"parameter '{name}' is not supported" in said) == (400, True)
    big = {"parameters": {"file:1/model.onnx": "A" * (1 << 17)}}
    assert refusal(control(server, "load", body=big))[0] == 400
    for body in (b"{", b"[]", b'{"parameters": 3}', b"[" * 50_000):
        answer = requests.post(
            f"{server.url}/v2/repository/models/half/load", data=body, timeout=30
        )
        assert refusal(answer)[0] == 400
    assert infer_statuses(server) == {200}


def test_only_models_of_the_configuration_are_loaded(server: Server) -> None:
    for name in ("nobody", "..%2F..%2Fetc", "half%2F1"):
        status, said = refusal(control(server, "load", name))
        assert status == 404
        assert said.endswith("failed to poll from model repository")


def test_a_page_from_elsewhere_changes_nothing(server: Server) -> None:
    answer = requests.post(
        f"{server.url}/v2/repository/models/half/unload",
        headers={"Origin": "https://evil.example"},
        timeout=30,
    )
    assert answer.status_code == 403
    assert infer_statuses(server) == {200}


def test_many_who_load_and_unload_at_once_all_get_answers(server: Server) -> None:
    with ThreadPoolExecutor(24) as pool:
        actions = ["unload", "load"] * 12
        statuses = set(pool.map(lambda action: control(server, action).status_code, actions))
    assert statuses <= {200, 400, 409, 429, 503}
    assert control(server, "load").ok
    assert infer_statuses(server) == {200}


def test_statistics_are_of_all_workers(server: Server) -> None:
    begun_ms = time.time_ns() // 10**6
    assert infer_statuses(server, times=6) == {200}
    requests.post(f"{server.url}/v2/models/half/infer", json={"inputs": []}, timeout=30)
    (found,) = server.get("/v2/models/half/stats").json()["model_stats"]
    assert (found["name"], found["inference_count"], found["execution_count"]) == ("half", 6, 6)
    assert begun_ms - 5 <= found["last_inference"] <= time.time_ns() // 10**6 + 5
    stats = found["inference_stats"]
    assert (stats["success"]["count"], stats["fail"]["count"]) == (6, 1)
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    whole = stats["success"]["ns"]
    assert 0 < sum(stats[part]["ns"] for part in parts) <= whole + len(parts)
    assert [batch["batch_size"] for batch in found["batch_stats"]] == [1]
    version = found["version"]
    assert server.get(f"/v2/models/half/versions/{version}/stats").ok
    assert server.get("/v2/models/half/versions/99/stats").status_code == 404
    assert server.get("/v2/models/nobody/stats").status_code == 404
    everybody = server.get("/v2/models/stats").json()["model_stats"]
    assert {each["name"] for each in everybody} == {"half", "other"}


def test_a_configuration_is_that_of_the_version_that_answers(server: Server) -> None:
    said = server.get("/v2/models/half/config").json()
    assert (said["name"], said["platform"]) == ("half", "tensorflow_savedmodel")
    assert said["max_batch_size"] == 0
    assert said["version_policy"] == {"latest": {"num_versions": 1}}
    (given,) = said["input"]
    assert (given["name"], given["data_type"]) == ("x", "TYPE_FP32")
    assert server.get("/v2/models/nobody/config").status_code == 404


def test_a_file_beside_the_model_is_in_its_configuration(
    half: Path, tmp_path: Path, start_server: StartServer
) -> None:
    base = tmp_path / "batched"
    base.mkdir()
    for version in half.iterdir():
        (base / version.name).symlink_to(version)
    (base / "config.pbtxt").write_text(
        "max_batch_size: 4 dynamic_batching { max_queue_delay_microseconds: 50 }\n"
        "instance_group [ { count: 2 kind: KIND_CPU } ] version_policy: { all {} }\n"
    )
    config = tmp_path / "models.conf"
    config.write_text(text(batched=base))
    server = start_server(f"--model_config_file={config}")
    said = server.get("/v2/models/batched/config").json()
    assert said["max_batch_size"] == 4
    assert said["dynamic_batching"]["max_queue_delay_microseconds"] == 50
    assert said["version_policy"] == {"all": {}}
    assert [group["count"] for group in said["instance_group"]] == [2]
    assert server.post("/v2/models/batched/infer", INFER).json()["outputs"][0]["data"] == [
        2.5, 3.0, 4.5,
    ]  # fmt: skip
    large = {"name": "x", "shape": [5, 1], "datatype": "FP32", "data": [0.0] * 5}
    assert refusal(server.post("/v2/models/batched/infer", {"inputs": [large]})) == (
        400,
        "inference request batch-size must be <= 4 for 'batched'",
    )
    (stats,) = server.get("/v2/models/batched/stats").json()["model_stats"]
    assert (stats["inference_count"], stats["execution_count"]) == (3, 1)


def test_without_the_flag_nothing_is_loaded_or_unloaded(closed: Server) -> None:
    for action in ("load", "unload"):
        assert refusal(control(closed, action)) == (
            503,
            "explicit model load / unload is not allowed if polling is enabled",
        )
    assert infer_statuses(closed) == {200}
    assert index(closed)


def test_settings_are_readable_and_cannot_be_set(closed: Server) -> None:
    for path in ("/v2/trace/setting", "/v2/models/half/trace/setting"):
        assert closed.get(path).json()["trace_level"] == ["OFF"]
        assert closed.post(path, {"trace_level": ["TIMESTAMPS"]}).status_code == 501
    assert closed.get("/v2/models/nobody/trace/setting").status_code == 404
    assert closed.get("/v2/logging").json()["log_error"] is True
    assert closed.post("/v2/logging", {"log_file": "/etc/passwd"}).status_code == 501
    for kind in ("system", "cuda"):
        shared = f"/v2/{kind}sharedmemory"
        assert closed.get(f"{shared}/status").json() == []
        answer = closed.get(f"{shared}/region/a/status")
        assert refusal(answer) == (404, f"Unable to find {kind} shared memory region: 'a'")
        answer = closed.post(f"{shared}/region/a/register", {"key": "/a", "byte_size": 8})
        assert answer.status_code == 501
        assert "register" in answer.json()["error"]
        for path in (f"{shared}/unregister", f"{shared}/region/a/unregister"):
            assert closed.post(path, {}).status_code == 200
    assert closed.post("/v2/repository/elsewhere/index", {}).status_code == 501
    assert closed.post("/v2/repository/index", {"ready": 3}).status_code == 400


def test_what_is_logged_changes_where_models_may_be_loaded_and_unloaded(server: Server) -> None:
    before = server.get("/v2/logging").json()
    told = server.post("/v2/logging", {"log_verbose_level": 1}).json()
    assert told == server.get("/v2/logging").json()
    assert told["log_verbose_level"] == 1
    again = {"log_verbose_level": 0, "log_info": before["log_info"]}
    assert server.post("/v2/logging", again).json()["log_verbose_level"] == 0
    assert server.post("/v2/logging", {"log_file": "/etc/passwd"}).status_code == 501
    assert server.post("/v2/logging", {"log_info": "no"}).status_code == 400


def test_tritons_client_lists_loads_and_unloads(server: Server) -> None:
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    assert {each["name"] for each in client.get_model_repository_index()} == {"half", "other"}
    client.unload_model("half")
    assert not client.is_model_ready("half")
    client.load_model("half")
    assert client.is_model_ready("half")
    refused = pytest.importorskip("tritonclient.utils").InferenceServerException
    with pytest.raises(refused, match="parameter 'config' is not supported"):
        client.load_model("half", config=json.dumps({"backend": "python"}))
    with pytest.raises(refused, match="failed to poll from model repository"):
        client.load_model("nobody")
    assert client.get_model_config("half")["name"] == "half"
    assert client.get_inference_statistics("half")["model_stats"][0]["name"] == "half"
    assert len(client.get_inference_statistics()["model_stats"]) == 2
    assert client.get_trace_settings()["trace_level"] == ["OFF"]
    assert client.get_log_settings()["log_error"] is True
    client.close()

"""Limits of clients, and who waits behind whom, as clients of a server see them."""

import hashlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests

from tests.integration.grpc_clients.plain import model_spec, predict_request
from tests.integration.serving import PATIENCE_S, Server, eventually, running

ROLES = """
anonymous: {verbs: [health]}
roles:
  metered: {verbs: [predict], requests_per_second: 0.001, burst: 5}
  narrow: {verbs: [predict], max_concurrent_requests: 2}
  bulk: {verbs: [predict], priority: batch}
  free: {verbs: [predict, metadata, metrics, admin, health]}
"""
SUFFIX = "0123456789abcdef" * 2


def key(id: str) -> str:
    return f"salver_{id}_{SUFFIX}"


def header(id: str) -> dict[str, str]:
    return {"x-api-key": key(id)}


@pytest.fixture(scope="module")
def auth_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("auth")
    lines = [
        f"{role}-{number} {hashlib.sha256(key(f'{role}-{number}').encode()).hexdigest()} {role}"
        for role in ("metered", "narrow", "bulk", "free")
        for number in range(4)
    ]
    (directory / "keys.txt").write_text("\n".join(lines) + "\n")
    file = directory / "auth.yaml"
    file.write_text("schema: 1\napi_keys: {file: keys.txt}\n" + ROLES)
    return file


@pytest.fixture(scope="module")
def server(all_models_config: Path, auth_config: Path) -> Iterator[Server]:
    with _started(all_models_config, auth_config, "--workers=2") as started:
        yield started


def _started(
    all_models_config: Path, auth_config: Path, *flags: str
) -> AbstractContextManager[Server]:
    return running(
        f"--model_config_file={all_models_config}",
        "--allow_version_labels_for_unavailable_models",
        "--rest_api_timeout_in_ms=0",
        f"--auth_config_file={auth_config}",
        *flags,
    )


def ask(server: Server, id: str, model: str = "half_plus_two") -> requests.Response:
    """Over a connection of its own, so that any worker may have it."""
    url = f"{server.url}/v1/models/{model}:predict"
    return requests.post(url, json={"instances": [1.0]}, headers=header(id), timeout=PATIENCE_S)


def test_the_rate_of_a_client_is_of_all_workers_and_all_apis_together(server: Server) -> None:
    answers = [ask(server, "metered-0") for _ in range(30)]
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [200] * 5 + [429] * 25
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert "more than 0.001 requests per second" in refused.json()["error"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    v2 = requests.post(
        f"{server.url}/v2/models/half_plus_two/infer",
        json={"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}]},
        headers=header("metered-0"),
        timeout=PATIENCE_S,
    )
    assert (v2.status_code, "Retry-After" in v2.headers) == (429, True)
    with grpc.insecure_channel(server.grpc_target) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        request = predict_request(model_spec("half_plus_two"), {"x": np.array([1.0], np.float32)})
        with pytest.raises(grpc.RpcError) as raised:
            predict(
                request.SerializeToString(),
                metadata=[("x-api-key", key("metered-0"))],
                timeout=PATIENCE_S,
            )
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ask(server, "metered-1").status_code == 200
    page = requests.get(f"{server.url}/metrics", headers=header("free-0"), timeout=PATIENCE_S).text
    assert 'salver_rejected_requests_total{model_name="",reason="rate"} 27' in page


class Pipe:
    """A request that is answered when the pipe was opened that its model reads."""

    def __init__(self, server: Server, path: Path, id: str, clients: ThreadPoolExecutor) -> None:
        self.path = path
        os.mkfifo(path)
        self._server, self._id = server, id
        self.status: Future[int] = clients.submit(self._ask)

    def _ask(self) -> int:
        body = {"signature_name": "read_file", "instances": [str(self.path)]}
        url = f"{self._server.url}/v1/models/failing:predict"
        answer = requests.post(url, json=body, headers=header(self._id), timeout=PATIENCE_S)
        return answer.status_code

    def is_read(self) -> bool:
        """Whether the model reads it, which then ends."""
        with suppress(OSError):
            os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))
            return True
        return False

    def release(self) -> int:
        eventually("it is read, or refused", lambda: self.is_read() or self.status.done())
        pause = threading.Event()
        while not self.status.done():
            self.is_read()
            pause.wait(0.02)
        return self.status.result(0)


def under_way(server: Server, count: int) -> bool:
    """Whether so many requests of the model that waits are."""
    answer = requests.get(f"{server.url}/metrics", headers=header("free-0"), timeout=PATIENCE_S)
    lines = [line for line in answer.text.splitlines() if "in_flight_requests{" in line]
    return any('"failing"' in line and line.endswith(f" {count}") for line in lines)


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


def test_requests_under_way_are_counted_at_all_workers_until_they_end(
    server: Server, tmp_path: Path, clients: ThreadPoolExecutor
) -> None:
    pipes = [Pipe(server, tmp_path / f"p{n}", "narrow-0", clients) for n in range(2)]
    eventually("both are under way", lambda: under_way(server, 2))
    for _ in range(8):
        refused = ask(server, "narrow-0")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert ask(server, "narrow-1").status_code == 200
    assert [pipe.release() for pipe in pipes] == [400, 400]
    assert ask(server, "narrow-0").status_code == 200


def test_requests_of_a_worker_that_dies_count_no_more(
    server: Server, tmp_path: Path, clients: ThreadPoolExecutor
) -> None:
    pipes = [Pipe(server, tmp_path / f"p{n}", "narrow-2", clients) for n in range(2)]
    eventually("both are under way", lambda: under_way(server, 2))
    assert ask(server, "narrow-2").status_code == 429
    for pid in server.workers():
        os.kill(pid, signal.SIGKILL)
    for pipe in pipes:
        assert isinstance(pipe.status.exception(PATIENCE_S), requests.ConnectionError)

    def is_answered() -> bool:
        with suppress(requests.ConnectionError):
            return ask(server, "narrow-2").status_code == 200
        return False

    eventually("it is answered again", is_answered)


def test_a_client_that_leaves_makes_room(server: Server, tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / f"left{number}"
        os.mkfifo(path)
        body = {"signature_name": "read_file", "instances": [str(path)]}
        with suppress(requests.Timeout):
            requests.post(
                f"{server.url}/v1/models/failing:predict",
                json=body,
                headers=header("narrow-3"),
                timeout=0.2,
            )
    eventually("there is room", lambda: ask(server, "narrow-3").status_code == 200)


def test_a_client_of_batch_work_waits_behind_an_interactive_one(
    all_models_config: Path, auth_config: Path, tmp_path: Path, clients: ThreadPoolExecutor
) -> None:
    with _started(all_models_config, auth_config, "--max_concurrent_runs_per_model=1") as server:
        first = Pipe(server, tmp_path / "first", "free-0", clients)
        eventually("it is under way", lambda: under_way(server, 1))
        bulk = Pipe(server, tmp_path / "bulk", "bulk-0", clients)
        eventually("batch work waits", lambda: under_way(server, 2))
        chat = Pipe(server, tmp_path / "chat", "free-1", clients)
        eventually("a request waits behind it", lambda: under_way(server, 3))
        assert first.release() == 400
        eventually("that runs", lambda: chat.is_read() or bulk.status.done())
        assert not bulk.status.done()
        assert chat.release() == 400
        assert bulk.release() == 400

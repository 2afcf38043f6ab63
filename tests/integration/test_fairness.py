"""A model that waits, or whose clients leave, keeps no other model from answering."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.integration.grpc_clients.plain import connected, model_spec, predict_request
from tests.integration.serving import PATIENCE_S, Server, eventually, running

CALLS = 40


class Pipes:
    """Calls that wait, in the kernel, for somebody who writes to a pipe."""

    def __init__(self, server: Server, directory: Path) -> None:
        self._server = server
        self._directory = directory
        self._calls: list[tuple[Path, Future[Any]]] = []
        self._clients = ThreadPoolExecutor(CALLS)

    def ask(self, count: int) -> None:
        for number in range(len(self._calls), len(self._calls) + count):
            pipe = self._directory / f"pipe-{number}"
            os.mkfifo(pipe)
            self._calls.append((pipe, self._clients.submit(self._wait, pipe)))

    def _wait(self, pipe: Path) -> int:
        body = {"signature_name": "read_file", "instances": [str(pipe)]}
        url = f"{self._server.url}/v1/models/failing:predict"
        return requests.post(url, json=body, timeout=PATIENCE_S).status_code

    def release(self) -> list[int]:
        """Let all go; the status of each."""
        for pipe, call in self._calls:
            threading.Thread(target=self._write, args=(pipe, call), daemon=True).start()
        return [call.result(PATIENCE_S) for _, call in self._calls]

    @staticmethod
    def _write(pipe: Path, call: "Future[Any]") -> None:
        pause = threading.Event()
        while not call.done():
            with suppress(OSError):  # nobody reads it yet
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            pause.wait(0.02)


@pytest.fixture
def server(request: pytest.FixtureRequest, all_models_config: Path) -> Iterator[Server]:
    flags = getattr(request, "param", ())
    with running(
        f"--model_config_file={all_models_config}",
        "--allow_version_labels_for_unavailable_models",
        "--rest_api_timeout_in_ms=0",
        *flags,
    ) as started:
        yield started


@pytest.fixture
def pipes(server: Server, tmp_path: Path) -> Iterator[Pipes]:
    made = Pipes(server, tmp_path)
    yield made
    made.release()


def all_wait(server: Server) -> Callable[[], bool]:
    """Whether as many calls are under way as were made."""

    def check() -> bool:
        page = server.get("/metrics").text
        lines = [line for line in page.splitlines() if "in_flight_requests{" in line]
        return any('"failing"' in line and line.endswith(f" {CALLS}") for line in lines)

    return check


@pytest.mark.parametrize(
    "server",
    [(), ("--workers=2",), ("--enable_batching",), ("--max_concurrent_runs_per_model=1000",)],
    indirect=True,
    ids=["one process", "two", "batching", "no limit for a model"],
)
def test_others_are_answered_while_a_model_waits(server: Server, pipes: Pipes) -> None:
    pipes.ask(CALLS)
    eventually("all wait", all_wait(server))
    for _ in range(3):  # runs that are not known to be short yet
        for model in ("half_plus_two", "half_plus_three"):
            assert server.predict(model, [1.0]).status_code == 200
        with connected(server.grpc_target) as client:
            assert client.predict("half_plus_two_tf2", {"x": [2.0]})
    assert set(pipes.release()) == {400}  # a pipe is no file that TensorFlow could read


@pytest.mark.parametrize("server", [("--max_queued_runs_per_model=5",)], indirect=True)
def test_a_model_whose_queue_is_full_says_so_and_when_to_come_again(
    server: Server, pipes: Pipes
) -> None:
    pipes.ask(CALLS)
    eventually("it is full", lambda: 'reason="queue"' in server.get("/metrics").text)
    body = {"signature_name": "divide", "instances": [1]}
    answer = server.post("/v1/models/failing:predict", body)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert "requests wait for runs of model failing already" in answer.json()["error"]
    assert "--max_queued_runs_per_model" in answer.json()["hint"]
    with connected(server.grpc_target) as client:
        spec = model_spec("failing", signature="divide")
        request = predict_request(spec, {"x": np.array([1], np.int32)})
        code, text = client.refusal("Predict", request)
    assert (code, "requests wait for runs" in text) == ("RESOURCE_EXHAUSTED", True)
    assert server.predict("half_plus_two", [1.0]).status_code == 200
    assert set(pipes.release()) == {400, 503}


def test_a_run_whose_client_has_left_does_not_start(
    server: Server, pipes: Pipes, tmp_path: Path
) -> None:
    pipes.ask(CALLS)
    eventually("all wait", all_wait(server))
    left = tmp_path / "left"
    os.mkfifo(left)
    body = {"signature_name": "read_file", "instances": [str(left)]}
    with pytest.raises(requests.Timeout):
        requests.post(f"{server.url}/v1/models/failing:predict", json=body, timeout=0.3)
    assert set(pipes.release()) == {400}
    divided = server.post(
        "/v1/models/failing:predict", {"signature_name": "divide", "instances": [1]}
    )
    assert divided.status_code == 200  # it came after the one that has left
    with pytest.raises(OSError, match="No such device or address"):  # nobody opened it to read
        os.close(os.open(left, os.O_WRONLY | os.O_NONBLOCK))


@pytest.mark.parametrize("server", [("--max_concurrent_runs_per_model=1",)], indirect=True)
def test_a_request_whose_deadline_the_queue_cannot_meet_is_refused_when_it_comes(
    server: Server,
) -> None:
    for _ in range(5):  # so that it is known how long a run takes
        assert server.predict("slow", [50.0]).status_code == 200
    with ThreadPoolExecutor(CALLS) as clients:
        asked = [
            clients.submit(
                requests.post,
                f"{server.url}/v1/models/slow:predict",
                json={"instances": [50.0]},
                timeout=PATIENCE_S,
            )
            for _ in range(CALLS)
        ]
        eventually("all wait", lambda: in_flight(server, "slow") > CALLS / 2)
        with connected(server.grpc_target) as client:
            spec = model_spec("slow")
            request = predict_request(spec, {"millis": np.array([1.0], np.float32)})
            code, text = client.refusal("Predict", request, timeout=0.4)
        body = {
            "inputs": [{"name": "millis", "datatype": "FP32", "shape": [1], "data": [1.0]}],
            "parameters": {"timeout": 400_000},
        }
        answer = server.post("/v2/models/slow/infer", body)
        assert {each.result(PATIENCE_S).status_code for each in asked} == {200}
    assert code == "RESOURCE_EXHAUSTED"
    assert "requests wait for runs of model slow already, which takes about" in text
    assert (answer.status_code, int(answer.headers["Retry-After"]) >= 1) == (503, True)
    page = server.get("/metrics").text
    assert 'salver_rejected_requests_total{model_name="slow",reason="deadline"} 2' in page


def in_flight(server: Server, model: str) -> float:
    """Requests of a model that wait or run."""
    lines = server.get("/metrics").text.splitlines()
    found = [line for line in lines if f'in_flight_requests{{model_name="{model}"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)

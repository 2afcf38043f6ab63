"""Batching through the server as users start it."""

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.integration.grpc_clients.plain import (
    Client,
    connected,
    message,
    model_spec,
    predict_request,
    tensor,
    values,
)
from tests.integration.serving import PATIENCE_S, Server, run_command, running

Start = Callable[..., Server]

QUARTER_S = 0.25
BATCHES = """
max_batch_size { value: 8 }
batch_timeout_micros { value: 250000 }
num_batch_threads { value: 1 }
allowed_batch_sizes: 4
allowed_batch_sizes: 8
"""
LINE = "max_batch_size { value: 1 } num_batch_threads { value: 1 }"
NO_LINE = """
max_batch_size { value: 1 }
max_enqueued_batches { value: 1 }
num_batch_threads { value: 1 }
"""


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Make calls at the same time; their results in order."""
    ready = threading.Barrier(len(calls))

    def call(made: Callable[[], Any]) -> Any:
        ready.wait(PATIENCE_S)
        return made()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(call, calls))


def ask(server: Server, model: str, instances: Any) -> requests.Response:
    """Predict over a connection of its own."""
    url = f"{server.url}/v1/models/{model}:predict"
    return requests.post(url, json={"instances": instances}, timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def batched(
    model_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Every model is batched; what comes within a quarter of a second is one batch."""
    directory = tmp_path_factory.mktemp("batching")
    models = "".join(
        f'config {{ name: "{name}" base_path: "{model_path(name)}" '
        'model_platform: "tensorflow" }\n'
        for name in ("half_plus_two", "failing", "several", "matrix_half_plus_two")
    )
    with running(
        f"--model_config_file={write(directory / 'models', f'model_config_list {{ {models} }}')}",
        "--enable_batching",
        f"--batching_parameters_file={write(directory / 'batching', BATCHES)}",
        "--enable_session_service",
    ) as server:
        yield server


@pytest.fixture
def client(batched: Server) -> Iterator[Client]:
    with connected(batched.grpc_target) as client:
        yield client


def test_requests_that_come_together_each_get_their_own_rows(batched: Server) -> None:
    answers = together(
        [lambda n=n: ask(batched, "half_plus_two", [n, n + 100]) for n in range(8)]  # type: ignore[misc]
    )
    assert [answer.json() for answer in answers] == [
        {"predictions": [n / 2 + 2, n / 2 + 52]} for n in range(8)
    ]


def test_a_lone_request_waits_no_longer_than_it_must(batched: Server) -> None:
    answer = ask(batched, "half_plus_two", [2.0])
    assert answer.json() == {"predictions": [3.0]}
    assert answer.elapsed.total_seconds() >= QUARTER_S


def test_a_poisoned_request_fails_alone(batched: Server) -> None:
    answers = together([lambda n=n: ask(batched, "failing", [n]) for n in (4.0, -1.0, 9.0)])  # type: ignore[misc]
    assert [answer.status_code for answer in answers] == [200, 400, 200]
    assert [answer.json()["predictions"] for answer in (answers[0], answers[2])] == [[2.0], [3.0]]
    assert "x must not be negative" in answers[1].json()["error"]


def test_a_request_without_rows_is_answered_at_once(client: Client) -> None:
    request = predict_request(model_spec("half_plus_two"), {"x": np.zeros((0,), np.float32)})
    assert values(client.call("Predict", request).outputs["y"]) == []


def test_a_request_larger_than_a_batch_is_refused(batched: Server) -> None:
    answer = ask(batched, "half_plus_two", [0.0] * 9)
    assert answer.status_code == 400
    assert answer.json()["error"] == "Task size 9 is larger than maximum input batch size 8"


def test_a_signature_without_inputs_cannot_be_batched(client: Client) -> None:
    request = predict_request(model_spec("several", signature="constant"), {})
    assert client.refusal("Predict", request) == (
        "INVALID_ARGUMENT",
        "Batching Run() must have at least one input tensor",
    )


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        ("scalar_output", "Batched output tensor has 0 dimensions"),
        (
            "uneven",
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
            "sizes of the input tensors",
        ),
    ],
)
def test_a_model_whose_outputs_are_no_batch_cannot_be_batched(
    batched: Server, signature: str, text: str
) -> None:
    answer = batched.post(
        "/v1/models/several:predict", {"signature_name": signature, "instances": [1.0, 2.0]}
    )
    assert answer.status_code == 400
    assert answer.json()["error"] == text


def test_a_part_of_the_outputs_is_batched_too(client: Client) -> None:
    request = predict_request(
        model_spec("several"),
        {"a": [[1.0, 1.0], [2.0, 2.0]], "b": np.array([5, 6], np.int32), "text": ["x", "y"]},
        outputs=["next"],
    )
    assert values(client.call("Predict", request).outputs["next"]) == [6, 7]


def test_a_session_run_to_a_node_is_refused(client: Client) -> None:
    request = message("SessionRunRequest", model_spec=model_spec("half_plus_two"))
    request.feed.add(name="x:0").tensor.CopyFrom(tensor([1.0]))
    request.fetch.append("y:0")
    request.target.append("y")
    assert client.refusal("SessionRun", request) == (
        "PERMISSION_DENIED",
        "BatchingSession does not support target nodes",
    )


def test_a_queue_that_is_full_refuses_with_503(
    start_server: Start, model_path: Callable[[str], Path], tmp_path: Path
) -> None:
    parameters = write(tmp_path / "batching", NO_LINE)
    server = start_server(
        "--model_name=slow",
        f"--model_base_path={model_path('slow')}",
        "--enable_batching",
        f"--batching_parameters_file={parameters}",
    )
    answers = together([lambda: ask(server, "slow", [1000])] * 8)
    assert {answer.status_code for answer in answers} == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.json()["error"] == (
        "The batch scheduling queue to which this task was submitted is full; "
        "currently 1 batches enqueued and max_enqueued_batches is 1"
    )


def test_a_request_that_waits_past_its_deadline_is_told_so(
    start_server: Start, model_path: Callable[[str], Path], tmp_path: Path
) -> None:
    parameters = write(tmp_path / "batching", LINE)
    server = start_server(
        "--model_name=slow",
        f"--model_base_path={model_path('slow')}",
        "--enable_batching",
        f"--batching_parameters_file={parameters}",
        "--rest_api_timeout_in_ms=500",
    )
    answers = together([lambda: ask(server, "slow", [1500])] * 2)
    errors = {answer.status_code: answer.json()["error"] for answer in answers}
    assert errors == {
        429: "Run() timeout exceeded while waiting in batching queue",
        504: "Timed out waiting for notification",
    }


class TestPerModel:
    @pytest.fixture
    def models(self, model_path: Callable[[str], Path], tmp_path: Path) -> tuple[Path, str]:
        """The directory of a version that brings its own file, and the configuration of both."""
        own = tmp_path / "own"
        shutil.copytree(model_path("half_plus_two"), own)
        config = "".join(
            f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }}\n'
            for name, path in (("own", own), ("plain", model_path("half_plus_two")))
        )
        file = write(tmp_path / "models", f"model_config_list {{ {config} }}")
        return next(child for child in own.iterdir() if child.is_dir()), file

    FLAGS = ("--enable_batching", "--enable_per_model_batching_parameters")

    def test_only_a_version_with_a_file_is_batched(
        self, start_server: Start, models: tuple[Path, str]
    ) -> None:
        version, config = models
        write(version / "batching_params.pbtxt", "max_batch_size { value: 2 }")
        server = start_server(f"--model_config_file={config}", *self.FLAGS)
        assert ask(server, "plain", [1.0, 2.0, 5.0]).json() == {"predictions": [2.5, 3.0, 4.5]}
        assert ask(server, "own", [1.0, 2.0]).json() == {"predictions": [2.5, 3.0]}
        refused = ask(server, "own", [1.0, 2.0, 5.0])
        assert refused.json()["error"] == "Task size 3 is larger than maximum input batch size 2"

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("max_batch_size: 2", "Invalid protobuf file: '{path}'"),
            ("max_batch_size { value: 0 }", "input_batch_size_limit must be positive; was 0"),
        ],
    )
    def test_a_version_with_a_wrong_file_does_not_load(
        self, models: tuple[Path, str], text: str, error: str
    ) -> None:
        version, config = models
        path = write(version / "batching_params.pbtxt", text)
        ended = run_command(
            "tensorflow_model_server",
            f"--model_config_file={config}",
            "--max_num_load_retries=0",
            *self.FLAGS,
        )
        assert ended.returncode != 0
        assert f"due to error: INVALID_ARGUMENT: {error.format(path=path)}" in ended.stdout


def test_a_server_without_a_batch_thread_does_not_start(
    model_path: Callable[[str], Path], tmp_path: Path
) -> None:
    ended = run_command(
        "tensorflow_model_server",
        f"--model_base_path={model_path('half_plus_two')}",
        "--enable_batching",
        f"--batching_parameters_file={write(tmp_path / 'b', 'num_batch_threads { value: 0 }')}",
    )
    assert ended.returncode != 0
    assert "num_batch_threads must be positive; was 0" in ended.stdout

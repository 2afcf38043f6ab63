"""Clients as users have them: the stubs of `tensorflow-serving-api`, and `ovmsclient`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.integration.serving import Server, running

CLIENTS = Path(__file__).resolve().parent / "grpc_clients"


def _environment(python: Path | str) -> dict[str, str]:
    """Another environment has its own packages, and not the sources of these."""
    left_out = () if python == sys.executable else ("PYTHONPATH",)
    return {name: value for name, value in os.environ.items() if name not in left_out}


def run_client(program: str, python: Path | str = sys.executable, **settings: str) -> Any:
    """What a client program prints as JSON."""
    child = subprocess.run(
        [python, CLIENTS / program, json.dumps(settings)],
        env={**_environment(python), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def own_server(all_models_config: Path) -> Iterator[Server]:
    with running(
        f"--model_config_file={all_models_config}",
        "--allow_version_labels_for_unavailable_models",
        "--enable_session_service",
    ) as server:
        yield server


@pytest.fixture(scope="module")
def official(
    own_server: Server,
    model_path: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    if find_spec("tensorflow_serving") is None or find_spec("tensorflow") is None:
        pytest.skip("tensorflow-serving-api is not installed")
    return run_client(
        "official.py",
        target=own_server.grpc_target,
        half_plus_two=str(model_path("half_plus_two")),
        several=str(model_path("several")),
        logs=str(tmp_path_factory.mktemp("logs")),
    )


class TestTensorflowServingApi:
    @pytest.fixture
    def result(self, request: pytest.FixtureRequest, official: Any) -> Any:
        """What the scenario came to that the test is named after."""
        outcome = official[request.function.__name__.removeprefix("test_")]
        assert "error" not in outcome, outcome["error"]
        return outcome["result"]

    def test_every_dtype_of_make_tensor_proto(self, result: Any) -> None:
        assert result == []

    def test_every_dtype_of_the_model_is_tried(self, result: Any) -> None:
        assert result == []

    def test_a_tutorial(self, result: Any) -> None:
        assert result == [[2.5, 3.0, 4.5], "half_plus_two", "serving_default", 123]

    def test_futures_with_callbacks(self, result: Any) -> None:
        assert result == [100, sum(n / 2 + 2 for n in range(100))]

    def test_an_asyncio_client(self, result: Any) -> None:
        assert result == [n / 2 + 2 for n in range(20)]

    def test_output_filter(self, result: Any) -> None:
        assert result == {"upper": "WORD"}

    def test_defaults_of_inputs(self, result: Any) -> None:
        assert result == [[2.0], [3.0], [1.0, 2.0]]

    def test_versions_and_labels(self, result: Any) -> None:
        assert result == [123, 123, 124, 124]

    def test_an_image(self, result: Any) -> None:
        assert result is True

    def test_tensors_of_tensorflow(self, result: Any) -> None:
        assert result == [[2.5, 2.5, 2.5, 2.5], [5.5, 5.5, 5.5]]

    def test_classify(self, result: Any) -> None:
        assert result == [12.0, 2.0]

    def test_regress(self, result: Any) -> None:
        assert result == [42.0, 42.0]

    def test_multi_inference(self, result: Any) -> None:
        assert result == [3.0, 3.0, 123]

    def test_metadata(self, result: Any) -> None:
        assert result == [["a", "b", "text"], ["next", "product", "upper"], 3.0]

    def test_status(self, result: Any) -> None:
        assert result == [[124, "AVAILABLE", 0], [123, "AVAILABLE", 0]]

    def test_reload(self, result: Any) -> None:
        assert result == [0, [1.0, 2.0], {"/a/b": 0}]

    def test_session_run(self, result: Any) -> None:
        assert result == {"y:0": [[3.0]]}

    def test_refusals(self, result: Any) -> None:
        assert result == [
            ["INVALID_ARGUMENT", "Missing ModelSpec"],
            ["NOT_FOUND", "Servable not found for request: Latest(unknown)"],
            ["FAILED_PRECONDITION", 'Serving signature key "unknown" not found.'],
            [
                "INVALID_ARGUMENT",
                "input size does not match signature: 2!=1 len({x,y}) != len({x})."
                " Sent extra: {y}. Missing but required: {}.",
            ],
            [
                "INVALID_ARGUMENT",
                "output tensor alias not found in signature: z"
                " Outputs expected to be in the set {y}.",
            ],
        ]

    def test_a_wrong_dtype(self, result: Any) -> None:
        code, text = result
        assert code == "INVALID_ARGUMENT"
        assert "int32" in text

    def test_a_deadline(self, result: Any) -> None:
        assert result == "DEADLINE_EXCEEDED"

    def test_profiler_monitor(self, result: Any) -> None:
        how, text = result
        assert how == "answered"
        assert "Requests in flight: " in text

    def test_profiler_trace(self, result: Any) -> None:
        """What the client writes for TensorBoard has TensorFlow's runs of the model in it."""
        how, names = result
        assert how == "answered", names
        assert "SessionRun" in " ".join(names)


@pytest.fixture(scope="module")
def outcomes(all_models_server: Server) -> Any:
    if find_spec("ovmsclient") is None:
        pytest.skip("ovmsclient is not installed")
    return run_client("ovms.py", target=all_models_server.grpc_target)


class TestOvmsclient:
    def test_predictions_come_as_arrays(self, outcomes: Any) -> None:
        assert outcomes["predict"] == [2.5, 3.0, 4.5]
        assert outcomes["proto"] == [3.0]

    def test_several_outputs_come_by_name(self, outcomes: Any) -> None:
        several = outcomes["several"]
        assert (several["next"], several["product"]) == ([4], [[3.0, 3.0]])

    def test_status(self, outcomes: Any) -> None:
        assert outcomes["status"] == {
            "123": {"state": "AVAILABLE", "error_code": 0, "error_message": ""},
        }

    def test_metadata(self, outcomes: Any) -> None:
        assert list(outcomes["metadata"]["inputs"]) == ["x"]
        assert list(outcomes["metadata"]["outputs"]) == ["y"]

    def test_a_model_that_is_not_there(self, outcomes: Any) -> None:
        assert "Servable not found for request: Specific(unknown, 1)" in outcomes["unknown"]

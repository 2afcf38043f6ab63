"""The examples of docs/grpc.md, run as they stand there."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.integration.serving import Server

PAGE = Path(__file__).resolve().parents[2] / "docs" / "grpc.md"
EXAMPLES: list[str] = re.findall(
    r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
)
StartServer = Callable[..., Server]


def example(part: str) -> str:
    """The one example that has this in it."""
    (found,) = (text for text in EXAMPLES if part in text)
    return found


def run_example(text: str, server: Server, directory: Path) -> str:
    """What an example prints, against this server."""
    child = subprocess.run(
        [sys.executable, "-c", text.replace("localhost:8500", server.grpc_target)],
        cwd=directory,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return child.stdout


needs_stubs = pytest.mark.skipif(
    find_spec("tensorflow_serving") is None, reason="tensorflow-serving-api is not installed"
)


@needs_stubs
def test_predicting_with_tensorflow_s_stubs(all_models_server: Server, tmp_path: Path) -> None:
    printed = run_example(example("prediction_service_pb2_grpc"), all_models_server, tmp_path)
    assert printed == "[2.5 3.  4.5] 123\n"


def test_predicting_without_tensorflow(all_models_server: Server, tmp_path: Path) -> None:
    printed = run_example(example("DescriptorPool("), all_models_server, tmp_path)
    assert printed == "[2.5, 3.0, 4.5] 123\n"


@needs_stubs
def test_changing_the_configuration(
    model_path: Callable[[str], Path], tmp_path: Path, start_server: StartServer
) -> None:
    half = model_path("half_plus_two")
    server = start_server("--model_name=half_plus_two", f"--model_base_path={half}")
    (tmp_path / "models.config").write_text(
        "model_config_list { config {"
        f' name: "new" base_path: "{half}" model_platform: "tensorflow" }} }}'
    )
    assert run_example(example("HandleReloadConfigRequest("), server, tmp_path) == "0\n"
    assert server.states("new") == {123: "AVAILABLE"}


def test_the_commands_of_the_page_name_what_the_server_has() -> None:
    """grpcurl is not at hand in tests; what it would send is read as it reads it."""
    from google.protobuf import json_format

    from salver._pb import message_class

    (data,) = re.findall(r"-d '(\{[^']*\"inputs\"[^']*)'", PAGE.read_text())
    request = message_class("tensorflow.serving.PredictRequest")()
    json_format.Parse(data, request)
    assert list(request.inputs["x"].float_val) == [1.0, 2.0, 5.0]

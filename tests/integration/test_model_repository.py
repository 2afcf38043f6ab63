"""A model repository of Triton, served as a directory of models."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.serving import Server, run_command

onnx_models = pytest.importorskip("tests.onnx_models")
test_onnx = pytest.importorskip("tests.integration.test_onnx")

CONFIG = """\
name: "half"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("half", "words"):
        for version in ("1", "3"):
            onnx_models.save(test_onnx.MODELS[name](), tmp_path / "models" / name / version)
        config = CONFIG if name == "half" else f'name: "{name}"\nbackend: "onnxruntime"\n'
        (tmp_path / "models" / name / "config.pbtxt").write_text(config)
    return tmp_path / "models"


def test_each_model_is_served_with_its_newest_version(
    repository: Path, start_server: Callable[..., Server]
) -> None:
    server = start_server(str(repository), command="salver")
    listed = {model["name"] for model in server.get("/v1/models").json()["models"]}
    assert listed == {"half", "words"}
    answer = server.predict("half", [1.0, 2.0])
    assert answer.json() == {"predictions": [2.5, 3.0]}
    assert answer.headers["salver-model-version"] == "3"
    assert server.predict("words", ["a"]).json() == {"predictions": ["aa"]}


def test_its_models_are_shown(repository: Path) -> None:
    shown = run_command("salver", "show", str(repository))
    assert shown.returncode == 0
    assert "half" in shown.stdout
    assert "words" in shown.stdout

"""What the suite asks of which model, and the models, made once and kept. Needs TensorFlow.

They are kept in `$XDG_CACHE_HOME/salver-benchmarks` (`~/.cache/…`), or where `--models` says.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from salver._pb import message_class

HERE = Path(__file__).resolve().parent
GENERATORS = HERE.parent / "tests" / "models"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
NAME = "m"  # of every model, on every server
REST_PATH = f"/v1/models/{NAME}:predict"


@dataclass(frozen=True)
class Task:
    """A model and one request to it, in both forms.

    Attributes:
        base_path: of the model; holds one version.
        input_name: of its signature.
        rows: what is sent.
        body: as a REST request.
        message: as a PredictRequest.
    """

    base_path: Path
    input_name: str
    rows: np.ndarray
    body: bytes
    message: bytes

    @property
    def version(self) -> Path:
        (only,) = (each for each in self.base_path.iterdir() if each.is_dir())
        return only


def predict_request(name: str, array: np.ndarray, *, is_content: bool) -> bytes:
    request = message_class("tensorflow.serving.PredictRequest")()
    request.model_spec.name = NAME
    tensor = request.inputs[name]
    tensor.dtype = 1
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if is_content:
        tensor.tensor_content = array.tobytes()
    else:
        tensor.float_val.extend(array.ravel())
    sent: bytes = request.SerializeToString()
    return sent


def small(models: Path) -> Task:
    """half_plus_two with three numbers."""
    rows = np.array([1.0, 2.0, 5.0], np.float32)
    body = b'{"instances": [1.0, 2.0, 5.0]}'
    message = predict_request("x", rows, is_content=False)
    return Task(tf1(models) / "half_plus_two", "x", rows, body, message)


def picture(shape: tuple[int, ...]) -> tuple[np.ndarray, bytes]:
    """Random numbers, and the same as the JSON that Python writes of its floats."""
    drawn = random.Random(0)
    rows = np.array([drawn.random() for _ in range(int(np.prod(shape)))]).reshape(shape)
    return rows.astype(np.float32), json.dumps({"instances": rows.tolist()}).encode()


def mlp(models: Path) -> Task:
    """A 28x28 image to a net of two dense layers."""
    rows, body = picture((1, 28, 28))
    message = predict_request("image", rows, is_content=True)
    return Task(nets(models, "mlp") / "mlp", "image", rows, body, message)


def image(models: Path, *, is_content: bool = True) -> Task:
    """A 224x224x3 image to a model that slices one pixel."""
    rows, body = picture((1, 224, 224, 3))
    message = predict_request("image", rows, is_content=is_content)
    return Task(tf2(models) / "slicer", "image", rows, body, message)


def resnet(models: Path) -> Task:
    """The same image to a ResNet-50."""
    rows, body = picture((1, 224, 224, 3))
    message = predict_request("image", rows, is_content=True)
    return Task(nets(models, "resnet50") / "resnet50", "image", rows, body, message)


def cache() -> Path:
    """Where models and other servers are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "salver-benchmarks"


def tf1(models: Path) -> Path:
    return generated(models, "tf1")


def tf2(models: Path) -> Path:
    return generated(models, "tf2")


def generated(models: Path, generator: str) -> Path:
    """The models of one of the generators of the tests."""
    if not (models / generator).exists():
        made = models / f"{generator}.unfinished"
        shutil.rmtree(made, ignore_errors=True)
        models.mkdir(parents=True, exist_ok=True)
        run([str(GENERATORS / f"{generator}.py"), str(made)])
        made.rename(models / generator)
    return models / generator


def nets(models: Path, *names: str) -> Path:
    """The models of `nets.py` so named, made where they are not there yet."""
    run_needed = [name for name in names if not (models / "nets" / name).exists()]
    if run_needed:
        run([str(HERE / "nets.py"), str(models / "nets"), *run_needed])
    return models / "nets"


def run(script: Sequence[str]) -> None:
    done = subprocess.run([sys.executable, *script], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script[0]} failed:\n{done.stderr[-3000:]}")


def make_models(models: Path) -> None:
    """The generated models of the tests, where they are not there yet."""
    tf1(models)
    tf2(models)

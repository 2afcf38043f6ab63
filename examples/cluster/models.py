"""A dozen small models of four kinds, and what to ask each of them."""

import shutil
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_iris, load_wine
from sklearn.linear_model import LogisticRegression

import salver

PYTHON = """
class Model:
    inputs = {{"text": ("string", [-1])}}
    outputs = {{"length": ("float32", [-1])}}

    def predict(self, inputs):
        import numpy as np

        return {{"length": np.array([len(each) * {factor} for each in inputs["text"]], np.float32)}}
"""


def write_models(root: Path) -> dict[str, dict[str, Any]]:
    """Write version 1 of each below a directory; name → the body of a request for it."""
    bodies: dict[str, dict[str, Any]] = {}
    for number in range(6):
        name = f"line_{number}"
        write_line(root / name, 1, slope=number)
        bodies[name] = {"instances": [1.0, 2.0, 5.0]}
    for number in range(2):
        name = f"trees_{number}"
        _write_trees(root / name, seed=number)
        bodies[name] = {"instances": [[0.1, 0.2, 0.3, 0.4]]}
    for name, loaded in (("iris", load_iris()), ("wine", load_wine())):
        scaled = (loaded.data / loaded.data.max(axis=0)).astype(np.float32)
        salver.publish(LogisticRegression().fit(scaled, loaded.target), root / name, check=False)
        bodies[name] = {"instances": scaled[:2].tolist()}
    for number in range(2):
        name = f"python_{number}"
        (root / name / "1").mkdir(parents=True)
        (root / name / "1" / "model.py").write_text(PYTHON.format(factor=number + 1))
        bodies[name] = {"inputs": {"text": ["one", "two"]}}
    return bodies


def write_line(base_path: Path, version: int, *, slope: float) -> None:
    """A version of a model that computes slope * x + version; it is put in place whole."""
    table = np.full(1 << 19, version, np.float32)  # 2 MB, so that there is something to balance
    nodes = [
        helper.make_node("Mul", ["x", "a"], ["m"]),
        helper.make_node("Gather", ["table", "first"], ["b"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "line",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows"])],
        [
            numpy_helper.from_array(np.float32(slope), "a"),
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.int64(0), "first"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    partial = base_path.parent / f".{base_path.name}"
    partial.mkdir(parents=True)
    onnx.save(model, partial / "model.onnx")
    base_path.mkdir(exist_ok=True)
    shutil.move(partial, base_path / str(version))


def _write_trees(base_path: Path, *, seed: int) -> None:
    random = np.random.default_rng(seed)
    features = random.random((200, 4))
    data = lightgbm.Dataset(features, label=features.sum(axis=1))
    trees = lightgbm.train({"objective": "regression", "verbosity": -1}, data, num_boost_round=5)
    (base_path / "1").mkdir(parents=True)
    trees.save_model(base_path / "1" / "model.txt")

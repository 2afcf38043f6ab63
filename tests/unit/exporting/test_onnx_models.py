"""With a stand-in for `onnx.ModelProto`, and with the package where it is installed."""

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from salver.errors import InvalidArgument
from salver.exporting import export, is_live


class ModelProto:
    DESCRIPTOR = SimpleNamespace(full_name="onnx.ModelProto")

    def __init__(self, nodes: Any = (), weights: Any = ()) -> None:
        self.graph = SimpleNamespace(node=nodes, initializer=weights)

    def ByteSize(self) -> int:
        return 5

    def SerializeToString(self) -> bytes:
        return b"model"


def node(**attributes: Any) -> Any:
    return SimpleNamespace(attribute=list(attributes.values()))


def attribute(name: str, of: Any) -> Any:
    given = {"t": SimpleNamespace(data_location=0), "g": None, "graphs": (), name: of}
    return SimpleNamespace(name="body", HasField=lambda field: field == name, **given)


def test_a_model_is_one_file(tmp_path: Path) -> None:
    model = ModelProto([node()])
    assert is_live(model)
    export(model, tmp_path / "1")
    assert (tmp_path / "1" / "model.onnx").read_bytes() == b"model"


def test_one_without_a_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="has no graph"):
        export(ModelProto(), tmp_path / "1")


AWAY = SimpleNamespace(name="w", data_location=1)


@pytest.mark.parametrize(
    "model",
    [
        ModelProto([node()], [AWAY]),
        ModelProto([node(value=attribute("t", AWAY))]),
        ModelProto([node(body=attribute("g", SimpleNamespace(node=(), initializer=[AWAY])))]),
    ],
)
def test_weights_that_are_not_in_it_are_refused_by_name(model: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="The weight w of the ONNX model stands in a file"):
        export(model, tmp_path / "1")


@pytest.mark.skipif(find_spec("onnx") is None, reason="onnx is not installed")
def test_onnx_reads_what_was_written(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])

    weight = numpy_helper.from_array(np.array([1, 2], np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])], "g", [value("x")], [value("y")], [weight]
    )
    model = helper.make_model(graph)
    export(model, tmp_path / "1")
    assert onnx.load(tmp_path / "1" / "model.onnx") == model

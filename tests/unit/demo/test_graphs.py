from pathlib import Path

import numpy as np
import pytest

from salver.backends.tensorflow.saved_model import read_meta_graphs
from salver.demo.graphs import Graph, Shape, saved_model, write_saved_model
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import Signature, TensorSpec

SIGNATURES = {
    "a": Signature(
        {
            "x": TensorSpec(DataType.FLOAT32, (-1, 2)),
            "y": TensorSpec(DataType.INT8, ()),
        },
        {"z": TensorSpec(DataType.STRING, None)},
        "some/method",
    ),
    "b": Signature({}, {}),
}


def test_signatures_are_read_as_they_were_given(tmp_path: Path) -> None:
    write_saved_model(tmp_path / "deep" / "1", Graph(), SIGNATURES)
    (graph,) = read_meta_graphs(tmp_path / "deep" / "1")
    assert graph.tags == ("serve",)
    assert graph.signatures == SIGNATURES


def test_the_same_graph_is_the_same_bytes() -> None:
    def made() -> bytes:
        graph = Graph()
        graph.node("Op", "n", (), b=1, a=[Shape((1, -1))])
        return saved_model(graph, SIGNATURES)

    assert made() == made()


def test_tensorflow_reads_every_kind_of_attribute() -> None:
    graph_pb2 = pytest.importorskip("tensorflow.core.framework.graph_pb2")
    graph = Graph()
    graph.placeholder("x", DataType.FLOAT32, (-1, 28))
    strings = np.array([b"one", b"\xfftwo"], object)
    graph.constant("words", strings)
    graph.constant("numbers", np.arange(6, dtype=np.int16).reshape(2, 3))
    graph.node(
        "Anything", "n", ("x", "words:1"), count=-3, share=0.5, is_on=True, name_of=b"SAME",
        sizes=[1, -2], types=[DataType.FLOAT32, DataType.STRING], shapes=[Shape((1,)), Shape(())],
        none=[],
    )  # fmt: skip
    read = graph_pb2.GraphDef.FromString(graph.serialized())
    x, words, numbers, node = read.node
    assert (x.name, x.op, x.attr["dtype"].type) == ("x", "Placeholder", 1)
    assert [dim.size for dim in x.attr["shape"].shape.dim] == [-1, 28]
    assert list(words.attr["value"].tensor.string_val) == [b"one", b"\xfftwo"]
    tensor = numbers.attr["value"].tensor
    assert tensor.tensor_content == np.arange(6, dtype=np.int16).tobytes()
    assert [dim.size for dim in tensor.tensor_shape.dim] == [2, 3]
    assert list(node.input) == ["x", "words:1"]
    assert (node.attr["count"].i, node.attr["share"].f, node.attr["is_on"].b) == (-3, 0.5, True)
    assert node.attr["name_of"].s == b"SAME"
    assert list(node.attr["sizes"].list.i) == [1, -2]
    assert list(node.attr["types"].list.type) == [1, 7]
    assert [len(shape.dim) for shape in node.attr["shapes"].list.shape] == [1, 0]
    assert node.attr["none"].WhichOneof("value") == "list"
    assert read.versions.producer == 27

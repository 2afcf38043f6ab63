from collections.abc import Callable
from pathlib import Path

import pytest

from salver.backends.openvino.ir_file import read_graph
from salver.errors import DataLoss, Unimplemented
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import TensorSpec

ModelPath = Callable[[str], Path]
WEIGHTS = 1 << 20


@pytest.fixture
def xml(model_path: ModelPath) -> bytes:
    return (model_path("openvino_net") / "1" / "model.xml").read_bytes()


def test_a_graph_tells_its_inputs_and_outputs(xml: bytes) -> None:
    graph = read_graph(xml, WEIGHTS)
    assert graph.inputs == {"x": TensorSpec(DataType.FLOAT32, (-1, 16))}
    assert graph.outputs == {"y": TensorSpec(DataType.FLOAT32, (-1, 5))}
    assert not graph.can_loop


@pytest.mark.parametrize("size", [0, 50, 500, -10])
def test_what_was_cut_is_refused(size: int, xml: bytes) -> None:
    with pytest.raises(DataLoss):
        read_graph(xml[:size], WEIGHTS)


def test_weights_that_were_cut_are_refused(xml: bytes) -> None:
    with pytest.raises(DataLoss, match="its weights end before"):
        read_graph(xml, 100)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'version="11"', b'version="9"'),
        (b'<layer id="1"', b'<layer id="0"'),
        (b'to-layer="2"', b'to-layer="99"'),
        (b'offset="0"', b'offset="-1"'),
        (b"<dim>16</dim>", b"<dim>x</dim>"),
        (b'type="Result"', b'type="Other"'),
    ],
)
def test_what_leads_out_of_the_graph_is_refused(old: bytes, new: bytes, xml: bytes) -> None:
    assert old in xml
    with pytest.raises(DataLoss):
        read_graph(xml.replace(old, new, 1), WEIGHTS)


def test_entities_that_would_grow_are_refused() -> None:
    bomb = b'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "aaaa">]><net version="11">&a;</net>'
    with pytest.raises(DataLoss, match="document type"):
        read_graph(bomb, WEIGHTS)


def test_an_input_of_a_type_that_is_not_served_is_refused_by_name(xml: bytes) -> None:
    with pytest.raises(Unimplemented, match="x holds u4"):
        read_graph(xml.replace(b'precision="FP32"', b'precision="U4"', 1), WEIGHTS)

"""SavedModels written without TensorFlow: a graph is a list of nodes, and a node a few fields.

Only what small graphs of constants need. Names and numbers are the wire format of
`tensorflow/core/framework/{graph,node_def,attr_value,tensor}.proto`.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from salver._pb import message_class
from salver.codecs.protobuf.signature_def import signature_definitions
from salver.codecs.protobuf.wire import length_delimited, varint
from salver.vocabulary.dtypes import DataType, dtype_of_array
from salver.vocabulary.model import TensorNames
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature
from salver.vocabulary.tensorflow_types import number_of

__all__ = ["Graph", "Shape", "saved_model", "write_saved_model"]

_PRODUCER: Final = 27  # of graphs that every TensorFlow since 1.12 reads
_TENSORFLOW: Final = "2.16.0"  # the oldest that this server runs


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape as an attribute; -1 for any size."""

    sizes: tuple[int, ...]


class Graph:
    """A graph in the making. Each call adds a node, and returns the name of its first output."""

    def __init__(self) -> None:
        """Begin with no node."""
        self._nodes: list[bytes] = []

    def placeholder(self, name: str, dtype: DataType, shape: tuple[int, ...]) -> str:
        """What a request feeds."""
        return self.node("Placeholder", name, (), dtype=dtype, shape=Shape(shape))

    def constant(self, name: str, value: Array) -> str:
        """A value that never changes."""
        dtype = dtype_of_array(value.dtype)
        return self.node("Const", name, (), dtype=dtype, value=value)

    def node(self, op: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        """An operation.

        Args:
            op: of TensorFlow.
            name: that no other node has.
            inputs: names of nodes, `name:1` for another output than the first.
            attributes: as the operation declares them; a `DataType` for a type, a `Shape`, an
                array for a tensor, a list of one of these.
        """
        parts = [_text(1, name), _text(2, op), *(_text(3, each) for each in inputs)]
        for key, value in sorted(attributes.items()):
            entry = _text(1, key) + length_delimited(2, _attribute(value))
            parts.append(length_delimited(5, entry))
        self._nodes.append(b"".join(parts))
        return name

    def serialized(self) -> bytes:
        """A `tensorflow.GraphDef`."""
        nodes = b"".join(length_delimited(1, node) for node in self._nodes)
        return nodes + length_delimited(4, _number(1, _PRODUCER))


def saved_model(
    graph: Graph,
    signatures: Mapping[str, Signature],
    names: Mapping[str, TensorNames] = MappingProxyType({}),
) -> bytes:
    """What stands in `saved_model.pb`.

    Args:
        graph: of the model.
        signatures: of it.
        names: what they call tensors of the graph; `ALIAS:0` in those that are not here.
    """
    meta = message_class("tensorflow.MetaGraphDef")()
    meta.meta_info_def.tags.append("serve")
    meta.meta_info_def.tensorflow_version = _TENSORFLOW
    named = {name: names.get(name) or _named_as_nodes(of) for name, of in signatures.items()}
    for name, definition in signature_definitions(signatures, named).items():
        meta.signature_def[name].CopyFrom(definition)
    # The messages here know nothing of graphs; fields may stand in any order.
    whole = meta.SerializeToString(deterministic=True) + length_delimited(2, graph.serialized())
    return _number(1, 1) + length_delimited(2, whole)


def write_saved_model(version: Path, graph: Graph, signatures: Mapping[str, Signature]) -> None:
    """Write a version directory, with signatures that call tensors as the graph does."""
    version.mkdir(parents=True, exist_ok=True)
    (version / "saved_model.pb").write_bytes(saved_model(graph, signatures))


def _named_as_nodes(signature: Signature) -> TensorNames:
    return TensorNames(
        {alias: f"{alias}:0" for alias in signature.inputs},
        {alias: f"{alias}:0" for alias in signature.outputs},
    )


# -- fields ----------------------------------------------------------------------------------------


def _attribute(value: Any) -> bytes:
    """An `AttrValue`."""
    if isinstance(value, (list, tuple)):
        return length_delimited(1, b"".join(_attribute(each) for each in value))
    if isinstance(value, bytes):
        return length_delimited(2, value)
    if isinstance(value, bool):
        return _number(5, int(value))
    if isinstance(value, DataType):
        return _number(6, number_of(value))
    if isinstance(value, int):
        return _number(3, value)
    if isinstance(value, float):
        return varint(4 << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, Shape):
        return length_delimited(7, _shape(value.sizes))
    return length_delimited(8, _tensor(value))


def _tensor(value: Array) -> bytes:
    """A `TensorProto`."""
    dtype = dtype_of_array(value.dtype)
    head = _number(1, number_of(dtype)) + length_delimited(2, _shape(value.shape))
    if dtype is DataType.STRING:
        return head + b"".join(length_delimited(8, each) for each in value.reshape(-1))
    return head + length_delimited(4, value.tobytes())


def _shape(sizes: Sequence[int]) -> bytes:
    return b"".join(length_delimited(2, _number(1, size)) for size in sizes)


def _number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value & (1 << 64) - 1)


def _text(field: int, value: str) -> bytes:
    return length_delimited(field, value.encode())

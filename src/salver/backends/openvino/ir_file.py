"""OpenVINO's IR: the graph as XML, its weights beside it. Read for signatures, and checked.

Source: https://docs.openvino.ai, "OpenVINO IR format"; `src/frontends/ir`.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from salver.errors import DataLoss, Unimplemented
from salver.vocabulary.dtypes import DataType, data_type
from salver.vocabulary.signature import TensorSpec

__all__ = ["ELEMENT_TYPES", "Graph", "read_graph"]

ELEMENT_TYPES: Final[Mapping[str, DataType]] = {
    "boolean": DataType.BOOL,
    "bf16": DataType.BFLOAT16,
    **{f"f{bits}": data_type(f"float{bits}") for bits in (16, 32, 64)},
    **{f"i{bits}": data_type(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"u{bits}": data_type(f"uint{bits}") for bits in (8, 16, 32, 64)},
    "string": DataType.STRING,
}
"""What OpenVINO calls element types; others are inside graphs alone."""

_PRECISIONS: Final = {"fp16": "f16", "fp32": "f32", "fp64": "f64", "bool": "boolean"}
_LARGEST_BYTES: Final = 512 << 20
_MOST_DIMENSIONS: Final = 64
_LOOPS: Final = frozenset(("Loop", "TensorIterator", "If"))
_VERSIONS: Final = ("10", "11")


@dataclass(frozen=True, slots=True)
class Graph:
    """What an IR says of its model.

    Attributes:
        inputs: in the order of the file.
        outputs: likewise.
        can_loop: how long a run takes may depend on values.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    can_loop: bool


def read_graph(xml: bytes, weights_bytes: int) -> Graph:
    """Read an IR, and check what leads from it into its weights.

    Args:
        xml: the graph.
        weights_bytes: size of the file of weights.

    Raises:
        DataLoss: it is malformed, or its weights were cut.
        Unimplemented: a type of an input or output is not served.
    """
    net = _net(xml)
    listed = net.findall("layers/layer")
    layers = {layer.get("id", ""): layer for layer in listed}
    if len(layers) != len(listed) or "" in layers:
        raise DataLoss("two of its layers have one id")
    for layer in net.iter("layer"):
        _check_constant(layer, weights_bytes)
    can_loop = any(layer.get("type") in _LOOPS for layer in net.iter("layer"))
    outputs = _outputs(layers, dict(_edges(net, layers)))
    return Graph(_inputs(layers), outputs, can_loop)


def _net(xml: bytes) -> ET.Element:
    if len(xml) > _LARGEST_BYTES:
        raise DataLoss("its graph is larger than 512 MiB")
    if b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:
        raise DataLoss("its XML has a document type, which an IR has not")
    try:
        net = ET.fromstring(xml)  # noqa: S314 - it has no entities
    except (ET.ParseError, ValueError, LookupError) as error:
        raise DataLoss(f"its XML is malformed: {error}") from error
    if net.tag != "net" or net.get("version") not in _VERSIONS:
        raise DataLoss("it is no IR of version 10 or 11")
    return net


def _inputs(layers: Mapping[str, ET.Element]) -> dict[str, TensorSpec]:
    inputs: dict[str, TensorSpec] = {}
    for layer in layers.values():
        if layer.get("type") == "Parameter":
            name, spec = _port(layer, _only_output(layer))
            inputs[_unique(name, inputs)] = spec
    return inputs


def _outputs(
    layers: Mapping[str, ET.Element], sources: Mapping[str, tuple[str, str]]
) -> dict[str, TensorSpec]:
    outputs: dict[str, TensorSpec] = {}
    for id, layer in layers.items():
        if layer.get("type") == "Result":
            if id not in sources:
                raise DataLoss(f"nothing leads to its output {id[:20]}")
            start, port = sources[id]
            name, spec = _port(layers[start], _output(layers[start], port))
            outputs[_unique(name, outputs)] = spec
    if not outputs:
        raise DataLoss("it has no outputs")
    return outputs


def _check_constant(layer: ET.Element, weights_bytes: int) -> None:
    data = layer.find("data")
    if layer.get("type") != "Const" or data is None:
        return
    offset, size = (_number(data.get(key, ""), layer) for key in ("offset", "size"))
    if offset + size > weights_bytes:
        raise DataLoss(f"its weights end before those of layer {layer.get('name', '')[:80]}")


def _edges(
    net: ET.Element, layers: Mapping[str, ET.Element]
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Layer → the layer and the port that lead to it; of a Result there is one."""
    for edge in net.iterfind("edges/edge"):
        start, end = edge.get("from-layer", ""), edge.get("to-layer", "")
        if start not in layers or end not in layers:
            raise DataLoss("an edge leads to a layer that there is not")
        yield end, (start, edge.get("from-port", ""))


def _only_output(layer: ET.Element) -> ET.Element:
    ports = layer.findall("output/port")
    if len(ports) != 1:
        raise DataLoss(f"input {layer.get('name', '')[:80]} is malformed")
    return ports[0]


def _output(layer: ET.Element, id: str) -> ET.Element:
    for port in layer.iterfind("output/port"):
        if port.get("id") == id:
            return port
    raise DataLoss(f"layer {layer.get('name', '')[:80]} has no port {id[:20]}")


def _port(layer: ET.Element, port: ET.Element) -> tuple[str, TensorSpec]:
    """What a port is called, and what goes through it."""
    names = [name for name in port.get("names", "").split(",") if name]
    name = min(names) if names else layer.get("name", "")
    precision = port.get("precision", "").lower()
    element = _PRECISIONS.get(precision, precision)
    dtype = ELEMENT_TYPES.get(element)
    if dtype is None:
        raise Unimplemented(f"{name} holds {element or 'nothing'}, which is not served")
    sizes = [dim.text or "" for dim in port.iterfind("dim")]
    data = layer.find("data")
    declared = "" if data is None else data.get("shape", "")
    if layer.get("type") == "Parameter" and declared.startswith("..."):
        return name, TensorSpec(dtype, None)
    if len(sizes) > _MOST_DIMENSIONS:
        raise DataLoss(f"{name} has {len(sizes)} dimensions")
    return name, TensorSpec(dtype, tuple(_size(size, layer) for size in sizes))


def _size(text: str, layer: ET.Element) -> int:
    return -1 if text == "-1" else _number(text, layer)


def _number(text: str, layer: ET.Element) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise DataLoss(f"layer {layer.get('name', '')[:80]} has a wrong number")
    return int(text)


def _unique(name: str, known: Mapping[str, object]) -> str:
    return name if name not in known else f"{name}@{len(known)}"

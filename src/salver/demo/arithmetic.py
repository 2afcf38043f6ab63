"""half_plus_two and its relatives: the models of TensorFlow Serving's own examples.

`y = x / 2 + 2`, with the signatures that the originals have; constants in the place of their
variables.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from salver.demo.graphs import Graph, Shape, saved_model
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import TensorNames
from salver.vocabulary.signature import (
    CLASSIFY_INPUTS,
    CLASSIFY_METHOD_NAME,
    CLASSIFY_OUTPUT_SCORES,
    DEFAULT_SIGNATURE,
    REGRESS_INPUTS,
    REGRESS_METHOD_NAME,
    REGRESS_OUTPUTS,
    Signature,
    TensorSpec,
)

__all__ = ["half_plus_three", "half_plus_two", "matrix_half_plus_two"]

_F: Final = DataType.FLOAT32
_ROW: Final = (-1, 1)
_REGRESS: Final = Signature(
    {REGRESS_INPUTS: TensorSpec(DataType.STRING, (-1,))},
    {REGRESS_OUTPUTS: TensorSpec(_F, _ROW)},
    REGRESS_METHOD_NAME,
)


def half_plus_two() -> bytes:
    """A `saved_model.pb`: `y = x / 2 + 2`, `y2 = x / 2 + 3`, `y3 = x2 / 2 + 3`."""
    graph = Graph()
    x, x2 = _parsed_examples(graph, {"x": None, "x2": 0.0})
    _line(graph, x, "y", 2.0)
    _line(graph, x, "y2", 3.0)
    _line(graph, x2, "y3", 3.0)
    signatures = {
        DEFAULT_SIGNATURE: _predict("x", "y", _ROW),
        "regress_x_to_y": _REGRESS,
        "regress_x_to_y2": _REGRESS,
        "regress_x2_to_y3": Signature(
            {REGRESS_INPUTS: TensorSpec(_F, _ROW)},
            {REGRESS_OUTPUTS: TensorSpec(_F, _ROW)},
            REGRESS_METHOD_NAME,
        ),
        "classify_x_to_y": Signature(
            {CLASSIFY_INPUTS: TensorSpec(DataType.STRING, (-1,))},
            {CLASSIFY_OUTPUT_SCORES: TensorSpec(_F, _ROW)},
            CLASSIFY_METHOD_NAME,
        ),
    }
    names = {
        "regress_x_to_y": _regressed("tf_example", "y"),
        "regress_x_to_y2": _regressed("tf_example", "y2"),
        "regress_x2_to_y3": _regressed("x2", "y3"),
        "classify_x_to_y": TensorNames(
            {CLASSIFY_INPUTS: "tf_example:0"}, {CLASSIFY_OUTPUT_SCORES: "y:0"}
        ),
    }
    return saved_model(graph, signatures, names)


def half_plus_three() -> bytes:
    """A `saved_model.pb`: `y = x / 2 + 3`."""
    graph = Graph()
    (x,) = _parsed_examples(graph, {"x": None})
    _line(graph, x, "y", 3.0)
    regress = REGRESS_METHOD_NAME  # the name of the original's signature, too
    signatures = {DEFAULT_SIGNATURE: _predict("x", "y", _ROW), regress: _REGRESS}
    return saved_model(graph, signatures, {regress: _regressed("tf_example", "y")})


def matrix_half_plus_two() -> bytes:
    """A `saved_model.pb`: `y = x / 2 + 2` of each element of matrices of three rows."""
    graph = Graph()
    shape = (-1, 3, 3)
    graph.placeholder("x", _F, shape)
    _line(graph, "x", "y", 2.0)
    return saved_model(graph, {DEFAULT_SIGNATURE: _predict("x", "y", shape)})


def _line(graph: Graph, x: str, y: str, more: float) -> None:
    half = graph.constant(f"{y}/half", np.array(0.5, np.float32))
    plus = graph.constant(f"{y}/plus", np.array(more, np.float32))
    graph.node("AddV2", y, (graph.node("Mul", f"{y}/product", (x, half), T=_F), plus), T=_F)


def _parsed_examples(graph: Graph, features: Mapping[str, float | None]) -> list[str]:
    """Nodes that hold a number of each serialized tf.Example: feature → default, None for none."""
    graph.placeholder("tf_example", DataType.STRING, (-1,))
    keys = [graph.constant(f"key_{name}", _strings(name.encode())) for name in features]
    defaults = [
        graph.constant(f"default_{name}", np.array([] if of is None else [of], np.float32))
        for name, of in features.items()
    ]
    graph.node(
        "ParseExample",
        "parsed",
        ("tf_example", graph.constant("no_names", np.array([], object)), *keys, *defaults),
        Nsparse=0,
        Ndense=len(features),
        sparse_types=[],
        Tdense=[_F] * len(features),
        dense_shapes=[Shape((1,))] * len(features),
    )
    return [
        graph.node("Identity", name, (f"parsed:{at}",), T=_F) for at, name in enumerate(features)
    ]


def _strings(value: bytes) -> "np.ndarray[tuple[()], np.dtype[np.object_]]":
    array = np.empty((), object)
    array[()] = value
    return array


def _predict(x: str, y: str, shape: tuple[int, ...]) -> Signature:
    return Signature({x: TensorSpec(_F, shape)}, {y: TensorSpec(_F, shape)})


def _regressed(x: str, y: str) -> TensorNames:
    return TensorNames({REGRESS_INPUTS: f"{x}:0"}, {REGRESS_OUTPUTS: f"{y}:0"})

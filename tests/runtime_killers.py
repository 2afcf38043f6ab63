"""Graphs that load and answer as others do, and end TensorFlow's process where they are asked to.

`reserving` adds as many elements to a list as its input says; 2^31 - 1 of them end the process.
"""

from typing import Final

from tests.graph_wire import (
    FLOAT,
    INT32,
    X,
    constant,
    dtype,
    graph,
    node,
    numbers,
    saved_model,
)

__all__ = ["FATAL", "doubling", "reserving"]

_INT32: Final = dtype(INT32)
FATAL: Final = 2147483520.0  # of 2^31 - 1 elements, as far as a float32 can say it


def _cast(name: str, source: str, from_: int, to: int) -> bytes:
    return node(name, "Cast", [source], SrcT=dtype(from_), DstT=dtype(to))


def reserving() -> bytes:
    """y = x + the length of a list of max(x) elements."""
    nodes = [
        X,
        constant("all", INT32, numbers(INT32, 0, sizes=[1])),
        node("most", "Max", ["x", "all"], T=dtype(FLOAT), Tidx=dtype(INT32)),
        _cast("n", "most", FLOAT, INT32),
        constant("e", INT32, numbers(INT32)),
        node("r", "TensorListReserve", ["e", "n"], element_dtype=dtype(FLOAT), shape_type=_INT32),
        node("l", "TensorListLength", ["r"]),
        _cast("f", "l", INT32, FLOAT),
        node("y", "AddV2", ["x", "f"], T=dtype(FLOAT)),
    ]
    return saved_model(graph(nodes))


def doubling() -> bytes:
    """y = x + x: a model that harms nobody."""
    return saved_model(graph([X, node("y", "AddV2", ["x", "x"], T=dtype(FLOAT))]))

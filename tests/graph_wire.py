"""SavedModels written by hand in the wire form of protocol buffers, also such as nobody exports."""

import struct
from collections.abc import Iterable, Mapping, Sequence

from salver.codecs.protobuf.wire import length_delimited, varint

__all__ = [
    "BOOL", "FLOAT", "INT32", "INT64", "STRING", "VARIANT", "X", "boolean", "call", "constant",
    "dtype", "dtypes", "floats", "function", "function_name", "functions", "graph", "identity",
    "integer", "message", "node", "number", "numbers", "saved_model", "shape", "shape_of",
    "tensor", "tensor_of", "text",
]  # fmt: skip

FLOAT, INT32, STRING, INT64, BOOL, VARIANT = 1, 3, 7, 9, 10, 21


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value & (1 << 64) - 1)


def message(field: int, *parts: bytes) -> bytes:
    return length_delimited(field, b"".join(parts))


def text(field: int, value: str | bytes) -> bytes:
    return length_delimited(field, value.encode() if isinstance(value, str) else value)


# -- tensors ---------------------------------------------------------------------------------------


def shape(*sizes: int) -> bytes:
    return b"".join(message(2, number(1, size)) for size in sizes)


def tensor(dtype: int, sizes: Sequence[int], *content: bytes) -> bytes:
    return number(1, dtype) + message(2, shape(*sizes)) + b"".join(content)


def floats(*values: float) -> bytes:
    return message(5, struct.pack(f"<{len(values)}f", *values))


def numbers(dtype: int, *values: int, sizes: Sequence[int] | None = None) -> bytes:
    """A tensor of int32 or int64; a vector where nothing else is said."""
    field = 7 if dtype == INT32 else 10
    content = message(field, *[varint(value & (1 << 64) - 1) for value in values])
    return tensor(dtype, (len(values),) if sizes is None else sizes, content if values else b"")


# -- attributes ------------------------------------------------------------------------------------


def dtype(number_: int) -> bytes:
    return number(6, number_)


def dtypes(*numbers_: int) -> bytes:
    return message(1, message(6, *map(varint, numbers_)))


def shape_of(*sizes: int) -> bytes:
    return message(7, shape(*sizes))


def tensor_of(value: bytes) -> bytes:
    return message(8, value)


def integer(value: int) -> bytes:
    return number(3, value)


def boolean(value: bool) -> bytes:
    return number(5, int(value))


def function_name(name: str) -> bytes:
    return message(10, text(1, name))


def functions(*names: str) -> bytes:
    return message(1, *[message(9, text(1, name)) for name in names])


# -- graphs ----------------------------------------------------------------------------------------


def node(name: str, op: str, inputs: Iterable[str] = (), **attributes: bytes) -> bytes:
    return b"".join(
        [
            text(1, name),
            text(2, op),
            *[text(3, each) for each in inputs],
            *[message(5, text(1, key), message(2, value)) for key, value in attributes.items()],
        ]
    )


def constant(name: str, dtype_: int, value: bytes) -> bytes:
    return node(name, "Const", dtype=dtype(dtype_), value=tensor_of(value))


def identity(name: str, source: str, dtype_: int = FLOAT) -> bytes:
    return node(name, "Identity", [source], T=dtype(dtype_))


def call(name: str, callee: str, source: str = "x", op: str = "PartitionedCall") -> bytes:
    return node(name, op, [source], Tin=dtypes(FLOAT), Tout=dtypes(FLOAT), f=function_name(callee))


X = node("x", "Placeholder", dtype=dtype(FLOAT), shape=shape_of(-1))
"""The one input of every graph here."""


def function(name: str, nodes: Iterable[bytes], returns: str, *, result: int = FLOAT) -> bytes:
    """A function of the float x."""
    signature = (
        text(1, name)
        + message(2, text(1, "x"), number(3, FLOAT))
        + message(3, text(1, "y"), number(3, result))
    )
    return b"".join(
        [
            message(1, signature),
            *[message(3, each) for each in nodes],
            message(4, text(1, "y"), text(2, returns)),
        ]
    )


def graph(nodes: Iterable[bytes], library: Iterable[bytes] = ()) -> bytes:
    functions_ = b"".join(message(1, each) for each in library)
    return b"".join(
        [
            *[message(1, each) for each in nodes],
            message(2, functions_) if functions_ else b"",
            message(4, number(1, 1882)),
        ]
    )


def _info(name: str, dtype_: int = FLOAT) -> bytes:
    return text(1, name) + number(2, dtype_) + message(3, shape(-1))


def _signature(name: str, inputs: Mapping[str, bytes], outputs: Mapping[str, bytes]) -> bytes:
    fields = [
        *[message(1, text(1, key), message(2, value)) for key, value in inputs.items()],
        *[message(2, text(1, key), message(2, value)) for key, value in outputs.items()],
        text(3, "tensorflow/serving/predict"),
    ]
    return message(5, text(1, name), message(2, *fields))


def saved_model(*graphs: bytes, init_op: str = "") -> bytes:
    """A SavedModel that computes y from x.

    Args:
        graphs: parts of the one graph, mostly one.
        init_op: node that is run when it is loaded.
    """
    signatures = _signature("serving_default", {"x": _info("x:0")}, {"y": _info("y:0")})
    if init_op:
        name = "__saved_model_init_op"
        signatures += _signature(name, {}, {name: _info(init_op, 0)})
    meta = message(1, text(4, "serve"))
    return number(1, 1) + message(2, meta, *[message(2, each) for each in graphs], signatures)

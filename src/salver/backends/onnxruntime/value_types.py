"""What an ONNX file declares of an input or output: `ValueInfoProto` and `TypeProto`."""

from dataclasses import dataclass
from typing import Final

from salver.backends.onnxruntime.wire import LENGTH_DELIMITED, VARINT, MessageFile
from salver.vocabulary.dtypes import DataType

__all__ = ["ELEMENT_TYPES", "Dimension", "Value", "element_type", "read_value"]

ELEMENT_TYPES: Final = {
    1: DataType.FLOAT32,
    2: DataType.UINT8,
    3: DataType.INT8,
    4: DataType.UINT16,
    5: DataType.INT16,
    6: DataType.INT32,
    7: DataType.INT64,
    8: DataType.STRING,
    9: DataType.BOOL,
    10: DataType.FLOAT16,
    11: DataType.FLOAT64,
    12: DataType.UINT32,
    13: DataType.UINT64,
    14: DataType.COMPLEX64,
    15: DataType.COMPLEX128,
    16: DataType.BFLOAT16,
    17: DataType.FLOAT8_E4M3FN,
    18: DataType.FLOAT8_E4M3FNUZ,
    19: DataType.FLOAT8_E5M2,
    20: DataType.FLOAT8_E5M2FNUZ,
    21: DataType.UINT4,
    22: DataType.INT4,
}
"""`TensorProto.DataType`, which ONNX Runtime counts alike."""

_NUMBERS: Final = {dtype: number for number, dtype in ELEMENT_TYPES.items()}
_KINDS: Final = {
    1: "tensor",
    4: "sequence",
    5: "map",
    7: "opaque value",
    8: "sparse tensor",
    9: "optional value",
}
_UNSIGNED: Final = 1 << 63
_DEEPEST: Final = 8

Dimension = int | str
"""A size, or the symbol for one; empty for any size."""


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output.

    Attributes:
        name: of it.
        kind: `tensor`, `sequence`, …; empty where nothing is said.
        element: of a tensor; 0 for none.
        dims: of a tensor; None where its rank is not declared.
        of: what a sequence is of.
    """

    name: str
    kind: str = ""
    element: int = 0
    dims: tuple[Dimension, ...] | None = None
    of: "Value | None" = None

    @property
    def dtype(self) -> DataType:
        """Of the elements; INVALID for what has none, or one that nothing here holds."""
        return ELEMENT_TYPES.get(self.element, DataType.INVALID)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The same as the dims, -1 for symbols."""
        if self.dims is None:
            return None
        return tuple(size if isinstance(size, int) else -1 for size in self.dims)


def element_type(dtype: DataType) -> int | None:
    """The number of an element type; None where ONNX has none."""
    return _NUMBERS.get(dtype)


def read_value(messages: MessageFile, begin: int, end: int) -> Value:
    """Read a `ValueInfoProto`.

    Raises:
        InvalidArgument: it is none.
    """
    name, value = "", Value("")
    for number, kind, first, stop in messages.fields(begin, end):
        if kind == LENGTH_DELIMITED and number == 1:
            name = messages.text(first, stop)
        elif kind == LENGTH_DELIMITED and number == 2:
            value = _type(messages, first, stop, 0)
    return Value(name, value.kind, value.element, value.dims, value.of)


def _type(messages: MessageFile, begin: int, end: int, depth: int) -> Value:
    if depth > _DEEPEST:
        raise messages.malformed()
    value = Value("")
    for number, kind, first, stop in messages.fields(begin, end):
        if kind != LENGTH_DELIMITED or number not in _KINDS:
            continue
        if number == 1:
            value = _tensor(messages, first, stop)
        elif number == 4:
            value = Value("", "sequence", of=_element(messages, first, stop, depth))
        else:
            value = Value("", _KINDS[number])
    return value


def _element(messages: MessageFile, begin: int, end: int, depth: int) -> Value | None:
    found = None
    for number, kind, first, stop in messages.fields(begin, end):
        if number == 1 and kind == LENGTH_DELIMITED:
            found = _type(messages, first, stop, depth + 1)
    return found


def _tensor(messages: MessageFile, begin: int, end: int) -> Value:
    element, dims = 0, None
    for number, kind, first, stop in messages.fields(begin, end):
        if number == 1 and kind == VARINT:
            element = first
        elif number == 2 and kind == LENGTH_DELIMITED:
            dims = (
                *(dims or ()),
                *(
                    _dimension(messages, *payload)
                    for dim, of, *payload in messages.fields(first, stop)
                    if dim == 1 and of == LENGTH_DELIMITED
                ),
            )
    return Value("", "tensor", element, dims)


def _dimension(messages: MessageFile, begin: int, end: int) -> Dimension:
    found: Dimension = ""
    for number, kind, first, stop in messages.fields(begin, end):
        if number == 1 and kind == VARINT:
            found = first if first < _UNSIGNED else ""  # some exporters write -1
        elif number == 2 and kind == LENGTH_DELIMITED:
            found = messages.text(first, stop)
    return found

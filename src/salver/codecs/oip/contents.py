"""`inference.InferTensorContents` ↔ arrays: elements in the field of their kind.

The usual contents hold one field, whose numbers are packed; those of FP32 and FP64 are then read
where they lie. Other forms go through protobuf's own parser.

Source: the specification's `open_inference_grpc.proto`, "InferTensorContents"; the texts are
those of Triton's `grpc/infer_handler.cc`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np

from salver.codecs.oip.dtypes import datatype_name
from salver.codecs.oip.tensors import InputMismatch, shaped, string_array
from salver.codecs.protobuf.room import Room
from salver.codecs.protobuf.wire import (
    Bytes,
    Unsigned,
    from_varints,
    length_delimited,
    parse_message,
    read_length,
    to_varints,
)
from salver.errors import Internal, InvalidArgument
from salver.vocabulary.dtypes import DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.requests import Array

__all__ = ["array_of_contents", "contents_of"]

_MESSAGE: Final = "inference.InferTensorContents"
_STRING_TAG: Final = 0x42
_STRING_MADE_BYTES: Final = 32  # time of one that was sent, as if in bytes


@dataclass(frozen=True, slots=True)
class _Field:
    """Where the elements of a dtype stand.

    Attributes:
        number: of the field.
        name: of the field.
        kind: `fixed` is as in memory.
        wire: the numbers as they are on the wire, of `varint`.
    """

    number: int
    name: str
    kind: Literal["fixed", "varint", "bool", "string"]
    wire: Unsigned

    @property
    def tag(self) -> int:
        """Of the field when packed."""
        return self.number << 3 | 2


_32: Final = np.dtype(np.uint32)
_64: Final = np.dtype(np.uint64)
_INT: Final = _Field(2, "int_contents", "varint", _32)
_UINT: Final = _Field(4, "uint_contents", "varint", _32)

_FIELDS: Final[Mapping[DataType, _Field]] = MappingProxyType(
    {
        DataType.BOOL: _Field(1, "bool_contents", "bool", _64),
        DataType.INT8: _INT,
        DataType.INT16: _INT,
        DataType.INT32: _INT,
        DataType.INT64: _Field(3, "int64_contents", "varint", _64),
        DataType.UINT8: _UINT,
        DataType.UINT16: _UINT,
        DataType.UINT32: _UINT,
        DataType.UINT64: _Field(5, "uint64_contents", "varint", _64),
        DataType.FLOAT32: _Field(6, "fp32_contents", "fixed", _64),
        DataType.FLOAT64: _Field(7, "fp64_contents", "fixed", _64),
        DataType.STRING: _Field(8, "bytes_contents", "string", _64),
    }
)
_DATATYPES: Final = {
    "bool_contents": "BOOL",
    "int_contents": "INT32",
    "int64_contents": "INT64",
    "uint_contents": "UINT32",
    "uint64_contents": "UINT64",
    "fp32_contents": "FP32",
    "fp64_contents": "FP64",
    "bytes_contents": "BYTES",
}


def array_of_contents(
    dtype: DataType, shape: tuple[int, ...], data: Bytes, name: str, room: Room | None = None
) -> Array:
    """The array of serialized contents.

    Args:
        dtype: of the input; one of `dtypes.DATATYPES`.
        shape: without negative axes; see `tensors.checked_shape`.
        data: the message.
        name: of the input, for the text of an error.
        room: see there; None: there is room.

    Returns:
        Numbers of FP32 and FP64 as a read-only view of `data`, which it keeps alive.

    Raises:
        InvalidArgument: they are not of this dtype, or not as many as the shape says.
        Internal: `data` is no such message.
        TakesLong: see `Room`.
    """
    field = _FIELDS.get(dtype)
    if field is None:
        raise InvalidArgument(
            f"input '{name}' is of datatype {datatype_name(dtype)}, which contents cannot hold: "
            "send it as raw_input_contents"
        )
    count = 1
    for size in shape:
        count *= size
    if field.kind == "string":
        return string_array(_strings(data, field, count, name, room), shape, name)
    packed = _usual_payload(data, field)
    if packed is None:
        written = _only(field, data, dtype, name).SerializeToString()  # with its numbers packed
        packed = _usual_payload(written, field)
        assert packed is not None
    return shaped(_numbers(packed, field, dtype, count, name, room), shape, name)


def contents_of(array: Array) -> bytes:
    """Serialized contents of an array.

    Raises:
        TypeError: they cannot hold such elements.
    """
    field = _FIELDS.get(dtype_of_array(array.dtype))
    if field is None:
        raise TypeError(f"no contents hold elements of type {array.dtype}")
    if field.kind == "string":
        return b"".join([length_delimited(8, value) for value in array.ravel().tolist()])
    flat = np.ascontiguousarray(array).reshape(-1)
    if not flat.size:
        return b""
    if field.kind == "fixed":
        return length_delimited(field.number, flat.tobytes())
    if field.kind == "bool":
        return length_delimited(field.number, np.not_equal(flat.view(np.uint8), 0).tobytes())
    wide = flat if flat.dtype.kind == "u" else flat.astype(np.int64).view(np.uint64)
    return length_delimited(field.number, to_varints(wide))


def _usual_payload(data: Bytes, field: _Field) -> Bytes | None:
    """What the one packed field holds; None where the form is another."""
    if not len(data):
        return b""
    if data[0] != field.tag:
        return None
    try:
        size, at = read_length(data, 1)
    except IndexError:
        return None
    return data[at:] if at + size == len(data) else None


def _only(field: _Field, data: Bytes, dtype: DataType, name: str) -> Any:
    """The message with one field alone.

    Raises:
        InvalidArgument: there are others, which it must not have.
    """
    message = parse_message(_MESSAGE, data)
    for descriptor, _ in message.ListFields():
        if descriptor.name != field.name:
            raise InvalidArgument(
                f"unexpected explicit tensor data for input tensor '{name}' of type "
                f"'{_DATATYPES[descriptor.name]}', expected datatype '{datatype_name(dtype)}'"
            )
    message.DiscardUnknownFields()
    return message


def _numbers(
    packed: Bytes, field: _Field, dtype: DataType, count: int, name: str, room: Room | None
) -> Array:
    storage = numpy_dtype(dtype)
    if field.kind == "fixed":
        if len(packed) % storage.itemsize:
            raise Internal(f"Failed to parse {_MESSAGE}")
        values = np.frombuffer(packed, storage) if len(packed) else np.empty(0, storage)
    else:
        if room is not None:
            room.make(len(packed) * field.wire.itemsize)
        try:
            values = from_varints(packed, field.wire)
        except ValueError as error:
            raise Internal(f"Failed to parse {_MESSAGE}") from error
    if len(values) != count:
        size = storage.itemsize
        raise InputMismatch(
            "input byte size mismatch for input",
            name,
            f". Expected {count * size}, got {len(values) * size}",
        )
    if field.kind == "fixed":
        return values
    if field.kind == "bool":
        truths: Array = values != 0
        return truths
    if storage.kind == "i":
        values = values.view(np.int32 if field.wire.itemsize == 4 else np.int64)
    return _narrowed(values, storage, name)


def _narrowed(values: Array, storage: "np.dtype[Any]", name: str) -> Array:
    if values.dtype == storage:
        return values
    limits = np.iinfo(storage)
    if values.size and (values.min() < limits.min or values.max() > limits.max):
        raise InvalidArgument(f"input '{name}' has values that are no {storage.name}")
    return values.astype(storage)


def _strings(data: Bytes, field: _Field, count: int, name: str, room: Room | None) -> list[bytes]:
    if 2 * count > len(data):  # each takes two bytes at least
        raise _wrong_count(name, count, f"no more than {len(data) // 2}")
    if room is not None:
        room.make(count * _STRING_MADE_BYTES)
    values = _usual_strings(bytes(data), count)
    if values is None:
        values = list(_only(field, data, DataType.STRING, name).bytes_contents)
    if len(values) != count:
        raise _wrong_count(name, count, len(values) if len(values) < count else "more")
    return values


def _usual_strings(data: bytes, most: int) -> list[bytes] | None:
    """The values of a run of the one field, up to one more than `most`; None for another form."""
    values: list[bytes] = []
    at = 0
    end = len(data)
    try:
        while at < end and len(values) <= most:
            size = data[at + 1]
            if data[at] != _STRING_TAG:
                return None
            at += 2
            if size > 0x7F:
                size, at = read_length(data, at - 1)
            stop = at + size
            if stop > end:
                return None
            values.append(data[at:stop])
            at = stop
    except IndexError:
        return None
    return values


def _wrong_count(name: str, count: int, found: int | str) -> InvalidArgument:
    before = f"expected {count} string elements for inference input"
    return InputMismatch(before, name, f", got {found}")

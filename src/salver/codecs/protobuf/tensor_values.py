"""From the values in a `tensorflow.TensorProto` to an array of its shape.

Source: TensorFlow, `core/framework/tensor.cc` (FromProtoField, Helper::Decode) and
`tensor_shape.cc` (IsValid); what they do was seen through `TF_TensorFromProto`.
"""

from functools import lru_cache
from typing import Any, Final

import numpy as np

from salver.codecs.protobuf.room import Room
from salver.codecs.protobuf.tensor_form import TensorForm
from salver.codecs.protobuf.wire import Bytes, from_varints, parse_message, read_length
from salver.errors import InvalidArgument
from salver.vocabulary.requests import Array

__all__ = ["checked_shape", "from_content", "from_packed", "from_strings", "shape_of"]

_MAX_RANK: Final = 254  # TensorShape::MaxDimensions
_MAX_ELEMENTS: Final = (1 << 63) - 1
_STRING_COST_BYTES: Final = 256  # time and memory of an element of its own, as if in bytes
_STRING_MADE_BYTES: Final = 32  # time of one that was sent, as if in bytes


@lru_cache(maxsize=4096)
def shape_of(data: bytes) -> tuple[tuple[int, ...], int]:
    """Shape and number of elements of a serialized `TensorShapeProto`.

    Kept, because a client's shapes are few: 0.1 µs instead of 2. `data` has at most 127 bytes.

    Raises:
        InvalidArgument: see `checked_shape`.
        Internal: `data` is malformed.
    """
    return checked_shape(parse_message("tensorflow.TensorShapeProto", data))


def checked_shape(message: Any) -> tuple[tuple[int, ...], int]:
    """Shape and number of elements of a `TensorShapeProto` of `salver._pb`.

    An unknown rank is not looked at; without dimensions it is a scalar.

    Raises:
        InvalidArgument: TensorFlow would refuse it: it has a negative dimension, too many
            dimensions, or too many elements on the way from the first dimension to the last.
    """
    if len(message.dim) > _MAX_RANK:
        raise InvalidArgument(f"A shape has {len(message.dim)} dimensions, more than {_MAX_RANK}")
    shape = tuple([dim.size for dim in message.dim])
    n_elements = 1
    for size in shape:
        if size < 0:
            raise InvalidArgument(f"A shape has a dimension of {size}")
        n_elements *= size
        if n_elements > _MAX_ELEMENTS:
            raise InvalidArgument(f"A shape has too many elements: {shape}")
    return shape, n_elements


def from_content(
    form: TensorForm, content: Bytes, shape: tuple[int, ...], n_elements: int, room: Room
) -> Array:
    """The array of a `tensor_content` that is not empty.

    Raises:
        InvalidArgument: it does not fit the shape.
        TakesLong: see `Room`.
    """
    if not n_elements:
        return _shaped(np.empty(0, form.storage), shape)
    if form.kind == "string":
        values = _content_strings(bytes(content), n_elements)
        return from_strings(values, shape, n_elements, room)
    if len(content) != n_elements * form.storage.itemsize:
        raise InvalidArgument(
            f"Content of {len(content)} bytes is not {n_elements} elements of "
            f"{form.storage.itemsize} bytes"
        )
    if form.kind == "bool" and np.frombuffer(content, np.uint8).max() > 1:
        raise InvalidArgument("Content for bool has bytes that are neither 0 nor 1")
    return _shaped(np.frombuffer(content, form.storage), shape)


def _content_strings(content: bytes, count: int) -> list[bytes]:
    """Strings as `tensor_content` has them: all their lengths, then all their bytes."""
    sizes = []
    at = 0
    try:
        for _ in range(count):
            size, at = read_length(content, at)
            sizes.append(size & 0xFFFF_FFFF)
    except IndexError:
        raise InvalidArgument(f"Content for strings has not got {count} lengths") from None
    if at + sum(sizes) != len(content):
        raise InvalidArgument("Content for strings is not as long as its lengths say")
    values = []
    for size in sizes:
        values.append(content[at : at + size])
        at += size
    return values


def from_packed(
    form: TensorForm, packed: Bytes, shape: tuple[int, ...], n_elements: int, room: Room
) -> Array:
    """The array of the payload of a packed value field.

    Raises:
        InvalidArgument: too much is missing.
        TakesLong: see `Room`.
        ValueError: the payload is malformed.
    """
    if form.kind == "fixed":
        if len(packed) % form.unit_bytes:
            raise ValueError("the last number is cut off")
        count = len(packed) // form.storage.itemsize  # of an odd number of parts the last is lost
        return _padded(np.frombuffer(packed, form.storage, count), shape, n_elements, room)
    room.make(min(n_elements, len(packed)) * form.storage.itemsize)
    if form.kind == "bool":
        return _padded(from_varints(packed, np.dtype(np.uint64)) != 0, shape, n_elements, room)
    return _padded(from_varints(packed, form.unsigned).view(form.storage), shape, n_elements, room)


def _padded(values: Array, shape: tuple[int, ...], n_elements: int, room: Room) -> Array:
    missing = n_elements - len(values)
    if not missing:
        return _shaped(values, shape)
    if missing < 0:
        return _shaped(values[:n_elements], shape)
    room.pad(missing, missing * values.itemsize)
    array = np.zeros(n_elements, values.dtype)
    if len(values):
        array[: len(values)] = values
        array[len(values) :] = values[-1]
    return _shaped(array, shape)


def from_strings(values: list[bytes], shape: tuple[int, ...], n_elements: int, room: Room) -> Array:
    """The array of the values of a string tensor.

    Raises:
        InvalidArgument: too much is missing.
        TakesLong: see `Room`.
    """
    room.make(len(values) * _STRING_MADE_BYTES)
    missing = n_elements - len(values)
    last = values[-1] if values else b""
    if missing > 0:
        room.pad(missing, missing * (_STRING_COST_BYTES + len(last)))
    array = np.empty(n_elements, object)
    array[: len(values)] = values[:n_elements]
    array[len(values) :] = last
    return _shaped(array, shape)


def _shaped(values: Array, shape: tuple[int, ...]) -> Array:
    try:
        return values.reshape(shape)
    except ValueError as error:  # no elements but axes of 2**62, or more axes than numpy has
        raise InvalidArgument(
            f"No array has a shape of {len(shape)} dimensions: {error}"
        ) from error

"""Tensors of the Open Inference Protocol as they are in memory: raw bytes ↔ arrays.

Numbers lie row by row in little-endian order. Each element of a BYTES tensor is its length, four
bytes in little-endian order, and then as many bytes. Both are the same in the binary extension of
REST and in `raw_input_contents` of gRPC.
"""

import struct
from collections.abc import Sequence
from math import prod
from typing import Any, Final

import numpy as np

from salver.codecs.protobuf.room import Room
from salver.codecs.protobuf.tensor_proto import raw_elements
from salver.codecs.protobuf.wire import Bytes
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array

__all__ = [
    "MAX_ELEMENTS",
    "MAX_RANK",
    "InputMismatch",
    "array_of_raw",
    "checked_shape",
    "count_elements",
    "raw_of",
    "raw_strings",
    "shaped",
    "string_array",
]

MAX_ELEMENTS: Final = (1 << 63) - 1
MAX_RANK: Final = 64
"""How many axes a tensor may have: numpy's own limit since 2.0."""

_LENGTH: Final = struct.Struct("<I")
_STRING_MADE_BYTES: Final = 32  # time of one element, as if in bytes


class InputMismatch(InvalidArgument):
    """Raw bytes that are not the elements of an input.

    The message names the input; `of_model` names the model too, as clients of Triton match on it.
    """

    def __init__(self, before: str, name: str, after: str) -> None:
        super().__init__(f"{before} '{name}'{after}")
        self._parts = (before, name, after)

    def of_model(self, model: str) -> InvalidArgument:
        """The same error, naming the model."""
        before, name, after = self._parts
        return InvalidArgument(f"{before} '{name}' for model '{model}'{after}")


def checked_shape(shape: Sequence[Any], name: str) -> tuple[int, ...]:
    """The shape that a request gives for a tensor.

    Args:
        shape: what stands there; anything.
        name: of the tensor, for the text of an error.

    Raises:
        InvalidArgument: an axis is no size, there are too many of them, or too many elements.
    """
    if len(shape) > MAX_RANK:
        raise InvalidArgument(
            f"invalid shape for input '{name}': {len(shape)} dimensions are more than {MAX_RANK}"
        )
    for size in shape:
        if type(size) is not int or not 0 <= size <= MAX_ELEMENTS:
            raise InvalidArgument(
                f"invalid shape for input '{name}': shape {_text(shape)} contains one or more "
                "invalid dimensions"
            )
    found = tuple(shape)
    count_elements(found, name)
    return found


def count_elements(shape: tuple[int, ...], name: str) -> int:
    """The number of elements of a shape without negative axes.

    Raises:
        InvalidArgument: there are more than 2^63 - 1 of them.
    """
    count = prod(shape)
    if count > MAX_ELEMENTS:
        raise InvalidArgument(
            f"invalid shape for input '{name}': shape {_text(shape)} causes total element count to "
            f"exceed maximum size of {MAX_ELEMENTS}"
        )
    return count


def array_of_raw(
    dtype: DataType, shape: tuple[int, ...], raw: Bytes, name: str, room: Room | None = None
) -> Array:
    """The array of raw bytes.

    Args:
        dtype: one of `dtypes.DATATYPES`.
        shape: without negative axes; see `checked_shape`.
        raw: all bytes of the tensor, and no others.
        name: of the tensor, for the text of an error.
        room: see there; None: there is room. Only strings make something of their own.

    Returns:
        A read-only view of `raw`, which it keeps alive and which may lie at any address; of strings
        an `object` array of `bytes`.

    Raises:
        InvalidArgument: `raw` is not as long as dtype and shape say, a BOOL is neither 0 nor 1, or
            no array has such a shape.
        TakesLong: see `Room`.
    """
    count = count_elements(shape, name)
    if dtype is DataType.STRING:
        return string_array(_strings(raw, count, name, room), shape, name)
    storage = numpy_dtype(dtype)
    if len(raw) != count * storage.itemsize:
        raise InputMismatch(
            "input byte size mismatch for input",
            name,
            f". Expected {count * storage.itemsize}, got {len(raw)}",
        )
    if dtype is DataType.BOOL and count and int(np.frombuffer(raw, np.uint8).max()) > 1:
        raise InvalidArgument(f"input '{name}' is BOOL but has bytes that are neither 0 nor 1")
    try:
        return np.ndarray(shape, storage, raw)
    except ValueError as error:  # no elements but axes of 2**62, or more axes than numpy has
        raise _no_array(shape, name, error) from error


def string_array(values: Sequence[bytes], shape: tuple[int, ...], name: str) -> Array:
    """The array of as many strings as its shape has elements; raises as `array_of_raw`."""
    array = np.empty(len(values), object)
    array[:] = values
    return shaped(array, shape, name)


def shaped(array: Array, shape: tuple[int, ...], name: str) -> Array:
    """The same elements in another shape, which has as many.

    Raises:
        InvalidArgument: no array has such a shape.
    """
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise _no_array(shape, name, error) from error


def raw_of(array: Array) -> Bytes:
    """The raw bytes of an array, row by row; of a large one of numbers without a copy."""
    if array.dtype.hasobject:
        return raw_strings(array.ravel().tolist())
    return raw_elements(array)


def raw_strings(values: Sequence[bytes]) -> bytes:
    """The raw bytes of a BYTES tensor."""
    pack = _LENGTH.pack
    parts: list[bytes] = []
    for value in values:
        parts += (pack(len(value)), value)
    return b"".join(parts)


def _strings(raw: Bytes, count: int, name: str, room: Room | None) -> list[bytes]:
    end = len(raw)
    if count * _LENGTH.size > end:
        # Whatever the lengths say, there are not so many.
        raise InputMismatch(
            f"expected {count} string elements for inference input",
            name,
            f", got no more than {end // _LENGTH.size}",
        )
    if room is not None:
        room.make(count * _STRING_MADE_BYTES + end)  # each is copied
    values: list[bytes] = []
    unpack, at = _LENGTH.unpack_from, 0
    whole = bytes(raw) if end < 1 << 16 else raw  # slices of bytes are made quicker
    for index in range(count):
        begin = at + 4
        if begin > end:
            raise InputMismatch(
                "incomplete string length indicator for inference input",
                name,
                f", expecting 4 bytes but only {end - at} bytes available",
            )
        at = begin + unpack(whole, at)[0]
        if at > end:
            raise InputMismatch(
                f"string element {index} of inference input",
                name,
                f" is cut short: expecting {at - begin} bytes but only {end - begin} bytes "
                "available",
            )
        values.append(bytes(whole[begin:at]))
    if at != end:
        raise InputMismatch(
            "unexpected number of string elements for inference input",
            name,
            f", expecting {count}: {end - at} bytes are left over",
        )
    return values


def _no_array(shape: tuple[int, ...], name: str, error: Exception) -> InvalidArgument:
    return InvalidArgument(
        f"invalid shape for input '{name}': no array has the shape {_text(shape)}: {error}"
    )


def _text(shape: Sequence[Any]) -> str:
    """As Triton writes it: `[1,3]`."""
    text = ",".join(map(str, shape))
    return f"[{text if len(text) <= 200 else text[:200] + '…'}]"

"""Tensors as JSON text.

Numbers are written by orjson from the array itself: the shortest digits that give back the same
value of the array's dtype.

orjson keeps the GIL for as long as it writes, and where there is no memory for what it has written
it writes on regardless (3.13 does). So what is large is written in slices: other threads get their
turn between them, who does not want the text any more is noticed, and memory is asked for first.
"""

import binascii
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import orjson

from salver.codecs.json.arrays import JSON_TYPES
from salver.codecs.json.text import quote
from salver.errors import InvalidArgument
from salver.instruments.heap import joined, unfilled_bytes
from salver.vocabulary.dtypes import DataType, dtype_of_array
from salver.vocabulary.requests import Array
from salver.vocabulary.tensorflow_types import short_text

__all__ = [
    "MOST_AT_ONCE",
    "gathered",
    "number_text",
    "row_texts",
    "tensor_pieces",
    "tensor_text",
    "weight_of",
]

MOST_AT_ONCE: Final = 1 << 14
"""So many elements are written at once: 0.5 ms. Slices of this size cost nothing that one could
measure."""

_PART_BYTES: Final = 64 << 20  # what is freed of this size goes back to the system at once
# The longest text of a number with its comma; how much more orjson takes while its buffer grows.
_NUMBER_BYTES: Final = 26
_GROWTH: Final = 4
_BYTES_SUFFIX = "_bytes"


def tensor_text(name: str, array: Array) -> bytes:
    """A whole tensor."""
    if array.dtype.kind != "O":
        return number_text(array)
    return _nest(_string_texts(name, array), array.shape, 0)[0]


def row_texts(name: str, array: Array) -> list[bytes]:
    """Each row of a tensor of rank 1 or more."""
    if array.dtype.kind == "O":
        return _nest(_string_texts(name, array), array.shape, 1)
    text = number_text(array)
    if not array.size:
        return _nest([], array.shape, 1)
    depth = array.ndim - 1
    opening, closing = b"[" * depth, b"]" * depth
    rows = text[1 + depth : -1 - depth].split(closing + b"," + opening)
    return [opening + row + closing for row in rows] if depth else rows


def _nest(texts: list[bytes], shape: Sequence[int], first_axis: int) -> list[bytes]:
    """Join the texts of scalars into those of the lists along `first_axis` and all after it."""
    for axis in range(len(shape) - 1, first_axis - 1, -1):
        size = shape[axis]
        lists = math.prod(shape[:axis])
        texts = [b"[%s]" % b",".join(texts[at * size : (at + 1) * size]) for at in range(lists)]
    return texts


def _string_texts(name: str, array: Array) -> list[bytes]:
    flat: list[bytes] = array.ravel().tolist()
    if not name.endswith(_BYTES_SUFFIX):
        return [quote(element) for element in flat]
    return [b'{"b64":"%s"}' % binascii.b2a_base64(element, newline=False) for element in flat]


def number_text(array: Array) -> bytes:
    """A tensor of numbers or booleans, of any shape and layout.

    Raises:
        InvalidArgument: JSON has no form for its dtype.
    """
    if array.size <= MOST_AT_ONCE:
        return _dumped(array)
    return b"".join(_slices(array, _dumped_in_room, _nobody_asks))


def tensor_pieces(name: str, array: Array, check: Callable[[], None]) -> Iterator[bytes]:
    """The text of a whole tensor, a slice at a time.

    Args:
        name: of the output; decides how strings are written.
        array: the tensor.
        check: called before each slice.

    Raises:
        InvalidArgument: see `number_text`.
        MemoryError: there is no room for a slice.
    """
    if array.dtype.kind == "O":
        return _slices(array, lambda part: tensor_text(name, part), check)
    return _slices(array, _dumped_in_room, check)


def weight_of(array: Array) -> int:
    """How many elements a tensor has, or lists where these are empty; at least one."""
    weight = 1
    for size in array.shape:
        if not size:
            break
        weight *= size
    return weight


def _slices(
    array: Array, text: Callable[[Array], bytes], check: Callable[[], None]
) -> Iterator[bytes]:
    weight = weight_of(array)
    if weight <= MOST_AT_ONCE:
        check()
        yield text(array)
        return
    step = MOST_AT_ONCE * len(array) // weight
    lead = b"["
    for start in range(0, len(array), max(1, step)):
        if step:
            check()
            yield lead + text(array[start : start + step])[1:-1]
        else:
            yield lead
            yield from _slices(array[start, ...], text, check)
        lead = b","
    yield b"]"


def _nobody_asks() -> None:
    """A check of nothing."""


def _dumped_in_room(array: Array) -> bytes:
    worst_bytes = weight_of(array) * (_NUMBER_BYTES + 2 * array.ndim)
    unfilled_bytes(_GROWTH * worst_bytes)  # raises MemoryError where there is none
    return _dumped(array)


def _dumped(array: Array) -> bytes:
    dtype = dtype_of_array(array.dtype)
    if dtype not in JSON_TYPES:
        if array.size:
            raise InvalidArgument(
                f"Failed to write JSON value for tensor type: {short_text(dtype)}"
            )
        array = np.empty(array.shape, np.float32)
    elif dtype is DataType.BFLOAT16:
        array = array.astype(np.float32)
    if not array.ndim:
        return _dumped(array.reshape(1))[1:-1]
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    return _with_specials(text, array) if b"n" in text and array.dtype.kind == "f" else text


def _with_specials(text: bytes, array: Array) -> bytes:
    """Put NaN and Infinity where orjson, knowing no such numbers, wrote null."""
    flat = array.ravel()
    words = [
        b"NaN" if math.isnan(value) else b"Infinity" if value > 0 else b"-Infinity"
        for value in flat[~np.isfinite(flat)].tolist()
    ]
    parts = text.split(b"null")
    return b"".join([piece for pair in zip(parts, [*words, b""], strict=True) for piece in pair])


def gathered(pieces: Iterator[bytes]) -> list[bytes]:
    """The same text in parts of at least 64 MiB, but for the last.

    What is that large the allocator takes from the system and gives back to it, so that a large
    answer leaves nothing behind.

    Raises:
        MemoryError: there is no room.
    """
    parts: list[bytes] = []
    held: deque[bytes] = deque()
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _PART_BYTES:
            parts.append(joined(held))
            size = 0
    if held:
        parts.append(joined(held))
    return parts

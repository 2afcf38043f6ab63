"""Between arrays and ONNX Runtime's values.

What is fed stays where it is: a value is made over the array's own memory. What comes out is
copied where it is short, and otherwise an array over the value's memory, which owns the value:
such an array may outlive the session, whose arena lives as long as a piece of it is in use.
"""

import ctypes
from collections.abc import Sequence
from ctypes import (
    addressof,
    c_char,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_ssize_t,
    c_void_p,
    py_object,
)
from itertools import pairwise
from math import prod
from typing import Any, Final

import numpy as np

from salver.backends.onnxruntime.library import Library
from salver.backends.onnxruntime.value_types import ELEMENT_TYPES, element_type
from salver.errors import InvalidArgument, Unimplemented
from salver.vocabulary.dtypes import DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.requests import Array

__all__ = ["SHORT_BYTES", "from_value", "to_value"]

SHORT_BYTES: Final = 1 << 16
"""What is shorter is copied: that is over sooner than a value is made or freed."""

_TENSOR, _SEQUENCE = 1, 2  # ONNXType
_STRING: Final = 8
_PACKED: Final = frozenset({DataType.INT4, DataType.UINT4})  # two in a byte; one, in numpy

_bytes_at: Any = ctypes.PyDLL(None).PyBytes_FromStringAndSize
_bytes_at.restype = py_object
_bytes_at.argtypes = (c_void_p, c_ssize_t)


def to_value(library: Library, array: Array) -> tuple[int, object]:
    """An `OrtValue` of the elements of an array, which the caller releases.

    Returns:
        It, and what must be kept until then.

    Raises:
        InvalidArgument: ONNX Runtime has no tensor of that dtype.
        ServingError: it takes no such tensor.
    """
    if array.dtype.hasobject:
        return _to_strings(library, array), None
    number, is_packed = _number_of(array)
    held = _packed(array) if is_packed else np.ascontiguousarray(array)
    if not held.flags.aligned:
        held = held.copy()
    shape = (c_int64 * array.ndim)(*array.shape)
    address: int = held.__array_interface__["data"][0]
    value = library.made(
        library.quick.CreateTensorWithDataAsOrtValue,
        *(library.cpu, address, held.nbytes, addressof(shape), array.ndim, number),
    )
    return value, held


def _number_of(array: Array) -> tuple[int, bool]:
    try:
        dtype = dtype_of_array(array.dtype)
    except TypeError as error:
        raise InvalidArgument(f"No tensor holds elements of type {array.dtype}") from error
    number = element_type(dtype)
    if number is None:
        raise InvalidArgument(f"ONNX Runtime has no tensors of {dtype.name}")
    return number, dtype in _PACKED


def _packed(array: Array) -> Array:
    nibbles = np.ascontiguousarray(array).view(np.uint8).reshape(-1) & 15
    if nibbles.size % 2:
        nibbles = np.append(nibbles, np.uint8(0))
    packed: Array = nibbles[::2] | nibbles[1::2] << np.uint8(4)
    return packed


def _to_strings(library: Library, array: Array) -> int:
    quick = library.quick
    shape = (c_int64 * array.ndim)(*array.shape)
    value = library.made(
        quick.CreateTensorAsOrtValue,
        *(library.allocator, addressof(shape), array.ndim, _STRING),
    )
    try:
        texts: list[bytes] = array.reshape(-1).tolist()
        if any(b"\0" in text for text in texts):
            _fill_one_by_one(library, value, texts)
        elif texts:
            pointers = (c_char_p * len(texts))(*texts)
            library.check(quick.FillStringTensor(value, addressof(pointers), len(texts)))
    except BaseException:
        quick.ReleaseValue(value)
        raise
    return value


def _fill_one_by_one(library: Library, value: int, texts: Sequence[bytes]) -> None:
    """Fill a tensor with texts that a C string cannot be."""
    resized = library.quick.GetResizedStringTensorElementBuffer
    for index, text in enumerate(texts):
        buffer = library.made(resized, value, index, len(text))
        if text:
            ctypes.memmove(buffer, text, len(text))


# -- out -------------------------------------------------------------------------------------------


class _Owner:
    """Owns a value for an array over its memory; numpy keeps it."""

    __slots__ = ("__array_interface__", "_release", "_value")

    def __init__(self, library: Library, value: int, address: int, n_bytes: int) -> None:
        self._value = value
        self._release = library.quick.ReleaseValue
        self.__array_interface__ = {
            "shape": (n_bytes,),
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }

    def __del__(self) -> None:
        self._release(self._value)


def from_value(library: Library, value: int, feeds: Sequence[Array] = ()) -> Array:
    """An array of what a value holds. It owns the value from here on, or has released it.

    Args:
        library: the C API.
        value: a tensor, or a sequence of tensors of one shape.
        feeds: arrays whose memory the value must not share when this returns.

    Raises:
        Unimplemented: it is something else.
    """
    is_owned = False
    shape: tuple[int, ...] = ()
    try:
        kind = _number(library, library.quick.GetValueType, value)
        if kind == _SEQUENCE:
            return _stacked(library, value, feeds)
        if kind != _TENSOR:
            raise Unimplemented(f"ONNX Runtime gave a value of kind {kind}, which is no tensor")
        dtype, shape = _type_of(library, value)
        if dtype is DataType.STRING:
            return _from_strings(library, value, shape)
        address = library.made(library.quick.GetTensorMutableData, value)
        if dtype in _PACKED:
            return _unpacked(_bytes_at(address, (prod(shape) + 1) // 2), dtype, shape)
        stored = _storage(dtype)
        n_bytes = prod(shape) * stored.itemsize
        if n_bytes < SHORT_BYTES or _shares(address, n_bytes, feeds):
            data = _bytes_at(address, n_bytes) if n_bytes else b""
            return np.ndarray(shape, stored, data)
        owner = _Owner(library, value, address, n_bytes)
        is_owned = True
        return np.asarray(owner).view(stored).reshape(shape)
    except ValueError as error:  # more dimensions than numpy has, or of 2**62 and no element
        raise InvalidArgument(
            f"The answer has a shape of {len(shape)} dimensions: {error}"
        ) from error
    finally:
        if not is_owned:
            library.quick.ReleaseValue(value)


def _number(library: Library, ask: Any, value: int) -> int:
    out = c_int()
    library.check(ask(value, addressof(out)))
    return out.value


def _type_of(library: Library, value: int) -> tuple[DataType, tuple[int, ...]]:
    quick = library.quick
    info = library.made(quick.GetTensorTypeAndShape, value)
    try:
        number = _number(library, quick.GetTensorElementType, info)
        rank = library.made(quick.GetDimensionsCount, info)
        sizes = (c_int64 * rank)()
        library.check(quick.GetDimensions(info, addressof(sizes), rank))
        return ELEMENT_TYPES.get(number, DataType.INVALID), tuple(sizes)
    finally:
        quick.ReleaseTensorTypeAndShapeInfo(info)


def _storage(dtype: DataType) -> "np.dtype[Any]":
    try:
        return numpy_dtype(dtype)
    except TypeError as error:
        raise Unimplemented("ONNX Runtime gave elements that no array holds") from error


def _shares(address: int, n_bytes: int, feeds: Sequence[Array]) -> bool:
    """Whether a stretch of memory is a part of what was fed: an output may be an input."""
    for feed in feeds:
        begin: int = feed.__array_interface__["data"][0]
        if address < begin + feed.nbytes and begin < address + n_bytes:
            return True
    return False


def _from_strings(library: Library, value: int, shape: tuple[int, ...]) -> Array:
    number = prod(shape)
    array = np.empty(number, dtype=object)
    if number:
        size = library.made(library.quick.GetStringTensorDataLength, value)
        content = (c_char * max(1, size))()
        starts = (c_size_t * number)()
        library.check(
            library.quick.GetStringTensorContent(
                value, addressof(content), size, addressof(starts), number
            )
        )
        whole = bytes(memoryview(content)[:size])
        array[:] = [whole[begin:end] for begin, end in pairwise((*starts, size))]
    return array.reshape(shape)


def _unpacked(data: bytes, dtype: DataType, shape: tuple[int, ...]) -> Array:
    octets = np.frombuffer(data, np.uint8)
    nibbles = np.empty(2 * octets.size, np.uint8)
    nibbles[::2], nibbles[1::2] = octets & 15, octets >> 4
    numbers = nibbles[: prod(shape)].astype(np.int8)
    if dtype is DataType.INT4:
        numbers = (numbers ^ 8) - 8
    whole: Array = numbers.astype(numpy_dtype(dtype)).reshape(shape)
    return whole


def _stacked(library: Library, value: int, feeds: Sequence[Array]) -> Array:
    quick = library.quick
    arrays = [
        from_value(library, library.made(quick.GetValue, value, index, library.allocator), feeds)
        for index in range(library.made(quick.GetValueCount, value))
    ]
    if not arrays:
        raise Unimplemented("The model gave an empty sequence, which is no tensor")
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise Unimplemented(
            "The model gave a sequence of tensors of different shapes, which is no tensor: "
            + ", ".join(map(str, sorted(shapes)[:4]))
        )
    return np.stack(arrays)

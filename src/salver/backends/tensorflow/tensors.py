"""Between arrays and TensorFlow's tensors.

Fixed-size elements are copied by one `memmove`: a zero-copy feed would need a deallocator in
Python, which a TensorFlow thread would call while the loop holds the GIL in an inline run and
waits for that very thread. Copying 600 kB costs 60 µs beside 4 ms of parsing it as JSON. Strings
go in as a serialized `TensorProto`, so that TensorFlow makes, owns and frees them itself.
"""

import ctypes
from ctypes import addressof, c_char, c_int64, c_size_t, c_ssize_t, c_void_p, py_object
from math import prod
from typing import Any

import numpy as np

from salver.backends.tensorflow.library import Buffer, Library
from salver.codecs.protobuf.wire import length_delimited, varint
from salver.errors import Internal, InvalidArgument, ResourceExhausted, Unimplemented
from salver.instruments.heap import unfilled_bytes
from salver.vocabulary.dtypes import DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.requests import Array
from salver.vocabulary.tensorflow_types import base_dtype, number_of, short_text

__all__ = ["from_tensor", "string_tensor_proto", "to_tensor"]

_STRING_BYTES = 24  # sizeof(TF_TString), tsl/platform/ctstring_internal.h
_POINTER_BYTES = 1 << 16  # above this, reading the array's address is cheaper than `tobytes`
_LONG_COPY_BYTES = 1 << 20  # above this a copy takes longer than giving up the GIL for it
_DTYPE_NUMBER: dict["np.dtype[Any]", int] = {}  # a cache: `dtype_of_array` compares in turn
_STORAGE: dict[int, "np.dtype[Any]"] = {}  # by TensorFlow's number: a cache
_STRING = number_of(DataType.STRING)
_UINT8 = number_of(DataType.UINT8)
_SHAPE_TYPE = tuple(c_int64 * rank for rank in range(16))

# The same as `ctypes.memmove`, which gives up the GIL: beside one busy thread that alone made an
# inline run of half_plus_two 97 to 284 µs long instead of 10 to 27.
_copy_quickly: Any = ctypes.PyDLL(None).memmove
_copy_quickly.restype = None
_copy_quickly.argtypes = (c_void_p, c_void_p, c_size_t)

# What `ctypes.string_at` does, which counts in an int: it knows nothing beyond 2 GiB.
_bytes_at: Any = ctypes.PyDLL(None).PyBytes_FromStringAndSize
_bytes_at.restype = py_object
_bytes_at.argtypes = (c_void_p, c_ssize_t)


def to_tensor(library: Library, array: Array, status: int, declared: int) -> int:
    """A new `TF_Tensor` with the elements of `array`; the caller deletes it.

    Args:
        library: the C API.
        array: copied to C order where it is not so.
        status: a `TF_Status` to use.
        declared: the number of the dtype that the graph names; taken when it is stored as the
            array is (the quantized types), else the array's own.

    Raises:
        InvalidArgument: TensorFlow has no tensor of that dtype or shape.
        ResourceExhausted: no memory.
    """
    if array.dtype == object:
        return _to_string_tensor(library, array, status)
    number = _DTYPE_NUMBER.get(array.dtype)
    if number is None:
        number = _DTYPE_NUMBER[array.dtype] = _number_of(array)
    if number != declared and base_dtype(declared).storage == array.dtype.name:
        number = declared
    shape = array.shape
    rank = len(shape)
    dims = (_SHAPE_TYPE[rank] if rank < len(_SHAPE_TYPE) else c_int64 * rank)(*shape)
    n_bytes = array.nbytes
    quick = library.quick
    tensor: int | None = quick.TF_AllocateTensor(number, addressof(dims), rank, n_bytes)
    target: Any = quick.TF_TensorData(tensor) if tensor else None
    if tensor is None or (n_bytes and not target):
        quick.TF_DeleteTensor(tensor)
        raise ResourceExhausted(f"No memory for a tensor of {n_bytes} bytes")
    if n_bytes < _POINTER_BYTES:
        _copy_quickly(target, array.tobytes(), n_bytes)
    else:
        source = np.ascontiguousarray(array)  # held until it is copied
        copy = _copy_quickly if n_bytes < _LONG_COPY_BYTES else ctypes.memmove
        copy(target, source.ctypes.data, n_bytes)
    return tensor


def _number_of(array: Array) -> int:
    try:
        return number_of(dtype_of_array(array.dtype))
    except TypeError as error:
        raise InvalidArgument(f"No tensor holds elements of type {array.dtype}") from error


def string_tensor_proto(array: Array) -> bytes:
    """The serialized `TensorProto` of an `object` array of `bytes`.

    Written here by hand, because it is three fields and on the path of every string model:
    dtype (1), tensor_shape (2) with its dims (2) of size (1), and string_val (8).
    """
    dims = b"".join(length_delimited(2, b"\x08" + varint(size)) for size in array.shape)
    values = b"".join([length_delimited(8, value) for value in array.ravel().tolist()])
    return b"\x08" + varint(_STRING) + length_delimited(2, dims) + values


def _to_string_tensor(library: Library, array: Array, status: int) -> int:
    serialized = string_tensor_proto(array)
    proto = Buffer.of(serialized)
    tensor: int = library.quick.TF_AllocateTensor(_UINT8, None, 0, 1)  # to be replaced
    which = library.quick if len(serialized) < _POINTER_BYTES else library.long
    which.TF_TensorFromProto(ctypes.addressof(proto), tensor, status)
    try:
        library.check(status)
    except Exception:
        library.quick.TF_DeleteTensor(tensor)
        raise
    return tensor


def from_tensor(library: Library, tensor: int) -> Array:
    """An array of its own with the elements of a `TF_Tensor`, which stays the caller's.

    Raises:
        Unimplemented: no array holds its dtype (resource, variant).
        InvalidArgument: no array has its shape.
    """
    quick = library.quick
    number = quick.TF_TensorType(tensor)
    rank = quick.TF_NumDims(tensor)
    dim = quick.TF_Dim
    shape = (dim(tensor, 0),) if rank == 1 else tuple([dim(tensor, at) for at in range(rank)])
    storage = _STORAGE.get(number)
    if storage is None:
        dtype = base_dtype(number)
        if dtype is DataType.STRING:
            return _from_string_tensor(library, tensor, shape)
        storage = _STORAGE[number] = _storage_of(dtype)
    n_bytes = quick.TF_TensorByteSize(tensor)
    if n_bytes != prod(shape) * storage.itemsize:
        raise Internal(f"A tensor of shape {shape} holds {n_bytes} bytes")
    data = _bytes_of(quick.TF_TensorData(tensor), n_bytes) if n_bytes else b""
    try:
        return np.ndarray(shape, storage, data)
    except ValueError as error:
        raise _no_array_for(shape, error) from error


def _no_array_for(shape: tuple[int, ...], error: ValueError) -> InvalidArgument:
    """The refusal of more axes than numpy has, or of axes of 2**62 and no element."""
    return InvalidArgument(f"The answer has a shape of {len(shape)} dimensions: {error}")


def _bytes_of(address: int, n_bytes: int) -> bytes:
    """A copy of what lies there; a long one is made without the GIL."""
    if n_bytes < _LONG_COPY_BYTES:
        data: bytes = _bytes_at(address, n_bytes)
        return data
    copy, view = unfilled_bytes(n_bytes)
    ctypes.memmove((c_char * n_bytes).from_buffer(view), address, n_bytes)
    return copy


def _storage_of(dtype: DataType) -> "np.dtype[Any]":
    try:
        return numpy_dtype(dtype)
    except TypeError as error:
        raise Unimplemented(
            f"Tensors of type {short_text(dtype)} cannot leave the model"
        ) from error


def _from_string_tensor(library: Library, tensor: int, shape: tuple[int, ...]) -> Array:
    quick = library.quick
    array = np.empty(prod(shape), dtype=object)
    # A tensor without elements may have no memory, and asking where that is crashes.
    start = quick.TF_TensorData(tensor) if array.size else 0
    for index in range(array.size):
        at = start + index * _STRING_BYTES
        size = quick.TF_StringGetSize(at)
        pointer = quick.TF_StringGetDataPointer(at)
        array[index] = (c_char * size).from_address(pointer).raw if size else b""
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise _no_array_for(shape, error) from error

"""What a constant in a graph claims to be, against what TensorFlow survives.

A constant says its shape, and TensorFlow believes it: a shape with more elements than 64 bits can
count, or of more than 254 dimensions, ends its process (a failed CHECK in `tensor_shape.cc`), and
so does one that merely takes more memory than there is, since it is filled before anybody looks.
Observed with TensorFlow 2.21; what it refuses by itself is left to it.
"""

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.message import DecodeError

from salver._pb import message_class
from salver.codecs.protobuf.wire import read_varint
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.tensorflow_types import base_dtype

__all__ = ["MOST_DIMENSIONS", "claimed_bytes", "fault_of_shape", "fault_of_variant", "shape_text"]

MOST_DIMENSIONS: Final = 254  # TensorShape::MaxDimensions
_MOST_ELEMENTS: Final = (1 << 63) - 1
_STRING_BYTES: Final = 24  # sizeof(tstring)
_OBJECT_BYTES: Final = 64  # of a variant or a resource, measured
_LIST_TYPE: Final = "tensorflow::TensorList"
_NAMED_SIZES: Final = 8


def fault_of_shape(sizes: Iterable[int]) -> str | None:
    """What is wrong with a shape that TensorFlow does not survive; None when it does.

    Args:
        sizes: of the dimensions; negative for unknown ones.
    """
    elements, dimensions = 1, 0
    for size in sizes:
        dimensions += 1
        elements *= max(size, 1)
        if elements > _MOST_ELEMENTS:
            return "with more elements than 64 bits can count"
    return f"of {dimensions} dimensions" if dimensions > MOST_DIMENSIONS else None


def shape_text(sizes: Iterable[int]) -> str:
    """A shape in few words."""
    all_sizes = list(sizes)
    shown = ",".join(map(str, all_sizes[:_NAMED_SIZES]))
    return f"[{shown}{',…' if len(all_sizes) > _NAMED_SIZES else ''}]"


def claimed_bytes(number: int, sizes: Iterable[int]) -> int:
    """The memory of a tensor of some shape.

    Args:
        number: of the element type, as it stands in the file.
        sizes: of the dimensions.
    """
    elements = 1
    for size in sizes:
        elements *= max(size, 0)
    return elements * _element_bytes(number)


def _element_bytes(number: int) -> int:
    dtype = base_dtype(number)
    if dtype in (DataType.RESOURCE, DataType.VARIANT):
        return _OBJECT_BYTES
    if dtype is DataType.STRING:
        return _STRING_BYTES
    return 1 if dtype is DataType.INVALID else numpy_dtype(dtype).itemsize


def fault_of_variant(value: Any) -> str | None:
    """What is wrong with a `tensorflow.VariantTensorDataProto` in a constant; None if nothing is.

    What lists say of themselves is read without a look at how much of it there is, and a dataset is
    taken for the address of one. No exporter writes such constants; empty ones do no harm.
    """
    name: str = value.type_name
    if not name:
        return None
    if name != _LIST_TYPE:
        return f"with a value of type {name}, which no file can hold"
    try:
        return _fault_of_list(value.metadata, len(value.tensors))
    except (IndexError, DecodeError):
        return "with a list that cannot be read"


def _fault_of_list(metadata: bytes, length: int) -> str | None:
    """Source: `tensorflow/core/kernels/tensor_list.cc`, TensorList::Decode."""
    missing, at = read_varint(metadata, 0)
    if missing > len(metadata):
        return f"with a list of {length + missing} elements, of which {missing} are not there"
    for _ in range(missing + 2):  # and the dtype, and how long it may become
        _, at = read_varint(metadata, at)
    shape = message_class("tensorflow.TensorShapeProto").FromString(metadata[at:])
    fault = fault_of_shape(dim.size for dim in shape.dim)
    return None if fault is None else f"with a list of tensors of a shape {fault}"

"""How `tensorflow.TensorProto` writes the elements of each dtype.

Source: TensorFlow, `core/framework/tensor.proto`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np

from salver.codecs.protobuf.wire import Unsigned, varint
from salver.errors import Internal
from salver.vocabulary.dtypes import dtype_of_array, numpy_dtype
from salver.vocabulary.tensorflow_types import dtype_of_number, number_of, value_field

__all__ = ["CONTENT_TAG", "TensorForm", "form_of", "form_of_array"]

CONTENT_TAG: Final = 0x22  # of tensor_content, as a number
Kind = Literal["fixed", "varint", "bool", "string"]


@dataclass(frozen=True, slots=True)
class TensorForm:
    """How the elements of one dtype are written.

    Attributes:
        number: of the dtype.
        field: name of its value field.
        kind: `fixed`: as in memory; the others need work.
        tag: of the value field when packed, its bytes as a little-endian number.
        tag_bytes: the same.
        raw_tags: tags of fields that hold the elements as they are in memory, each byte of them
            being valid.
        storage: dtype of the array.
        unsigned: the unsigned integer with as many bytes, up to eight.
        unit_bytes: what the length of a packed field of fixed-size numbers is a multiple of.
    """

    number: int
    field: str
    kind: Kind
    tag: int
    tag_bytes: bytes
    raw_tags: tuple[int, ...]
    storage: "np.dtype[Any]"
    unsigned: Unsigned
    unit_bytes: int


_FIELD_NUMBERS: Final = {
    "float_val": 5,
    "double_val": 6,
    "int_val": 7,
    "string_val": 8,
    "scomplex_val": 9,
    "int64_val": 10,
    "bool_val": 11,
    "dcomplex_val": 12,
    "half_val": 13,
    "uint32_val": 16,
    "uint64_val": 17,
    "float8_val": 18,
}
_UNIT_BYTES: Final = {
    "float_val": 4,
    "double_val": 8,
    "scomplex_val": 4,
    "dcomplex_val": 8,
    "float8_val": 1,
}


@lru_cache(maxsize=256)
def form_of(number: int) -> TensorForm | None:
    """The form of a dtype; None for one that cannot be fed.

    A reference dtype is none: TensorFlow knows it in signatures, but not in tensors.
    """
    dtype = dtype_of_number(number)
    if dtype is None or dtype.storage is None:
        return None
    field = value_field(dtype)
    assert field is not None  # what an array holds has one
    tag_bytes = varint(_FIELD_NUMBERS[field] << 3 | 2)
    kind: Kind = "varint"
    if field in _UNIT_BYTES:
        kind = "fixed"
    elif field == "bool_val":
        kind = "bool"
    elif field == "string_val":
        kind = "string"
    tag = int.from_bytes(tag_bytes, "little")
    storage = numpy_dtype(dtype)
    raw_tags = {"fixed": (tag, CONTENT_TAG), "varint": (CONTENT_TAG,)}.get(kind, ())
    return TensorForm(
        number,
        field,
        kind,
        tag,
        tag_bytes,
        raw_tags,
        storage,
        np.dtype(f"u{min(storage.itemsize, 8)}"),
        _UNIT_BYTES.get(field, 1),
    )


def form_of_array(dtype: "np.dtype[Any]") -> TensorForm:
    """The form of the elements of an array; never that of a quantized dtype.

    Raises:
        Internal: no tensor has such elements.
    """
    try:
        form = form_of(number_of(dtype_of_array(dtype)))
    except TypeError as error:
        raise Internal(f"No tensor has elements of type {dtype}") from error
    assert form is not None  # it is stored in an array
    return form

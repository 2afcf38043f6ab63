"""The element types of tensors: ours, by name. What each protocol or format calls them is its own.

TensorFlow's numbers and texts of them stand in `salver.vocabulary.tensorflow_types`.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Final

import numpy as np

__all__ = ["DTYPES", "QUANTIZED", "DataType", "data_type", "dtype_of_array", "numpy_dtype"]


class DataType:
    """One element type. There is one object of each, compared and hashed by what it is.

    (Not an `enum`: that hashes its members in Python, and they are keys on the way of requests.)

    Attributes:
        name: `float32`, `string`, `bfloat16`; what numpy and ml_dtypes call it, where they have it.
        storage: name of the numpy dtype that holds it; None where nothing can.
    """

    __slots__ = ("name", "storage")

    INVALID: ClassVar["DataType"]
    FLOAT16: ClassVar["DataType"]
    FLOAT32: ClassVar["DataType"]
    FLOAT64: ClassVar["DataType"]
    BFLOAT16: ClassVar["DataType"]
    INT2: ClassVar["DataType"]
    INT4: ClassVar["DataType"]
    INT8: ClassVar["DataType"]
    INT16: ClassVar["DataType"]
    INT32: ClassVar["DataType"]
    INT64: ClassVar["DataType"]
    UINT2: ClassVar["DataType"]
    UINT4: ClassVar["DataType"]
    UINT8: ClassVar["DataType"]
    UINT16: ClassVar["DataType"]
    UINT32: ClassVar["DataType"]
    UINT64: ClassVar["DataType"]
    BOOL: ClassVar["DataType"]
    STRING: ClassVar["DataType"]
    COMPLEX64: ClassVar["DataType"]
    COMPLEX128: ClassVar["DataType"]
    QINT8: ClassVar["DataType"]
    QINT16: ClassVar["DataType"]
    QINT32: ClassVar["DataType"]
    QUINT8: ClassVar["DataType"]
    QUINT16: ClassVar["DataType"]
    FLOAT4_E2M1FN: ClassVar["DataType"]
    FLOAT8_E5M2: ClassVar["DataType"]
    FLOAT8_E4M3FN: ClassVar["DataType"]
    FLOAT8_E4M3FNUZ: ClassVar["DataType"]
    FLOAT8_E4M3B11FNUZ: ClassVar["DataType"]
    FLOAT8_E5M2FNUZ: ClassVar["DataType"]
    RESOURCE: ClassVar["DataType"]
    VARIANT: ClassVar["DataType"]

    def __init__(self, name: str, storage: str | None) -> None:
        """Only this module makes them."""
        self.name = name
        self.storage = storage

    def __repr__(self) -> str:
        return f"DataType.{self.name.upper()}"

    def __reduce__(self) -> tuple[Any, ...]:
        return data_type, (self.name,)


_STORED_ELSEWISE: Final[Mapping[str, str | None]] = {
    "string": "object_",
    "bool": "bool_",
    **{f"q{name}": name for name in ("int8", "int16", "int32", "uint8", "uint16")},
    **dict.fromkeys(("invalid", "resource", "variant")),
}

DTYPES: Final[Mapping[str, DataType]] = MappingProxyType(
    {
        name.lower(): DataType(name.lower(), _STORED_ELSEWISE.get(name.lower(), name.lower()))
        for name in DataType.__annotations__
    }
)
"""Name → element type, of all there are."""

for _dtype in DTYPES.values():
    setattr(DataType, _dtype.name.upper(), _dtype)

QUANTIZED: Final = frozenset(of for of in DTYPES.values() if of.name.startswith("q"))
"""Integers that stand for others by a scale; an array of them is one of plain integers."""


def data_type(name: str) -> DataType:
    """The element type of a name.

    Raises:
        KeyError: there is none.
    """
    return DTYPES[name]


@cache
def numpy_dtype(dtype: DataType) -> "np.dtype[Any]":
    """The numpy dtype that holds `dtype`; strings are `object` arrays of `bytes`.

    Raises:
        TypeError: nothing can hold it (resource, variant, invalid).
    """
    if dtype.storage is None:
        raise TypeError(f"no array holds dtype {dtype.name}")
    if hasattr(np, dtype.storage):
        plain: np.dtype[Any] = np.dtype(getattr(np, dtype.storage))
        return plain
    import ml_dtypes  # here: 20 ms and rarely needed

    extended: np.dtype[Any] = np.dtype(getattr(ml_dtypes, dtype.storage))
    return extended


@cache
def dtype_of_array(dtype: "np.dtype[Any]") -> DataType:
    """The element type of an array, never a quantized one.

    Raises:
        TypeError: no element type is stored so.
    """
    found = DTYPES.get("string" if dtype.hasobject else dtype.name)
    if found is not None and numpy_dtype(found) == dtype:  # not so where the bytes are swapped
        return found
    raise TypeError(f"no element type is stored as {dtype}")

"""The one table of tensor element types: every other place that maps a dtype reads it here.

Source: `tensorflow/core/framework/types.proto` (numbers and names) and `types.cc` (short names);
the value fields are those of `tensor.proto`.
"""

import enum
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

__all__ = [
    "DTYPES",
    "QUANTIZED",
    "DataType",
    "DtypeRow",
    "base_dtype",
    "dtype_of_array",
    "numpy_dtype",
]


class DataType(enum.IntEnum):
    """TensorFlow's element types by their wire numbers."""

    INVALID = 0
    FLOAT = 1
    DOUBLE = 2
    INT32 = 3
    UINT8 = 4
    INT16 = 5
    INT8 = 6
    STRING = 7
    COMPLEX64 = 8
    INT64 = 9
    BOOL = 10
    QINT8 = 11
    QUINT8 = 12
    QINT32 = 13
    BFLOAT16 = 14
    QINT16 = 15
    QUINT16 = 16
    UINT16 = 17
    COMPLEX128 = 18
    HALF = 19
    RESOURCE = 20
    VARIANT = 21
    UINT32 = 22
    UINT64 = 23
    FLOAT8_E5M2 = 24
    FLOAT8_E4M3FN = 25
    FLOAT8_E4M3FNUZ = 26
    FLOAT8_E4M3B11FNUZ = 27
    FLOAT8_E5M2FNUZ = 28
    INT4 = 29
    UINT4 = 30
    INT2 = 31
    UINT2 = 32
    FLOAT4_E2M1FN = 33


@dataclass(frozen=True, slots=True)
class DtypeRow:
    """What is known of one element type.

    Attributes:
        text: the short name TensorFlow prints in its messages (`float`, `int32`, `half`).
        storage: name of the numpy dtype that holds it; None where nothing can.
        value_field: the field of `TensorProto` that carries its values; None where there is none.
    """

    text: str
    storage: str | None
    value_field: str | None

    @property
    def is_extended(self) -> bool:
        """Whether `storage` is a dtype of the ml_dtypes package rather than numpy's own."""
        return self.storage is not None and not hasattr(np, self.storage)


DTYPES: dict[DataType, DtypeRow] = {
    DataType.INVALID: DtypeRow("INVALID", None, None),
    DataType.FLOAT: DtypeRow("float", "float32", "float_val"),
    DataType.DOUBLE: DtypeRow("double", "float64", "double_val"),
    DataType.INT32: DtypeRow("int32", "int32", "int_val"),
    DataType.UINT8: DtypeRow("uint8", "uint8", "int_val"),
    DataType.INT16: DtypeRow("int16", "int16", "int_val"),
    DataType.INT8: DtypeRow("int8", "int8", "int_val"),
    DataType.STRING: DtypeRow("string", "object_", "string_val"),
    DataType.COMPLEX64: DtypeRow("complex64", "complex64", "scomplex_val"),
    DataType.INT64: DtypeRow("int64", "int64", "int64_val"),
    DataType.BOOL: DtypeRow("bool", "bool_", "bool_val"),
    DataType.QINT8: DtypeRow("qint8", "int8", "int_val"),
    DataType.QUINT8: DtypeRow("quint8", "uint8", "int_val"),
    DataType.QINT32: DtypeRow("qint32", "int32", "int_val"),
    DataType.BFLOAT16: DtypeRow("bfloat16", "bfloat16", "half_val"),
    DataType.QINT16: DtypeRow("qint16", "int16", "int_val"),
    DataType.QUINT16: DtypeRow("quint16", "uint16", "int_val"),
    DataType.UINT16: DtypeRow("uint16", "uint16", "int_val"),
    DataType.COMPLEX128: DtypeRow("complex128", "complex128", "dcomplex_val"),
    DataType.HALF: DtypeRow("half", "float16", "half_val"),
    DataType.RESOURCE: DtypeRow("resource", None, "resource_handle_val"),
    DataType.VARIANT: DtypeRow("variant", None, "variant_val"),
    DataType.UINT32: DtypeRow("uint32", "uint32", "uint32_val"),
    DataType.UINT64: DtypeRow("uint64", "uint64", "uint64_val"),
    DataType.FLOAT8_E5M2: DtypeRow("float8_e5m2", "float8_e5m2", "float8_val"),
    DataType.FLOAT8_E4M3FN: DtypeRow("float8_e4m3fn", "float8_e4m3fn", "float8_val"),
    DataType.FLOAT8_E4M3FNUZ: DtypeRow("float8_e4m3fnuz", "float8_e4m3fnuz", "float8_val"),
    DataType.FLOAT8_E4M3B11FNUZ: DtypeRow("float8_e4m3b11fnuz", "float8_e4m3b11fnuz", "float8_val"),
    DataType.FLOAT8_E5M2FNUZ: DtypeRow("float8_e5m2fnuz", "float8_e5m2fnuz", "float8_val"),
    DataType.INT4: DtypeRow("int4", "int4", "int_val"),
    DataType.UINT4: DtypeRow("uint4", "uint4", "int_val"),
    DataType.INT2: DtypeRow("int2", "int2", "int_val"),
    DataType.UINT2: DtypeRow("uint2", "uint2", "int_val"),
    DataType.FLOAT4_E2M1FN: DtypeRow("float4_e2m1fn", "float4_e2m1fn", "float8_val"),
}

QUANTIZED = frozenset(dtype for dtype, row in DTYPES.items() if row.text.startswith("q"))
"""Integers that stand for others by a scale; an array of them is one of plain integers."""
_REF_OFFSET = 100  # types.proto: DT_X_REF = DT_X + 100, the type of a TF1 variable's output
_BY_NUMBER: dict[int, DataType] = {
    **{int(dtype): dtype for dtype in DataType},
    **{dtype + _REF_OFFSET: dtype for dtype in DataType if dtype is not DataType.INVALID},
}


def base_dtype(number: int) -> DataType:
    """The element type behind a wire number; a reference type gives what it refers to.

    A number this table does not know gives `INVALID`.
    """
    return _BY_NUMBER.get(number, DataType.INVALID)


@cache
def numpy_dtype(dtype: DataType) -> "np.dtype[Any]":
    """The numpy dtype that holds `dtype`; strings are `object` arrays of `bytes`.

    Raises:
        TypeError: nothing can hold it (resource, variant, invalid).
    """
    row = DTYPES[dtype]
    if row.storage is None:
        raise TypeError(f"no array holds dtype {row.text}")
    if row.is_extended:
        import ml_dtypes  # here: 20 ms and rarely needed

        extended: np.dtype[Any] = np.dtype(getattr(ml_dtypes, row.storage))
        return extended
    plain: np.dtype[Any] = np.dtype(getattr(np, row.storage))
    return plain


@cache
def dtype_of_array(dtype: "np.dtype[Any]") -> DataType:
    """The element type of an array, never a quantized one.

    Raises:
        TypeError: no element type is stored so.
    """
    for candidate, row in DTYPES.items():
        if row.storage is None or candidate in QUANTIZED:
            continue
        if numpy_dtype(candidate) == dtype:
            return candidate
    raise TypeError(f"no element type is stored as {dtype}")

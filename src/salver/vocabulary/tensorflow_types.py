"""What TensorFlow calls the element types: wire numbers, short texts, fields of `TensorProto`.

For its backends and for the codecs and APIs of TensorFlow Serving; a contract of import-linter
keeps it from all else.

Source: `tensorflow/core/framework/types.proto` (numbers and names) and `types.cc` (short names);
the value fields are those of `tensor.proto`.
"""

from collections.abc import Mapping
from typing import Final

from salver.vocabulary.dtypes import DTYPES, DataType

__all__ = [
    "base_dtype",
    "dtype_of_number",
    "enum_name",
    "number_of",
    "short_text",
    "value_field",
]

_NUMBERS: Final[Mapping[DataType, int]] = {
    DTYPES[name]: number
    for number, name in enumerate(
        (
            *("invalid", "float32", "float64", "int32", "uint8", "int16", "int8", "string"),
            *("complex64", "int64", "bool", "qint8", "quint8", "qint32", "bfloat16", "qint16"),
            *("quint16", "uint16", "complex128", "float16", "resource", "variant", "uint32"),
            *("uint64", "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz"),
            *("float8_e5m2fnuz", "int4", "uint4", "int2", "uint2", "float4_e2m1fn"),
        )
    )
}
_OF_NUMBER: Final = {number: dtype for dtype, number in _NUMBERS.items()}

_TEXTS: Final[Mapping[DataType, str]] = {
    **{dtype: dtype.name for dtype in _NUMBERS},
    DataType.INVALID: "INVALID",
    DataType.FLOAT16: "half",
    DataType.FLOAT32: "float",
    DataType.FLOAT64: "double",
}

_FIELDS: Final[Mapping[DataType, str]] = {
    DataType.FLOAT32: "float_val",
    DataType.FLOAT64: "double_val",
    DataType.FLOAT16: "half_val",
    DataType.BFLOAT16: "half_val",
    DataType.STRING: "string_val",
    DataType.COMPLEX64: "scomplex_val",
    DataType.COMPLEX128: "dcomplex_val",
    DataType.INT64: "int64_val",
    DataType.BOOL: "bool_val",
    DataType.RESOURCE: "resource_handle_val",
    DataType.VARIANT: "variant_val",
    DataType.UINT32: "uint32_val",
    DataType.UINT64: "uint64_val",
}
_REF_OFFSET: Final = 100  # types.proto: DT_X_REF = DT_X + 100, the type of a TF1 variable's output


def number_of(dtype: DataType) -> int:
    """The wire number."""
    return _NUMBERS[dtype]


def dtype_of_number(number: int) -> DataType | None:
    """The element type behind a wire number; None for a reference type, or an unknown number."""
    return _OF_NUMBER.get(number)


def base_dtype(number: int) -> DataType:
    """The element type behind a wire number; a reference type gives what it refers to.

    A number this table does not know gives `INVALID`.
    """
    if number > _REF_OFFSET:
        number -= _REF_OFFSET
    return _OF_NUMBER.get(number, DataType.INVALID)


def short_text(dtype: DataType) -> str:
    """The name that TensorFlow prints in its messages (`float`, `int32`, `half`)."""
    return _TEXTS[dtype]


def enum_name(dtype: DataType) -> str:
    """The name of the wire number (`DT_FLOAT`)."""
    return f"DT_{_TEXTS[dtype].upper()}"


def value_field(dtype: DataType) -> str | None:
    """The field of `TensorProto` that carries the values; None where there is none."""
    if dtype is DataType.INVALID:
        return None
    is_float8 = dtype.name.startswith(("float8", "float4"))
    return _FIELDS.get(dtype, "float8_val" if is_float8 else "int_val")

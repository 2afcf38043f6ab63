from typing import Any

import numpy as np
import pytest

from salver._pb import POOL
from salver.dtypes import DTYPES, DataType, base_dtype, dtype_of_array, numpy_dtype

WIRE_NUMBERS = {
    value.name: value.number for value in POOL.FindEnumTypeByName("tensorflow.DataType").values
}
QUANTIZED = {"qint8", "quint8", "qint16", "quint16", "qint32"}
STORED = [dtype for dtype, row in DTYPES.items() if row.storage is not None]
ELEMENT_BYTES = {
    "float": 4, "double": 8, "half": 2, "bfloat16": 2, "complex64": 8, "complex128": 16,
    "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4,
    "uint64": 8, "bool": 1, "qint8": 1, "quint8": 1, "qint16": 2, "quint16": 2, "qint32": 4,
    "float8_e5m2": 1, "float8_e4m3fn": 1, "float8_e4m3fnuz": 1, "float8_e4m3b11fnuz": 1,
    "float8_e5m2fnuz": 1, "int4": 1, "uint4": 1, "int2": 1, "uint2": 1, "float4_e2m1fn": 1,
}  # fmt: skip


def test_numbers_are_those_of_the_wire() -> None:
    assert {f"DT_{dtype.name}": dtype.value for dtype in DataType} == {
        name: number for name, number in WIRE_NUMBERS.items() if not name.endswith("_REF")
    }


def test_each_element_type_has_one_row() -> None:
    assert list(DTYPES) == list(DataType)


@pytest.mark.parametrize("dtype", list(DataType), ids=lambda dtype: dtype.name)
def test_short_names_are_the_long_ones_in_lower_case(dtype: DataType) -> None:
    expected = "INVALID" if dtype is DataType.INVALID else dtype.name.lower()
    assert DTYPES[dtype].text == expected


@pytest.mark.parametrize("dtype", STORED, ids=lambda dtype: dtype.name)
def test_values_have_a_field_of_the_tensor_message(dtype: DataType) -> None:
    fields = POOL.FindMessageTypeByName("tensorflow.TensorProto").fields_by_name
    assert DTYPES[dtype].value_field in fields


@pytest.mark.parametrize("number", sorted(WIRE_NUMBERS.values()))
def test_a_reference_type_gives_what_it_refers_to(number: int) -> None:
    assert base_dtype(number) == number % 100


@pytest.mark.parametrize("number", [-1, 34, 99, 100, 134, 999])
def test_an_unknown_number_is_an_invalid_type(number: int) -> None:
    assert base_dtype(number) is DataType.INVALID


@pytest.mark.parametrize("dtype", STORED, ids=lambda dtype: dtype.name)
def test_arrays_hold_elements_of_the_size_tensorflow_has(dtype: DataType) -> None:
    text = DTYPES[dtype].text
    if text == "string":
        assert numpy_dtype(dtype) == np.dtype(object)
    else:
        assert numpy_dtype(dtype).itemsize == ELEMENT_BYTES[text]


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        (DataType.RESOURCE, "resource"),
        (DataType.VARIANT, "variant"),
        (DataType.INVALID, "INVALID"),
    ],
)
def test_no_array_holds_what_is_not_a_number_or_string(dtype: DataType, text: str) -> None:
    with pytest.raises(TypeError, match=f"^no array holds dtype {text}$"):
        numpy_dtype(dtype)


@pytest.mark.parametrize("dtype", STORED, ids=lambda dtype: dtype.name)
def test_the_type_of_an_array_is_never_a_quantized_one(dtype: DataType) -> None:
    found = dtype_of_array(numpy_dtype(dtype))
    text = DTYPES[dtype].text
    assert DTYPES[found].text == (text.removeprefix("q") if text in QUANTIZED else text)


@pytest.mark.parametrize("dtype", ["U3", "S3", "M8[s]", ">f4", "f2,f2", "longdouble"])
def test_an_array_of_something_else_has_no_type(dtype: str) -> None:
    unknown: np.dtype[Any] = np.dtype(dtype)
    with pytest.raises(TypeError, match=r"^no element type is stored as "):
        dtype_of_array(unknown)

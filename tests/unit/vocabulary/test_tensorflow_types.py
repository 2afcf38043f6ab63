import pytest

from salver._pb import POOL
from salver.vocabulary.dtypes import DTYPES, DataType, numpy_dtype
from salver.vocabulary.tensorflow_types import (
    base_dtype,
    dtype_of_number,
    enum_name,
    number_of,
    short_text,
    value_field,
)

WIRE_NUMBERS = {
    value.name: value.number for value in POOL.FindEnumTypeByName("tensorflow.DataType").values
}
STORED = [dtype for dtype in DTYPES.values() if dtype.storage is not None]
ELEMENT_BYTES = {
    "float": 4, "double": 8, "half": 2, "bfloat16": 2, "complex64": 8, "complex128": 16,
    "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4,
    "uint64": 8, "bool": 1, "qint8": 1, "quint8": 1, "qint16": 2, "quint16": 2, "qint32": 4,
    "float8_e5m2": 1, "float8_e4m3fn": 1, "float8_e4m3fnuz": 1, "float8_e4m3b11fnuz": 1,
    "float8_e5m2fnuz": 1, "int4": 1, "uint4": 1, "int2": 1, "uint2": 1, "float4_e2m1fn": 1,
    "string": 8,
}  # fmt: skip


def test_numbers_and_names_are_those_of_the_wire() -> None:
    assert {enum_name(dtype): number_of(dtype) for dtype in DTYPES.values()} == {
        name: number for name, number in WIRE_NUMBERS.items() if not name.endswith("_REF")
    }


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=lambda dtype: dtype.name)
def test_a_number_gives_its_type_and_a_reference_none(dtype: DataType) -> None:
    assert dtype_of_number(number_of(dtype)) is dtype
    assert dtype_of_number(number_of(dtype) + 100) is None


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=lambda dtype: dtype.name)
def test_short_names_are_those_of_the_wire_in_lower_case(dtype: DataType) -> None:
    name = enum_name(dtype).removeprefix("DT_")
    assert short_text(dtype) == (name if dtype is DataType.INVALID else name.lower())


@pytest.mark.parametrize("dtype", STORED, ids=lambda dtype: dtype.name)
def test_values_have_a_field_of_the_tensor_message(dtype: DataType) -> None:
    fields = POOL.FindMessageTypeByName("tensorflow.TensorProto").fields_by_name
    assert value_field(dtype) in fields


@pytest.mark.parametrize("number", sorted(WIRE_NUMBERS.values()))
def test_a_reference_type_gives_what_it_refers_to(number: int) -> None:
    assert number_of(base_dtype(number)) == number % 100


@pytest.mark.parametrize("number", [-1, 34, 99, 100, 134, 999])
def test_an_unknown_number_is_an_invalid_type(number: int) -> None:
    assert base_dtype(number) is DataType.INVALID


@pytest.mark.parametrize("dtype", STORED, ids=lambda dtype: dtype.name)
def test_arrays_hold_elements_of_the_size_tensorflow_has(dtype: DataType) -> None:
    assert numpy_dtype(dtype).itemsize == ELEMENT_BYTES[short_text(dtype)]

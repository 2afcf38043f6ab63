import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire_forms import broken, joined, long_varint, sized

from salver._pb import message_class
from salver.codecs.oip.contents import array_of_contents, contents_of
from salver.codecs.protobuf.room import Room
from salver.errors import Internal, InvalidArgument
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import TakesLong

CONTENTS = message_class("inference.InferTensorContents")

FIELDS = {
    DataType.BOOL: "bool_contents",
    DataType.INT8: "int_contents",
    DataType.INT16: "int_contents",
    DataType.INT32: "int_contents",
    DataType.INT64: "int64_contents",
    DataType.UINT8: "uint_contents",
    DataType.UINT16: "uint_contents",
    DataType.UINT32: "uint_contents",
    DataType.UINT64: "uint64_contents",
    DataType.FLOAT32: "fp32_contents",
    DataType.FLOAT64: "fp64_contents",
    DataType.STRING: "bytes_contents",
}


def elements(dtype: DataType) -> st.SearchStrategy[Any]:
    storage = None if dtype is DataType.STRING else numpy_dtype(dtype)
    if storage is None:
        return st.binary(max_size=200)
    if storage.kind == "b":
        return st.booleans()
    if storage.kind == "f":
        return st.floats(width=32 if storage.itemsize == 4 else 64, allow_nan=False)
    limits = np.iinfo(storage)
    return st.integers(int(limits.min), int(limits.max))


typed = st.sampled_from(list(FIELDS)).flatmap(
    lambda dtype: st.tuples(st.just(dtype), st.lists(elements(dtype), max_size=6))
)


def serialized(dtype: DataType, values: list[Any]) -> bytes:
    data: bytes = CONTENTS(**{FIELDS[dtype]: values}).SerializeToString()
    return data


@given(typed)
def test_elements_are_read_as_they_were_written(whole: tuple[DataType, list[Any]]) -> None:
    dtype, values = whole
    array = array_of_contents(dtype, (len(values),), serialized(dtype, values), "x")
    assert array.tolist() == values
    assert array.dtype == (object if dtype is DataType.STRING else numpy_dtype(dtype))


@given(typed)
def test_elements_are_written_as_protobuf_writes_them(whole: tuple[DataType, list[Any]]) -> None:
    dtype, values = whole
    array = array_of_contents(dtype, (len(values),), serialized(dtype, values), "x")
    assert CONTENTS.FromString(contents_of(array)) == CONTENTS(**{FIELDS[dtype]: values})


def test_unpacked_numbers_are_read_as_well() -> None:
    data = joined([(2, 0, long_varint(5, 3)), (2, 2, sized(b"\x07\x08")), (15, 0, b"\x01")])
    assert array_of_contents(DataType.INT16, (3,), data, "x").tolist() == [5, 7, 8]


def test_strings_between_unknown_fields_are_read_as_well() -> None:
    data = joined([(8, 2, sized(b"a")), (15, 0, b"\x01"), (8, 2, sized(b"b" * 200))])
    assert array_of_contents(DataType.STRING, (2,), data, "x").tolist() == [b"a", b"b" * 200]


def test_floats_are_a_view_of_the_message() -> None:
    data = serialized(DataType.FLOAT32, [1.5] * 6)
    array = array_of_contents(DataType.FLOAT32, (2, 3), memoryview(data), "x")
    assert np.shares_memory(array, np.frombuffer(data, np.uint8))
    assert array.shape == (2, 3)


@pytest.mark.parametrize("dtype", FIELDS, ids=lambda dtype: dtype.name)
def test_another_number_of_elements_than_the_shape_has_is_refused(dtype: DataType) -> None:
    value: Any = b"a" if dtype is DataType.STRING else 1
    is_text = dtype is DataType.STRING
    text = "string elements for inference input 'x'" if is_text else "input byte size mismatch for"
    for count in (0, 1, 3, 2**62):
        with pytest.raises(InvalidArgument, match=text):
            array_of_contents(dtype, (count,), serialized(dtype, [value] * 2), "x")


@pytest.mark.parametrize("dtype", FIELDS, ids=lambda dtype: dtype.name)
def test_a_shape_of_2_62_elements_takes_no_memory(dtype: DataType) -> None:
    tracemalloc.start()
    try:
        for data in (b"", serialized(dtype, [b"a" if dtype is DataType.STRING else 1])):
            with pytest.raises(InvalidArgument):
                array_of_contents(dtype, (2**31, 2**31), data, "x")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_no_elements_need_no_field() -> None:
    for dtype in FIELDS:
        assert array_of_contents(dtype, (0, 3), b"", "x").shape == (0, 3)
        assert array_of_contents(dtype, (2**40, 0), b"", "x").shape == (2**40, 0)


def test_a_shape_that_no_array_has_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="invalid shape for input 'x'"):
        array_of_contents(DataType.FLOAT32, (2**62, 2**62, 0), b"", "x")


@pytest.mark.parametrize("dtype", [DataType.FLOAT16, DataType.BFLOAT16])
def test_what_no_field_can_hold_is_refused(dtype: DataType) -> None:
    with pytest.raises(InvalidArgument, match="send it as raw_input_contents"):
        array_of_contents(dtype, (1,), serialized(DataType.FLOAT32, [1.0]), "x")
    with pytest.raises(TypeError):
        contents_of(np.zeros(1, numpy_dtype(dtype)))


def test_a_field_of_another_type_is_refused_in_words() -> None:
    data = CONTENTS(fp32_contents=[1], int_contents=[2]).SerializeToString()
    with pytest.raises(InvalidArgument) as raised:
        array_of_contents(DataType.FLOAT32, (1,), data, "x")
    assert raised.value.message == (
        "unexpected explicit tensor data for input tensor 'x' of type 'INT32', expected datatype "
        "'FP32'"
    )
    with pytest.raises(InvalidArgument, match="of type 'FP32', expected datatype 'BYTES'"):
        array_of_contents(DataType.STRING, (4,), serialized(DataType.FLOAT32, [1] * 4), "x")


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(DataType.INT8, 128), (DataType.INT16, -32769), (DataType.UINT8, 256)],
)
def test_numbers_too_large_for_the_datatype_are_refused(dtype: DataType, value: int) -> None:
    with pytest.raises(InvalidArgument, match="has values that are no"):
        array_of_contents(dtype, (1,), serialized(dtype, [value]), "x")


def test_what_takes_long_is_not_made_in_the_loop() -> None:
    few = Room(10, made_bytes=100)
    numbers = serialized(DataType.INT64, [1] * 1000)
    strings = serialized(DataType.STRING, [b"a"] * 1000)
    for dtype, data in ((DataType.INT64, numbers), (DataType.STRING, strings)):
        with pytest.raises(TakesLong):
            array_of_contents(dtype, (1000,), data, "x", few)


@given(st.sampled_from(list(FIELDS)), broken(typed.map(lambda whole: serialized(*whole))))
def test_broken_contents_are_an_error_in_words(dtype: DataType, data: bytes) -> None:
    try:
        array = array_of_contents(dtype, (2,), data, "x")
    except (Internal, InvalidArgument):
        return
    assert array.shape == (2,)

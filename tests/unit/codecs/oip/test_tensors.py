import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from salver.codecs.oip.dtypes import DATATYPES
from salver.codecs.oip.tensors import (
    MAX_RANK,
    array_of_raw,
    checked_shape,
    raw_of,
    raw_strings,
)
from salver.codecs.protobuf.room import Room
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array, TakesLong

NUMBERS = [of for of in DATATYPES.values() if of is not DataType.STRING]
STRINGS = st.lists(st.binary(max_size=9), max_size=9)


def message_of(dtype: DataType, shape: tuple[int, ...], raw: bytes) -> str:
    with pytest.raises(InvalidArgument) as raised:
        array_of_raw(dtype, shape, raw, "x")
    return raised.value.message


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda of: of.name)
def test_numbers_are_a_view_of_the_bytes_they_came_in(dtype: DataType) -> None:
    sent = np.arange(6).reshape(2, 3).astype(numpy_dtype(dtype))
    body = b"head" + sent.tobytes()
    array = array_of_raw(dtype, (2, 3), memoryview(body)[4:], "x")
    np.testing.assert_array_equal(array, sent)
    assert array.dtype == sent.dtype
    assert not array.flags.writeable
    assert array.ctypes.data == np.frombuffer(body, np.uint8).ctypes.data + 4
    assert bytes(raw_of(array)) == sent.tobytes()


@given(STRINGS)
def test_strings_come_back_as_they_went(values: list[bytes]) -> None:
    array = array_of_raw(DataType.STRING, (len(values),), raw_strings(values), "x")
    assert array.tolist() == values
    assert raw_of(array) == raw_strings(values)


def test_strings_are_written_with_four_bytes_of_length() -> None:
    assert raw_strings([b"ab", b""]) == b"\x02\0\0\0ab\0\0\0\0"
    array = array_of_raw(DataType.STRING, (1, 2, 1), memoryview(b"\x02\0\0\0ab\0\0\0\0"), "x")
    assert array.tolist() == [[[b"ab"], [b""]]]
    assert all(type(value) is bytes for value in array.flat)


@pytest.mark.parametrize(
    ("dtype", "shape", "raw", "message"),
    [
        (DataType.FLOAT32, (3,), b"\0" * 8, "byte size mismatch for input 'x'. Expected 12, got 8"),
        (DataType.FLOAT32, (1,), b"\0" * 8, "Expected 4, got 8"),
        (DataType.FLOAT32, (0,), b"\0", "Expected 0, got 1"),
        (DataType.INT8, (1 << 62,), b"\0", f"Expected {1 << 62}, got 1"),
        (DataType.INT64, (1 << 62,), b"\0", "Expected 36893488147419103232, got 1"),
        (DataType.BOOL, (2,), b"\0\2", "neither 0 nor 1"),
        (DataType.STRING, (1 << 62,), b"\0\0\0\0", f"expected {1 << 62} string elements"),
        (DataType.STRING, (1,), b"\0\0\0", "expected 1 string elements"),
        (DataType.STRING, (2,), b"\3\0\0\0aaa\0", "expecting 4 bytes but only 1 bytes available"),
        (DataType.STRING, (1,), b"\4\0\0\0aaa", "element 0 of inference input 'x' is cut short"),
        (DataType.STRING, (1,), b"\xff\xff\xff\xffaaa", "expecting 4294967295 bytes but only 3"),
        (DataType.STRING, (1,), b"\0\0\0\0\0\0\0\0", "expecting 1: 4 bytes are left over"),
        (DataType.STRING, (0,), b"\0", "expecting 0: 1 bytes are left over"),
        (DataType.FLOAT32, (0, 1 << 62, 1 << 62), b"", "no array has the shape"),
    ],
)
def test_sizes_that_lie_are_refused_in_words(
    dtype: DataType, shape: tuple[int, ...], raw: bytes, message: str
) -> None:
    assert message in message_of(dtype, shape, raw)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([-1], "shape [-1] contains one or more invalid dimensions"),
        ([1.0], "contains one or more invalid"),
        ([True], "contains one or more invalid"),
        (["3"], "contains one or more invalid"),
        ([[1]], "contains one or more invalid"),
        ([None], "contains one or more invalid"),
        ([1 << 64], "contains one or more invalid"),
        ([10**4000], "contains one or more invalid"),
        ([1 << 62, 2], "exceed maximum size of 9223372036854775807"),
        ([1 << 32] * 60, "exceed maximum size"),
        ([1] * (MAX_RANK + 1), "65 dimensions are more than 64"),
    ],
)
def test_a_shape_that_is_none_is_refused_in_words(shape: list[object], message: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid shape for input 'x'") as raised:
        checked_shape(shape, "x")
    assert message in raised.value.message
    assert len(raised.value.message) < 400


def test_a_shape_is_a_tuple_of_sizes() -> None:
    assert checked_shape([2, 0, 1 << 40], "x") == (2, 0, 1 << 40)
    assert checked_shape([], "x") == ()


def test_many_strings_are_left_to_another_thread() -> None:
    raw = raw_strings([b""] * 100)
    with pytest.raises(TakesLong):
        array_of_raw(DataType.STRING, (100,), raw, "x", Room(len(raw), made_bytes=1000))
    assert array_of_raw(DataType.STRING, (100,), raw, "x", Room(len(raw))).size == 100


@pytest.mark.parametrize("dtype", [DataType.STRING, DataType.FLOAT32], ids=["BYTES", "FP32"])
def test_no_shape_makes_anything_be_set_aside_that_was_not_sent(dtype: DataType) -> None:
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(3):
            with pytest.raises(InvalidArgument):
                array_of_raw(dtype, (1 << 40,), b"\0" * 64, "x")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_an_array_is_written_row_by_row_whatever_its_order_in_memory() -> None:
    turned = np.arange(6, dtype=np.int32).reshape(2, 3).T
    assert bytes(raw_of(turned)) == turned.tobytes()
    large = np.arange(1 << 18, dtype=np.int32)
    view = raw_of(large)
    assert isinstance(view, memoryview)
    assert bytes(view) == large.tobytes()


@given(
    st.sampled_from(list(DATATYPES.values())),
    st_numpy.array_shapes(min_dims=0, min_side=0, max_side=4),
    st.binary(max_size=64),
)
def test_any_bytes_are_a_tensor_or_refused(
    dtype: DataType, shape: tuple[int, ...], raw: bytes
) -> None:
    try:
        array: Array = array_of_raw(dtype, shape, raw, "x")
    except InvalidArgument:
        return
    assert array.shape == shape
    assert bytes(raw_of(array)) == raw

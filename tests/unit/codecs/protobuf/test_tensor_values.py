from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver._pb import message_class
from salver.codecs.protobuf import tensor_values
from salver.codecs.protobuf.room import Room
from salver.codecs.protobuf.tensor_form import TensorForm, form_of
from salver.codecs.protobuf.tensor_values import checked_shape, shape_of
from salver.codecs.protobuf.wire import Bytes, to_varints
from salver.errors import Internal, InvalidArgument
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array, TakesLong
from salver.vocabulary.tensorflow_types import number_of

SMALL = 100  # bytes of the message a tensor is in


def form(dtype: DataType) -> TensorForm:
    found = form_of(number_of(dtype))
    assert found is not None
    return found


def shape_proto(dims: list[int], **fields: Any) -> Any:
    message = message_class("tensorflow.TensorShapeProto")(**fields)
    for size in dims:
        message.dim.add(size=size)
    return message


def from_packed(of: TensorForm, packed: Bytes, shape: tuple[int, ...], n_elements: int) -> Array:
    return tensor_values.from_packed(of, packed, shape, n_elements, Room(SMALL))


def from_content(of: TensorForm, content: Bytes, shape: tuple[int, ...], n_elements: int) -> Array:
    return tensor_values.from_content(of, content, shape, n_elements, Room(SMALL))


def from_strings(values: list[bytes], shape: tuple[int, ...], n_elements: int) -> Array:
    return tensor_values.from_strings(values, shape, n_elements, Room(SMALL))


FLOATS = form(DataType.FLOAT32)
THREE = np.array([1, 2, 3], np.float32).tobytes()


@given(st.lists(st.integers(0, 9), max_size=6))
def test_a_shape_has_as_many_elements_as_its_dimensions_multiply_to(dims: list[int]) -> None:
    expected = (tuple(dims), int(np.prod(dims)))
    assert checked_shape(shape_proto(dims)) == expected
    assert shape_of(shape_proto(dims).SerializeToString()) == expected


@pytest.mark.parametrize("dims", [[], [2, 3]])
def test_an_unknown_rank_and_names_of_dimensions_are_not_looked_at(dims: list[int]) -> None:
    message = shape_proto(dims, unknown_rank=True)
    for dim in message.dim:
        dim.name = "batch"
    assert checked_shape(message)[0] == tuple(dims)


@pytest.mark.parametrize(
    "dims",
    [
        [-1],
        [2, -1],
        [0, -1],
        [-2],
        [-(2**63)],
        [2**40, 2**40],
        [2**62, 2],
        [2**40, 2**40, 0],
        [1] * 255,
    ],
    ids=lambda dims: f"{len(dims)} of {dims[0]}",
)
def test_a_shape_tensorflow_refuses_is_refused(dims: list[int]) -> None:
    with pytest.raises(InvalidArgument, match=r"^A shape has "):
        checked_shape(shape_proto(dims))
    with pytest.raises(InvalidArgument, match=r"^A shape has "):
        shape_of(shape_proto(dims).SerializeToString())


@pytest.mark.parametrize("dims", [[0, 2**40, 2**40], [2**62, 1], [1] * 254])
def test_a_shape_tensorflow_takes_is_taken(dims: list[int]) -> None:
    assert checked_shape(shape_proto(dims))[0] == tuple(dims)


def test_a_malformed_shape_is_an_internal_error() -> None:
    with pytest.raises(Internal):
        shape_of(b"\x12\x05")


def test_as_many_values_as_elements_are_a_view() -> None:
    array = from_packed(FLOATS, THREE, (3, 1), 3)
    assert array.tolist() == [[1.0], [2.0], [3.0]]
    assert not array.flags.owndata


@pytest.mark.parametrize(("n_elements", "expected"), [(2, [1, 2]), (5, [1, 2, 3, 3, 3]), (0, [])])
def test_values_are_padded_with_the_last_or_cut(n_elements: int, expected: list[float]) -> None:
    assert from_packed(FLOATS, THREE, (n_elements,), n_elements).tolist() == expected


def test_no_values_are_zeros() -> None:
    assert from_packed(FLOATS, b"", (2,), 2).tolist() == [0.0, 0.0]
    assert from_packed(form(DataType.BOOL), b"", (2,), 2).tolist() == [False, False]
    assert from_strings([], (2,), 2).tolist() == [b"", b""]


def test_half_a_complex_number_is_lost() -> None:
    array = from_packed(form(DataType.COMPLEX64), THREE, (2,), 2)
    assert array.tolist() == [1 + 2j, 1 + 2j]
    assert from_packed(form(DataType.COMPLEX64), THREE[:4], (), 1).item() == 0


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (DataType.UINT8, [44, 255, 127]),
        (DataType.INT8, [44, -1, 127]),
        (DataType.QINT8, [44, -1, 127]),
        (DataType.UINT16, [300, 65535, 127]),
        (DataType.INT16, [300, -1, 127]),
        (DataType.INT32, [300, -1, 127]),
    ],
)
def test_narrow_integers_wrap(dtype: DataType, expected: list[int]) -> None:
    packed = to_varints(np.array([300, 2**64 - 1, 127], np.uint64))
    assert from_packed(form(dtype), packed, (3,), 3).tolist() == expected


@pytest.mark.parametrize("dtype", [DataType.FLOAT16, DataType.BFLOAT16])
def test_half_values_are_bit_patterns(dtype: DataType) -> None:
    one = {DataType.FLOAT16: 0x3C00, DataType.BFLOAT16: 0x3F80}[dtype]
    array = from_packed(form(dtype), to_varints(np.array([one, one + 0x18000], np.uint32)), (2,), 2)
    assert array.astype(np.float32).tolist() == [1.0, -1.0]


def test_any_number_but_0_is_true() -> None:
    packed = to_varints(np.array([0, 1, 2, 256, 2**63], np.uint64))
    assert from_packed(form(DataType.BOOL), packed, (5,), 5).tolist() == [False] + [True] * 4


@pytest.mark.parametrize(
    ("dtype", "packed"),
    [(DataType.FLOAT32, b"123"), (DataType.COMPLEX128, b"1234"), (DataType.INT32, b"\x80")],
)
def test_numbers_that_are_cut_off_are_a_value_error(dtype: DataType, packed: bytes) -> None:
    with pytest.raises(ValueError, match="cut off"):
        from_packed(form(dtype), packed, (1,), 1)


def test_content_is_a_view() -> None:
    content = bytearray(THREE)
    array = from_content(FLOATS, memoryview(content), (3,), 3)
    content[:4] = content[8:]
    assert array.tolist() == [3.0, 2.0, 3.0]


@pytest.mark.parametrize("n_elements", [1, 2, 4, 2**40])
def test_content_of_another_size_is_refused(n_elements: int) -> None:
    with pytest.raises(InvalidArgument, match=r"^Content of 12 bytes is not \d+ elements of 4"):
        from_content(FLOATS, THREE, (n_elements,), n_elements)


def test_content_for_no_elements_is_not_looked_at() -> None:
    assert from_content(FLOATS, THREE, (2, 0), 0).shape == (2, 0)
    assert from_content(form(DataType.STRING), b"\xff", (0,), 0).dtype == object


def test_content_for_bool_is_0_and_1() -> None:
    assert from_content(form(DataType.BOOL), b"\x01\x00", (2,), 2).tolist() == [True, False]
    with pytest.raises(InvalidArgument, match="neither 0 nor 1"):
        from_content(form(DataType.BOOL), b"\x01\x02", (2,), 2)


@pytest.mark.parametrize(
    "content", [b"\x01\x02abb", b"\x81\x00\x02abb", b"\x81\x80\x80\x80\x10\x02abb"]
)
def test_content_for_strings_is_their_lengths_and_then_their_bytes(content: bytes) -> None:
    assert from_content(form(DataType.STRING), content, (2,), 2).tolist() == [b"a", b"bb"]


@pytest.mark.parametrize(
    "content",
    [b"\x01\x02ab", b"\x01\x02abbx", b"\x01", b"\x01\x82", b"\x81\x80\x80\x80\x80\x00\x02abb"],
)
def test_content_for_strings_that_does_not_add_up_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"^Content for strings "):
        from_content(form(DataType.STRING), content, (2,), 2)


def test_a_small_message_with_a_huge_shape_takes_no_memory() -> None:
    for n_elements in (2**27, 2**62):
        with pytest.raises(InvalidArgument, match=r"lacks .* of its values"):
            from_packed(FLOATS, THREE, (n_elements,), n_elements)
        with pytest.raises(InvalidArgument, match=r"lacks .* of its values"):
            from_strings([b"a"], (n_elements,), n_elements)
        with pytest.raises(InvalidArgument, match=r"has not got .* lengths"):
            from_content(form(DataType.STRING), b"\x01", (n_elements,), n_elements)


def test_a_long_string_is_not_repeated_for_ever() -> None:
    assert from_strings([b"x" * 10_000], (1000,), 1000)[-1] == b"x" * 10_000
    with pytest.raises(InvalidArgument, match="lacks 99999 of its values"):
        from_strings([b"x" * 10_000], (100_000,), 100_000)


def test_one_value_may_stand_for_a_batch_of_images() -> None:
    array = from_packed(form(DataType.UINT8), b"\x07", (64, 224, 224, 3), 64 * 224 * 224 * 3)
    assert array.min() == array.max() == 7


@pytest.mark.parametrize(("shape", "n_elements"), [((1,) * 65, 1), ((0, 2**62), 0)])
def test_a_shape_no_array_can_have_is_refused(shape: tuple[int, ...], n_elements: int) -> None:
    with pytest.raises(InvalidArgument, match=r"^No array has"):
        from_packed(FLOATS, b"", shape, n_elements)
    with pytest.raises(InvalidArgument, match=r"^No array has"):
        from_content(FLOATS, b"1234", shape, n_elements)


def test_strings_are_padded_with_the_last_or_cut() -> None:
    assert from_strings([b"a", b"b"], (1,), 1).tolist() == [b"a"]
    assert from_strings([b"a", b"b"], (2, 2), 4).tolist() == [[b"a", b"b"], [b"b", b"b"]]
    assert from_strings([b"a"], (), 1).item() == b"a"
    assert from_strings([b"a"], (0,), 0).tolist() == []


@pytest.mark.parametrize(
    ("dtype", "packed"),
    [(DataType.FLOAT32, THREE), (DataType.INT32, b"\1"), (DataType.BOOL, b"\1")],
)
def test_what_is_filled_in_takes_room(dtype: DataType, packed: bytes) -> None:
    n_elements = 65
    room = Room(SMALL, made_bytes=64)
    with pytest.raises(TakesLong):
        tensor_values.from_packed(form(dtype), packed, (n_elements,), n_elements, room)


def test_numbers_that_are_unpacked_take_room_and_views_do_not() -> None:
    longs, content = form(DataType.INT64), np.ones(9).tobytes()
    for packed, n_elements in ((b"\1" * 9, 9), (b"\1" * 9, 20), (b"\1" * 20, 9)):
        with pytest.raises(TakesLong):
            tensor_values.from_packed(
                longs, packed, (n_elements,), n_elements, Room(SMALL, made_bytes=71)
            )
    assert tensor_values.from_content(longs, content, (9,), 9, Room(SMALL, made_bytes=0)).size == 9
    doubles = form(DataType.FLOAT64)
    assert tensor_values.from_packed(doubles, content, (9,), 9, Room(SMALL, made_bytes=0)).size == 9


def test_strings_take_room() -> None:
    for values in ([b""] * 9, [b""]):
        with pytest.raises(TakesLong):
            tensor_values.from_strings(values, (9,), 9, Room(SMALL, made_bytes=8 * 32))

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire_forms import long_varint

from salver._pb import message_class
from salver.codecs.protobuf import wire
from salver.codecs.protobuf.wire import (
    from_varints,
    length_delimited,
    parse_message,
    read_length,
    read_varint,
    to_varints,
    varint,
)
from salver.errors import Internal

U64 = np.dtype(np.uint64)
numbers = st.one_of(
    st.integers(0, 2**64 - 1),
    st.integers(0, 63).map(lambda bits: 1 << bits),
    st.integers(0, 300),
)


def packed(values: list[int]) -> bytes:
    """As protobuf itself packs them, without tag (2 bytes) and length."""
    data: bytes = message_class("tensorflow.TensorProto")(uint64_val=values).SerializeToString()
    return data[read_length(data, 2)[1] :] if data else b""


@given(numbers)
def test_a_number_is_written_as_protobuf_would(value: int) -> None:
    assert varint(value) == packed([value])


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.binary(max_size=3))
def test_a_length_is_read_however_long_it_is_written(
    value: int, n_bytes: int, behind: bytes
) -> None:
    written = long_varint(value, n_bytes)
    assert read_length(b"x" + written + behind, 1) == (value, 1 + len(written))
    assert read_length(memoryview(written), 0) == (value, len(written))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff\xff\xff\xff", b"\x81\x80\x80\x80\x80\x00"])
def test_a_length_that_is_cut_off_or_too_long_is_an_index_error(data: bytes) -> None:
    with pytest.raises(IndexError):
        read_length(data, 0)


def test_a_hostile_length_takes_no_time() -> None:
    with pytest.raises(IndexError):
        read_length(b"\xff" * 10_000_000, 0)


@given(st.lists(numbers, max_size=700))
def test_numbers_are_packed_and_unpacked_as_by_protobuf(values: list[int]) -> None:
    array = np.array(values, np.uint64)
    data = packed(values)
    assert to_varints(array) == data
    assert from_varints(data, U64).tolist() == values
    assert from_varints(memoryview(data), U64).dtype == U64


@given(
    st.lists(numbers, min_size=1, max_size=700),
    st.sampled_from([np.uint8, np.uint16, np.uint32]),
)
def test_bits_without_a_place_are_dropped(
    values: list[int], kind: type[np.unsignedinteger]
) -> None:
    dtype = np.dtype(kind)
    kept = from_varints(packed(values), dtype)
    assert kept.dtype == dtype
    assert kept.tolist() == [value % (1 << 8 * dtype.itemsize) for value in values]


@given(st.lists(st.tuples(numbers, st.integers(1, 10)), max_size=60))
def test_numbers_may_be_longer_than_they_need(spelled: list[tuple[int, int]]) -> None:
    data = b"".join([long_varint(value, n_bytes) for value, n_bytes in spelled])
    assert from_varints(data, U64).tolist() == [value for value, _ in spelled]


@pytest.mark.parametrize("n_values", [1, 400], ids=["few", "many"])
def test_the_bits_beyond_64_are_dropped(n_values: int) -> None:
    assert (
        from_varints((b"\x81" + b"\x80" * 8 + b"\x7e") * n_values, U64).tolist() == [1] * n_values
    )


@pytest.mark.parametrize("highest", [1, 127, 128, 70_000, 2**63])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_long_arrays_are_packed_and_unpacked_in_blocks(
    highest: int, kind: type[np.unsignedinteger]
) -> None:
    dtype = np.dtype(kind)
    highest = min(highest, np.iinfo(dtype).max)
    values = np.random.default_rng(0).integers(0, highest, 200_000, np.uint64, endpoint=True)
    array = values.astype(dtype)
    data = to_varints(array)
    assert data == packed(array.tolist())
    unpacked = from_varints(data, dtype)
    assert unpacked.dtype == dtype
    np.testing.assert_array_equal(unpacked, array)


@pytest.mark.parametrize("before", [b"", b"\x01" * 600, b"\x01" * (1 << 16)])
@pytest.mark.parametrize(
    "tail", [b"\x80", b"\x80" * 10 + b"\x00", b"\x80" * 100 + b"\x00", b"\x80" * 70_000 + b"\x00"]
)
def test_a_number_that_is_cut_off_or_too_long_is_a_value_error(before: bytes, tail: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut off|longer than ten bytes"):
        from_varints(before + tail, U64)


def test_nothing_unpacks_to_nothing() -> None:
    assert from_varints(b"", U64).shape == (0,)
    assert to_varints(np.array([], np.uint64)) == b""


@pytest.mark.parametrize("number", [1, 15, 16, 2000])
@pytest.mark.parametrize("size", [0, 127, 128, 70_000])
def test_a_field_has_its_number_and_its_length(number: int, size: int) -> None:
    field = length_delimited(number, b"x" * size)
    tag, at = read_length(field, 0)
    length, at = read_length(field, at)
    assert (tag >> 3, tag & 7, length, field[at:]) == (number, 2, size, b"x" * size)


def test_a_message_is_parsed_from_bytes_and_from_a_view() -> None:
    data = b"\x0a\x03abc"
    for form in (data, memoryview(b"x" + data)[1:]):
        assert parse_message("tensorflow.serving.ModelSpec", form).name == "abc"


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x01\xff", b"\x00", b"\x0c", b"\x0b" * 200])
def test_what_is_no_message_is_an_internal_error(data: bytes) -> None:
    with pytest.raises(Internal, match=r"^Failed to parse tensorflow\.serving\.ModelSpec$"):
        parse_message("tensorflow.serving.ModelSpec", data)


FIELDS = st.one_of(
    st.tuples(st.integers(1, 12), st.just(2), st.binary(max_size=6)).map(
        lambda of: length_delimited(of[0], of[2])
    ),
    st.sampled_from(
        [
            length_delimited(1, b"\x0a\x01m"),  # model_spec
            length_delimited(2, length_delimited(1, length_delimited(1, b"\x0a\x00"))),
            length_delimited(2, length_delimited(1, length_delimited(1, b"") * 3)),
            length_delimited(2, length_delimited(2, length_delimited(2, b"\x0a\x00") * 2)),
            b"\x50\x05",
            b"\x59" + bytes(8),
            b"\x5d" + bytes(4),
        ]
    ),
)


INPUTS = st.one_of(
    st.sampled_from(
        [
            length_delimited(1, b"x"),
            length_delimited(1, b"\xff"),
            b"\x08\x01",  # a number for a key
            length_delimited(2, b""),
            length_delimited(2, b"\x08\x01"),
            length_delimited(2, length_delimited(5, bytes(8)) * 2),
            length_delimited(2, length_delimited(8, b"a") * 3),
            length_delimited(2, length_delimited(15, length_delimited(3, b"\x08\x01"))),
            length_delimited(2, b"\x12"),
            length_delimited(3, b"?"),
        ]
    )
)
REQUESTS = st.one_of(
    FIELDS,
    st.lists(INPUTS, max_size=4).map(b"".join).map(lambda entry: length_delimited(2, entry)),
)


@pytest.mark.parametrize("name", ["ClassificationRequest", "PredictRequest"])
@given(data=st.lists(REQUESTS, max_size=8).map(b"".join), step=st.integers(1, 30))
def test_a_large_message_is_the_same_in_steps(name: str, data: bytes, step: int) -> None:
    """Also what is no message is refused as before."""
    assert _in_steps(name, data, step) == _parsed(name, data)


@given(data=st.binary(max_size=40), step=st.integers(1, 10))
def test_bytes_of_any_kind_are_the_same_in_steps(data: bytes, step: int) -> None:
    assert _in_steps("SessionRunRequest", data, step) == _parsed("SessionRunRequest", data)


def test_messages_in_messages_end_somewhere() -> None:
    tensor = b""
    for _ in range(300):
        tensor = length_delimited(15, length_delimited(3, tensor))
    data = length_delimited(2, length_delimited(1, b"x") + length_delimited(2, tensor))
    assert _parsed("PredictRequest", data) is None
    assert _in_steps("PredictRequest", data, step=1) is None


def _in_steps(name: str, data: bytes, step: int) -> bytes | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "_STEP_BYTES", step)
        patch.setattr(wire, "_LARGEST_WHOLE_BYTES", 0)
        return _parsed(name, data)


def _parsed(name: str, data: bytes) -> bytes | None:
    """Written again; None for what is no message."""
    try:
        message = parse_message(f"tensorflow.serving.{name}", data)
    except Internal:
        return None
    written: bytes = message.SerializeToString(deterministic=True)
    return written


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=3))
def test_a_number_of_64_bits_comes_back_whatever_follows_it(value: int, after: bytes) -> None:
    written = varint(value)
    assert read_varint(b"-" + written + after, 1) == (value, 1 + len(written))


def test_numbers_of_known_bytes() -> None:
    assert varint(0) == b"\x00"
    assert varint(300) == b"\xac\x02"
    assert read_varint(b"\x80\x00", 0) == (0, 2)  # longer than need be


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 11 + b"\x01"])
def test_a_number_that_does_not_end_is_none(data: bytes) -> None:
    with pytest.raises(IndexError):
        read_varint(data, 0)

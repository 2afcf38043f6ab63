import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.backends.tensorflow.wire import length_delimited, read_varint, varint


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=3))
def test_a_number_comes_back_whatever_follows_it(value: int, after: bytes) -> None:
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


def test_a_field_has_its_number_and_its_length() -> None:
    assert length_delimited(4, b"ab") == b"\x22\x02ab"
    assert length_delimited(1000, bytes(300)) == b"\xc2\x3e\xac\x02" + bytes(300)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.backends.tensorflow.snappy import decompressed
from salver.codecs.protobuf.wire import varint


def literal(data: bytes) -> bytes:
    size = len(data) - 1
    if size < 60:
        return bytes([size << 2]) + data
    width = (size.bit_length() + 7) // 8
    return bytes([(59 + width) << 2]) + size.to_bytes(width, "little") + data


@given(st.binary(min_size=1, max_size=70_000))
def test_what_is_not_compressed_comes_back(data: bytes) -> None:
    assert decompressed(varint(len(data)) + literal(data)) == data


def test_copies_of_all_kinds_come_back() -> None:
    short = bytes([(4 - 4) << 2 | 1, 4])  # 4 bytes from 4 back
    long = bytes([(10 - 1) << 2 | 2, 8, 0])  # 10 bytes from 8 back, over itself
    far = bytes([(3 - 1) << 2 | 3, 22, 0, 0, 0])
    data = varint(21 + 3) + literal(b"abcdefg") + short + long + bytes([2 << 2 | 3, 21, 0, 0, 0])
    assert decompressed(data) == b"abcdefgdefg" + b"defgdefgde" + b"abc"
    assert decompressed(varint(3) + literal(b"abc") + far) == b""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 9,
        varint(5),
        varint(5) + literal(b"abcdef"),
        varint(5) + literal(b"abc"),
        varint(5) + literal(b"abcdef")[:3],
        varint(1 << 31) + literal(b"a"),
        varint(9) + b"\x01\x04",
        varint(9) + literal(b"a") + b"\x01\x00",
        varint(9) + literal(b"a") + b"\x02\x01",
        varint(9) + b"\xf0",
        varint(9) + literal(b"a") + b"\x01",
    ],
)
def test_what_is_no_such_data_gives_nothing(data: bytes) -> None:
    assert decompressed(data) == b""


@given(st.binary(max_size=200))
def test_anything_may_come(data: bytes) -> None:
    decompressed(data)


def test_little_becomes_no_more_than_a_block_can_be() -> None:
    bomb = varint(1 << 27) + literal(b"a") + b"\xfe\x01\x00" * 100_000
    assert decompressed(bomb) == b""

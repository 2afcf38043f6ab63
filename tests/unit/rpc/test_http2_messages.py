"""Messages in the DATA of a stream, however it is cut, and compressed ones."""

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.errors import Internal, ResourceExhausted
from salver.rpc.http2_messages import MessageReader, deflated, framed, sent_too_large


def whole(data: bytes, flags: int = 0) -> bytes:
    return bytes([flags]) + len(data).to_bytes(4, "big") + data


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=40)), max_size=8), st.data())
def test_messages_are_the_same_however_they_are_cut(
    messages: list[tuple[bool, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(whole(message, int(flag)) for flag, message in messages)
    reader = MessageReader(40)
    found = []
    while stream:
        size = data.draw(st.integers(0, len(stream)))
        found += reader.read(memoryview(stream)[:size] if size % 2 else stream[:size])
        stream = stream[size:]
    assert found == messages
    assert reader.is_between


def test_large_pieces_make_a_large_message() -> None:
    data = bytes(range(256)) * 100
    stream = whole(data) + whole(b"next")
    reader = MessageReader(len(data))
    assert reader.read(memoryview(stream)[:10_000]) == []
    assert not reader.is_between
    assert reader.read(stream[10_000:10_010]) == []
    assert reader.read(stream[10_010:]) == [(False, data), (False, b"next")]


def test_a_very_large_message_is_handed_over_in_pieces() -> None:
    data = bytes(range(256)) * 4097
    reader = MessageReader(len(data))
    stream = whole(data)
    found = [*reader.read(stream[:500_000]), *reader.read(stream[500_000:])]
    [(is_compressed, body)] = found
    assert not is_compressed
    assert not isinstance(body, bytes)
    assert b"".join(body) == data


def test_flags_that_there_are_not_are_refused() -> None:
    assert MessageReader(9).read(whole(b"a") + whole(b"b", 1)) == [(False, b"a"), (True, b"b")]
    with pytest.raises(Internal) as caught:
        MessageReader(9).read(whole(b"a", 2))
    assert caught.value.message == "Bad GRPC frame type 0x02"


def test_a_message_over_the_limit_is_refused_as_soon_as_it_says_so() -> None:
    reader = MessageReader(1000)
    assert reader.read(whole(bytes(1000)))
    with pytest.raises(ResourceExhausted) as caught:
        reader.read(whole(bytes(1001))[:5])
    assert caught.value.message == "SERVER: Received message larger than max (1001 vs. 1000)"
    assert sent_too_large(3, 2).message == "SERVER: Sent message larger than max (3 vs. 2)"


def test_a_small_message_is_sent_in_one_part_and_a_large_one_is_not_copied() -> None:
    assert framed(b"abc") == b"\0\0\0\0\3abc"
    assert framed(b"abc", is_compressed=True) == b"\1\0\0\0\3abc"
    data = bytes(1 << 14)
    prefix, rest = framed(data)
    assert (prefix, rest is data) == (b"\0\0\0\x40\0", True)


class TestCompression:
    @pytest.mark.parametrize(
        ("encoding", "inflate"),
        [(b"gzip", gzip.decompress), (b"deflate", zlib.decompress)],
    )
    def test_what_is_deflated_is_inflated_to_the_same(
        self, encoding: bytes, inflate: Callable[[bytes], bytes]
    ) -> None:
        made = deflated(b"some" * 1000, encoding)
        assert made is not None
        assert len(made) < 100
        assert inflate(made) == b"some" * 1000

    def test_what_does_not_shrink_stays_as_it_is(self) -> None:
        assert deflated(b"ab", b"gzip") is None

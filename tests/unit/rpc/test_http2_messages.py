"""Messages in the DATA of a stream, however it is cut, and compressed ones."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.errors import Internal, ResourceExhausted
from salver.rpc.http2_messages import Inflater, MessageReader, deflated, framed, sent_too_large


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
        ("encoding", "compress"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)]
    )
    def test_both_encodings_are_inflated(self, encoding: bytes, compress: object) -> None:
        made = compress(b"some" * 1000)  # type: ignore[operator]
        assert Inflater(made, encoding, 4000).up_to(4001) == b"some" * 1000

    def test_a_long_one_goes_on_where_it_stopped(self) -> None:
        inflater = Inflater(gzip.compress(bytes(100_000)), b"gzip", 100_000)
        assert inflater.up_to(1000) is None
        assert inflater.message() == bytes(100_000)

    def test_one_that_would_be_too_large_is_refused(self) -> None:
        for first in (1000, 100_000):
            inflater = Inflater(gzip.compress(bytes(100_000)), b"gzip", 99_999)
            with pytest.raises(ResourceExhausted) as caught:
                inflater.up_to(first) or inflater.message()
            assert caught.value.message == "Decompressed message larger than max"

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"no gzip", "zlib error"),
            (gzip.compress(b"some" * 100, mtime=0)[:-9], "data error"),
            (b"", "data error"),
            (gzip.compress(b"some", mtime=0) + b"more", "not all input consumed"),
        ],
    )
    def test_a_broken_one_is_refused_in_the_words_of_the_c_core(
        self, data: bytes, why: str
    ) -> None:
        with pytest.raises(Internal) as caught:
            Inflater(data, b"gzip", 1000).up_to(1001)
        assert caught.value.message == f"Decompression failed due to {why}"

    def test_one_that_ends_where_the_limit_does_without_its_end_is_broken(self) -> None:
        inflater = Inflater(gzip.compress(bytes(1000))[:-8], b"gzip", 1000)
        assert inflater.up_to(1000) is None
        with pytest.raises(Internal):
            inflater.message()

    @pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
    def test_what_is_deflated_is_inflated_to_the_same(self, encoding: bytes) -> None:
        made = deflated(b"some" * 1000, encoding)
        assert made is not None
        assert len(made) < 100
        assert Inflater(made, encoding, 4000).message() == b"some" * 1000

    def test_what_does_not_shrink_stays_as_it_is(self) -> None:
        assert deflated(b"ab", b"gzip") is None

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.transport.http2.talk import GOOD, REQUEST, block

from salver.transport.http2.frames import Code, ConnectionFault
from salver.transport.http2.header_blocks import HeaderBlocks, Headers, encode_block

FIELDS = [(name.encode(), value.encode()) for name, value in REQUEST]


def _blocks() -> HeaderBlocks[Headers]:
    return HeaderBlocks(65_536, 4096, Headers)


def test_splits_pseudo_headers_from_fields() -> None:
    headers = Headers(FIELDS)
    assert headers.fault == ""
    assert (headers.method, headers.path) == (b"POST", b"/a/b")
    assert (headers.scheme, headers.authority) == (b"http", b"localhost")
    assert headers.pairs == FIELDS[4:]
    assert headers.get(b"te") == b"trailers"
    assert headers.get(b"absent") is None
    assert headers.size_bytes == sum(len(n) + len(v) + 32 for n, v in FIELDS)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ((b"x", b"a\r\nb"), "a field value has forbidden characters"),
        ((b"x", b" a"), "a field value has forbidden characters"),
        ((b"x", b"a\t"), "a field value has forbidden characters"),
        ((b"X", b"a"), "a field name has forbidden characters"),
        ((b"", b"a"), "a field name has forbidden characters"),
        ((b"a:b", b"a"), "a field name has forbidden characters"),
        ((b"a b", b"a"), "a field name has forbidden characters"),
        ((b":other", b"a"), "unknown pseudo-header"),
        ((b":path", b"/"), "a pseudo-header came twice"),
        ((b"transfer-encoding", b"chunked"), "a field of HTTP/1.1 connections"),
        ((b"te", b"deflate"), "te must be trailers"),
        ((b"content-length", b"-1"), "content-length is no number"),
        ((b"content-length", b"9" * 19), "content-length is no number"),
        ((b"host", b"other"), "host is not the authority"),
    ],
)
def test_says_what_is_malformed(more: tuple[bytes, bytes], fault: str) -> None:
    assert Headers([*FIELDS, more]).fault == fault


def test_pseudo_headers_come_first() -> None:
    assert Headers([*FIELDS[1:], FIELDS[0]]).fault == "a pseudo-header came after a field"


def test_an_authority_may_come_as_host_or_twice_alike() -> None:
    without = [pair for pair in FIELDS if pair[0] != b":authority"]
    assert Headers([*without, (b"host", b"x")]).fault == ""
    assert Headers([*FIELDS, (b"host", b"LOCALHOST")]).fault == ""
    assert Headers(without).fault == ""


def test_the_same_length_twice_is_one_length() -> None:
    length = (b"content-length", b"12")
    assert Headers([*FIELDS, length, length]).content_length == 12
    assert Headers(FIELDS).content_length == -1


@pytest.mark.parametrize(
    ("method", "path", "is_good"),
    [
        (b"GET", b"/", True),
        (b"OPTIONS", b"*", True),
        (b"GET", b"*", False),
        (b"GET", b"a", False),
        (b"GET", b"", False),
        (b"", b"/", False),
    ],
)
def test_paths_begin_with_a_slash(method: bytes, path: bytes, is_good: bool) -> None:
    headers = Headers([(b":method", method), (b":scheme", b"http"), (b":path", path)])
    assert (headers.fault == "") is is_good


def test_trailers_have_no_pseudo_headers() -> None:
    assert Headers([(b"a", b"b")], are_trailers=True).fault == ""
    fault = Headers([(b":path", b"/")], are_trailers=True).fault
    assert fault == "a pseudo-header in trailers"


def test_equal_blocks_are_the_same_headers_until_the_table_changes() -> None:
    encoder = hpack.Encoder()
    blocks = _blocks()
    first = encoder.encode(REQUEST)
    again = encoder.encode(REQUEST)
    headers = blocks.read(first)
    assert first not in blocks.cached
    assert blocks.read(again) is headers
    assert blocks.cached[again] is headers
    blocks.read(encoder.encode([*REQUEST, ("x-new", "1")]))
    assert again not in blocks.cached
    moved = encoder.encode(REQUEST)
    assert moved != again
    assert blocks.read(moved) is headers


def test_a_table_that_shrinks_empties_the_cache() -> None:
    blocks = _blocks()
    blocks.read(GOOD)
    assert GOOD in blocks.cached
    blocks.read(b"\x20" + GOOD)
    assert blocks.cached == {}


def test_caches_are_bounded() -> None:
    blocks = _blocks()
    for index in range(1000):
        blocks.read(block([*REQUEST, ("x", str(index))]))
        assert len(blocks.cached) <= 128
    large = block([*REQUEST, ("x", "y" * 5000)])
    assert blocks.read(large) is not blocks.read(large)
    assert large not in blocks.cached


@pytest.mark.parametrize(
    "bad",
    [
        b"\x80",
        b"\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\x05ab",
        b"\x00",
        b"\x40\x01",
        GOOD + b"\x20",
        b"\x3f\xff\xff\x03" + GOOD,
        b"\x3f\xe1\x1f" * 3 + GOOD,
        b"\x20\x20\x20" + GOOD,
        b"\x3f",
    ],
)
def test_what_is_no_hpack_loses_the_table(bad: bytes) -> None:
    with pytest.raises(ConnectionFault) as caught:
        _blocks().read(bad)
    assert caught.value.code == Code.COMPRESSION_ERROR


def test_two_table_updates_are_fine() -> None:
    assert _blocks().read(b"\x20\x3f\xe1\x1f" + GOOD).fault == ""


@given(st.binary(max_size=100))
def test_any_block_is_read_or_refused(noise: bytes) -> None:
    blocks = _blocks()
    try:
        headers = blocks.read(noise)
    except ConnectionFault as fault:
        assert fault.code == Code.COMPRESSION_ERROR  # noqa: PT017 either way is right
    else:
        assert headers.method or headers.fault


VALUES = st.binary(max_size=300).map(lambda v: v.translate(None, bytes(range(33)) + b"\x7f"))
NAMES = st.one_of(
    st.sampled_from([b":status", b"content-type", b"grpc-status", b"server"]),
    st.text("abcz-", min_size=1, max_size=200).map(str.encode),
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=10))
def test_what_is_written_is_read_by_another_implementation(
    fields: list[tuple[bytes, bytes]],
) -> None:
    decoder = hpack.Decoder()
    assert list(decoder.decode(encode_block(fields), raw=True)) == fields
    assert not decoder.header_table.dynamic_entries


def test_line_breaks_cannot_be_written() -> None:
    written = encode_block([(b"grpc-message", b" a\r\nb\x00 ")])
    assert list(hpack.Decoder().decode(written, raw=True)) == [(b"grpc-message", b"a  b")]

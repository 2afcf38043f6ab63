import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.transport.http2.field_reader import FieldReader

FIELDS = st.tuples(
    st.one_of(
        st.sampled_from([b":path", b":method", b"content-type", b"x-one", b"x-two"]),
        st.binary(max_size=40),
    ),
    st.one_of(st.sampled_from([b"/", b"POST", b"a" * 200]), st.binary(max_size=300)),
    st.booleans(),
)


@given(st.lists(st.lists(FIELDS, max_size=6), max_size=12), st.booleans())
def test_reads_what_another_implementation_writes(
    blocks: list[list[tuple[bytes, bytes, bool]]], is_coded: bool
) -> None:
    encoder = hpack.Encoder()
    reader = FieldReader(100_000, 4096)
    for fields in blocks:
        block = encoder.encode(fields, huffman=is_coded)
        assert reader.read(block) == tuple((name, value) for name, value, _ in fields)


@given(st.lists(st.lists(FIELDS, max_size=4), max_size=6), st.lists(st.integers(0, 4096)))
def test_follows_the_size_of_the_table(
    blocks: list[list[tuple[bytes, bytes, bool]]], sizes: list[int]
) -> None:
    encoder = hpack.Encoder()
    reader = FieldReader(100_000, 4096)
    for fields, size in zip(blocks, sizes, strict=False):
        encoder.header_table_size = size
        block = encoder.encode(fields)
        assert reader.read(block) == tuple((name, value) for name, value, _ in fields)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_refuses_what_another_implementation_refuses(blocks: list[bytes]) -> None:
    reader = FieldReader(65_536, 4096)
    decoder = hpack.Decoder()
    for block in blocks:
        try:
            fields = reader.read(block)
        except (hpack.HPACKError, IndexError):
            return  # it may be stricter
        assert fields == tuple((n, v) for n, v in decoder.decode(block, raw=True))


def test_says_whether_the_table_has_changed() -> None:
    changes = []
    reader = FieldReader(65_536, 4096)
    for block in (b"\x82\x00\x01a\x01b", b"\x40\x01a\x01b", b"\x82", b"\x20"):
        reader.has_changed = False
        reader.read(block)
        changes.append(reader.has_changed)
    assert changes == [False, True, False, True]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (b"\x82\x20", "update behind a field"),
        (b"\x20\x20\x20", "too many"),
        (b"\x3f\xe2\x1f", "too large"),
        (b"\xff\xff\xff\xff\xff\xff", "too long"),
        (b"\x00\x05ab", "cut short"),
        (b"\x82" * 24, "too many fields"),
    ],
)
def test_says_what_is_wrong(block: bytes, message: str) -> None:
    with pytest.raises(hpack.HPACKError, match=message):
        FieldReader(1000, 4096).read(block)


def test_a_table_must_be_shrunk_when_that_was_agreed() -> None:
    reader = FieldReader(1000, 4096)
    reader.max_table_bytes = 100
    with pytest.raises(hpack.HPACKError, match="not shrunk"):
        reader.read(b"\x82")

"""Messages on the wire as no library writes them."""

from hypothesis import strategies as st

from salver.codecs.protobuf.wire import varint

__all__ = ["odd_fields"]

_GREATEST = (1 << 64) - 1


def _long_varint(value: int) -> bytes:
    """One byte longer than it has to be, which every parser takes."""
    short = varint(value)
    return short[:-1] + bytes([short[-1] | 0x80, 0])


def _tags(number: int, kind: int) -> "st.SearchStrategy[bytes]":
    tag = number << 3 | kind
    return st.sampled_from([varint(tag), varint(tag), _long_varint(tag)])


def _field(number: int, contents: "st.SearchStrategy[bytes]") -> "st.SearchStrategy[bytes]":
    return st.builds(lambda tag, data: tag + varint(len(data)) + data, _tags(number, 2), contents)


def odd_fields(
    contents: "dict[int, st.SearchStrategy[bytes]]", *, most: int = 4
) -> "st.SearchStrategy[bytes]":
    """Fields in any order, more than once, and between them some that nobody knows.

    Args:
        contents: number → what a field may hold.
        most: fields.
    """
    fields = [_field(number, content) for number, content in contents.items()]
    number = st.integers(1, 20)
    unknown = st.one_of(
        number.flatmap(lambda n: st.builds(lambda tag: tag + b"\7", _tags(n, 0))),
        number.flatmap(lambda n: st.builds(lambda tag: tag + bytes(8), _tags(n, 1))),
        number.flatmap(lambda n: st.builds(lambda tag: tag + bytes(4), _tags(n, 5))),
        number.map(lambda n: varint(n << 3 | 3) + b"\x78\1" + varint(n << 3 | 4)),  # a group
        st.binary(max_size=3),
    )
    return st.lists(st.one_of(*fields, *fields, unknown), max_size=most).map(b"".join)

"""Protocol buffers as no usual client writes them: strategies that spell the same message anew.

Every spelling means to protobuf what the usual one means, but for `broken`.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Field = tuple[int, int, bytes]  # number, wire type, what follows the tag


def long_varint(value: int, n_bytes: int) -> bytes:
    """A number in at least so many bytes, more than it needs."""
    octets = bytearray()
    while value > 0x7F or len(octets) + 1 < n_bytes:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def joined(fields: list[Field]) -> bytes:
    return b"".join([long_varint(number << 3 | kind, 1) + data for number, kind, data in fields])


def sized(payload: bytes, n_bytes: int = 1) -> bytes:
    return long_varint(len(payload), n_bytes) + payload


def group(number: int, content: bytes) -> Field:
    return (number, 3, content + long_varint(number << 3 | 4, 1))


def unknown_fields(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[Field]:
    """Fields of any wire type, groups within groups included."""
    plain = st.one_of(
        st.tuples(numbers, st.just(0), st.integers(0, 2**64 - 1).map(lambda n: long_varint(n, 1))),
        st.tuples(numbers, st.just(1), st.binary(min_size=8, max_size=8)),
        st.tuples(numbers, st.just(2), st.binary(max_size=5).map(sized)),
        st.tuples(numbers, st.just(5), st.binary(min_size=4, max_size=4)),
    )
    return st.recursive(
        plain,
        lambda inner: st.builds(group, numbers, st.lists(inner, max_size=2).map(joined)),
        max_leaves=4,
    )


def broken(data: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """The message cut off, with bytes changed, put in or appended."""

    @st.composite
    def spoiled(draw: Draw) -> bytes:
        whole = bytearray(draw(data))
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, len(whole)))
            octets = draw(st.binary(min_size=1, max_size=2))
            match draw(st.sampled_from(["cut", "change", "insert"])):
                case "cut":
                    del whole[at:]
                case "change":
                    whole[at : at + len(octets)] = octets
                case _:
                    whole[at:at] = octets
        return bytes(whole)

    return spoiled()

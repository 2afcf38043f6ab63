"""Indices of checkpoints, written by hand: also such as no writer writes."""

import struct
from collections.abc import Iterable, Mapping, Sequence

import google_crc32c

from salver.codecs.protobuf.wire import varint
from tests.graph_wire import message, number, shape

__all__ = ["block", "entry", "handle", "strings", "table"]

_MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
Pairs = Iterable[tuple[bytes, bytes]]


def masked_checksum(data: bytes) -> bytes:
    checksum = google_crc32c.value(data)
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def block(pairs: Pairs) -> bytes:
    """A block of which each key is written whole."""
    body, restarts = b"", [0]
    for key, value in pairs:
        restarts.append(len(body))
        body += varint(0) + varint(len(key)) + varint(len(value)) + key + value
    return body + b"".join(struct.pack("<I", at) for at in (*restarts[1:], len(restarts) - 1))


def handle(start: int, size: int) -> bytes:
    return varint(start) + varint(size)


def table(
    entries: Mapping[bytes, bytes],
    *,
    raw: bytes | None = None,
    compression: int = 0,
    index: Pairs | None = None,
    footer: bytes | None = None,
) -> bytes:
    """An index file.

    Args:
        entries: key → value.
        raw: the block that has them, if it is to be another one.
        compression: of that block.
        index: the blocks, if they are to be others.
        footer: the places of the last two blocks, if they are to be others.
    """
    body = b""

    def put(data: bytes, kind: int = 0) -> bytes:
        nonlocal body
        place = handle(len(body), len(data))
        body += data + bytes([kind]) + masked_checksum(data + bytes([kind]))
        return place

    data = put(block(sorted(entries.items())) if raw is None else raw, compression)
    places = put(block([]))
    places += put(block([(b"\xff", data)] if index is None else index))
    if footer is not None:
        places = footer
    return body + places.ljust(40, b"\0") + _MAGIC


def entry(
    dtype: int,
    sizes: Sequence[int],
    offset: int,
    size: int,
    *,
    checksum: bytes = b"",
    slices: Sequence[Sequence[tuple[int, int]]] = (),
) -> bytes:
    """What an index says of one tensor."""
    parts = [
        message(7, *[message(1, number(1, start), number(2, length)) for start, length in each])
        for each in slices
    ]
    return b"".join(
        [
            number(1, dtype),
            message(2, shape(*sizes)),
            number(4, offset),
            number(5, size),
            b"\x35" + checksum if checksum else b"",
            *parts,
        ]
    )


def strings(*lengths: int) -> tuple[bytes, bytes]:
    """The data of a tensor of strings, which say their lengths; 64 bytes of them; its checksum."""
    raw = b"".join(struct.pack("<I" if n < 1 << 32 else "<Q", n) for n in lengths)
    checksum = masked_checksum(raw)
    return b"".join(map(varint, lengths)) + checksum + bytes(64), masked_checksum(raw + checksum)

"""Snappy, the compression of old checkpoints: what it takes to read one.

Source: `format_description.txt` of https://github.com/google/snappy
"""

from typing import Final

__all__ = ["decompressed"]

_MOST_BYTES: Final = 1 << 28  # of a block, which has some kilobytes
_LONGEST_LENGTH: Final = 5  # bytes of the number that says how much it is
_LONG_LITERAL: Final = 60


def decompressed(data: bytes) -> bytes:
    """The bytes again; none if that is not what `data` holds."""
    try:
        return _decompressed(data)
    except (IndexError, ValueError):
        return b""


def _decompressed(data: bytes) -> bytes:
    at = size = 0
    while True:
        size |= (data[at] & 0x7F) << 7 * at
        at += 1
        if data[at - 1] < 0x80:
            break
        if at == _LONGEST_LENGTH:
            raise ValueError("a number does not end")
    if size > _MOST_BYTES:
        raise ValueError("larger than a block can be")
    made = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            length, at = _literal(data, tag >> 2, at)
            made += data[at : at + length]
            at += length
        else:
            length, offset, at = _copy(data, tag, at)
            _repeat(made, offset, length)
        if len(made) > size:
            break
    if len(made) != size:
        raise ValueError("another size than it says")
    return bytes(made)


def _literal(data: bytes, length: int, at: int) -> tuple[int, int]:
    if length < _LONG_LITERAL:
        return length + 1, at
    width = length - _LONG_LITERAL + 1
    if at + width > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + width], "little") + 1, at + width


def _copy(data: bytes, tag: int, at: int) -> tuple[int, int, int]:
    """How many bytes come again, from how far back, and where the next element is."""
    if tag & 3 == 1:
        return (tag >> 2 & 7) + 4, tag >> 5 << 8 | data[at], at + 1
    width = 2 if tag & 3 == 2 else 4
    if at + width > len(data):
        raise IndexError
    return (tag >> 2) + 1, int.from_bytes(data[at : at + width], "little"), at + width


def _repeat(made: bytearray, offset: int, length: int) -> None:
    if not 0 < offset <= len(made):
        raise ValueError("from before the start")
    start = len(made) - offset
    while length > 0:  # what is copied may be needed for the copy
        piece = made[start : start + length]
        made += piece
        length -= len(piece)

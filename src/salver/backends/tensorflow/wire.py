"""Protocol buffers by their wire form, as far as graphs and tensors are read and written by hand.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from typing import Final

__all__ = ["LONGEST_VARINT", "length_delimited", "read_varint", "varint"]

LONGEST_VARINT: Final = 10
"""Bytes of 7 bits that 64 bits take."""


def varint(value: int) -> bytes:
    """A number from 0 to 2**64 - 1."""
    if value < 0x80:
        return bytes((value,))
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def length_delimited(number: int, payload: bytes) -> bytes:
    """A field that holds a message, a string, bytes or packed numbers."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it.

    Raises:
        IndexError: `data` ends within it, or it has more than ten bytes.
    """
    value = shift = 0
    while (octet := data[at]) > 0x7F:
        if shift == 7 * (LONGEST_VARINT - 1):
            raise IndexError("a number has more than ten bytes")
        value |= (octet & 0x7F) << shift
        shift += 7
        at += 1
    return value | octet << shift, at + 1

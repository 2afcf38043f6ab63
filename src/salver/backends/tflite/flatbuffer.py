"""Reading FlatBuffers and FlexBuffers: just what the small part of a TFLite file needs.

Source: the FlatBuffers and FlexBuffers "internals" pages of https://flatbuffers.dev.
"""

import struct
from collections.abc import Iterator
from typing import Final

__all__ = ["Malformed", "Table", "flexbuffer_map", "root_table"]

_WIDTHS: Final = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
_STRING, _MAP, _BLOB = 5, 9, 25  # FlexBuffers' types


class Malformed(Exception):
    """The bytes are not what they claim to be."""


class Table:
    """A table: fields by their number in the schema; absent ones have their default."""

    __slots__ = ("_data", "_position", "_vtable", "_vtable_bytes")

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._vtable = position - _number(data, "<i", position)
        self._vtable_bytes = _number(data, "<H", self._vtable)

    def number(self, field: int, form: str, default: int = 0) -> int:
        """A scalar field, whose type `struct` calls `form`."""
        place = self._place(field)
        return default if place is None else _number(self._data, form, place)

    def text(self, field: int) -> str | None:
        """A string field."""
        found = self.octets(field)
        return None if found is None else found.decode(errors="replace")

    def octets(self, field: int) -> bytes | None:
        """A string, or a vector of bytes."""
        place = self._place(field)
        if place is None:
            return None
        start, size = self._vector(place)
        return _slice(self._data, start, size)

    def numbers(self, field: int) -> tuple[int, ...] | None:
        """A vector of int32."""
        place = self._place(field)
        if place is None:
            return None
        start, size = self._vector(place)
        return struct.unpack(f"<{size}i", _slice(self._data, start, 4 * size))

    def tables(self, field: int) -> "Iterator[Table]":
        """A vector of tables."""
        place = self._place(field)
        if place is None:
            return
        start, size = self._vector(place)
        _slice(self._data, start, 4 * size)  # a size that cannot be is noticed here
        for at in range(start, start + 4 * size, 4):
            yield Table(self._data, at + _number(self._data, "<I", at))

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        if entry + 2 > self._vtable_bytes:
            return None
        offset = _number(self._data, "<H", self._vtable + entry)
        return self._position + offset if offset else None

    def _vector(self, place: int) -> tuple[int, int]:
        at = place + _number(self._data, "<I", place)
        return at + 4, _number(self._data, "<I", at)


def root_table(data: bytes, identifier: bytes) -> Table:
    """The root of a FlatBuffer that begins as files of this kind do.

    Raises:
        Malformed: it does not.
    """
    if data[4:8] != identifier:
        raise Malformed(f"no file of the kind {identifier.decode()}")
    return Table(data, _number(data, "<I", 0))


def flexbuffer_map(data: bytes) -> dict[str, bytes]:
    """A FlexBuffer that is a map from names to strings.

    Raises:
        Malformed: it is none.
    """
    if len(data) < 3:
        raise Malformed("too short for a FlexBuffer")
    width, kind = data[-1], data[-2]
    if kind >> 2 != _MAP or width not in _WIDTHS:
        raise Malformed("no map")
    end = len(data) - 2
    start = _follow(data, end - width, width)
    width = 1 << (kind & 3)
    size = _number(data, _WIDTHS[width], start - width)
    keys = _follow(data, start - 3 * width, width)
    key_width = _number(data, _WIDTHS[width], start - 2 * width)
    if key_width not in _WIDTHS:
        raise Malformed("no width")
    kinds = _slice(data, start + size * width, size)
    return {
        _key(data, _follow(data, keys + each * key_width, key_width)): _string(
            data, _follow(data, start + each * width, width), kinds[each]
        )
        for each in range(size)
    }


def _key(data: bytes, start: int) -> str:
    end = data.find(b"\0", start)
    if end < 0:
        raise Malformed("a key does not end")
    return data[start:end].decode(errors="replace")


def _string(data: bytes, start: int, kind: int) -> bytes:
    if kind >> 2 not in (_STRING, _BLOB):
        raise Malformed("no string")
    width = 1 << (kind & 3)
    return _slice(data, start, _number(data, _WIDTHS[width], start - width))


def _follow(data: bytes, at: int, width: int) -> int:
    """Where an offset leads, which in a FlexBuffer always points back."""
    return at - _number(data, _WIDTHS[width], at)


def _number(data: bytes, form: str, at: int) -> int:
    if at < 0:
        raise Malformed("points before the start")
    try:
        value: int = struct.unpack_from(form, data, at)[0]
    except struct.error as error:
        raise Malformed("points behind the end") from error
    return value


def _slice(data: bytes, start: int, size: int) -> bytes:
    if start < 0 or start + size > len(data):
        raise Malformed("points behind the end")
    return data[start : start + size]

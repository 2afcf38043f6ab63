"""UBJSON as XGBoost writes it: objects, arrays, texts and numbers, all of stated lengths.

Arrays of numbers become views of the file. What XGBoost does not write is refused, as is a length
beyond the end: its own reader follows such a length out of its memory.

Source: https://ubjson.org/type-reference/ and XGBoost's `src/common/json.cc`.
"""

import struct
from typing import Any, Final

import numpy as np

from salver.errors import DataLoss

__all__ = ["read_ubjson"]

_DEEPEST: Final = 32
_NUMBERS: Final = {
    0x69: ">i1",  # i
    0x55: ">u1",  # U
    0x49: ">i2",  # I
    0x6C: ">i4",  # l
    0x4C: ">i8",  # L
    0x64: ">f4",  # d
    0x44: ">f8",  # D
}
_FORMS: Final = {0x69: ">b", 0x55: ">B", 0x49: ">h", 0x6C: ">i", 0x4C: ">q", 0x64: ">f", 0x44: ">d"}
_WORDS: Final = {0x5A: None, 0x54: True, 0x46: False}  # Z T F
_OBJECT, _OBJECT_END = 0x7B, 0x7D
_ARRAY, _ARRAY_END, _TYPE, _COUNT, _TEXT = 0x5B, 0x5D, 0x24, 0x23, 0x53


def read_ubjson(data: bytes) -> Any:
    """The value in a file: dicts, lists, texts, numbers and arrays of numbers.

    Raises:
        DataLoss: it is malformed, or cut.
    """
    reader = _Reader(data)
    try:
        value = reader.value(0)
    except (IndexError, struct.error) as error:
        raise DataLoss("it ends too early") from error
    if reader.at != len(data):
        raise DataLoss("something stands behind its end")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def value(self, depth: int) -> Any:
        kind = self._byte()
        if kind == _OBJECT:
            return self._object(depth + 1)
        if kind == _ARRAY:
            return self._array(depth + 1)
        if kind == _TEXT:
            return self._text()
        if kind in _FORMS:
            return self._number(kind)
        if kind in _WORDS:
            return _WORDS[kind]
        raise DataLoss(f"byte {self.at - 1} begins no value")

    def _object(self, depth: int) -> dict[str, Any]:
        _check_depth(depth)
        members: dict[str, Any] = {}
        while self.data[self.at] != _OBJECT_END:
            name = self._text()
            if name in members:
                raise DataLoss(f"{name[:40]} stands twice in one object")
            members[name] = self.value(depth)
        self.at += 1
        return members

    def _array(self, depth: int) -> Any:
        _check_depth(depth)
        kind = None
        if self.data[self.at] == _TYPE:
            kind = self.data[self.at + 1]
            self.at += 2
        if self.data[self.at] != _COUNT:
            if kind is not None:
                raise DataLoss("an array of one kind has no length")
            return self._open_array(depth)
        self.at += 1
        count = self._length()
        if kind is not None:
            return self._numbers(kind, count)
        self._check_room(count)  # a byte each at least
        return [self.value(depth) for _ in range(count)]

    def _open_array(self, depth: int) -> list[Any]:
        items = []
        while self.data[self.at] != _ARRAY_END:
            items.append(self.value(depth))
        self.at += 1
        return items

    def _numbers(self, kind: int, count: int) -> Any:
        if kind not in _NUMBERS:
            raise DataLoss("an array holds what is no number")
        dtype = np.dtype(_NUMBERS[kind])
        size = count * dtype.itemsize
        self._check_room(size)
        found = np.frombuffer(self.data, dtype, count, self.at)
        self.at += size
        return found

    def _text(self) -> str:
        size = self._length()
        self._check_room(size)
        text = self.data[self.at : self.at + size]
        self.at += size
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            raise DataLoss("a text is no UTF-8") from error

    def _length(self) -> int:
        kind = self._byte()
        if kind not in _FORMS:
            raise DataLoss("a length is no number")
        length = self._number(kind)
        if not isinstance(length, int) or length < 0:
            raise DataLoss("a length is no whole number")
        return length

    def _number(self, kind: int) -> Any:
        form = _FORMS[kind]
        (number,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return number

    def _byte(self) -> int:
        found = self.data[self.at]
        self.at += 1
        return found

    def _check_room(self, size: int) -> None:
        if size > len(self.data) - self.at:
            raise DataLoss("a length leads behind its end")


def _check_depth(depth: int) -> None:
    if depth > _DEEPEST:
        raise DataLoss("it is too deep")

"""Messages in a file, read field by field: what is not looked at is never in memory.

A model may be a file of gigabytes, nearly all of it weights. A field is its number and where its
payload lies; only payloads that are asked for are read.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from salver.codecs.protobuf.wire import LONGEST_VARINT, read_length, read_varint
from salver.errors import InvalidArgument

__all__ = ["LENGTH_DELIMITED", "VARINT", "Field", "MessageFile"]

VARINT: Final = 0
LENGTH_DELIMITED: Final = 2
_FIXED_BYTES: Final = {1: 8, 5: 4}
_WINDOW_BYTES: Final = 1 << 18
_LONGEST_HEAD: Final = 20  # of a field: its tag, and a number or a length
_LONGEST_PAYLOAD: Final = 16 << 20  # of those that are read whole: names, types

Field = tuple[int, int, int, int]
"""Number, wire type, where the payload begins (of a number: the number itself), where it ends."""


def _go_on() -> None:
    """Rest never."""


class MessageFile:
    """Fields of messages in an open file. Not thread-safe.

    Attributes:
        size: of the file.
    """

    def __init__(
        self, file: BinaryIO, size: int, name: str, breathe: Callable[[], None] = _go_on
    ) -> None:
        """Read nothing yet.

        Args:
            file: positioned at will.
            size: of it; what is appended later is not looked at.
            name: for errors.
            breathe: called for each field.
        """
        self.size = size
        self._file = file
        self._name = name
        self._breathe = breathe
        self._window = b""
        self._start = 0  # of the window, in the file

    def fields(self, begin: int, end: int) -> Iterator[Field]:
        """The fields of a message.

        Raises:
            InvalidArgument: there is none.
        """
        at = begin
        breathe = self._breathe
        while at < end:
            breathe()
            place = at - self._start
            if not 0 <= place <= len(self._window) - _LONGEST_HEAD:
                self._move(at)
                place = 0
            try:
                tag, place = read_length(self._window, place)
                kind = tag & 7
                if kind == LENGTH_DELIMITED:
                    length, place = read_length(self._window, place)
                    first = self._start + place
                    at = first + length
                elif kind == VARINT:
                    first, place = read_varint(self._window, place, LONGEST_VARINT)
                    at = self._start + place
                else:
                    first = self._start + place
                    at = first + _FIXED_BYTES[kind]
            except (IndexError, KeyError):
                raise self.malformed() from None
            if at > end or tag < 8:
                raise self.malformed()
            yield tag >> 3, kind, first, at

    def read(self, begin: int, end: int, longest: int = _LONGEST_PAYLOAD) -> bytes:
        """What lies there.

        Raises:
            InvalidArgument: it is longer than what is meant to be read.
        """
        if end - begin > longest:
            raise InvalidArgument(
                f"{self._name} has a text or type of {end - begin} bytes, more than {longest}"
            )
        place = begin - self._start
        if place >= 0 and end - self._start <= len(self._window):
            return self._window[place : place + end - begin]
        self._file.seek(begin)
        found = self._file.read(end - begin)
        if len(found) < end - begin:
            raise self.malformed()
        return found

    def text(self, begin: int, end: int) -> str:
        """The text that lies there.

        Raises:
            InvalidArgument: it is none.
        """
        try:
            return self.read(begin, end).decode()
        except UnicodeDecodeError:
            raise self.malformed() from None

    def find_any(self, needles: tuple[bytes, ...], begin: int, end: int) -> set[bytes]:
        """Which of these bytes occur in a stretch; a window of it is in memory at a time."""
        found: set[bytes] = set()
        overlap = max(map(len, needles)) - 1
        for at in range(begin, end, _WINDOW_BYTES):
            self._breathe()
            self._file.seek(at)
            piece = self._file.read(min(_WINDOW_BYTES + overlap, end - at))
            found |= {needle for needle in needles if needle in piece}
        return found

    def malformed(self) -> InvalidArgument:
        """The error of a file that is something else."""
        return InvalidArgument(f"{self._name} is no ONNX model, or a part of one")

    def _move(self, at: int) -> None:
        self._file.seek(at)
        self._window = self._file.read(min(_WINDOW_BYTES, max(0, self.size - at)))
        self._start = at

"""Requests in JSON that are too large to be read in one step: their lists of numbers are cut out.

What is left of a request is short, and names the lists by words that nobody can guess. Each list is
read in pieces of about a MiB, so that nobody waits for the GIL. Which lists are nested in it is of
no account, but all that are opened must be closed again.
"""

import random
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import numpy as np
import simdjson

from salver.codecs.json.reading import UNWANTED
from salver.errors import Cancelled
from salver.vocabulary.requests import Array

__all__ = ["Cut", "Kind", "cut_numbers"]

IsActive = Callable[[], bool]
Kind = Literal["d", "i", "u"]

_KEY: Final = b'"data"'
_OPENING: Final = re.compile(rb'"data"[ \t\r\n]{0,64}:[ \t\r\n]{0,64}(?=\[)')
_SHORT_BYTES: Final = 64 << 10  # a list that is shorter stays where it is
_PIECE_BYTES: Final = 1 << 20
_WORD: Final = f"{random.SystemRandom().getrandbits(128):032x}"
_WITHOUT_BRACKETS: Final = bytes.maketrans(b"[]", b"  ")
_STORAGE: Final[dict[Kind, str]] = {"d": "f8", "i": "i8", "u": "u8"}


class Cut:
    """A text without its long lists of numbers.

    Attributes:
        rest: what is left; where a list was, a string stands for it.
    """

    __slots__ = ("_spans", "_text", "rest")

    def __init__(self, text: bytes, spans: list[tuple[int, int]], rest: bytes) -> None:
        self._text = text
        self._spans = spans
        self.rest = rest

    def knows(self, value: Any) -> bool:
        """Whether a value of the rest stands for a list."""
        return type(value) is str and value.startswith(_WORD)

    def numbers(self, value: str, kind: Kind, is_active: IsActive) -> Array:
        """The numbers of the list that a value stands for.

        Args:
            value: of the rest.
            kind: doubles, or integers of 64 bits with a sign or without one.
            is_active: whether anybody still wants them.

        Raises:
            ValueError: it is no list of numbers.
            TypeError: not all numbers are of this kind.
            Cancelled: nobody wants them.
        """
        start, end = self._spans[int(value[len(_WORD) :])]
        parser = simdjson.Parser()
        parts = []
        try:
            for piece in _pieces(self._text, start, end):
                if not is_active():
                    raise Cancelled(UNWANTED)
                parsed: Any = parser.parse(b"[%b]" % piece)
                parts.append(np.frombuffer(parsed.as_buffer(of_type=kind), _STORAGE[kind]))
                del parsed  # or the parser is not free for the next
        except RuntimeError as error:  # an integer of more than 64 bits
            raise ValueError(str(error)) from None
        return np.concatenate(parts)


def cut_numbers(text: bytes, is_active: IsActive) -> Cut | None:
    """Cut out the long lists of numbers that are called `data`; None where there are none.

    Raises:
        Cancelled: nobody wants it.
    """
    spans: list[tuple[int, int]] = []
    parts: list[bytes] = []
    at = 0
    while True:
        key = _find(text, _KEY, at, len(text), is_active)
        if key < 0:
            break
        opening = _OPENING.match(text, key)
        begin = key + len(_KEY) if opening is None else opening.end()
        end = -1 if opening is None else _end_of_list(text, begin, is_active)
        if end - begin < _SHORT_BYTES:
            parts.append(text[at:begin])
            at = begin
            continue
        parts += (text[at:begin], b'"%s%d"' % (_WORD.encode(), len(spans)))
        spans.append((begin, end))
        at = end
    if not spans:
        return None
    parts.append(text[at:])
    return Cut(text, spans, b"".join(parts))


def _end_of_list(text: bytes, begin: int, is_active: IsActive) -> int:
    """Where a list without strings ends: before what closes its object, or the next member."""
    end = _find(text, b'"', begin, len(text), is_active)
    end = len(text) if end < 0 else end
    brace = _find(text, b"}", begin, end, is_active)
    end = end if brace < 0 else brace
    while end > begin and text[end - 1] in b" \t\r\n,":
        end -= 1
    return end


def _find(text: bytes, wanted: bytes, start: int, end: int, is_active: IsActive) -> int:
    """`text.find`, in steps between which others get the GIL."""
    for at in range(start, end, _PIECE_BYTES):
        if not is_active():
            raise Cancelled(UNWANTED)
        found = text.find(wanted, at, min(end, at + _PIECE_BYTES + len(wanted) - 1))
        if found >= 0:
            return found
    return -1


def _pieces(text: bytes, start: int, end: int) -> Iterator[bytes]:
    """The texts between the commas of a list, without the brackets of the lists in it.

    Raises:
        ValueError: its brackets are not those of one list.
    """
    if text[start : start + 1] != b"[" or text[end - 1 : end] != b"]":
        raise ValueError("no list")
    depth = 1
    at = start + 1
    while at < end:
        stop = end
        if end - at > _PIECE_BYTES:
            stop = text.rfind(b",", at, at + _PIECE_BYTES) + 1
            if not stop:
                raise ValueError("an element of a MiB")
        piece = text[at:stop]
        codes = np.frombuffer(piece, np.uint8)
        steps = (codes == 0x5B).astype(np.int8) - (codes == 0x5D).astype(np.int8)
        depths = np.cumsum(steps, dtype=np.int64) + depth
        depth = int(depths[-1])
        # Only the last bracket of all closes the list.
        lowest = int(depths[:-1].min()) if stop == end and len(depths) > 1 else int(depths.min())
        if (lowest < 1 and len(depths) > 1) or (depth == 0) != (stop == end):
            raise ValueError("brackets do not match")
        yield piece[: len(piece) - (stop < end)].translate(_WITHOUT_BRACKETS)
        at = stop

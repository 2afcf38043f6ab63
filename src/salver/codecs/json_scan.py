"""Whether a document is JSON, and if not, what the reference says of it: no values are made.

Memory is a byte a level, whatever the body. Time is that of simdjson and numpy, which are asked
about stretches of elements; what they refuse is read token by token, or in runs by a pattern.
"""

import enum
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import simdjson

from salver.codecs.json_cuts import find_cuts, stretch_of
from salver.codecs.json_reader import ARRAY, OBJECT, Reader
from salver.errors import InvalidArgument

__all__ = ["MAX_DEPTH", "scan"]

MAX_DEPTH = 1 << 20
"""The reference has no bound but its memory; a million levels are more than anybody means."""

_SMALLEST_STRETCH_BYTES = 4 << 10
_LARGEST_STRETCH_BYTES = 128 << 10
# How much may be looked at in vain: bytes for each byte that was read, and some to begin with.
_VAIN_RATE = 8
_VAIN_BYTES = 256 << 10
# A pattern's repetitions take memory while it matches, hence so many at most.
_RUN_BYTES = 64 << 10
_CLOSING_RUN_BYTES = 4 << 10
_W = rb"[ \n\r\t]*"
_NAME = rb'\{[ \n\r\t]*"[^"\\\x00-\x1f\[\]{}]*"' + _W + b":"
_OPENING = re.compile(
    rb"\[[\[ \n\r\t]*(?:NAME[\[ \n\r\t]*){0,1024}|(?:NAME[\[ \n\r\t]*){1,1024}".replace(
        b"NAME", _NAME
    )
)
_CLOSING = re.compile(rb"[\]} \n\r\t]*")
# Elements of lists in lists, each with the brackets around it. Its numbers are never too big.
_ELEMENTS = re.compile(
    rb"(?:[\[ \n\r\t]*"
    rb"(?:-?(?:0|[1-9][0-9]{0,200})(?:\.[0-9]{1,200})?(?:[eE][+-]?[0-9]{1,2})?"
    rb'|-?(?:NaN|Inf(?:inity)?)|true|false|null|"[^"\\\x00-\x1f\[\]]{0,200}"|\[[ \n\r\t]*\])'
    rb"[\] \n\r\t]*,){1,1024}"
)
_SPECIAL = (b"-NaN", b"NaN", b"-Infinity", b"Infinity", b"-Inf", b"Inf")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SPACES = b" \n\r\t"
_NO_OPENERS = bytes(sorted(set(range(256)) - set(b"[{")))
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]")))
_MIRROR = bytes.maketrans(b"[{", b"]}")
# Which byte of a string it is that is no ASCII does not matter, and elsewhere none is JSON.
_HIGH_AS_LETTER = bytes(range(128)) + b"x" * 128


class _Skipped(enum.Enum):
    NOTHING = enum.auto()
    SOME = enum.auto()  # and an element is due
    ALL = enum.auto()  # up to the container's end


def scan(body: bytes, check: Callable[[], None]) -> None:
    """Read a document's first value.

    Args:
        body: of the request.
        check: called now and then; what it raises ends the scan.

    Raises:
        InvalidArgument: it is no JSON, or nested more than `MAX_DEPTH` deep.
    """
    _Scanner(body, check).run()


class _Scanner:
    """One scan.

    Attributes:
        stack: the kinds of the containers that are open, outermost first.
    """

    __slots__ = ("_check", "_looked_at", "_parser", "_reader", "_stretch", "stack")

    def __init__(self, body: bytes, check: Callable[[], None]) -> None:
        self._reader = Reader(body)
        self._check = check
        self._parser = simdjson.Parser()
        self._stretch = _SMALLEST_STRETCH_BYTES
        self._looked_at = 0
        self.stack = bytearray()

    def run(self) -> None:
        reader = self._reader
        token: int | None = reader.root()
        while True:
            if token is None:
                if not self.stack:
                    return
                token = self._after_value()
            elif token in (ARRAY, OBJECT):
                token = self._open(token)
            else:
                reader.skip_scalar(token)
                token = None

    def _open(self, kind: int) -> int | None:
        """Read into a container, and those it begins with, up to a value in it.

        Returns:
            The first byte of the value; None when there is none, and the container is closed.
        """
        reader = self._reader
        found = _OPENING.match(reader.body, reader.pos, reader.pos + _RUN_BYTES)
        if found is None:  # an object that does not begin with a simple name
            self._push(b"{")
            reader.pos += 1
        else:
            run = found[0].rstrip(_SPACES)
            self._push(run.translate(None, _NO_OPENERS))
            reader.pos = found.end()
            if run.endswith(b":"):
                return reader.value()
            kind = ARRAY
        if reader.closes(kind):
            self.stack.pop()
            return None
        return self._next()

    def _push(self, kinds: bytes) -> None:
        self.stack += kinds
        if len(self.stack) > MAX_DEPTH:
            raise InvalidArgument(
                f"JSON Parse error: Nested more than {MAX_DEPTH} levels deep",
                hint="Are the brackets balanced?",
            )

    def _after_value(self) -> int | None:
        """Read what follows a value in a container, up to the next value.

        Returns:
            As `_open`.
        """
        reader, stack = self._reader, self.stack
        found = _CLOSING.match(reader.body, reader.pos, reader.pos + _CLOSING_RUN_BYTES)
        assert found is not None  # it matches nothing, too
        closers = found[0].translate(None, _SPACES)
        count = len(closers)
        if 1 < count < len(stack) and stack[: -count - 1 : -1].translate(_MIRROR) == closers:
            del stack[-count:]
            reader.pos = found.end()
            return None
        if reader.ends(stack[-1]):
            stack.pop()
            return None
        return self._next()

    def _next(self) -> int | None:
        """Read up to the next value in the innermost container; an element of it is due.

        Returns:
            As `_open`.
        """
        reader = self._reader
        while True:
            self._check()
            skipped = self._skip_stretch()
            if skipped is _Skipped.ALL:
                return self._after_value()
            if skipped is _Skipped.SOME:
                continue
            if self.stack[-1] == OBJECT:
                reader.skip_name()
            elif self._skip_elements():
                continue
            return reader.value()

    def _skip_stretch(self) -> _Skipped:
        """Skip elements that simdjson vouches for."""
        reader = self._reader
        start = reader.pos
        if self._looked_at > _VAIN_RATE * start + _VAIN_BYTES:
            return _Skipped.NOTHING
        text = stretch_of(reader.body, start, self._stretch)
        self._looked_at += len(text)
        cuts = find_cuts(text)
        stop = cuts.end if cuts.end >= 0 else int(cuts.commas[-1]) if len(cuts.commas) else 0
        if not stop or not self._are_elements(text[:stop]):
            self._stretch = _SMALLEST_STRETCH_BYTES
            return _Skipped.NOTHING
        if cuts.end >= 0 or 2 * stop >= len(text):
            self._stretch = min(4 * self._stretch, _LARGEST_STRETCH_BYTES)
        if cuts.end >= 0:
            reader.pos = start + stop
            return _Skipped.ALL
        reader.pos = start + stop + 1
        return _Skipped.SOME

    def _are_elements(self, text: bytes) -> bool:
        """Whether simdjson takes a text for elements of the innermost container."""
        if not text.isascii():
            text = text.translate(_HIGH_AS_LETTER)
        if b"NaN" in text or b"Inf" in text:
            for special in _SPECIAL:
                text = text.replace(special, b"[]")  # stands wherever, and only where, values do
        if b"\\u" in text and _SURROGATE.search(text):
            return False
        form = b"[%b]" if self.stack[-1] == ARRAY else b"{%b}"
        try:
            found: Any = self._parser.parse(form % text)
            return len(found) > 0
        except (ValueError, RuntimeError):
            return False

    def _skip_elements(self) -> bool:
        """Skip elements of lists by a pattern; False if there are none it knows."""
        reader, stack = self._reader, self.stack
        found = _ELEMENTS.match(reader.body, reader.pos, reader.pos + _RUN_BYTES)
        if found is None:
            return False
        brackets = found[0].translate(None, _NO_BRACKETS)
        depths = np.cumsum(b"\\"[0] - np.frombuffer(brackets, np.uint8).astype(np.int8))
        if len(depths):
            closed = max(0, -int(depths.min()))
            # The comma behind the outermost one closed stands in a list, too.
            is_sound = stack.endswith(b"[" * (closed + 1))
            if not is_sound or len(stack) + int(depths.max()) > MAX_DEPTH:
                return False
            kept = len(stack) - closed
            del stack[kept:]
            stack += b"[" * (int(depths[-1]) + closed)
        reader.pos = found.end()
        return True

"""The tokens of JSON as RapidJSON 1.1.0 reads them with the flags the reference sets.

Accepts what no other parser accepts (NaN with a sign, bytes that are no UTF-8) and knows the text
and byte offset of every syntax error.

Numbers differ in two ways, on purpose: they are rounded correctly, and one is too big exactly when
its correctly rounded value is infinite.

Source: RapidJSON 1.1.0 `reader.h`, IterativeParse with kParseNanAndInfFlag and
kParseStopWhenDoneFlag over an EncodedInputStream<UTF8<>, MemoryStream>; `error/en.h`.
"""

import json
import math
import re
from typing import Any, NoReturn

from salver.codecs.json_text import bytes_of, text_of
from salver.codecs.json_value import is_integer
from salver.codecs.syntax_hints import EMPTY, syntax_hint
from salver.errors import InvalidArgument

__all__ = ["ARRAY", "OBJECT", "Reader"]

ARRAY, OBJECT = b"[{"
"""The kinds of containers, by the byte that opens them."""

_EMPTY = "The document is empty."
_INVALID_VALUE = "Invalid value."
_MISSING_NAME = "Missing a name for object member."
_MISSING_COLON = "Missing a colon after a name of object member."
_MISSING_COMMA = {
    ARRAY: "Missing a comma or ']' after an array element.",
    OBJECT: "Missing a comma or '}' after an object member.",
}
_BAD_HEX = "Incorrect hex digit after \\u escape in string."
_BAD_SURROGATE = "The surrogate pair in string is invalid."
_BAD_ESCAPE = "Invalid escape character in string."
_MISSING_QUOTE = "Missing a closing quotation mark in string."
_TOO_BIG = "Number too big to be stored in double."
_MISSING_FRACTION = "Miss fraction part in number."
_MISSING_EXPONENT = "Miss exponent in number."

_SPACE = re.compile(rb"[ \n\r\t]*")
# Text without surrogates; in so many pieces, because each takes memory while the match goes on.
_SOUND_TEXT = re.compile(
    rb'(?:[^"\\\x00-\x1f]+|\\["\\/bfnrt]|\\u(?:[0-9A-Ca-cE-Fe-f][0-9A-Fa-f]|[dD][0-7])'
    rb"[0-9A-Fa-f]{2}){0,1024}"
)
_HEX = re.compile(rb"[0-9A-Fa-f]{4}")
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_MOST_DIGITS = len("-") + 309  # of the largest double
_FRACTION = re.compile(rb"\.[0-9]+")
_EXPONENT = re.compile(rb"[eE][+-]?[0-9]+")
_EXPONENT_START = re.compile(rb"[eE][+-]?")
_ESCAPES = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))
_LITERALS: dict[int, tuple[bytes, Any]] = {
    ord("n"): (b"null", None),
    ord("t"): (b"true", True),
    ord("f"): (b"false", False),
}
_QUOTE, _BACKSLASH, _COMMA, _COLON = b'"\\,:'
_CLOSERS = {ARRAY: b"]"[0], OBJECT: b"}"[0]}
_STEP_BYTES = 1 << 20
_LONGEST_INTEGER = len("-9223372036854775808")
_NO_VALUE = frozenset(b"]},:\x00")


class Reader:
    """A position in a document. A zero byte ends it, as it does for the reference.

    Every method that reads raises InvalidArgument for what is no JSON.
    """

    __slots__ = ("body", "pos")

    def __init__(self, body: bytes) -> None:
        """Begin at the start of a body, behind its byte order mark."""
        if not body:
            raise InvalidArgument("JSON Parse error: The document is empty", hint=EMPTY)
        self.body = body
        self.pos = 0
        for part in b"\xef\xbb\xbf":  # each byte of the mark is optional
            if self._here() == part:
                self.pos += 1

    def fail(self, text: str, offset: int | None = None) -> NoReturn:
        """Refuse the document."""
        at = self.pos if offset is None else offset
        hint = syntax_hint(self.body, at)
        raise InvalidArgument(f"JSON Parse error: {text} at offset: {at}", hint=hint)

    def root(self) -> int:
        """Read up to the document's value; give the first byte of the value."""
        token = self.peek()
        if token in _NO_VALUE:
            self.fail(_EMPTY)
        return token

    def peek(self) -> int:
        """The first byte that is no white space, zero at the end; the position moves to it."""
        self.pos = self._behind(_SPACE)
        return self._here()

    def closes(self, kind: int) -> bool:
        """Whether a container that was just opened is empty; then read its end."""
        if self.peek() != _CLOSERS[kind]:
            return False
        self.pos += 1
        return True

    def name(self) -> str:
        """Read the name of a member, up to its value."""
        self._begin_name()
        name = self._string()
        self._end_name()
        return name

    def skip_name(self) -> None:
        """Read the same, and drop it."""
        self._begin_name()
        self._skip_string()
        self._end_name()

    def value(self) -> int:
        """The first byte of the value that is due."""
        token = self.peek()
        if token in _NO_VALUE:
            self.fail(_INVALID_VALUE)
        return token

    def ends(self, kind: int) -> bool:
        """Whether a container ends after a value in it, rather than going on after a comma."""
        token = self.peek()
        if token not in (_COMMA, _CLOSERS[kind]):
            self.fail(_MISSING_COMMA[kind])
        self.pos += 1
        if token == _COMMA:
            self.pos = self._behind(_SPACE)
            return False
        return True

    def scalar(self, token: int) -> Any:
        """Read what begins with `token` and is no container."""
        if token == _QUOTE:
            return self._string()
        if token in _LITERALS:
            text, value = _LITERALS[token]
            if self._consume(text) < len(text):
                self.fail(_INVALID_VALUE)
            return value
        return self._number()

    def skip_scalar(self, token: int) -> None:
        """Read the same, and drop it."""
        if token == _QUOTE:
            self._skip_string()
        else:
            self.scalar(token)

    def _here(self) -> int:
        """The byte at the position; zero at the end."""
        return self.body[self.pos] if self.pos < len(self.body) else 0

    def _after(self, pattern: "re.Pattern[bytes]") -> int:
        """The end of a match at the position; the position itself when there is none."""
        found = pattern.match(self.body, self.pos)
        return found.end() if found else self.pos

    def _behind(self, run: "re.Pattern[bytes]") -> int:
        """The end of a run of bytes, gone through in steps that leave the GIL to others."""
        at = self.pos
        while True:
            found = run.match(self.body, at, at + _STEP_BYTES)
            end = found.end() if found else at
            if end - at < _STEP_BYTES:
                return end
            at = end

    def _consume(self, text: bytes) -> int:
        """Take bytes as far as they are those of `text`; give how many that are."""
        for count, expected in enumerate(text):
            if self._here() != expected:
                return count
            self.pos += 1
        return len(text)

    def _begin_name(self) -> None:
        if self.peek() != _QUOTE:
            self.fail(_MISSING_NAME)

    def _end_name(self) -> None:
        if self.peek() != _COLON:
            self.fail(_MISSING_COLON)
        self.pos += 1

    def _string(self) -> str:
        self.pos += 1
        parts: list[bytes] = []
        while True:
            while text := self._sound_text():
                parts.append(_unescaped(text) if b"\\" in text else text)
            if self._is_string_over():
                return text_of(b"".join(parts))
            parts.append(self._escape())

    def _skip_string(self) -> None:
        self.pos += 1
        while True:
            while self._sound_text():
                pass
            if self._is_string_over():
                return
            self._escape()

    def _sound_text(self) -> bytes:
        """Read what of a string needs no second look, a step of it; empty where there is none."""
        found = _SOUND_TEXT.match(self.body, self.pos, self.pos + _STEP_BYTES)
        assert found is not None  # it matches nothing, too
        self.pos = found.end()
        return found[0]

    def _is_string_over(self) -> bool:
        """Whether the closing quote is read, rather than a backslash to come."""
        byte = self._here()
        if byte == _QUOTE:
            self.pos += 1
            return True
        if byte != _BACKSLASH:
            self.fail(_BAD_ESCAPE if byte else _MISSING_QUOTE)
        return False

    def _escape(self) -> bytes:
        start = self.pos  # every fault of an escape is reported at its backslash
        self.pos += 1
        letter = self._here()
        if letter in _ESCAPES:
            self.pos += 1
            return bytes([_ESCAPES[letter]])
        if letter != ord("u"):
            self.fail(_BAD_ESCAPE, start)
        self.pos += 1
        code = self._hex(start)
        if 0xD800 <= code <= 0xDBFF:
            if self._consume(b"\\u") < 2:
                self.fail(_BAD_SURROGATE, start)
            low = self._hex(start)
            if not 0xDC00 <= low <= 0xDFFF:
                self.fail(_BAD_SURROGATE, start)
            code = 0x10000 + ((code - 0xD800) << 10 | (low - 0xDC00))
        # A lone low surrogate is taken for a character.
        return chr(code).encode("utf-8", "surrogatepass")

    def _hex(self, start: int) -> int:
        digits = _HEX.match(self.body, self.pos)
        if digits is None:
            self.fail(_BAD_HEX, start)
        self.pos = digits.end()
        return int(digits[0], 16)

    def _number(self) -> float | int:
        start = self.pos
        self.pos = self._after(_INTEGER)
        special = self._nan_or_infinity() if self.pos == start else None
        point = self.pos
        if self._here() == ord("."):
            self.pos = self._after(_FRACTION)
            if self.pos == point:
                self.fail(_MISSING_FRACTION, point + 1)
        fraction_end = self.pos
        if self._here() in b"eE":
            self.pos = self._after(_EXPONENT)
            if self.pos == fraction_end:
                self.fail(_MISSING_EXPONENT, self._after(_EXPONENT_START))
        if special is not None and self.pos == point:
            return special
        text = self.body[start : self.pos]
        if special is not None:  # `NaN.5` is 0.5 to the reference
            text = (b"-0" if text.startswith(b"-") else b"0") + self.body[point : self.pos]
        elif self.pos == point and len(text) <= _LONGEST_INTEGER:
            integer = int(text)
            if is_integer(integer):
                return integer
        # Of so many digits, without an exponent, nothing need be made: they are too many.
        is_huge = self.pos == fraction_end and point - start > _MOST_DIGITS
        value = math.inf if is_huge else float(text)
        if math.isinf(value):
            self.fail(_TOO_BIG, start)
        return value

    def _nan_or_infinity(self) -> float:
        is_negative = self._consume(b"-") == 1
        if self._consume(b"NaN") == 3:
            return math.nan
        # As in the reference, the letters of NaN taken so far are forgotten.
        if self._consume(b"Inf") < 3 or (self._here() == ord("i") and self._consume(b"inity") < 5):
            self.fail(_INVALID_VALUE)
        return -math.inf if is_negative else math.inf


def _unescaped(text: bytes) -> bytes:
    """What stands in a string, whose escapes are sound and none of them a surrogate."""
    return bytes_of(json.loads(f'"{text_of(text)}"'))

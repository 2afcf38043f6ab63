"""A JSON parser that answers as RapidJSON 1.1.0 does with the flags the reference sets.

It is the last resort: it accepts what no other parser accepts (NaN with a sign, bytes that are no
UTF-8, any nesting) and knows the text and byte offset of every syntax error. Iterative, so that
no nesting exhausts the stack.

Numbers differ in two ways, on purpose: they are rounded correctly, and one is too big exactly when
its correctly rounded value is infinite.

Source: RapidJSON 1.1.0 `reader.h`, IterativeParse with kParseNanAndInfFlag and
kParseStopWhenDoneFlag over an EncodedInputStream<UTF8<>, MemoryStream>; `error/en.h`.
"""

import math
import re
from typing import Any, NoReturn

import orjson

from salver.codecs.json_text import text_of
from salver.codecs.json_value import is_integer, object_of
from salver.errors import InvalidArgument

__all__ = ["parse"]

_EMPTY = "The document is empty."
_INVALID_VALUE = "Invalid value."
_MISSING_NAME = "Missing a name for object member."
_MISSING_COLON = "Missing a colon after a name of object member."
_MISSING_COMMA_IN_OBJECT = "Missing a comma or '}' after an object member."
_MISSING_COMMA_IN_ARRAY = "Missing a comma or ']' after an array element."
_BAD_HEX = "Incorrect hex digit after \\u escape in string."
_BAD_SURROGATE = "The surrogate pair in string is invalid."
_BAD_ESCAPE = "Invalid escape character in string."
_MISSING_QUOTE = "Missing a closing quotation mark in string."
_TOO_BIG = "Number too big to be stored in double."
_MISSING_FRACTION = "Miss fraction part in number."
_MISSING_EXPONENT = "Miss exponent in number."

_SPACE = re.compile(rb"[ \n\r\t]*")
_PLAIN_TEXT = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX = re.compile(rb"[0-9A-Fa-f]{4}")
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_FRACTION = re.compile(rb"\.[0-9]+")
_EXPONENT = re.compile(rb"[eE][+-]?[0-9]+")
_EXPONENT_START = re.compile(rb"[eE][+-]?")
# Numbers of which every parser makes the same, up to the last comma: 20 times faster in bulk.
_RUN = re.compile(
    rb"(?:-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,17})?(?:[eE][+-]?[0-9]{1,2})?[ \n\r\t]*,[ \n\r\t]*)+"
)
_ESCAPES = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))
_LITERALS: dict[int, tuple[bytes, Any]] = {
    ord("n"): (b"null", None),
    ord("t"): (b"true", True),
    ord("f"): (b"false", False),
}
_QUOTE, _BACKSLASH, _COMMA, _COLON = b'"\\,:'
_LEFT_BRACKET, _RIGHT_BRACKET, _LEFT_BRACE, _RIGHT_BRACE = b"[]{}"
_LONGEST_INTEGER = len("-9223372036854775808")
_NO_VALUE = frozenset(b"]},:\x00")


def parse(body: bytes) -> Any:
    """The first value of a document; what follows it is ignored.

    Returns:
        A value as `json_value` describes it.

    Raises:
        InvalidArgument: it is no JSON; the text names the fault and its offset in bytes.
    """
    if not body:
        raise InvalidArgument("JSON Parse error: The document is empty")
    reader = _Reader(body)
    token = reader.peek()
    if token in _NO_VALUE:
        reader.fail(_EMPTY)
    opened: list[_Container] = []
    while True:
        if token in (_LEFT_BRACKET, _LEFT_BRACE):
            container = reader.open(token)
            if reader.peek() != container.closer:
                opened.append(container)
                token = reader.item(container)
                continue
            reader.pos += 1
            value = container.close()
        else:
            value = reader.scalar(token)
        while opened:
            opened[-1].items.append(value)
            if not reader.ends(opened[-1]):
                token = reader.item(opened[-1])
                break
            value = opened.pop().close()
        else:
            return value


class _Container:
    """An array or object that is still being read."""

    __slots__ = ("closer", "items", "keys")

    def __init__(self, is_object: bool) -> None:
        self.closer = _RIGHT_BRACE if is_object else _RIGHT_BRACKET
        self.items: list[Any] = []
        self.keys: list[str] | None = [] if is_object else None

    def close(self) -> Any:
        """The finished value."""
        if self.keys is None:
            return self.items
        return object_of(list(zip(self.keys, self.items, strict=True)))


class _Reader:
    """A position in a document. A zero byte ends it, as it does for the reference."""

    __slots__ = ("body", "pos")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.pos = 0
        for part in b"\xef\xbb\xbf":  # the byte order mark; each byte of it is optional
            if self.here() == part:
                self.pos += 1

    def fail(self, text: str, offset: int | None = None) -> NoReturn:
        raise InvalidArgument(
            f"JSON Parse error: {text} at offset: {self.pos if offset is None else offset}"
        )

    def here(self) -> int:
        """The byte at the position; zero at the end."""
        return self.body[self.pos] if self.pos < len(self.body) else 0

    def peek(self) -> int:
        """The first byte that is no white space; the position moves to it."""
        self.pos = self._after(_SPACE)
        return self.here()

    def _after(self, pattern: "re.Pattern[bytes]") -> int:
        """The end of a match at the position; the position itself when there is none."""
        found = pattern.match(self.body, self.pos)
        return found.end() if found else self.pos

    def open(self, token: int) -> _Container:
        self.pos += 1
        return _Container(token == _LEFT_BRACE)

    def item(self, container: _Container) -> int:
        """Read up to the next value in a container; give the first byte of the value."""
        if container.keys is not None:
            if self.peek() != _QUOTE:
                self.fail(_MISSING_NAME)
            container.keys.append(self.string())
            if self.peek() != _COLON:
                self.fail(_MISSING_COLON)
            self.pos += 1
        elif run := _RUN.match(self.body, self.pos):
            self.pos = run.end()
            container.items += orjson.loads(b"[%s]" % run[0].rstrip(b", \n\r\t"))
        token = self.peek()
        if token in _NO_VALUE:
            self.fail(_INVALID_VALUE)
        return token

    def ends(self, container: _Container) -> bool:
        """Whether a container ends after a value in it, rather than going on after a comma."""
        token = self.peek()
        if token not in (_COMMA, container.closer):
            is_array = container.keys is None
            self.fail(_MISSING_COMMA_IN_ARRAY if is_array else _MISSING_COMMA_IN_OBJECT)
        self.pos += 1
        if token == _COMMA:
            self.pos = self._after(_SPACE)
            return False
        return True

    def scalar(self, token: int) -> Any:
        if token == _QUOTE:
            return self.string()
        if token in _LITERALS:
            text, value = _LITERALS[token]
            if self.consume(text) < len(text):
                self.fail(_INVALID_VALUE)
            return value
        return self.number()

    def consume(self, text: bytes) -> int:
        """Take bytes as far as they are those of `text`; give how many that are."""
        for count, expected in enumerate(text):
            if self.here() != expected:
                return count
            self.pos += 1
        return len(text)

    def string(self) -> str:
        self.pos += 1
        parts: list[bytes] = []
        while True:
            start, self.pos = self.pos, self._after(_PLAIN_TEXT)
            parts.append(self.body[start : self.pos])
            byte = self.here()
            if byte == _QUOTE:
                self.pos += 1
                return text_of(b"".join(parts))
            if byte != _BACKSLASH:
                self.fail(_BAD_ESCAPE if byte else _MISSING_QUOTE)
            parts.append(self._escape())

    def _escape(self) -> bytes:
        start = self.pos  # every fault of an escape is reported at its backslash
        self.pos += 1
        letter = self.here()
        if letter in _ESCAPES:
            self.pos += 1
            return bytes([_ESCAPES[letter]])
        if letter != ord("u"):
            self.fail(_BAD_ESCAPE, start)
        self.pos += 1
        code = self._hex(start)
        if 0xD800 <= code <= 0xDBFF:
            if self.consume(b"\\u") < 2:
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

    def number(self) -> float | int:
        start = self.pos
        self.pos = self._after(_INTEGER)
        special = self._nan_or_infinity() if self.pos == start else None
        point = self.pos
        if self.here() == ord("."):
            self.pos = self._after(_FRACTION)
            if self.pos == point:
                self.fail(_MISSING_FRACTION, point + 1)
        fraction_end = self.pos
        if self.here() in b"eE":
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
        value = float(text)
        if math.isinf(value):
            self.fail(_TOO_BIG, start)
        return value

    def _nan_or_infinity(self) -> float:
        is_negative = self.consume(b"-") == 1
        if self.consume(b"NaN") == 3:
            return math.nan
        # As in the reference, the letters of NaN taken so far are forgotten.
        if self.consume(b"Inf") < 3 or (self.here() == ord("i") and self.consume(b"inity") < 5):
            self.fail(_INVALID_VALUE)
        return -math.inf if is_negative else math.inf

"""Strings, numbers and words of JSON, as RapidJSON 1.1.0 reads them with the reference's flags.

Accepts what no other parser accepts (NaN with a sign, bytes that are no UTF-8) and knows the text
and byte offset of every fault.

Numbers differ in two ways, on purpose: they are rounded correctly, and one is too big exactly when
its correctly rounded value is infinite.

Source: RapidJSON 1.1.0 `reader.h`, ParseString and ParseNumber with kParseNanAndInfFlag;
`error/en.h`.
"""

import json
import math
import re
from typing import Any

from salver.codecs.json.syntax_hints import syntax_hint
from salver.codecs.json.text import bytes_of, text_of
from salver.codecs.json.tree import is_integer
from salver.errors import InvalidArgument

__all__ = ["INVALID_VALUE", "fault", "read_scalar"]

INVALID_VALUE = "Invalid value."
_BAD_HEX = "Incorrect hex digit after \\u escape in string."
_BAD_SURROGATE = "The surrogate pair in string is invalid."
_BAD_ESCAPE = "Invalid escape character in string."
_MISSING_QUOTE = "Missing a closing quotation mark in string."
_TOO_BIG = "Number too big to be stored in double."
_MISSING_FRACTION = "Miss fraction part in number."
_MISSING_EXPONENT = "Miss exponent in number."

# Text without surrogates; in so many pieces, because each takes memory while the match goes on.
_SOUND_TEXT = re.compile(
    rb'(?:[^"\\\x00-\x1f]+|\\["\\/bfnrt]|\\u(?:[0-9A-Ca-cE-Fe-f][0-9A-Fa-f]|[dD][0-7])'
    rb"[0-9A-Fa-f]{2}){0,1024}"
)
_STEP_BYTES = 1 << 20  # of a string, after which others get the GIL
_HEX = re.compile(rb"[0-9A-Fa-f]{4}")
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_FRACTION = re.compile(rb"(?:\.[0-9]+)?")
_EXPONENT = re.compile(rb"(?:[eE][+-]?[0-9]+)?")
_EXPONENT_START = re.compile(rb"[eE][+-]?")
_MOST_DIGITS = len("-") + 309  # of the largest double
_LONGEST_INTEGER = len("-9223372036854775808")
_WORDS: dict[int, tuple[bytes, Any]] = {
    ord("n"): (b"null", None),
    ord("t"): (b"true", True),
    ord("f"): (b"false", False),
}
_QUOTE = b'"'


def fault(body: bytes, text: str, offset: int) -> InvalidArgument:
    """The error for a document that is no JSON."""
    hint = syntax_hint(body, offset)
    return InvalidArgument(f"JSON Parse error: {text} at offset: {offset}", hint=hint)


def read_scalar(body: bytes, start: int, *, is_kept: bool = True) -> tuple[Any, int]:
    """Read a value that is no container.

    Args:
        body: of the request.
        start: where the value begins.
        is_kept: whether the value is wanted; of a string that is not, none is made.

    Returns:
        The value, and where it ends.

    Raises:
        InvalidArgument: it is none; see `fault`.
    """
    token = body[start]
    if token == _QUOTE[0]:
        return _string(body, start + 1, is_kept)
    if token in _WORDS:
        word, value = _WORDS[token]
        end = _along(body, start, word)
        if end < start + len(word):
            raise fault(body, INVALID_VALUE, end)
        return value, end
    return _number(body, start)


def _along(body: bytes, start: int, text: bytes) -> int:
    """How far the bytes from an offset on are those of a text."""
    end = start
    for expected in text:
        if body[end : end + 1] != bytes((expected,)):
            break
        end += 1
    return end


def _string(body: bytes, at: int, is_kept: bool) -> tuple[str, int]:
    parts: list[bytes] = []
    while True:
        while (text := _sound_text(body, at)) != b"":
            at += len(text)
            if is_kept:
                parts.append(_unescaped(text) if b"\\" in text else text)
        byte = body[at : at + 1]
        if byte == _QUOTE:
            return text_of(b"".join(parts)), at + 1
        if byte != b"\\":
            raise fault(body, _MISSING_QUOTE if byte in (b"", b"\0") else _BAD_ESCAPE, at)
        text, at = _surrogate(body, at)
        parts.append(text)


def _sound_text(body: bytes, at: int) -> bytes:
    """What of a string needs no second look, a step of it."""
    found = _SOUND_TEXT.match(body, at, at + _STEP_BYTES)
    return found[0] if found else b""


def _unescaped(text: bytes) -> bytes:
    """What stands in a string, whose escapes are sound and none of them a surrogate."""
    return bytes_of(json.loads(f'"{text_of(text)}"'))


def _surrogate(body: bytes, start: int) -> tuple[bytes, int]:
    """The character of an escape that is not sound at first sight; faults are at its backslash."""
    if body[start + 1 : start + 2] != b"u":
        raise fault(body, _BAD_ESCAPE, start)
    code, end = _hex(body, start, start + 2)
    if 0xD800 <= code <= 0xDBFF:
        if body[end : end + 2] != b"\\u":
            raise fault(body, _BAD_SURROGATE, start)
        low, end = _hex(body, start, end + 2)
        if not 0xDC00 <= low <= 0xDFFF:
            raise fault(body, _BAD_SURROGATE, start)
        code = 0x10000 + ((code - 0xD800) << 10 | (low - 0xDC00))
    # A lone low surrogate is taken for a character.
    return chr(code).encode("utf-8", "surrogatepass"), end


def _hex(body: bytes, start: int, at: int) -> tuple[int, int]:
    digits = _HEX.match(body, at)
    if digits is None:
        raise fault(body, _BAD_HEX, start)
    return int(digits[0], 16), digits.end()


def _number(body: bytes, start: int) -> tuple[float | int, int]:
    integer = _INTEGER.match(body, start)
    special = None
    if integer is not None:
        point = integer.end()
    else:
        special, point = _nan_or_infinity(body, start)
    exponent = _end(_FRACTION, body, point)
    if exponent == point and body[point : point + 1] == b".":
        raise fault(body, _MISSING_FRACTION, point + 1)
    end = _end(_EXPONENT, body, exponent)
    if end == exponent and (begun := _EXPONENT_START.match(body, end)):
        raise fault(body, _MISSING_EXPONENT, begun.end())
    text = body[start:end]
    if special is not None:
        if end == point:
            return special, end
        # `NaN.5` is 0.5 to the reference.
        text = (b"-0" if text.startswith(b"-") else b"0") + body[point:end]
    elif end == point and len(text) <= _LONGEST_INTEGER and is_integer(value := int(text)):
        return value, end
    # Of so many digits, without an exponent, nothing need be made: they are too many.
    is_huge = end == exponent and point - start > _MOST_DIGITS
    number = math.inf if is_huge else float(text)
    if math.isinf(number):
        raise fault(body, _TOO_BIG, start)
    return number, end


def _end(pattern: "re.Pattern[bytes]", body: bytes, at: int) -> int:
    """Where what a pattern finds at an offset ends; it may find nothing."""
    found = pattern.match(body, at)
    return found.end() if found else at


def _nan_or_infinity(body: bytes, start: int) -> tuple[float, int]:
    begin = _along(body, start, b"-")
    at = _along(body, begin, b"NaN")
    if at == begin + 3:
        return math.nan, at
    # As in the reference, the letters of NaN taken so far are forgotten.
    end = _along(body, at, b"Inf")
    if end == at + 3 and body[end : end + 1] == b"i":
        end = _along(body, at, b"Infinity")
        at += 5
    if end < at + 3:
        raise fault(body, INVALID_VALUE, end)
    return -math.inf if begin > start else math.inf, end

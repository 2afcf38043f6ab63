"""What a JSON document holds, as Python values, and how the reference prints and names them.

A value is None, bool, int, float, str, an array or an object. An array is a list, or a `LongList`;
an object is a dict, or `Pairs` when one of its keys occurs twice, or it is long. What is long is
still text, and read as one goes through it. A string that is no UTF-8 holds lone surrogates
(`json_text.text_of`).
An integer outside int64 and uint64 is a double to the reference, whatever Python makes of it.

Source: TensorFlow Serving `util/json_tensor.cc`; RapidJSON 1.1.0 `prettywriter.h`, `dtoa.h`.
"""

import binascii
import decimal
import math
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Protocol

from salver.codecs.json_text import bytes_of, quote, text_of
from salver.errors import InvalidArgument
from salver.heap import joined

__all__ = [
    "MISSING",
    "LongList",
    "Pairs",
    "Part",
    "base64_text",
    "debug_text",
    "decode_base64",
    "find",
    "is_array",
    "is_integer",
    "is_object",
    "members",
    "object_of",
    "type_name",
]

MISSING: Any = object()
"""What `find` gives for a key that is not there (null is a value)."""

_DEBUG_LIMIT_BYTES = 256
# The reference prints a string whole, however long: a small body that inflates to one of 100 MB
# would be answered with as much.
_DEBUG_STRING_CHARACTERS = 16 << 10
_STEP_BYTES = 1 << 20  # a multiple of four
_BASE64_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BASE64_SPACE = b" \t\n\v\f\r"


class Part(Protocol):
    """Some elements of a `LongList`, one after the other.

    Attributes:
        count: how many.
        is_long: it is one element, and long itself.
    """

    count: int
    is_long: bool

    def text(self) -> bytes:
        """The elements as JSON, with commas between them."""

    def values(self) -> Iterable[Any]:
        """The elements."""


class LongList:
    """An array that is too large to be read at once."""

    __slots__ = ("parts",)

    def __init__(self, parts: Iterable[Part]) -> None:
        """Keep parts, which can be gone through more than once."""
        self.parts = parts

    def __len__(self) -> int:
        return sum(part.count for part in self.parts)

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(part.values() for part in self.parts)


class Pairs:
    """An object whose members are pairs, in the order of the text; keys may be repeated."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """Keep pairs, which can be gone through more than once."""
        self.pairs = pairs


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Pairs:
    """The object with these members."""
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else Pairs(pairs)


def is_array(value: Any) -> bool:
    """Whether a value is an array."""
    return type(value) is list or type(value) is LongList


def is_object(value: Any) -> bool:
    """Whether a value is an object."""
    return type(value) is dict or type(value) is Pairs


def members(value: dict[str, Any] | Pairs) -> Iterable[tuple[str, Any]]:
    """Keys and values of an object, in order, repetitions included."""
    return value.pairs if isinstance(value, Pairs) else value.items()


def find(value: dict[str, Any] | Pairs, key: str) -> Any:
    """The first member of that name, or `MISSING`."""
    if isinstance(value, Pairs):
        return next((found for name, found in value.pairs if name == key), MISSING)
    return value.get(key, MISSING)


def base64_text(value: Any) -> str | None:
    """What stands in `{"b64": "…"}`; None for any other value."""
    if type(value) is dict and len(value) == 1:
        text = value.get("b64")
        return text if type(text) is str else None
    return None


def is_integer(value: Any) -> bool:
    """Whether a value is a number that the reference keeps as an integer."""
    return type(value) is int and -(2**63) <= value < 2**64


def type_name(value: Any) -> str:
    """The reference's word for a value's type."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, str):
        return "String"
    if is_array(value):
        return "Array"
    return "Object" if is_object(value) else "Number"


def decode_base64(text: str) -> bytes:
    """Bytes from base64 as the reference reads it.

    White space anywhere is skipped; padding (`=` or `.`) may be left out, but not be wrong.

    Raises:
        InvalidArgument: it is not base64 of the standard alphabet.

    Source: Abseil `strings/escaping.cc`, Base64Unescape.
    """
    try:
        raw = text.encode("ascii")
    except UnicodeEncodeError:
        raise _not_base64() from None
    residue = raw.translate(None, _BASE64_ALPHABET)
    if residue and not (residue in (b"=", b"==") and raw.endswith(residue)):
        raw = raw.translate(None, _BASE64_SPACE).replace(b".", b"=")
    core = raw.rstrip(b"=")
    missing = -len(core) % 4
    if missing == 3 or len(raw) - len(core) not in (0, missing):
        raise _not_base64()
    if residue and core.translate(None, _BASE64_ALPHABET):
        raise _not_base64()
    if len(core) <= _STEP_BYTES:
        return binascii.a2b_base64(core + b"=" * missing)
    padded = core + b"=" * missing
    steps = range(0, len(padded), _STEP_BYTES)
    return joined(deque([binascii.a2b_base64(padded[at : at + _STEP_BYTES]) for at in steps]))


def _not_base64() -> InvalidArgument:
    return InvalidArgument(
        "Unable to base64 decode",
        hint="The value of 'b64' must be standard base64 (A-Z a-z 0-9 + /), not the URL-safe kind.",
    )


def debug_text(value: Any) -> str:
    """A value as the reference shows it in its messages.

    Objects on several lines, arrays on one; nothing more once 256 bytes are written, so that the
    text may end anywhere between two tokens; it also ends where NaN or Infinity would stand.
    """
    printer = _Printer()
    printer.value(value, b"", 0)
    return text_of(bytes(printer.out))


class _Printer:
    """Prints until the limit is reached. Each nesting writes a byte, so the limit bounds it too."""

    __slots__ = ("out",)

    def __init__(self) -> None:
        self.out = bytearray()

    def value(self, value: Any, lead: bytes, indent: int) -> bool:
        """Print a value after what separates it from the one before; False when that was all."""
        if is_array(value):
            return self.array(value, lead, indent + 4)
        if is_object(value):
            return self.object(value, lead, indent + 4)
        if _is_unprintable(value):
            self.token(lead)
            return False
        return self.token(lead + _scalar_text(value))

    def token(self, text: bytes) -> bool:
        if len(self.out) >= _DEBUG_LIMIT_BYTES:
            return False
        self.out += text
        return True

    def array(self, value: list[Any] | LongList, lead: bytes, indent: int) -> bool:
        if not self.token(lead + b"["):
            return False
        separator = b""
        for item in value:
            if not self.value(item, separator, indent):
                return False
            separator = b", "
        return self.token(b"]")

    def object(self, value: dict[str, Any] | Pairs, lead: bytes, indent: int) -> bool:
        if not self.token(lead + b"{"):
            return False
        separator = b"\n" + b" " * indent
        for key, item in members(value):
            if not self.token(separator + _scalar_text(key)):
                return False
            if not self.value(item, b": ", indent):
                return False
            separator = b",\n" + b" " * indent
        is_empty = not separator.startswith(b",")
        return self.token(b"}" if is_empty else b"\n" + b" " * (indent - 4) + b"}")


def _is_unprintable(value: Any) -> bool:
    """Whether a value is NaN or infinite, which the reference's printer cannot write."""
    return type(value) is float and not math.isfinite(value)


def _scalar_text(value: Any) -> bytes:
    if value is None:
        return b"null"
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, str):
        return quote(bytes_of(value[:_DEBUG_STRING_CHARACTERS]))
    return b"%d" % value if is_integer(value) else _double_text(float(value))


def _double_text(value: float) -> bytes:
    """The shortest digits of a finite double in RapidJSON's layout (`1.0`, `1e22`, `1.5e-7`)."""
    sign, digits, exponent = decimal.Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0") or "0"
    # The value is 0.<text> times ten to the `point`.
    point = int(exponent) + len(digits)
    if text == "0":
        body = "0.0"
    elif len(text) <= point <= 21:
        body = text.ljust(point, "0") + ".0"
    elif 0 < point <= 21:
        body = f"{text[:point]}.{text[point:]}"
    elif -6 < point <= 0:
        body = "0." + "0" * -point + text
    else:
        body = f"{text[0]}.{text[1:]}".rstrip(".") + f"e{point - 1}"
    return b"%s%s" % (b"-" if sign else b"", body.encode())

"""Values as the reference shows them in its messages.

Source: TensorFlow Serving `util/json_tensor.cc`; RapidJSON 1.1.0 `prettywriter.h`, `dtoa.h`.
"""

import decimal
import math
from collections.abc import Iterator
from typing import Any

from salver.codecs.json.text import bytes_of, quote, text_of
from salver.codecs.json.tree import ARRAY_TYPES, OBJECT_TYPES, is_integer

__all__ = ["debug_text"]

_DEBUG_LIMIT_BYTES = 256
# The reference prints a string whole, however long: a small body that inflates to one of 100 MB
# would be answered with as much.
_DEBUG_STRING_CHARACTERS = 16 << 10


def debug_text(value: Any) -> str:
    """A value as the reference shows it in its messages.

    Objects on several lines, arrays on one; nothing more once 256 bytes are written, so that the
    text may end anywhere between two tokens; it also ends where NaN or Infinity would stand.
    """
    out = bytearray()
    for token in _tokens(value, b"", 0):
        if token is None or len(out) >= _DEBUG_LIMIT_BYTES:
            break
        out += token
    return text_of(bytes(out))


def _tokens(value: Any, lead: bytes, indent: int) -> Iterator[bytes | None]:
    """The text of a value in pieces, after what separates it from the one before.

    None stands for what the reference's printer cannot write. Each nesting writes a byte, so the
    limit bounds the recursion, too.
    """
    if isinstance(value, ARRAY_TYPES):
        yield lead + b"["
        lead = b""
        for item in value:
            yield from _tokens(item, lead, indent + 4)
            lead = b", "
        yield b"]"
    elif isinstance(value, OBJECT_TYPES):
        yield lead + b"{"
        end = b"}"
        lead = margin = b"\n" + b" " * (indent + 4)
        for name, item in value.items():
            yield lead + _scalar_text(name)
            yield from _tokens(item, b": ", indent + 4)
            lead = b"," + margin
            end = margin[:-4] + b"}"
        yield end
    elif type(value) is float and not math.isfinite(value):
        yield lead
        yield None
    else:
        yield lead + _scalar_text(value)


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

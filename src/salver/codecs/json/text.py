"""JSON text of strings, where a string is any sequence of bytes; and base64 in them.

Source of the escapes: RapidJSON 1.1.0 `writer.h`, WriteString: bytes at or above 0x20 other than
the quote and the backslash pass through, valid UTF-8 or not.
"""

import binascii
import codecs
import re
from collections import deque
from typing import Any

from salver.errors import InvalidArgument
from salver.instruments.heap import joined

__all__ = ["base64_text", "bytes_of", "decode_base64", "quote", "text_of"]

_STEP_BYTES = 1 << 20  # a multiple of four
_BASE64_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BASE64_SPACE = b" \t\n\v\f\r"
_Decoder = codecs.getincrementaldecoder("utf-8")
_SPECIAL = re.compile(rb'[\x00-\x1f"\\]')
_ESCAPES = {bytes([code]): b"\\u%04X" % code for code in range(0x20)} | {
    b"\b": b"\\b",
    b"\t": b"\\t",
    b"\n": b"\\n",
    b"\f": b"\\f",
    b"\r": b"\\r",
    b'"': b'\\"',
    b"\\": b"\\\\",
}


def quote(text: bytes) -> bytes:
    """A JSON string, quotes included."""
    return b'"%s"' % _SPECIAL.sub(lambda found: _ESCAPES[found[0]], text)


def text_of(raw: bytes) -> str:
    """The `str` that stands for any bytes: what is no UTF-8 becomes lone surrogates (PEP 383)."""
    if len(raw) <= _STEP_BYTES:
        return raw.decode("utf-8", "surrogateescape")
    decoder = _Decoder("surrogateescape")  # in steps, which leave the GIL to others
    steps = range(0, len(raw), _STEP_BYTES)
    parts = [decoder.decode(raw[at : at + _STEP_BYTES]) for at in steps]
    return "".join([*parts, decoder.decode(b"", final=True)])


def bytes_of(text: str) -> bytes:
    """Undo `text_of`; a surrogate that it never makes is encoded as if it were a character."""
    if len(text) > _STEP_BYTES:  # in steps, as below
        steps = range(0, len(text), _STEP_BYTES)
        return joined(deque([bytes_of(text[at : at + _STEP_BYTES]) for at in steps]))
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def base64_text(value: Any) -> str | None:
    """What stands in `{"b64": "…"}`; None for any other value."""
    if type(value) is dict and len(value) == 1:
        text = value.get("b64")
        return text if type(text) is str else None
    return None


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

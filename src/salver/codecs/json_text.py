"""JSON text of strings, where a string is any sequence of bytes.

Source of the escapes: RapidJSON 1.1.0 `writer.h`, WriteString: bytes at or above 0x20 other than
the quote and the backslash pass through, valid UTF-8 or not.
"""

import codecs
import re
from collections import deque

from salver.heap import joined

__all__ = ["bytes_of", "quote", "text_of"]

_STEP_BYTES = 1 << 20
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

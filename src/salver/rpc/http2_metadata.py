"""What gRPC writes into header fields: deadlines, messages of errors, names of compressions.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md; where that leaves a choice,
what gRPC's C core, and so the reference, was seen to do.
"""

import math
import re
from typing import Final
from urllib.parse import quote

__all__ = ["ACCEPTED_ENCODINGS", "is_grpc", "percent_encoded", "timeout_of"]

ACCEPTED_ENCODINGS: Final = b"identity, deflate, gzip"

_TIMEOUT: Final = re.compile(rb" *0*([0-9]+) *([HMSmun]) *")
_SECONDS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MOST_DIGITS: Final = 15
_LONGEST_S: Final = 366 * 86400.0  # what is longer is no deadline
_PLAIN: Final = "".join(chr(code) for code in range(0x20, 0x7F) if code != ord("%"))
_GRPC: Final = b"application/grpc"


def is_grpc(content_type: bytes | None) -> bool:
    """Whether a content type is gRPC's, of whatever codec; that of gRPC-Web is not."""
    if content_type is None or not content_type.startswith(_GRPC):
        return False
    return content_type[len(_GRPC) : len(_GRPC) + 1] in (b"", b"+", b";")


def timeout_of(value: bytes) -> float | None:
    """The seconds a `grpc-timeout` gives, up to the next millisecond; None: for ever.

    The C core takes more than eight digits, and spaces; so do we.

    Raises:
        ValueError: it is no timeout.
    """
    found = _TIMEOUT.fullmatch(value)
    if found is None:
        raise ValueError("no timeout")
    digits, unit = found.groups()
    seconds = int(digits) * _SECONDS[unit] if len(digits) <= _MOST_DIGITS else math.inf
    return math.ceil(seconds * 1000 - 1e-6) / 1000 if seconds <= _LONGEST_S else None


def percent_encoded(message: str) -> bytes:
    """A text as `grpc-message` has it: UTF-8, what is not printable ASCII as `%XX`."""
    if message.isascii() and message.isprintable() and "%" not in message:
        written = message
    else:
        written = quote(message, safe=_PLAIN)
    if written.startswith(" ") or written.endswith(" "):
        # Whoever carries a field's value may take spaces off its ends (RFC 9110 §5.5), as we do.
        words = written.strip(" ")
        before, _, after = written.partition(words) if words else (written, "", "")
        written = before.replace(" ", "%20") + words + after.replace(" ", "%20")
    return written.encode()

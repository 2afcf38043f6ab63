"""Request bodies that come gzipped.

Source: TensorFlow Serving `net_http/compression/gzip_zlib.cc` for what a broken one becomes
(nothing, and an empty document is the error the client reads). Deviations: several members in a row
are one body, as RFC 1952 §2.2 says (the reference calls that broken); a body over the limit is
refused as too large instead of read as empty.
"""

import zlib

from salver.transport.heads import Refusal

__all__ = ["inflate"]

_GZIP_WINDOW = 16 + zlib.MAX_WBITS
# A finished member hands back a copy of what follows it: of a slice that is cheap, of a body made
# of empty members it would be quadratic.
_SLICE_BYTES = 64 * 1024


def inflate(body: bytes, max_bytes: int) -> bytes:
    """Inflate a whole gzip body; the empty string when it is broken or cut short.

    However much it would inflate to, no more than `max_bytes` are. Runs long: not for the loop.

    Raises:
        Refusal: 413, more than `max_bytes` would come out.
    """
    pieces: list[bytes] = []
    size = 0
    member = zlib.decompressobj(_GZIP_WINDOW)
    for start in range(0, len(body), _SLICE_BYTES):
        rest = body[start : start + _SLICE_BYTES]
        while rest:
            if member.eof:
                member = zlib.decompressobj(_GZIP_WINDOW)
            try:
                piece = member.decompress(rest, max_bytes - size + 1)
            except zlib.error:
                return b""
            size += len(piece)
            if size > max_bytes:
                raise _too_large(max_bytes)
            pieces.append(piece)
            rest = member.unused_data
    return b"".join(pieces) if member.eof else b""


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(
        413,
        f"Request body is larger than {max_bytes} bytes once inflated",
        "This bounds bodies that are sent gzipped; the server's --max_request_bytes bounds all.",
    )

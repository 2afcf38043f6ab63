"""The header blocks of calls that are handed on: what is between two ends only stays behind. Pure.

A call goes on with the metadata of its client. Left behind are what says how messages were coded on
the way, the deadline, which is written anew, and what clients say of hops.
"""

from typing import Final

from salver.peers.hops import CREDENTIALS, OWN_FIELDS, PRINCIPAL
from salver.transport.http2.header_blocks import encode_block
from salver.transport.messages import Headers

__all__ = ["BlockMaker", "timeout_field"]

Field = tuple[bytes, bytes]

_DROPPED: Final = frozenset(
    {
        b"connection", b"content-length", b"content-type", b"grpc-accept-encoding",
        b"grpc-encoding", b"grpc-timeout", b"host", b"keep-alive", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
_MOST_KEPT: Final = 256
_LONGEST_KEPT: Final = 4096
_MOST_DIGITS: Final = 8  # of a timeout: gRPC over HTTP/2, "Timeout"
_LONGEST_S: Final = 10**_MOST_DIGITS - 1


class BlockMaker:
    """Makes header blocks, and keeps those that were made last."""

    def __init__(self, scheme: bytes) -> None:
        """Keep none.

        Args:
            scheme: `http` or `https`.
        """
        self._scheme = scheme
        # By the headers themselves: a transport gives the same to calls whose fields are.
        self._kept: dict[tuple[str, str, Headers, tuple[Field, ...]], bytes] = {}

    def block(
        self, authority: str, method: str, headers: Headers, fields: tuple[Field, ...]
    ) -> bytes:
        """The block of a call, without its deadline.

        Args:
            authority: host and port of the server it goes to.
            method: its full name.
            headers: as they came.
            fields: added to its own.
        """
        key = (authority, method, headers, fields)
        made = self._kept.get(key)
        if made is None:
            made = encode_block(self._fields(*key))
            if len(made) <= _LONGEST_KEPT:
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.clear()
                self._kept[key] = made
        return made

    def _fields(
        self, authority: str, method: str, headers: Headers, fields: tuple[Field, ...]
    ) -> list[Field]:
        dropped = _DROPPED | OWN_FIELDS | {name for name, _ in fields}
        if any(name == PRINCIPAL for name, _ in fields):
            dropped |= CREDENTIALS
        return [
            (b":method", b"POST"),
            (b":scheme", self._scheme),
            (b":path", method.encode("latin-1")),
            (b":authority", authority.encode("ascii")),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            *(field for field in headers.pairs if field[0] not in dropped),
            *fields,
        ]


def timeout_field(timeout_s: float) -> bytes:
    """The block of a deadline, to be put behind that of the call; at least a millisecond."""
    if timeout_s * 1000 <= _LONGEST_S:
        said = b"%dm" % max(int(timeout_s * 1000), 1)
    else:
        said = b"%dS" % min(int(timeout_s), _LONGEST_S)
    return encode_block([(b"grpc-timeout", said)])

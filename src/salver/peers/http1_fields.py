"""Requests and answers as they go on: what is between two ends only stays behind. Pure.

A request goes on as its client sent it, with its body as bytes. Left behind are the fields of one
connection (RFC 9110 §7.6.1), what says how the body was coded on the way, what names the page that
a browser asks from, which has been checked already, and what clients say of hops.
"""

import re
from collections.abc import Sequence
from typing import Final

from salver.peers.hops import CREDENTIALS, OWN_FIELDS, PARENT, PRINCIPAL
from salver.tracing.tracer import TRACE_HEADER
from salver.transport.messages import HttpRequest

__all__ = ["HeadMaker", "answer_fields"]

Field = tuple[bytes, bytes]

_TRACE: Final = TRACE_HEADER.encode("ascii")
_HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
_REQUEST_ONLY: Final = frozenset(
    {
        b"host", b"content-length", b"content-encoding", b"expect", b"http2-settings",
        b"origin", b"referer", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest",
    }
)  # fmt: skip
# The trace is told of here, where it begins for the client.
_ANSWER_ONLY: Final = frozenset({b"content-length", b"content-type", b"date", _TRACE})
_OF_PAGES: Final = b"access-control-"  # which the API adds here by itself
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TARGET: Final = re.compile(rb"/[\x21-\x7e]*")
_MOST_KEPT: Final = 256
_LONGEST_KEPT: Final = 2048
_WITH_BODY: Final = frozenset(("POST", "PUT", "PATCH"))


class HeadMaker:
    """Makes request heads up to the length of the body, and keeps those that were made last."""

    def __init__(self) -> None:
        """Keep none."""
        self._kept: dict[tuple[str, str, str, bytes, Sequence[Field]], bytes] = {}

    def head(self, host: str, request: HttpRequest, fields: "tuple[Field, ...]") -> bytes:
        """The whole head of a request.

        Args:
            host: and port of the server it goes to.
            request: as it came. That of a HEAD goes on as GET, whose answer has the same fields.
            fields: added to its own.

        Raises:
            ValueError: it has what cannot be sent on.
        """
        key = (host, request.method, request.target, request.headers.raw, fields)
        made = self._kept.get(key)
        if made is None:
            made = _made(host, request, fields)
            if len(key[2]) + len(key[3]) <= _LONGEST_KEPT:
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.clear()
                self._kept[key] = made
        if request.body or request.method in _WITH_BODY:
            return b"%bContent-Length: %d\r\n\r\n" % (made, len(request.body))
        return made + b"\r\n"


def _made(host: str, request: HttpRequest, fields: "tuple[Field, ...]") -> bytes:
    method = "GET" if request.method == "HEAD" else request.method
    target = request.target.encode("ascii")
    if not _TARGET.fullmatch(target):
        raise ValueError("the target cannot be sent on")
    pairs = [(name.lower(), value) for name, value in request.headers.pairs]
    dropped = _HOP_BY_HOP | _REQUEST_ONLY | OWN_FIELDS | _named_by_connection(pairs)
    added = {name for name, _ in fields}
    dropped |= added & {PARENT}
    if PRINCIPAL in added:
        dropped |= CREDENTIALS
    kept = [field for field in pairs if field[0] not in dropped]
    lines = [b"%b %b HTTP/1.1" % (method.encode("ascii"), target), b"host: " + host.encode("ascii")]
    for name, value in (*kept, *fields):
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError("a header field cannot be sent on")
        lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join(lines) + b"\r\n"


def answer_fields(pairs: Sequence[Field]) -> tuple[str | None, tuple[tuple[str, str], ...]]:
    """The content type of an answer, and its other fields that go on to the client.

    Args:
        pairs: names and values as they came.
    """
    lowered = [(name.lower(), value) for name, value in pairs]
    dropped = _HOP_BY_HOP | _ANSWER_ONLY | OWN_FIELDS | _named_by_connection(lowered)
    kind = next((value for name, value in lowered if name == b"content-type"), None)
    kept = tuple(
        (_text(name), _text(value))
        for (name, value), (lower, _) in zip(pairs, lowered, strict=True)
        if lower not in dropped and not lower.startswith(_OF_PAGES)
    )
    return None if kind is None else _text(kind), kept


def _named_by_connection(pairs: Sequence[Field]) -> frozenset[bytes]:
    """Fields that a `Connection` field says to be of one connection alone."""
    values = [value for name, value in pairs if name == b"connection"]
    if not values:
        return frozenset()
    return frozenset(word.strip().lower() for value in values for word in value.split(b","))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")

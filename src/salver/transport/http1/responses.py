"""Response heads: rendered once, used for every answer of the same kind in the same second."""

import re
from email.utils import formatdate
from http import HTTPStatus

__all__ = ["CLOSE", "HTTP10", "KEEP_ALIVE", "ResponseHeads", "reason_phrase"]

KEEP_ALIVE = 0
CLOSE = 1
HTTP10 = 2
"""How a head is rendered: `KEEP_ALIVE` or `CLOSE`, plus `HTTP10` for a client that old."""

_REASONS = {
    408: "Request Time-out",
    413: "Request Entity Too Large",
    429: "Client Error",
    499: "Client Error",
    504: "Gateway Time-out",
}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_MAX_RENDERED = 512


def reason_phrase(status: int) -> str:
    """The words after a status, as the reference's HTTP library says them.

    Source: libevent 2.1 `http.c`: RFC 2616's words, else the name of the class; 431, which it never
    sends, in the words of RFC 6585.
    """
    known = _REASONS.get(status)
    if known is not None:
        return known
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Client Error" if 400 <= status < 500 else "Server Error"


class ResponseHeads:
    """Rendered response heads, up to and with `Content-Length: `.

    Attributes:
        get: the lookup the hot path does itself, by (mode, status, content type, further fields).
    """

    def __init__(self) -> None:
        self._rendered: dict[tuple[int, int, str | None, tuple[tuple[str, str], ...]], bytes] = {}
        self._second = -1
        self._date = b""
        self.get = self._rendered.get

    def tick(self, now: float) -> None:
        """Let answers carry this time (seconds since the epoch) as their `Date`."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode("ascii")
            self._rendered.clear()

    def render(
        self,
        mode: int,
        status: int,
        content_type: str | None,
        headers: tuple[tuple[str, str], ...],
    ) -> bytes:
        """Render, and remember until the next second, what `get` does not know."""
        version = "HTTP/1.0" if mode & HTTP10 else "HTTP/1.1"
        lines = [f"{version} {status} {reason_phrase(status)}"]
        if content_type is not None:
            lines.append(f"Content-Type: {_clean(content_type)}")
        lines.extend(f"{_clean(name)}: {_clean(value)}" for name, value in headers)
        if mode & CLOSE:
            lines.append("Connection: close")
        elif mode & HTTP10:
            lines.append("Connection: keep-alive")
        lines.append("Date: ")
        rendered = "\r\n".join(lines).encode("utf-8") + self._date + b"\r\nContent-Length: "
        if len(self._rendered) >= _MAX_RENDERED:
            self._rendered.clear()
        self._rendered[mode, status, content_type, headers] = rendered
        return rendered


def _clean(text: str) -> str:
    """A field that cannot end its own line: nobody may add fields through a value."""
    return _CONTROLS.sub(" ", text)

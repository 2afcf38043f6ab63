"""The files of the page, read once, with the headers that keep what models say from being run.

Nothing comes from elsewhere, nothing is inline, and no script may make markup of text, so that a
model's name, labels and answers stay text whatever they hold.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from salver.protocols.etags import etag_of, is_known_to
from salver.transport.messages import HttpRequest, HttpResponse

__all__ = ["SECURITY_HEADERS", "StaticFiles"]

SECURITY_HEADERS: Final = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(self), microphone=(), geolocation=()"),
)
# Asked for again at each visit, because its address does not change with the server's version;
# the answer is then 304 and has no body.
_CACHING: Final = ("Cache-Control", "no-cache")

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str
    etag: str
    headers: tuple[tuple[str, str], ...]


class StaticFiles:
    """The files of a directory, all in memory: less than 200 kB."""

    def __init__(self, directory: Path) -> None:
        """Read them.

        Args:
            directory: files whose suffix is not one of a page's are left out.

        Raises:
            OSError: it cannot be read.
        """
        self._files = {
            path.relative_to(directory).as_posix(): _read(path)
            for path in sorted(directory.rglob("*"))
            if path.suffix in _TYPES
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Their paths in the directory, with slashes."""
        return tuple(self._files)

    def answer(self, name: str, request: HttpRequest) -> HttpResponse | None:
        """The file, 304 for a client that has it already, None when there is no such file."""
        file = self._files.get(name)
        if file is None:
            return None
        if is_known_to(request, file.etag):
            return HttpResponse(304, b"", None, file.headers)
        return HttpResponse(200, file.body, file.content_type, file.headers)


def _read(path: Path) -> _File:
    body = path.read_bytes()
    etag = etag_of(body)
    headers = (*SECURITY_HEADERS, _CACHING, ("ETag", etag))
    return _File(body, _TYPES[path.suffix], etag, headers)

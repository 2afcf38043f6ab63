"""Answers that a client may have already."""

from salver.transport.messages import HttpRequest

__all__ = ["etag_of", "is_known_to"]


def etag_of(body: bytes) -> str:
    """The `ETag` of a body."""
    import hashlib  # here: compiled code, which starts need not wait for

    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def is_known_to(request: HttpRequest, etag: str) -> bool:
    """Whether a client says that it has this content. Source: RFC 9110 §13.1.2."""
    known = (request.header(b"if-none-match") or b"").decode("latin-1")
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in known.split(","))

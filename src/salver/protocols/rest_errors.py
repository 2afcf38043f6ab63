"""Canonical code → HTTP status, and an error → its response. The only place that knows both.

Source: TensorFlow Serving, `model_servers/http_server.cc`, ToHTTPStatusCode.
"""

from typing import Final

from salver.codecs.json.response import encode_error
from salver.errors import (
    Code,
    InvalidArgument,
    LimitExceeded,
    Overloaded,
    PeerLost,
    ServingError,
    Unauthenticated,
    WrongPeerToken,
)
from salver.protocols.version_header import version_headers
from salver.transport.messages import HttpRequest, HttpResponse

__all__ = [
    "CHALLENGE",
    "HTTP_STATUS",
    "PEER_REFUSED",
    "UnreadableName",
    "error_page",
    "error_response",
    "no_route",
    "page_of",
    "refusal_or_fault",
]

HTTP_STATUS: Final = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


_BAD_GATEWAY: Final = 502
"""Of what another server may have begun, so that who has asked knows that it may have happened."""

CHALLENGE: Final = (("WWW-Authenticate", 'Bearer realm="salver"'),)
"""What a 401 says of how to do better; RFC 6750 §3."""


PEER_REFUSED: Final = "salver-peer-refused"
"""A field of the answer to a server whose secret is not ours."""


def _challenge(error: Unauthenticated) -> tuple[tuple[str, str], ...]:
    """The fields of a 401."""
    if isinstance(error, WrongPeerToken):
        return (*CHALLENGE, (PEER_REFUSED, "token"))
    return CHALLENGE


class UnreadableName(InvalidArgument):
    """The path is well formed, but its version is no number: answered without a body."""


def error_response(error: ServingError) -> HttpResponse:
    """The response a failed call gets."""
    if isinstance(error, UnreadableName):
        return HttpResponse(HTTP_STATUS[error.code], b"")
    # The reference's status for RESOURCE_EXHAUSTED is 429. What is too much for the server rather
    # than for this client is 503 here, as of the reference's own full queues, and says when to come
    # again.
    is_overloaded = isinstance(error, Overloaded)
    is_for_all = is_overloaded and not isinstance(error, LimitExceeded)
    return page_of(error, 503 if is_for_all else HTTP_STATUS[error.code])


def page_of(error: ServingError, status: int) -> HttpResponse:
    """The page of an error, with the header fields that belong to it.

    Args:
        error: of the call.
        status: that it has in this API; one of a peer that was lost is the same in each.
    """
    if isinstance(error, PeerLost):
        status = _BAD_GATEWAY
    page = error_page(status, error.message, error.hint)
    if isinstance(error, Unauthenticated):
        page.headers = _challenge(error)
    if error.version is not None:
        page.headers = (*page.headers, *version_headers(error.version))
    if isinstance(error, Overloaded):
        page.headers = (*page.headers, ("Retry-After", str(error.retry_after_s)))
    return page


def error_page(status: int, message: str, hint: str | None = None) -> HttpResponse:
    """A JSON error for what is refused before it is a call; also handed to the transport."""
    return HttpResponse(status, encode_error(message, hint))


def refusal_or_fault(_request: HttpRequest, error: BaseException) -> HttpResponse:
    """The response to what fails in an API that does not write its errors by itself.

    Raises:
        BaseException: the error, where it is a fault; the transport has a page for those.
    """
    if isinstance(error, ServingError):
        return error_response(error)
    raise error


def no_route(request: HttpRequest) -> HttpResponse:
    """The response to a path that no API has."""
    return error_page(
        404,
        f"Not Found: {request.method} {request.target}",
        "The API is under /v1/models: GET /v1/models lists the models, "
        "POST /v1/models/NAME:predict asks one",
    )

"""Canonical code → HTTP status, and an error → its response. The only place that knows both.

Source: TensorFlow Serving, `model_servers/http_server.cc`, ToHTTPStatusCode.
"""

from typing import Final

from salver.codecs.json_response import encode_error
from salver.errors import Code, Overloaded, ServingError
from salver.rest.routes import UnreadableName
from salver.rest.version_header import version_headers
from salver.transport.messages import HttpResponse

__all__ = ["HTTP_STATUS", "error_page", "error_response"]

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


def error_response(error: ServingError) -> HttpResponse:
    """The response a failed call gets."""
    if isinstance(error, UnreadableName):
        return HttpResponse(HTTP_STATUS[error.code], b"")
    # The reference's status for RESOURCE_EXHAUSTED is 429. What is too much for the server rather
    # than for this client is 503 here, as of the reference's own full queues, and says when to come
    # again.
    is_overloaded = isinstance(error, Overloaded)
    status = 503 if is_overloaded else HTTP_STATUS[error.code]
    page = error_page(status, error.message, error.hint)
    if error.version is not None:
        page.headers = version_headers(error.version)
    if is_overloaded:
        page.headers = (*page.headers, ("Retry-After", str(Overloaded.retry_after_s)))
    return page


def error_page(status: int, message: str, hint: str | None = None) -> HttpResponse:
    """A JSON error for what is refused before it is a call; also handed to the transport."""
    return HttpResponse(status, encode_error(message, hint))

"""Canonical code → HTTP status as Triton has it, and an error → its body: `{"error": …}`."""

from typing import Final

from salver.errors import Code, LimitExceeded, ServingError
from salver.protocols.rest_errors import page_of
from salver.transport.messages import HttpResponse

__all__ = ["HTTP_STATUS", "error_response"]

HTTP_STATUS: Final = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 503,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 400,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 503,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
"""Triton has 400, 404, 500, 501 and 503; what is forbidden is told as elsewhere in HTTP."""

_TOO_MANY: Final = 429
"""Of a client that has had its part, while others are answered."""


def error_response(error: ServingError) -> HttpResponse:
    """The response a failed call gets."""
    too_many = isinstance(error, LimitExceeded)
    return page_of(error, _TOO_MANY if too_many else HTTP_STATUS[error.code])

"""Canonical code → gRPC status number, and an error → its status. The only place that knows both.

Source: TensorFlow Serving, `model_servers/grpc_status_util.cc`, ToGRPCStatus.
"""

from dataclasses import dataclass
from typing import Final

from salver.errors import Code, InvalidArgument, ServingError

__all__ = ["GRPC_STATUS", "CannotListen", "RpcStatus", "rpc_status"]

GRPC_STATUS: Final = {
    Code.OK: 0,
    Code.CANCELLED: 1,
    Code.UNKNOWN: 2,
    Code.INVALID_ARGUMENT: 3,
    Code.DEADLINE_EXCEEDED: 4,
    Code.NOT_FOUND: 5,
    Code.ALREADY_EXISTS: 6,
    Code.PERMISSION_DENIED: 7,
    Code.RESOURCE_EXHAUSTED: 8,
    Code.FAILED_PRECONDITION: 9,
    Code.ABORTED: 10,
    Code.OUT_OF_RANGE: 11,
    Code.UNIMPLEMENTED: 12,
    Code.INTERNAL: 13,
    Code.UNAVAILABLE: 14,
    Code.DATA_LOSS: 15,
    Code.UNAUTHENTICATED: 16,
}

_LONGEST_BYTES: Final = 1024
_MARK: Final = "...TRUNCATED"


class CannotListen(InvalidArgument):
    """A port or a socket cannot be had; `hint` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__("Failed to BuildAndStart gRPC server", hint=reason)


@dataclass(frozen=True, slots=True)
class RpcStatus:
    """How a call ended.

    Attributes:
        code: gRPC's number.
        message: can be written as UTF-8.
        hint: likewise; empty for none. It travels beside the message, which is the reference's.
        version: of the model that has failed the call; None where none was found for it.
    """

    code: int
    message: str
    hint: str = ""
    version: int | None = None


def rpc_status(error: ServingError) -> RpcStatus:
    """The status a failed call ends with."""
    return RpcStatus(
        GRPC_STATUS[error.code], _cut(error.message), _cut(error.hint or ""), error.version
    )


def _cut(message: str) -> str:
    # surrogateescape: a path of the file system may hold bytes that are no text.
    written = message.encode(errors="surrogateescape")
    if len(written) <= _LONGEST_BYTES:
        return written.decode(errors="replace")
    # The reference cuts between any two bytes. Half a character is no text, and a client that
    # insists on text would not see the status at all, so the whole character goes.
    end = _LONGEST_BYTES
    while end > _LONGEST_BYTES - 3 and written[end] & 0xC0 == 0x80:
        end -= 1
    return written[:end].decode(errors="replace") + _MARK

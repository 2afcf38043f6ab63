"""The ways a request can fail, named by the canonical status codes gRPC and TensorFlow share.

Every floor below the APIs raises one of these and never thinks in HTTP. Only
`protocols/rest_errors.py` and `rpc/errors.py` know what a `Code` becomes on the wire.

Source of the codes: https://grpc.io/docs/guides/status-codes/
"""

import enum
from collections.abc import Mapping
from contextlib import ContextDecorator
from traceback import clear_frames
from typing import Any, ClassVar, Final

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Cancelled",
    "Code",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "LimitExceeded",
    "NotFound",
    "NotInstalled",
    "OutOfRange",
    "Overloaded",
    "PeerLost",
    "PermissionDenied",
    "ResourceExhausted",
    "ServingError",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "WrongPeerToken",
    "drop_frames",
    "error_of",
    "error_of_parts",
    "hints_in_text",
    "out_of_memory",
]


class Code(enum.IntEnum):
    """Canonical status codes; the values are gRPC's and TensorFlow's wire values."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class ServingError(Exception):
    """Base of every error whose message a client is meant to read.

    Attributes:
        message: the reference's words where it has words.
        hint: advice of ours for a person who is lost, or None; never part of `message`.
        version: of the model that failed the request, once one has been found for it.
        is_final: of a load: the same files will fail again, so trying again is of no use before
            they change.
    """

    code: ClassVar[Code] = Code.INTERNAL

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.version: int | None = None
        self.is_final = False

    def parts(self) -> dict[str, Any]:
        """All that it says, as plain values: for another process. See `error_of_parts`."""
        return {
            "code": int(self.code),
            "message": self.message,
            "hint": self.hint,
            "version": self.version,
            "is_final": self.is_final,
            "is_missing": isinstance(self, NotInstalled),
        }

    @property
    def status(self) -> str:
        """The text TensorFlow logs for a status: `NOT_FOUND: Could not find …`."""
        return f"{self.code.name}: {self.message}"


class Cancelled(ServingError):
    """The caller, or the server on its way down, gave the work up."""

    code = Code.CANCELLED


class Unknown(ServingError):
    """A failure that names no better code."""

    code = Code.UNKNOWN


class InvalidArgument(ServingError):
    """The request is wrong whatever the state of the server."""

    code = Code.INVALID_ARGUMENT


class DeadlineExceeded(ServingError):
    """The time the caller allowed is over; the work may still finish unseen."""

    code = Code.DEADLINE_EXCEEDED


class NotFound(ServingError):
    """No such servable, version, label or file."""

    code = Code.NOT_FOUND


class AlreadyExists(ServingError):
    """What was to be made is there already."""

    code = Code.ALREADY_EXISTS


class PermissionDenied(ServingError):
    """The operating system or a policy refuses."""

    code = Code.PERMISSION_DENIED


class ResourceExhausted(ServingError):
    """A queue or a memory limit is full; the same request may succeed later."""

    code = Code.RESOURCE_EXHAUSTED


class Overloaded(ResourceExhausted):
    """A queue of ours, or the memory for requests, is full: the caller should come again later.

    Attributes:
        retry_after_s: when; whole seconds, as HTTP says it.
    """

    retry_after_s: int = 1

    def __init__(
        self, message: str = "", *, hint: str | None = None, retry_after_s: int = 1
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class LimitExceeded(Overloaded):
    """Who asks has had what it may have for now; others are answered.

    Attributes:
        delay_s: how long the answer is to be kept back, since the client does not wait by itself.
    """

    delay_s: float = 0.0


class FailedPrecondition(ServingError):
    """The request is well formed, but the state of the server or servable cannot answer it."""

    code = Code.FAILED_PRECONDITION


class NotInstalled(FailedPrecondition):
    """A library that is needed is not installed here, or cannot be used.

    The text says what to install. Trying again is of no use before that.
    """

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.is_final = True


class Aborted(ServingError):
    """The work was given up because of a conflict."""

    code = Code.ABORTED


class OutOfRange(ServingError):
    """A value lies past the end of what is valid."""

    code = Code.OUT_OF_RANGE


class Unimplemented(ServingError):
    """Nothing here does that."""

    code = Code.UNIMPLEMENTED


class Internal(ServingError):
    """An invariant of the server or of the model's runtime is broken."""

    code = Code.INTERNAL


STOPPING: Final = "The server is stopping"
"""What `Unavailable` says when it is."""


class Unavailable(ServingError):
    """The server is starting, draining or stopping."""

    code = Code.UNAVAILABLE


class PeerLost(Unavailable):
    """Another server was asked, and may have begun, and has not answered."""


class DataLoss(ServingError):
    """Stored data is corrupt."""

    code = Code.DATA_LOSS


class Unauthenticated(ServingError):
    """The caller has not said who it is."""

    code = Code.UNAUTHENTICATED


class WrongPeerToken(Unauthenticated):
    """Another server has shown a secret that is not ours, so that it may better ask elsewhere."""

    def __init__(self) -> None:
        super().__init__(
            "The peer token is not valid",
            hint="All servers of a map need the same secret in --peer_token_file.",
        )


_CLASS_OF: dict[int, type[ServingError]] = {
    kind.code: kind for kind in ServingError.__subclasses__()
}


def error_of(code: int, message: str) -> ServingError:
    """The error with a canonical code; `Unknown` for a number that is none (OK included)."""
    return _CLASS_OF.get(code, Unknown)(message)


def error_of_parts(parts: Mapping[str, Any]) -> ServingError:
    """The error that another process has taken apart; see `ServingError.parts`."""
    message = str(parts.get("message", ""))
    error = NotInstalled(message) if parts.get("is_missing") else error_of(parts["code"], message)
    error.hint, error.version = parts.get("hint"), parts.get("version")
    error.is_final = bool(parts.get("is_final"))
    return error


def out_of_memory(error: MemoryError) -> ResourceExhausted:
    """What a client is told of a request that there was no memory for.

    What the request held is let go first: the frames that have failed are cleared, of this error
    and of those that it came from, as there may be no memory for anything else before.
    """
    failed: BaseException | None = error
    while failed is not None:
        clear_frames(failed.__traceback__)
        earlier = failed.__context__
        failed.__traceback__ = failed.__cause__ = failed.__context__ = None
        failed = earlier
    said = str(error)
    return ResourceExhausted(
        f"Out of memory: {said}" if said else "Out of memory",
        hint="The server has no room for this request now. Send less at a time, or try again.",
    )


def drop_frames(error: BaseException) -> None:
    """Let an error go of its traceback, and of the errors that it came from.

    To be called where a request ends, after the log was told. The frames on the way of an error
    hold the request's body and what was made of it, and often hold the error too, by a future or
    a variable: such a circle keeps them until a whole garbage collection, which may be an hour.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None


class _HintsInText(ContextDecorator):
    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, ServingError) and error.hint:
            error.args = (f"{error.message}\n  {error.hint}",)


hints_in_text: Final = _HintsInText()
"""For what a person's own program calls, as a decorator or in a `with`: the `str` of errors that
pass it is the message and under it the hint, so that a traceback ends with what to do."""

"""What goes between a call and the transport that carries it. Knows no socket."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from salver.errors import Unavailable

__all__ = ["Exchange", "NotSent", "Pause", "Reply", "Send", "Step", "Steps", "Which"]

T = TypeVar("T")


class NotSent(Unavailable):
    """There was no connection, so that nothing of a request can have arrived."""


@dataclass(frozen=True, slots=True)
class Which:
    """A model, and which version of it is meant; at most one of `version` and `label` is set."""

    name: str
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        body: of the response.
        status: of HTTP; 0 for gRPC, where failures are raised by the transport.
        headers: by lower-case names.
    """

    body: bytes
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exchange(Generic[T]):
    """One request and how its reply reads.

    Attributes:
        path: of REST the target behind the server's URL, of gRPC the full name of the method.
        body: None for a GET.
        read: raises the `ServingError` that the reply says.
        headers: of REST, beside those of the client.
    """

    path: str
    body: bytes | None
    read: Callable[[Reply], T]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Send:
    """The transport is to send this and hand back the `Reply`.

    Attributes:
        timeout_s: None for no limit.
    """

    exchange: Exchange[Any]
    timeout_s: float | None


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is to be done for so long."""

    seconds: float


Step = Send | Pause
Steps = Generator[Step, Any, T]
"""A call: yields steps, is sent the `Reply` of each `Send`, and returns the answer. What the
transport raises is thrown in where the step was."""

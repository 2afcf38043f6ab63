"""What carries a request to another server, and the ways in which that fails."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Generic, NoReturn, Protocol, TypeVar

from salver.errors import ServingError
from salver.peers.map import Peer
from salver.protocols.methods import Call
from salver.transport.messages import Headers, HttpRequest, HttpResponse

__all__ = [
    "Absent",
    "Fields",
    "GrpcTransport",
    "HopFailed",
    "Late",
    "Lost",
    "NotBegun",
    "Refused",
    "RestTransport",
    "TriedCall",
]

A = TypeVar("A")

Fields = Sequence[tuple[bytes, bytes]]
"""Header fields, or entries of metadata, that this server adds: names in lower case, and values."""


class HopFailed(Exception):
    """Another server has not answered. Never raised as it is."""


class NotBegun(HopFailed):
    """It has begun nothing: the same request may be sent to another one."""


class Refused(NotBegun):
    """It does not take us for one of its peers. Sent elsewhere, the request may be answered."""


class Lost(HopFailed):
    """It may have begun: the request must not be sent again."""


class Late(HopFailed):
    """The time of the request was over first."""


class Absent(Exception, Generic[A]):
    """A peer has not got the model either. Sent elsewhere, the request may be answered.

    Attributes:
        answer: gives what the peer has answered, or raises it: for the client, where all others say
            the same.
    """

    def __init__(self, answer: Callable[[], A]) -> None:
        super().__init__("it has not got the model")
        self.answer = answer


class TriedCall(Call):
    """A call as one of several peers is asked.

    What that says behind its answer waits here until it is known that this is the answer.
    """

    __slots__ = ("_call", "_trailers")

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call
        self._trailers: list[tuple[bytes, bytes]] = []

    @property
    def all_headers(self) -> Headers:
        """See `Call`."""
        return self._call.all_headers

    def add_trailer(self, name: bytes, value: bytes) -> None:
        """See `Call`."""
        self._trailers.append((name, value))

    def pass_on(self) -> None:
        """This is the answer."""
        for name, value in self._trailers:
            self._call.add_trailer(name, value)

    def fail(self, error: ServingError) -> NoReturn:
        """This error is."""
        self.pass_on()
        raise error


class RestTransport(Protocol):
    """Carries requests over REST. Belongs to the loop."""

    async def __call__(
        self, peer: Peer, request: HttpRequest, fields: Fields, timeout_s: float | None
    ) -> HttpResponse:
        """The answer of a peer; to cancel it ends the request there.

        Args:
            peer: who is asked, at `rest`.
            request: as it came; what its client has said of hops is dropped.
            fields: added to its own.
            timeout_s: how long all of the answer may take, or its beginning where it is a stream;
                None: for ever.

        Raises:
            HopFailed: see there.
        """
        ...

    def connections(self) -> dict[str, int]:
        """Address of a peer → how many connections there are. From any thread."""
        ...

    def keep(self, addresses: frozenset[str]) -> None:
        """End what is idle to all other addresses."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...


class GrpcTransport(Protocol):
    """Carries calls of gRPC. Belongs to the loop."""

    async def unary(
        self,
        peer: Peer,
        method: str,
        data: bytes,
        call: Call,
        fields: Fields,
        timeout_s: float | None,
    ) -> bytes:
        """The answer of a peer to one message; to cancel it ends the call there.

        What the peer says in trailers is added to those of `call`.

        Args:
            peer: who is asked, at `grpc`.
            method: its full name.
            data: the message.
            call: as it came; what its client has said of hops is dropped.
            fields: added to its metadata.
            timeout_s: what is left of the time of the call; None: for ever.

        Raises:
            HopFailed: see there.
            ServingError: the peer has answered with this status.
        """
        ...

    def messages(
        self,
        peer: Peer,
        method: str,
        data: bytes,
        call: Call,
        fields: Fields,
        timeout_s: float | None,
    ) -> "AsyncGenerator[bytes, None]":
        """The answers of a peer to one message of a call of streams; arguments as of `unary`.

        Raises:
            HopFailed: see there; after the first answer it is `Lost`.
            ServingError: the peer has answered with this status.
        """
        ...

    def connections(self) -> dict[str, int]:
        """See `RestTransport`."""
        ...

    def keep(self, addresses: frozenset[str]) -> None:
        """See `RestTransport`."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...

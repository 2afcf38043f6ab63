"""What is known of a request besides its message, and what may stand before its answer.

Both APIs hand the context of each request to a short list of interceptors, which is made when the
server starts. An interceptor may

- let the request pass: it returns what `proceed()` returns;
- refuse it: it raises a `ServingError`, which the API writes as any other;
- wait: it returns a coroutine that calls `proceed` later, more than once if need be;
- wrap: it does something before or after the answer, or when that fails.

Without interceptors the endpoints are called as they are.
"""

from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from salver.vocabulary.access import Need, Principal
from salver.vocabulary.requests import ServableRequest

__all__ = [
    "PRINCIPAL",
    "Identity",
    "Interceptor",
    "Remembering",
    "RequestContext",
    "Screening",
    "intercepted",
    "screening_of",
]

A = TypeVar("A")

PRINCIPAL: Final[ContextVar[Principal | None]] = ContextVar("salver_principal", default=None)
"""Whom the request is from that is being answered: for what learns no more of it than its message,
such as a request log. Set by what finds it out."""


class Identity(Protocol):
    """Whom the certificate of a client names; it has been checked."""

    @property
    def subject(self) -> str:
        """The distinguished name, as RFC 4514 writes it; empty for none."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """The alternative names: host names, addresses, URIs."""
        ...


class RequestContext(Protocol):
    """One request, of whatever API; all but the time is read when it is asked for.

    Attributes:
        timeout_s: seconds that are left for the answer; None: for ever. An interceptor that waits
            writes what its wait has left.
        need: what has to be permitted; written before the interceptors are asked.
        principal: whom it is from. None where nobody looks after that, until somebody has, and
            where the route is open to everybody.
    """

    timeout_s: float | None
    need: Need
    principal: Principal | None

    @property
    def protocol(self) -> str:
        """`REST` or `GRPC`, as metrics call them."""
        ...

    @property
    def target(self) -> str:
        """What is called: a path with its query, or the full name of a method."""
        ...

    @property
    def peer(self) -> str | None:
        """The address of the client, without its port; None when it has none."""
        ...

    @property
    def identity(self) -> Identity | None:
        """Whom the client's certificate names; None without one."""
        ...

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header field or of an entry of the metadata.

        Args:
            name: in lower case.
        """
        ...

    @property
    def servable(self) -> ServableRequest | None:
        """Which model is asked for, as far as the request names one and can be read."""
        ...


class Interceptor(Protocol):
    """Stands before every endpoint of every API. Called on the loop; does not block.

    Of a call of streams it sees the beginning: what it waits for comes before the first message,
    and `proceed` returns at once.
    """

    def __call__(
        self, context: RequestContext, proceed: "Callable[[], A | Coroutine[Any, Any, A]]", /
    ) -> "A | Coroutine[Any, Any, A]":
        """Answer a request, in the end by `proceed`.

        Args:
            context: of the request.
            proceed: asks the next interceptor, or the endpoint. It raises what that raises, and so
                may what it returns.

        Raises:
            ServingError: the request is refused.
        """
        ...


@runtime_checkable
class Remembering(Protocol):
    """An `Interceptor` that knows requests again, and has a shorter way for those.

    It is told of each endpoint when the server starts, and hands out what is called in its place.
    That does for any request what the interceptor itself would.
    """

    def before_endpoint(
        self, need: Need, endpoint: "Callable[[Any], Any]", /
    ) -> "Callable[[Any], Any]":
        """What stands in the place of an endpoint of REST.

        Args:
            need: what has to be permitted.
            endpoint: answers requests.
        """
        ...

    def before_method(
        self,
        need: Need,
        method: "Callable[[bytes, Any], Any]",
        read_servable: "Callable[[bytes], ServableRequest | None] | None",
        /,
    ) -> "Callable[[bytes, Any], Any]":
        """What stands in the place of a method of gRPC.

        Args:
            need: what has to be permitted.
            method: answers calls of one message.
            read_servable: reads the model out of the message; None where none is named.
        """
        ...


@runtime_checkable
class Screening(Protocol):
    """An `Interceptor` that can refuse a request by its header fields, before its body has come."""

    def screen(
        self, context: RequestContext, *, is_named: bool
    ) -> "Coroutine[Any, Any, None] | None":
        """Refuse what would be refused whatever its body is; the rest is asked about again with it.

        Args:
            context: of the request; its `need` is written.
            is_named: whether `context.servable` is the model that is asked for, or None for a
                request of no model. Where False, only the body tells.

        Returns:
            None to go on; a coroutine where that is known later, which raises likewise.

        Raises:
            ServingError: the request is refused.
        """
        ...


def screening_of(interceptors: Sequence[Interceptor]) -> Screening | None:
    """The first interceptor, where it can refuse requests before their bodies have come."""
    first: Any = interceptors[0] if interceptors else None
    return first if isinstance(first, Screening) else None


def intercepted(
    interceptors: Sequence[Interceptor],
    context: RequestContext,
    proceed: "Callable[[], A | Coroutine[Any, Any, A]]",
) -> "A | Coroutine[Any, Any, A]":
    """Ask the interceptors, the first one first, and behind them all `proceed`."""
    for interceptor in reversed(interceptors):
        proceed = partial(interceptor, context, proceed)
    return proceed()

"""Requests for models that are not here, handed on to a server that has them: the one place.

A route of REST and a method of gRPC are put behind a `Forwarder` when the server has one, inside
the interceptors: who asks has been told, and may. Without one nothing of this is there.

A request is handed on in two cases: its model is known not to be here, before anything of it is
read; or it failed to find it here, which happens while models come and go. In both nothing has
been begun for it.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from salver.errors import ServingError
from salver.inference.context import RequestContext
from salver.inference.later import Later, begun
from salver.protocols.methods import Call, UnaryMethod
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Need, Verb
from salver.vocabulary.requests import ServableRequest

__all__ = [
    "Elsewhere",
    "Forwarder",
    "Target",
    "forwarded_method",
    "forwarded_route",
    "is_handed_on",
]

ReadServable = Callable[[str, bytes], "ServableRequest | None"]
"""The name of a method and its message → what it asks for."""

_VERBS: Final = frozenset({Verb.PREDICT, Verb.METADATA, Verb.HEALTH})


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request is to be answered.

    Attributes:
        nodes: names of the servers that have the model, without this one, preferred first.
    """

    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A model that other servers have.

    Attributes:
        name: of the model.
        nodes: names of the servers, without this one, preferred first.
        versions: that are available there, highest first; empty where that is not known.
        labels: label and version, by label.
    """

    name: str
    nodes: tuple[str, ...]
    versions: tuple[int, ...] = ()
    labels: tuple[tuple[str, int], ...] = ()


class Forwarder(Protocol):
    """Hands requests on. Belongs to the loop."""

    def elsewhere(self, context: RequestContext) -> Sequence[Elsewhere]:
        """The models of other servers, by name, also those that are here too.

        None of them for a request of a server, which is about this one alone.

        Raises:
            Unauthenticated: see `target_of`.
        """
        ...

    def target_of(self, context: RequestContext, servable: ServableRequest) -> Target | None:
        """Where a request is to be answered; None: here, be it with an error.

        Raises:
            Unauthenticated: it claims to come from another server, and does not.
        """
        ...

    def target_after(
        self, context: RequestContext, servable: ServableRequest, error: ServingError
    ) -> Target | None:
        """The same of a request that has failed here; None: the error is the answer.

        Raises:
            Unauthenticated: see `target_of`.
        """
        ...

    async def rest(self, request: HttpRequest, target: Target) -> HttpResponse:
        """The answer to a request over REST. To cancel it gives up the answer there.

        Raises:
            ServingError: nobody could be asked, or who was asked has not answered.
        """
        ...

    async def unary(self, method: str, data: bytes, call: Call, target: Target) -> bytes:
        """The answer to a call of one message, whose trailers the call gets; as `rest`.

        Raises:
            ServingError: see `rest`; or the other server's own.
        """
        ...

    def messages(
        self, method: str, data: bytes, call: Call, target: Target
    ) -> "AsyncGenerator[bytes, None]":
        """The answers to one message of a call of streams, as the other server gives them.

        Raises:
            ServingError: see `unary`.
        """
        ...


def is_handed_on(need: Need) -> bool:
    """Whether a route or a method is answered by another server: what changes a server is not."""
    return need.verb in _VERBS


def forwarded_route(
    forwarder: Forwarder, answer: Callable[[HttpRequest], Any]
) -> Callable[[HttpRequest], Any]:
    """An endpoint of REST that hands on what is not here."""

    def forwarded(request: HttpRequest) -> Any:
        servable = request.servable
        if servable is None:
            return answer(request)
        target = forwarder.target_of(request, servable)
        if target is not None:
            return forwarder.rest(request, target)
        try:
            given = answer(request)
        except ServingError as error:
            target = forwarder.target_after(request, servable, error)
            if target is None:
                raise
            return forwarder.rest(request, target)
        if given is None or isinstance(given, HttpResponse):
            return given
        return Later(_rest_later(forwarder, request, servable, given), given.close)

    return forwarded


async def _rest_later(
    forwarder: Forwarder,
    request: HttpRequest,
    servable: ServableRequest,
    answer: "Coroutine[Any, Any, HttpResponse]",
) -> HttpResponse:
    try:
        return await answer
    except ServingError as error:
        target = forwarder.target_after(request, servable, error)
        if target is None:
            raise
    return await forwarder.rest(request, target)


def forwarded_method(
    forwarder: Forwarder, path: str, method: UnaryMethod, read: ReadServable
) -> UnaryMethod:
    """A method of gRPC that hands on what is not here.

    Args:
        forwarder: see there.
        path: the full name of the method.
        method: answers what is here.
        read: reads the model that is asked for out of the message.
    """

    def forwarded(data: bytes, call: Call) -> "bytes | Coroutine[Any, Any, bytes]":
        servable = read(path, data)
        if servable is None:
            return method(data, call)
        target = forwarder.target_of(call, servable)
        if target is not None:
            return begun(forwarder.unary(path, data, call, target))
        try:
            given = method(data, call)
        except ServingError as error:
            target = forwarder.target_after(call, servable, error)
            if target is None:
                raise
            return begun(forwarder.unary(path, data, call, target))
        if isinstance(given, bytes):
            return given
        later = _unary_later(forwarder, path, data, call, servable, given)
        return Later(later, given.close)

    return forwarded


async def _unary_later(
    forwarder: Forwarder,
    path: str,
    data: bytes,
    call: Call,
    servable: ServableRequest,
    answer: "Coroutine[Any, Any, bytes]",
) -> bytes:
    try:
        return await answer
    except ServingError as error:
        target = forwarder.target_after(call, servable, error)
        if target is None:
            raise
    return await forwarder.unary(path, data, call, target)

"""The handler of an HTTP server: finds the route of a request, and answers by its API."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from salver.errors import PermissionDenied, ServingError
from salver.inference.context import Interceptor, Remembering, intercepted, screening_of
from salver.inference.later import Later
from salver.protocols.api import Api, Endpoint, RestRoute
from salver.protocols.forwarding import Forwarder, forwarded_route, is_handed_on
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Access, Need, Verb
from salver.vocabulary.requests import ServableRequest

__all__ = ["Router"]

Answer = HttpResponse | Coroutine[Any, Any, HttpResponse]
_Screen = Callable[[HttpRequest], "Coroutine[Any, Any, None] | None"]

_MOST_FOUND: Final = 4096  # are remembered; past that all are forgotten
_LONGEST_REMEMBERED: Final = 512  # characters; 2 MiB of paths altogether
_REFUSES: Final = Need(Access.KNOWN)
_BODILESS: Final = (Access.OPEN, Verb.HEALTH)  # strangers are answered so, and no body is read


class Router:
    """A `Handler`. Belongs to the loop.

    An answer that needs no waiting is returned as it is; else a coroutine of one.
    """

    def __init__(
        self,
        apis: Sequence[Api],
        *,
        failed: Callable[[HttpRequest, BaseException], HttpResponse],
        not_found: Callable[[HttpRequest], HttpResponse],
        interceptors: Sequence[Interceptor] = (),
        timeout_s: float | None = None,
        is_administered: bool = True,
        is_administered_apart: bool = False,
        forwarder: Forwarder | None = None,
    ) -> None:
        """Make it.

        Args:
            apis: whose routes are tried, in this order.
            failed: makes the answer of what fails in an API that does not say how.
            not_found: makes the answer for a path that no route matches.
            interceptors: asked before every route; see there.
            timeout_s: how long an answer may take; None: for ever.
            is_administered: whether this port is for those who administer the server.
            is_administered_apart: whether there is one that is for them alone; then whatever needs
                their verb is refused on all others.
            forwarder: hands on requests for models that are not here; None: they are refused.
        """
        self._forwarder = forwarder
        self._routes = [
            (re.compile(route.path), route, api) for api in apis for route in api.routes
        ]
        self._failed = failed
        self._not_found = not_found
        self._interceptors = tuple(interceptors)
        self._timeout_s = timeout_s
        self._is_administered = is_administered
        self._is_administered_apart = is_administered_apart
        self._found: dict[tuple[str, str], _Found] = {}
        self._nothing = Api()

    def __call__(self, request: HttpRequest) -> Answer:
        """Answer one request."""
        found = self._found.get((request.method, request.target))
        if found is None:
            found = self._find(request.method, request.target)
        request.servable = found.servable
        request.timeout_s = self._timeout_s
        try:
            answer = found.answer(request)
        except Exception as error:  # noqa: BLE001 - a request ends here; the server goes on
            answer = found.failed(request, error)
        if not isinstance(answer, HttpResponse):
            if answer is None:
                return self._not_found(request)
            return Later(_awaited(answer, request, found), answer.close)
        return answer.with_headers(found.headers) if found.headers else answer

    def screen(
        self, request: HttpRequest
    ) -> "HttpResponse | Coroutine[Any, Any, HttpResponse | None] | None":
        """The refusal of a request whose body has not come; None to have it come. See `Screen`."""
        found = self._found.get((request.method, request.target))
        if found is None:
            found = self._find(request.method, request.target)
        if found.screen is None:
            return None
        if found.is_bodiless:
            return self(request)
        request.servable = found.servable
        request.timeout_s = self._timeout_s
        try:
            refusal = found.screen(request)
        except Exception as error:  # noqa: BLE001 - a request ends here; the server goes on
            return found.refusal(request, error)
        return None if refusal is None else Later(_screened(refusal, request, found), refusal.close)

    def page_headers(self, target: str | None) -> tuple[tuple[str, str], ...]:
        """Further fields of the pages that the transport answers by itself."""
        if target is not None:
            for path, _route, api in self._routes:
                if api.headers and path.fullmatch(target):
                    return api.headers
        return ()

    def _find(self, method: str, target: str) -> "_Found":
        for path, route, api in self._routes:
            if route.methods and method not in route.methods:
                continue
            match = path.fullmatch(target)
            if match is not None:
                return self._remembered(method, target, self._read(route, api, match))
        return self._made(self._not_found, None, self._nothing, _REFUSES)

    def _read(self, route: RestRoute, api: Api, match: "re.Match[str]") -> "_Found":
        if not self._is_administered and self._administers(route):
            refuse = _administered_apart if self._is_administered_apart else _not_administered_here
            return self._made(refuse, None, api, _REFUSES)
        named_by = route.named_by
        try:
            servable, is_named = route.servable(match), named_by is None
            found = self._made(route.answer, servable, api, route.need, is_named=is_named)
        except ServingError as error:
            return self._made(partial(_refuse, error), None, api, _REFUSES)
        if named_by is not None:
            found.answer = partial(_named, named_by, found.answer)
        return found

    def _administers(self, route: RestRoute) -> bool:
        return route.is_administrative or (
            self._is_administered_apart and route.need.verb is Verb.ADMIN
        )

    def _made(
        self,
        answer: Endpoint,
        servable: ServableRequest | None,
        api: Api,
        need: Need,
        *,
        is_named: bool = True,
    ) -> "_Found":
        is_bodiless = need.verb in _BODILESS
        if self._forwarder is not None and is_handed_on(need):
            is_bodiless = False  # other servers may answer in parts
            answer = forwarded_route(self._forwarder, answer)
        if self._interceptors:
            answer = _behind(self._interceptors, need, answer)
        screen = _screen_of(self._interceptors, need, is_named=is_named)
        failed = api.rest_failed or self._failed
        return _Found(answer, servable, api.headers, failed, screen, is_bodiless=is_bodiless)

    def _remembered(self, method: str, target: str, found: "_Found") -> "_Found":
        if found.servable is not None and len(target) <= _LONGEST_REMEMBERED:
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            self._found[method, target] = found
        return found


class _Found:
    """What answers a request line, and for which model."""

    __slots__ = ("answer", "failed", "headers", "is_bodiless", "screen", "servable")

    def __init__(
        self,
        answer: Endpoint,
        servable: ServableRequest | None,
        headers: tuple[tuple[str, str], ...],
        failed: Callable[[HttpRequest, BaseException], HttpResponse],
        screen: "_Screen | None",
        *,
        is_bodiless: bool,
    ) -> None:
        self.answer = answer
        self.servable = servable
        self.headers = headers
        self.failed = failed
        self.screen = screen
        self.is_bodiless = is_bodiless

    def refusal(self, request: HttpRequest, error: BaseException) -> HttpResponse:
        """The whole answer to a request that has failed so."""
        return self.failed(request, error).with_headers(self.headers)


def _screen_of(
    interceptors: Sequence[Interceptor], need: Need, *, is_named: bool
) -> "_Screen | None":
    """What asks the first interceptor before a body is taken; None where it says nothing then."""
    screening = screening_of(interceptors)
    if screening is None:
        return None

    def screen(request: HttpRequest) -> "Coroutine[Any, Any, None] | None":
        request.need = need
        return screening.screen(request, is_named=is_named)

    return screen


async def _screened(
    refusal: "Coroutine[Any, Any, None]", request: HttpRequest, found: _Found
) -> HttpResponse | None:
    try:
        await refusal
    except Exception as error:  # noqa: BLE001 - a request ends here; the server goes on
        return found.refusal(request, error)
    return None


def _behind(interceptors: Sequence[Interceptor], need: Need, answer: Endpoint) -> Endpoint:
    """An endpoint with interceptors before it, of which there is one at least."""
    first, *others = interceptors
    if not isinstance(first, Remembering):
        return partial(_intercepted, interceptors, need, answer)
    return first.before_endpoint(need, _behind(others, need, answer) if others else answer)


def _intercepted(
    interceptors: Sequence[Interceptor], need: Need, answer: Endpoint, request: HttpRequest
) -> Any:
    request.need = need
    proceed: Callable[[], Any] = partial(answer, request)
    return intercepted(interceptors, request, proceed)


async def _awaited(
    answer: "Coroutine[Any, Any, HttpResponse]", request: HttpRequest, found: _Found
) -> HttpResponse:
    try:
        response = await answer
    except asyncio.CancelledError as error:
        found.failed(request, error)
        raise
    except Exception as error:  # noqa: BLE001 - a request ends here; the server goes on
        response = found.failed(request, error)
    return response.with_headers(found.headers) if found.headers else response


def _named(
    named_by: "Callable[[HttpRequest], ServableRequest | None]",
    answer: Endpoint,
    request: HttpRequest,
) -> Any:
    """Answer a request that names its model by itself."""
    request.servable = named_by(request)
    return answer(request)


def _refuse(error: ServingError, _request: HttpRequest) -> HttpResponse:
    raise error


def _not_administered_here(_request: HttpRequest) -> HttpResponse:
    raise PermissionDenied(
        "This port does not administer the server",
        hint="The gRPC port and the Unix socket do, where they answer REST; else --admin_port",
    )


def _administered_apart(_request: HttpRequest) -> HttpResponse:
    raise PermissionDenied(
        "This port does not administer the server",
        hint="--admin_port and --admin_socket_path name the places that do",
    )

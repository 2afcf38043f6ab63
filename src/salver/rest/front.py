"""The REST front door: one request in, one response out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from time import perf_counter
from typing import Any, Final

from salver.errors import Code, ServingError, drop_frames
from salver.inference.later import Later
from salver.inference.serving import Serving
from salver.metrics.outcomes import Outcomes
from salver.requests import ServableRequest
from salver.rest.calls import InferenceCalls
from salver.rest.errors import error_page, error_response
from salver.rest.metrics_page import MetricsPage
from salver.rest.reports import (
    health_response,
    list_response,
    metadata_response,
    status_response,
)
from salver.rest.routes import API_PREFIX, Route, named_model, parse_route
from salver.transport.messages import HttpRequest, HttpResponse

__all__ = ["Outside", "RestFront"]

Outside = Callable[[HttpRequest], "HttpResponse | Coroutine[Any, Any, HttpResponse] | None"]
"""Answers what is not under `/v1/`; None for what it does not know either."""

_Call = Callable[[bytes, ServableRequest], "HttpResponse | Coroutine[Any, Any, HttpResponse]"]

_log = logging.getLogger(__name__)

_CORS: Final = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
_ENTRYPOINT: Final = "REST"
_MOST_ROUTES: Final = 4096  # remembered; past that all are forgotten
_LONGEST_REMEMBERED: Final = 512  # characters; 2 MiB of paths altogether


class RestFront:
    """The handler of a transport. Belongs to the loop.

    A response that needs no waiting is returned as it is; else an awaitable of one.
    """

    def __init__(
        self,
        serving: Serving,
        calls: InferenceCalls,
        *,
        unready: Callable[[], str | None],
        is_cors_enabled: bool = False,
        outcomes: Outcomes | None = None,
        page: MetricsPage | None = None,
        outside: Outside | None = None,
    ) -> None:
        """Make the door.

        Args:
            serving: finds servables and tells of them.
            calls: answers the inference calls.
            unready: why this server should get no traffic now, or None.
            is_cors_enabled: `--rest_api_enable_cors_support`.
            outcomes: counts what is answered here and what fails.
            page: that metrics are read from, if there is one.
            outside: asked about what neither the API nor health answers.
        """
        self._serving = serving
        self._calls: dict[str, _Call] = {
            "predict": calls.predict,
            "classify": calls.classify,
            "regress": calls.regress,
        }
        self._unready = unready
        self._is_cors_enabled = is_cors_enabled
        self._outcomes = outcomes or Outcomes()
        self._page = page
        self._elsewhere = outside
        self._routes: dict[tuple[str, str], Route] = {}
        # Of these the inference calls: what answers them, and for whom.
        self._asked: dict[tuple[str, str], tuple[_Call, ServableRequest]] = {}

    def __call__(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        """Answer one request."""
        key = request.method, request.target
        asked = self._asked.get(key)
        route = None if asked is not None else self._routes.get(key)
        if route is None and asked is None:
            page = None if self._page is None else self._page.answer(request.target)
            if page is not None:
                return page
            if not API_PREFIX.fullmatch(request.target):
                return self._outside(request)
        try:
            if asked is None:
                response = self._answer(request, route)
            else:
                call, servable = asked
                response = call(request.body, servable)
        except Exception as error:  # noqa: BLE001 - a request ends here; the server goes on
            response = self._failed(request.method, request.target, error)
        if not isinstance(response, HttpResponse):
            caught = self._caught(response, request.method, request.target)
            return Later(caught, response.close)
        return self._with_cors(response) if self._is_cors_enabled else response

    def page_headers(self, target: str | None) -> tuple[tuple[str, str], ...]:
        """Further fields of the pages that the transport answers by itself."""
        is_api = target is not None and API_PREFIX.fullmatch(target)
        return _CORS if self._is_cors_enabled and is_api else ()

    def _answer(
        self, request: HttpRequest, route: Route | None
    ) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        if route is None:
            if request.method == "OPTIONS":
                return self._preflight(request)
            route = self._parsed(request.method, request.target)
        servable = route.servable
        if servable is not None and route.call in self._calls:
            return self._calls[route.call](request.body, servable)
        begun_s = perf_counter()
        response = self._report(route)
        name = "" if servable is None else servable.name
        self._outcomes.answered(name, perf_counter() - begun_s)
        return response

    def _report(self, route: Route) -> HttpResponse:
        servable = route.servable
        if servable is None:
            return list_response(self._serving)
        if route.call == "metadata":
            return metadata_response(self._serving, servable)
        return status_response(self._serving, servable)

    def _preflight(self, request: HttpRequest) -> HttpResponse:
        # The reference answers a preflight whether or not CORS is enabled, and gives it no JSON
        # type.
        origin = request.header(b"origin") or b""
        kind = "text/html; charset=ISO-8859-1"
        if b"http://" in origin or b"https://" in origin:
            self._outcomes.answered("", 0.0)
            return HttpResponse(200, b"", kind)
        self._outcomes.failed("", Code.FAILED_PRECONDITION, entrypoint=_ENTRYPOINT)
        return HttpResponse(400, b"", kind)

    def _parsed(self, method: str, target: str) -> Route:
        route = parse_route(method, target)
        if len(target) <= _LONGEST_REMEMBERED:
            if len(self._routes) >= _MOST_ROUTES:
                self._routes.clear()
                self._asked.clear()
            self._routes[method, target] = route
            if route.servable is not None and route.call in self._calls:
                self._asked[method, target] = self._calls[route.call], route.servable
        return route

    async def _caught(
        self, answer: Awaitable[HttpResponse], method: str, target: str
    ) -> HttpResponse:
        try:
            response = await answer
        except asyncio.CancelledError:
            name = named_model(method, target)
            self._outcomes.failed(name, Code.CANCELLED, entrypoint=_ENTRYPOINT)
            raise
        except Exception as error:  # noqa: BLE001 - a request ends here; the server goes on
            response = self._failed(method, target, error)
        return self._with_cors(response) if self._is_cors_enabled else response

    def _failed(self, method: str, target: str, error: Exception) -> HttpResponse:
        name = named_model(method, target)
        if isinstance(error, ServingError):
            drop_frames(error)
            version = error.version
            self._outcomes.failed(name, error.code, entrypoint=_ENTRYPOINT, version=version)
            return error_response(error)
        self._outcomes.failed(name, Code.INTERNAL, entrypoint=_ENTRYPOINT)
        return _broken(error)

    @staticmethod
    def _with_cors(response: HttpResponse) -> HttpResponse:
        return HttpResponse(
            response.status,
            response.body,
            response.content_type,
            (*response.headers, *_CORS),
            response.close,
        )

    def _outside(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        path = request.target.partition("?")[0]
        if request.method in ("GET", "HEAD"):
            if path == "/healthz/live":
                return health_response(None)
            if path == "/healthz/ready":
                return health_response(self._unready())
        if self._elsewhere is not None and (answer := self._elsewhere(request)) is not None:
            return answer
        return error_page(
            404,
            f"Not Found: {request.method} {request.target}",
            "The API is under /v1/models: GET /v1/models lists the models, "
            "POST /v1/models/NAME:predict asks one",
        )


def _broken(error: Exception) -> HttpResponse:
    _log.error("A request failed in a way it should not", exc_info=error)
    drop_frames(error)
    return error_page(500, f"Internal error: {error}")

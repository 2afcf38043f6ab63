"""The REST front door: one request in, one response out."""

import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from salver.errors import ServingError
from salver.inference.later import Later
from salver.inference.serving import Serving
from salver.rest.calls import InferenceCalls
from salver.rest.errors import error_page, error_response
from salver.rest.reports import (
    health_response,
    list_response,
    metadata_response,
    status_response,
)
from salver.rest.routes import API_PREFIX, Route, parse_route
from salver.transport.messages import HttpRequest, HttpResponse

__all__ = ["RestFront"]

_log = logging.getLogger(__name__)

_CORS: Final = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
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
    ) -> None:
        """Make the door.

        Args:
            serving: finds servables and tells of them.
            calls: answers the inference calls.
            unready: why this server should get no traffic now, or None.
            is_cors_enabled: `--rest_api_enable_cors_support`.
        """
        self._serving = serving
        self._calls = {
            "predict": calls.predict,
            "classify": calls.classify,
            "regress": calls.regress,
        }
        self._unready = unready
        self._is_cors_enabled = is_cors_enabled
        self._routes: dict[tuple[str, str], Route] = {}

    def __call__(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        """Answer one request."""
        route = self._routes.get((request.method, request.target))
        if route is None and not API_PREFIX.fullmatch(request.target):
            return self._outside(request)
        try:
            response = self._answer(request, route)
        except ServingError as error:
            response = error_response(error)
        except Exception as error:  # noqa: BLE001 - a request ends here; the server goes on
            response = _broken(error)
        if not isinstance(response, HttpResponse):
            return Later(self._caught(response), response.close)
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
                return _preflight(request)
            route = self._parsed(request.method, request.target)
        servable = route.servable
        if servable is None:
            return list_response(self._serving)
        call = self._calls.get(route.call)
        if call is not None:
            return call(request.body, servable)
        if route.call == "metadata":
            return metadata_response(self._serving, servable)
        return status_response(self._serving, servable)

    def _parsed(self, method: str, target: str) -> Route:
        route = parse_route(method, target)
        if len(target) <= _LONGEST_REMEMBERED:
            if len(self._routes) >= _MOST_ROUTES:
                self._routes.clear()
            self._routes[method, target] = route
        return route

    async def _caught(self, answer: Awaitable[HttpResponse]) -> HttpResponse:
        try:
            response = await answer
        except ServingError as error:
            response = error_response(error)
        except Exception as error:  # noqa: BLE001 - a request ends here; the server goes on
            response = _broken(error)
        return self._with_cors(response) if self._is_cors_enabled else response

    @staticmethod
    def _with_cors(response: HttpResponse) -> HttpResponse:
        return HttpResponse(
            response.status,
            response.body,
            response.content_type,
            (*response.headers, *_CORS),
            response.close,
        )

    def _outside(self, request: HttpRequest) -> HttpResponse:
        path = request.target.partition("?")[0]
        if request.method in ("GET", "HEAD"):
            if path == "/healthz/live":
                return health_response(None)
            if path == "/healthz/ready":
                return health_response(self._unready())
        return error_page(
            404,
            f"Not Found: {request.method} {request.target}",
            "The API is under /v1/models: GET /v1/models lists the models, "
            "POST /v1/models/NAME:predict asks one",
        )


def _preflight(request: HttpRequest) -> HttpResponse:
    # The reference answers a preflight whether or not CORS is enabled, and gives it no JSON type.
    origin = request.header(b"origin") or b""
    is_web = b"http://" in origin or b"https://" in origin
    return HttpResponse(200 if is_web else 400, b"", "text/html; charset=ISO-8859-1")


def _broken(error: Exception) -> HttpResponse:
    _log.error("A request failed in a way it should not", exc_info=error)
    return error_page(500, f"Internal error: {error}")

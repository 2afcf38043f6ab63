"""The Open Inference Protocol over REST, as a table of routes."""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from salver.errors import Code, ServingError, Unavailable, drop_frames, out_of_memory
from salver.inference.serving import Serving
from salver.metrics.outcomes import Outcomes
from salver.oip.reports import model_metadata, server_metadata, unready_model
from salver.oip.rest.errors import HTTP_STATUS, error_response
from salver.oip.rest.infer import InferCalls
from salver.oip.rest.routes import ANY, MODEL, QUERY, servable_of
from salver.protocols.api import RestRoute
from salver.protocols.rest_errors import error_page
from salver.protocols.version_header import version_headers
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Access, Verb
from salver.vocabulary.requests import ServableRequest

__all__ = ["CORS", "RestApi", "json_response"]

_log = logging.getLogger(__name__)

CORS: Final = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type, Inference-Header-Content-Length"),
    ("Access-Control-Expose-Headers", "Inference-Header-Content-Length, salver-model-version"),
)
_READ: Final = ("GET", "HEAD")
_NOT_KEPT: Final = (("Cache-Control", "no-store"),)


class RestApi:
    """Answers the core of what is under `/v2`, and counts what fails. Belongs to the loop."""

    def __init__(
        self,
        serving: Serving,
        calls: InferCalls,
        outcomes: Outcomes,
        unready: Callable[[], str | None],
    ) -> None:
        """Make it.

        Args:
            serving: finds servables and tells of them; refuses in the words of this protocol.
            calls: answers the inference calls.
            outcomes: counts what fails.
            unready: why this server should get no traffic, or None.
        """
        self._serving = serving
        self._calls = calls
        self._outcomes = outcomes
        self._unready = unready
        self._known: list[re.Pattern[str]] = []

    def routes(self, *others: RestRoute) -> Sequence[RestRoute]:
        """All routes: the core's, those of other parts, and what refuses the rest."""
        routes = (
            *others,
            RestRoute(
                f"{MODEL}/infer{QUERY}",
                self._calls.infer,
                ("POST",),
                servable_of,
                verb=Verb.PREDICT,
            ),
            _health(f"/v2/health/live{QUERY}", self._live),
            _health(f"/v2/health/ready{QUERY}", self._ready),
            RestRoute(f"/v2/?{QUERY}", self._server, _READ, verb=Verb.METADATA, is_filtered=True),
            RestRoute(
                f"{MODEL}/ready{QUERY}", self._model_ready, _READ, servable_of, verb=Verb.HEALTH
            ),
            RestRoute(f"{MODEL}{QUERY}", self._model, _READ, servable_of, verb=Verb.METADATA),
        )
        self._known = [re.compile(route.path) for route in routes]
        return (
            *routes,
            RestRoute(ANY, _preflight, ("OPTIONS",), _no_model, verb=Access.OPEN),
            RestRoute(ANY, self._refuse, (), _no_model, verb=Access.KNOWN),
        )

    def failed(self, request: HttpRequest, error: BaseException) -> HttpResponse:
        """The answer to a request that has failed; see `Api.rest_failed`."""
        if isinstance(error, MemoryError):
            error = out_of_memory(error)
            _log.warning("A request was refused: %s", error.message)
        code, version = Code.INTERNAL, None
        if isinstance(error, ServingError):
            code, version = error.code, error.version
        elif isinstance(error, asyncio.CancelledError):
            code = Code.CANCELLED
        name = "" if request.servable is None else request.servable.name
        self._outcomes.failed(name, code, entrypoint="REST", version=version, protocol="v2")
        if isinstance(error, ServingError):
            drop_frames(error)
            return error_response(error)
        if not isinstance(error, asyncio.CancelledError):
            _log.error("A request failed in a way it should not", exc_info=error)
        drop_frames(error)
        return error_page(500, f"Internal error: {error}")

    # -- endpoints -------------------------------------------------------------------------------

    @staticmethod
    def _live(_request: HttpRequest) -> HttpResponse:
        return json_response({"live": True}, headers=_NOT_KEPT)

    def _ready(self, _request: HttpRequest) -> HttpResponse:
        problem = self._unready()
        if problem is None:
            return json_response({"ready": True}, headers=_NOT_KEPT)
        return json_response({"ready": False, "error": problem}, 503, _NOT_KEPT)

    @staticmethod
    def _server(_request: HttpRequest) -> HttpResponse:
        return json_response(server_metadata())

    def _model(self, request: HttpRequest) -> HttpResponse:
        assert request.servable is not None  # the path names it
        metadata, id = model_metadata(self._serving, request.servable)
        return json_response(metadata, headers=version_headers(id.version))

    def _model_ready(self, request: HttpRequest) -> HttpResponse:
        servable = request.servable
        assert servable is not None  # the path names it
        error = unready_model(self._serving, servable)
        if error is None:
            return json_response({"name": servable.name, "ready": True}, headers=_NOT_KEPT)
        status = HTTP_STATUS[error.code]
        if isinstance(error, Unavailable):
            status = HTTP_STATUS[Code.UNAVAILABLE]
        said = {"name": servable.name, "ready": False, "error": error.message}
        return json_response(said, status, _NOT_KEPT)

    def _refuse(self, request: HttpRequest) -> HttpResponse:
        """A path or method that is none."""
        is_known = any(path.fullmatch(request.target) for path in self._known)
        status = 405 if is_known else 404
        said = "Method Not Allowed" if is_known else "Not Found"
        self._outcomes.failed(
            "",
            Code.UNIMPLEMENTED if is_known else Code.NOT_FOUND,
            entrypoint="REST",
            protocol="v2",
        )
        return error_page(status, f"{said}: {request.method} {request.target}", _GOOD_FORMS)


def json_response(
    value: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> HttpResponse:
    """A body of JSON in one line. Names that are no UTF-8 pass through byte for byte."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return HttpResponse(status, text.encode(errors="surrogateescape"), headers=headers)


def _preflight(_request: HttpRequest) -> HttpResponse:
    """A browser's question is no call."""
    return HttpResponse(200, b"", None)


def _health(path: str, answer: Callable[[HttpRequest], HttpResponse]) -> RestRoute:
    return RestRoute(path, answer, _READ, verb=Verb.HEALTH, is_filtered=True)


def _no_model(_match: "re.Match[str]") -> ServableRequest | None:
    return None


_GOOD_FORMS: Final = (
    "Calls are GET /v2, /v2/health/live, /v2/health/ready, /v2/models, "
    "/v2/models/NAME[/versions/N][/ready|/config|/stats], "
    "POST /v2/models/NAME[/versions/N]/infer|generate|generate_stream, /v2/repository/index "
    "and /v2/repository/models/NAME/load|unload"
)

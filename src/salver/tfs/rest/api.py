"""TensorFlow Serving's REST API as a table of routes."""

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine, Sequence
from time import perf_counter
from typing import Any, Final

from salver.errors import Code, ServingError, drop_frames, out_of_memory
from salver.inference.serving import Serving
from salver.metrics.outcomes import Outcomes
from salver.openapi.description import ApiDescription
from salver.protocols.api import Api, Endpoint, IsShown, RestRoute, everything_is_shown
from salver.protocols.forwarding import Forwarder
from salver.protocols.rest_errors import error_page, error_response
from salver.tfs.rest.calls import InferenceCalls
from salver.tfs.rest.reports import list_response, metadata_response, status_response
from salver.tfs.rest.routes import ANY, CALLS, Call, named_model, refusal, servable_of
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Access, Verb
from salver.vocabulary.requests import ServableRequest

__all__ = ["ServingApi", "failed_response"]

Answer = HttpResponse | Coroutine[Any, Any, HttpResponse]

_log = logging.getLogger(__name__)

_CORS: Final = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
_ENTRYPOINT: Final = "REST"


class ServingApi:
    """Answers everything under `/v1/`, and counts it. Belongs to the loop."""

    def __init__(
        self,
        serving: Serving,
        calls: InferenceCalls,
        outcomes: Outcomes,
        *,
        is_cors_enabled: bool = False,
        is_shown: IsShown = everything_is_shown,
        forwarder: Forwarder | None = None,
    ) -> None:
        """Make it.

        Args:
            serving: finds servables and tells of them.
            calls: answers the inference calls.
            outcomes: counts what is answered here and what fails.
            is_cors_enabled: `--rest_api_enable_cors_support`.
            is_shown: see there.
            forwarder: knows the models of other servers; None where nobody does.
        """
        self._forwarder = forwarder
        self._is_shown = is_shown
        self._serving = serving
        self._calls = calls
        self._outcomes = outcomes
        self._is_cors_enabled = is_cors_enabled

    def api(self) -> Api:
        """Its table."""
        return Api(
            routes=tuple(self._routes()),
            headers=_CORS if self._is_cors_enabled else (),
            rest_failed=self._failed,
            describe=_describe,
        )

    def _routes(self) -> Sequence[RestRoute]:
        calls = self._calls
        answers: dict[Call, Endpoint] = {
            "predict": _inference(calls.predict),
            "classify": _inference(calls.classify),
            "regress": _inference(calls.regress),
            "metadata": self._counted(self._metadata),
            "status": self._counted(self._status),
            "list": self._counted(self._list),
        }
        return (
            *(
                RestRoute(
                    path,
                    answers[call],
                    (method,),
                    servable_of,
                    verb=Verb.PREDICT if method == "POST" else Verb.METADATA,
                    is_filtered=call == "list",
                )
                for call, method, path in CALLS
            ),
            RestRoute(ANY, self._preflight, ("OPTIONS",), _no_model, verb=Access.OPEN),
            RestRoute(ANY, _refuse, (), _no_model, verb=Access.KNOWN),
        )

    def _status(self, request: HttpRequest) -> HttpResponse:
        assert request.servable is not None
        return status_response(self._serving, request.servable)

    def _metadata(self, request: HttpRequest) -> HttpResponse:
        assert request.servable is not None
        return metadata_response(self._serving, request.servable)

    def _list(self, request: HttpRequest) -> HttpResponse:
        known, principal = self._serving.model_names(), request.principal
        names = [name for name in known if self._is_shown(principal, name)]
        here = frozenset(known)
        elsewhere = [
            model
            for model in (self._forwarder.elsewhere(request) if self._forwarder else ())
            if model.name not in here and self._is_shown(principal, model.name)
        ]
        return list_response(self._serving, names, elsewhere)

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

    def _counted(self, report: Callable[[HttpRequest], HttpResponse]) -> Endpoint:
        """What runs no model counts its answers here; of the others the inference call does."""

        def answer(request: HttpRequest) -> HttpResponse:
            begun_s = perf_counter()
            response = report(request)
            name = "" if request.servable is None else request.servable.name
            self._outcomes.answered(name, perf_counter() - begun_s)
            return response

        return answer

    def _failed(self, request: HttpRequest, error: BaseException) -> HttpResponse:
        return failed_response(self._outcomes, named_model(request.method, request.target), error)


def failed_response(outcomes: Outcomes, name: str, error: BaseException) -> HttpResponse:
    """Count a call that fails, and make its answer.

    Args:
        outcomes: counts it.
        name: of the model that was asked for; empty for none.
        error: what it fails with.
    """
    if isinstance(error, MemoryError):
        error = out_of_memory(error)
        _log.warning("A request was refused: %s", error.message)
    code, version = Code.INTERNAL, None
    if isinstance(error, ServingError):
        code, version = error.code, error.version
    elif isinstance(error, asyncio.CancelledError):
        code = Code.CANCELLED
    outcomes.failed(name, code, entrypoint=_ENTRYPOINT, version=version)
    if not isinstance(error, ServingError):
        return _broken(error)
    drop_frames(error)
    return error_response(error)


def _describe() -> ApiDescription:
    from salver.tfs.rest.description import describe  # for those who ask for the document

    return describe()


def _inference(call: Callable[[bytes, ServableRequest, float | None], Answer]) -> Endpoint:
    def answer(request: HttpRequest) -> Answer:
        servable: Any = request.servable  # the path names it
        return call(request.body, servable, request.timeout_s)

    return answer


def _refuse(request: HttpRequest) -> HttpResponse:
    raise refusal(request.method, request.target)


def _no_model(_match: "re.Match[str]") -> None:
    """The path names no model."""


def _broken(error: BaseException) -> HttpResponse:
    if not isinstance(error, asyncio.CancelledError):
        _log.error("A request failed in a way it should not", exc_info=error)
    drop_frames(error)
    return error_page(500, f"Internal error: {error}")

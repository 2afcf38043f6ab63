"""What REST tells of models, and does to them: repository, configuration, statistics, settings.

Source: Triton's `docs/protocol/extension_*.md`, and `server/src/http_server.cc` for the paths.
"""

import json
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from salver.errors import InvalidArgument, PermissionDenied, ServingError
from salver.instruments.threads import InPool
from salver.oip.extensions import (
    Kind,
    check_region,
    log_settings,
    refuse_region,
    refuse_repository,
)
from salver.oip.facts import ServedFacts
from salver.oip.rest.api import json_response
from salver.oip.rest.routes import MODEL, QUERY, servable_of
from salver.protocols.actors import actor_of
from salver.protocols.api import Endpoint, RestRoute
from salver.transport.host_rules import is_of_foreign_page
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Access, Actor, Verb
from salver.vocabulary.requests import ServableRequest

__all__ = ["OTHER_REPOSITORIES", "SHARED_MEMORY", "ModelCalls"]

_LARGEST_BODY: Final = 1 << 16  # of a request that may bring nothing along
_READ: Final = ("GET", "HEAD")
_NAME: Final = r"(?P<name>[^/?]+)"
_SHARED: Final = (
    r"/v2/(?P<kind>system|cuda)sharedmemory(?:/region/(?P<region>[^/?]+))?"
    r"/(?P<action>status|register|unregister)"
)
SHARED_MEMORY: Final = f"{_SHARED}{QUERY}"
OTHER_REPOSITORIES: Final = rf"/v2/repository/[^/?]+/(?:index|models/[^/?]+/(?:un)?load){QUERY}"
"""A path that Triton has, for repositories by their names."""

Answer = HttpResponse | Coroutine[Any, Any, HttpResponse]


class ModelCalls:
    """Answers them. Belongs to the loop."""

    def __init__(self, facts: ServedFacts, in_pool: InPool) -> None:
        """Answer what `facts` tell and do; `in_pool` writes what may be long."""
        self._facts = facts
        self._in_pool = in_pool

    def routes(self) -> Sequence[RestRoute]:
        """Their table."""
        repository = f"/v2/repository/models/{_NAME}"
        return (
            _list_of(f"/v2/models/?{QUERY}", self._list, _READ),
            _list_of(f"/v2/models/stats{QUERY}", self._statistics, _READ),
            _of_model(f"{MODEL}/stats{QUERY}", self._statistics),
            _of_model(f"{MODEL}/config{QUERY}", self._config),
            _list_of(f"/v2/repository/index{QUERY}", self._index, ("POST",)),
            self._control(f"{repository}/load{QUERY}", self._facts.load),
            self._control(f"{repository}/unload{QUERY}", self._facts.unload),
            RestRoute(
                OTHER_REPOSITORIES, _refusing(refuse_repository), ("POST",), verb=Access.KNOWN
            ),
            *self._settings(),
            RestRoute(SHARED_MEMORY, _shared_memory, ("GET", "POST"), verb=Access.KNOWN),
        )

    def _control(
        self, path: str, act: Callable[[str, Sequence[str], Actor], Coroutine[Any, Any, None]]
    ) -> RestRoute:
        async def answer(request: HttpRequest) -> HttpResponse:
            assert request.servable is not None  # the path names it
            if is_of_foreign_page(request):
                raise PermissionDenied("A page of another origin may not load or unload models")
            actor = actor_of(request, request.method)
            await act(request.servable.name, _brought_along(request.body), actor)
            return HttpResponse(200, b"", "application/json")

        return RestRoute(path, answer, ("POST",))

    def _settings(self) -> Sequence[RestRoute]:
        """Of traces and logs."""

        def trace(request: HttpRequest) -> HttpResponse:
            if request.servable is not None:
                self._facts.check_model(request.servable)
            return json_response(self._facts.trace_settings())

        def logs(_request: HttpRequest) -> HttpResponse:
            return json_response(log_settings())

        async def set_logs(request: HttpRequest) -> HttpResponse:
            if is_of_foreign_page(request):
                raise PermissionDenied("A page of another origin may not change what is logged")
            await self._facts.change_log(
                _object_of(request.body), actor_of(request, request.method)
            )
            return logs(request)

        async def set_trace(request: HttpRequest) -> HttpResponse:
            if is_of_foreign_page(request):
                raise PermissionDenied("A page of another origin may not change what is traced")
            model = "" if request.servable is None else request.servable.name
            await self._facts.change_trace(
                _texts_of(request.body), actor_of(request, request.method), model=model
            )
            return trace(request)

        found = []
        for path, read, change in (
            (f"/v2/trace/setting{QUERY}", trace, set_trace),
            (f"/v2/models/{_NAME}/trace/setting{QUERY}", trace, set_trace),
            (f"/v2/logging{QUERY}", logs, set_logs),
        ):
            found.append(RestRoute(path, read, _READ))
            found.append(RestRoute(path, change, ("POST",)))
        return found

    # -- endpoints -------------------------------------------------------------------------------

    def _list(self, request: HttpRequest) -> HttpResponse:
        return json_response({"models": self._facts.names(request.principal)})

    def _index(self, request: HttpRequest) -> HttpResponse:
        is_ready_only = _object_of(request.body).get("ready", False)
        if not isinstance(is_ready_only, bool):
            raise InvalidArgument("Invalid value for 'ready': expected a boolean")
        index = self._facts.index(is_ready_only=is_ready_only, principal=request.principal)
        return json_response(list(index))

    async def _statistics(self, request: HttpRequest) -> HttpResponse:
        of_all = ServableRequest("")
        found = await self._facts.statistics(request.servable or of_all, request.principal)
        response: HttpResponse = await self._in_pool(lambda: json_response({"model_stats": found}))
        return response

    async def _config(self, request: HttpRequest) -> HttpResponse:
        assert request.servable is not None  # the path names it
        return json_response(await self._facts.config(request.servable))


def _list_of(path: str, answer: Endpoint, methods: tuple[str, ...]) -> RestRoute:
    """A route that tells of the models that its principal may see."""
    return RestRoute(path, answer, methods, verb=Verb.METADATA, is_filtered=True)


def _of_model(path: str, answer: Endpoint) -> RestRoute:
    return RestRoute(path, answer, _READ, servable_of, verb=Verb.METADATA)


def _shared_memory(request: HttpRequest) -> HttpResponse:
    """There is none: of that a client is told that asks, or cleans up what it may have left."""
    asked = re.fullmatch(SHARED_MEMORY, request.target)
    assert asked is not None  # the route's path
    kind: Kind = "cuda" if asked["kind"] == "cuda" else "system"
    region = unquote(asked["region"] or "", errors="replace")
    if asked["action"] == "register":
        raise refuse_region(kind, region)
    if asked["action"] == "unregister":
        return HttpResponse(200, b"", "application/json")
    check_region(kind, region)
    return json_response([])


def _refusing(refusal: Callable[[], ServingError]) -> Callable[[HttpRequest], HttpResponse]:
    def refuse(_request: HttpRequest) -> HttpResponse:
        raise refusal()

    return refuse


def _brought_along(body: bytes) -> Sequence[str]:
    """The names of the parameters of a request.

    Raises:
        InvalidArgument: it is no JSON, or none of this kind; or so large that it brings a model.
    """
    parameters = _object_of(body).get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidArgument("Unable to parse 'parameters': expected an object")
    return list(parameters)


def _texts_of(body: bytes) -> Mapping[str, Sequence[str]]:
    """Names and values of settings; null, or nothing, for one that is to be as it was.

    Raises:
        InvalidArgument: it is no JSON, or none of this kind.
    """
    found: dict[str, Sequence[str]] = {}
    for name, said in _object_of(body).items():
        values = said if isinstance(said, list) else [] if said is None else [said]
        if not all(isinstance(value, str) for value in values):
            raise InvalidArgument(f"Unable to parse '{name}': expected strings")
        found[name] = values
    return found


def _object_of(body: bytes) -> Mapping[str, Any]:
    """What a body of JSON says; an empty one says nothing."""
    if not body.strip():
        return {}
    if len(body) > _LARGEST_BODY:
        raise InvalidArgument(
            f"the request has {len(body)} bytes, of {_LARGEST_BODY} at most: a model is loaded as "
            "the server's configuration has it, and from there"
        )
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidArgument("failed to parse the request JSON buffer") from None
    if not isinstance(said, dict):
        raise InvalidArgument("failed to parse the request JSON buffer: expected an object")
    return said

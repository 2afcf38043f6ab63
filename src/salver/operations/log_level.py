"""`/admin/v1/log_level`: from which level up the server logs, read and set while it runs."""

import json
from collections.abc import Coroutine
from typing import Any, Final

from salver.errors import InvalidArgument
from salver.instruments.log_level import level_name, level_of, log_level
from salver.instruments.threads import InThread
from salver.operations.description import describe_log_level
from salver.protocols.actors import actor_of
from salver.protocols.api import Api, ApiParts, RestRoute, SetLogLevel
from salver.protocols.rest_errors import error_page
from salver.transport.host_rules import is_of_foreign_page
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Actor

__all__ = ["LogLevelApi", "make_api"]

_PATH: Final = r"/admin/v1/log_level(?:\?.*)?"
_LARGEST_BODY: Final = 1 << 10
_NOT_KEPT: Final = (("Cache-Control", "no-store"),)


def make_api(parts: ApiParts) -> Api:
    """What sets the level of all processes of a server."""
    return LogLevelApi(parts.set_log_level, parts.in_control).api()


class LogLevelApi:
    """Answers on its path. Belongs to the loop."""

    def __init__(self, set_level: SetLogLevel, in_control: InThread) -> None:
        """Make it.

        Args:
            set_level: see there.
            in_control: runs that apart from the loop.
        """
        self._set_level = set_level
        self._in_control = in_control

    def api(self) -> Api:
        """Its table."""
        return Api(
            routes=(RestRoute(_PATH, self._answer, is_administrative=True),),
            describe=describe_log_level,
        )

    def _answer(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        if request.method in ("GET", "HEAD"):
            return _said(log_level())
        if request.method != "PUT":
            page = error_page(405, f"{request.method} is not allowed here: GET and PUT are")
            page.headers = (("Allow", "GET, PUT"),)
            return page
        if is_of_foreign_page(request):
            return error_page(403, "A page of another origin may not set the log level")
        return self._set(_level_in(request.body), actor_of(request, request.method))

    async def _set(self, level: int, actor: Actor) -> HttpResponse:
        await self._in_control(lambda: self._set_level(level, actor))
        return _said(level)


def _said(level: int) -> HttpResponse:
    return HttpResponse(200, json.dumps({"level": level_name(level)}).encode(), headers=_NOT_KEPT)


def _level_in(body: bytes) -> int:
    """The level that a body says.

    Raises:
        InvalidArgument: it says none.
    """
    try:
        said = json.loads(body) if len(body) <= _LARGEST_BODY else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or said.keys() != {"level"}:
        raise InvalidArgument('The body is to be a JSON object such as {"level": "debug"}')
    return level_of(said["level"])

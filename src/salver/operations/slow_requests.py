"""`/admin/v1/slow_requests`: the last requests that took long, with their stages."""

import json
from collections.abc import Coroutine
from typing import Any, Final

from salver.errors import ServingError
from salver.instruments.threads import InThread
from salver.operations.description import describe_slow_requests
from salver.protocols.api import Api, ApiParts, RestRoute, TellSlow
from salver.protocols.rest_errors import error_page, error_response
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Verb

__all__ = ["SlowRequestsApi", "make_api"]

_PATH: Final = r"/admin/v1/slow_requests(?:\?.*)?"
_NOT_KEPT: Final = (("Cache-Control", "no-store"),)


def make_api(parts: ApiParts) -> Api:
    """What tells of slow requests, where `--slow_request_ms` asks for it or not."""
    return SlowRequestsApi(
        parts.configuration.options.slow_request_ms, parts.tell_slow, parts.in_control
    ).api()


class SlowRequestsApi:
    """Answers on its path. Belongs to the loop.

    As the dashboard shows them, this is answered on every port; it tells of no client who that was.
    """

    def __init__(self, slow_ms: int, tell: TellSlow, in_control: InThread) -> None:
        """Make it.

        Args:
            slow_ms: what takes so long is slow; 0: nothing is.
            tell: see there.
            in_control: runs that apart from the loop.
        """
        self._slow_ms = slow_ms
        self._tell = tell
        self._in_control = in_control

    def api(self) -> Api:
        """Its table."""
        return Api(
            routes=(RestRoute(_PATH, self._answer, verb=Verb.METRICS),),
            describe=describe_slow_requests,
        )

    def _answer(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        if request.method not in ("GET", "HEAD"):
            page = error_page(405, f"{request.method} is not allowed here: GET is")
            page.headers = (("Allow", "GET"),)
            return page
        return self._told()

    async def _told(self) -> HttpResponse:
        try:
            requests = await self._in_control(self._tell) if self._slow_ms else []
        except ServingError as error:
            return error_response(error)
        told = {"slow_request_ms": self._slow_ms, "requests": requests}
        body = json.dumps(told).encode(errors="surrogateescape")
        return HttpResponse(200, body, headers=_NOT_KEPT)

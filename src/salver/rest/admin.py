"""Routes under `/admin/v1/`: what is asked of the server itself, in JSON."""

import json
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, Final
from urllib.parse import unquote

from salver.errors import ServingError
from salver.rest.errors import error_page, error_response
from salver.transport.messages import HttpRequest, HttpResponse

__all__ = ["AdminRoutes"]

_CLEAR: Final = re.compile(r"/admin/v1/models/(?P<name>[^/:?#]+):clear_quarantine")


class AdminRoutes:
    """Answers them; None for other paths. Belongs to the loop."""

    def __init__(
        self,
        names: Callable[[], Collection[str]],
        clear_quarantine: Callable[[str], Awaitable[tuple[int, ...]]],
        *,
        is_open: bool = True,
    ) -> None:
        """Make them.

        Args:
            names: of the models that are configured.
            clear_quarantine: brings the versions of a model back that are isolated or quarantined;
                gives their numbers.
            is_open: whether this port is for those who administer the server.
        """
        self._is_open = is_open
        self._names = names
        self._clear_quarantine = clear_quarantine

    def __call__(
        self, request: HttpRequest
    ) -> HttpResponse | Coroutine[Any, Any, HttpResponse] | None:
        """Answer one request."""
        match = _CLEAR.fullmatch(request.target)
        if match is None:
            return None
        if not self._is_open:
            return error_page(
                403,
                "This port does not administer the server",
                "The gRPC port and the Unix socket do, by HTTP/1.1 too",
            )
        if request.method != "POST":
            page = error_page(405, f"{request.method} is not allowed here: POST is")
            page.headers = (("Allow", "POST"),)
            return page
        name = unquote(match["name"], errors="surrogateescape")
        if name not in self._names():
            return error_page(404, f"Model {name} is not configured")
        return self._clear(name)

    async def _clear(self, name: str) -> HttpResponse:
        try:
            versions = await self._clear_quarantine(name)
        except ServingError as error:
            return error_response(error)
        body = json.dumps({"name": name, "cleared_versions": versions})
        return HttpResponse(200, body.encode(errors="surrogateescape"))

"""The page that Prometheus reads.

Source: TensorFlow Serving `model_servers/http_server.cc`, ProcessPrometheusRequest.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from salver.threads import InPool
from salver.transport.messages import HttpResponse

__all__ = ["MetricsPage"]

_TYPE: Final = "text/plain"


class MetricsPage:
    """Answers on its paths, whatever the method. Belongs to the loop."""

    def __init__(
        self, paths: Sequence[str], draw: Callable[[], Callable[[], bytes]], in_pool: InPool
    ) -> None:
        """Make the page.

        Args:
            paths: that it answers on, exactly.
            draw: takes down the values and returns what makes the page of them.
            in_pool: runs that apart from the loop.
        """
        self._paths = frozenset(paths)
        self._draw = draw
        self._in_pool = in_pool

    def answer(self, target: str) -> HttpResponse | Coroutine[Any, Any, HttpResponse] | None:
        """The page, or a refusal of what follows its path; None for another path."""
        path = target.partition("#")[0].partition("?")[0]
        if path not in self._paths:
            return None
        if path != target:
            text = f"Unexpected path: {target}. Should be {path}"
            return HttpResponse(400, text.encode(), _TYPE)
        return self._page()

    async def _page(self) -> HttpResponse:
        body: bytes = await self._in_pool(self._draw())
        return HttpResponse(200, body, _TYPE)

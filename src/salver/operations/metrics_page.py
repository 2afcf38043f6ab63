"""The page that Prometheus reads.

Where requests are traced it is there as OpenMetrics too, with traces as examples, for a scraper
that asks for that form.

Source: TensorFlow Serving `model_servers/http_server.cc`, ProcessPrometheusRequest.
"""

import re
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from salver.instruments.threads import Breather, InPool
from salver.metrics.merged import families_of
from salver.metrics.open_text import CONTENT_TYPE, open_page
from salver.operations.description import describe_metrics
from salver.protocols.api import Api, ApiParts, RestRoute
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Verb

__all__ = ["MetricsPage", "make_api"]

_TYPE: Final = "text/plain"
_OPEN: Final = b"application/openmetrics-text"


def make_api(parts: ApiParts) -> Api:
    """The page under each path that the monitoring configuration has."""
    draw = parts.draw or parts.metrics.draw
    is_traced = parts.tracer is not None and parts.tracer.is_exporting

    def draw_open() -> Callable[[], bytes]:
        read = parts.read_report()
        return lambda: open_page(families_of(read()), Breather())

    return MetricsPage(
        parts.configuration.monitoring.paths,
        draw,
        parts.in_pool,
        draw_open if is_traced else None,
    ).api()


class MetricsPage:
    """Answers on its paths, whatever the method. Belongs to the loop."""

    def __init__(
        self,
        paths: Sequence[str],
        draw: Callable[[], Callable[[], bytes]],
        in_pool: InPool,
        draw_open: Callable[[], Callable[[], bytes]] | None = None,
    ) -> None:
        """Make the page.

        Args:
            paths: that it answers on, exactly.
            draw: takes down the values and returns what makes the page of them.
            in_pool: runs that apart from the loop.
            draw_open: the same as OpenMetrics; None where that is not to be had.
        """
        self._paths = tuple(paths)
        self._draw = draw
        self._in_pool = in_pool
        self._draw_open = draw_open

    def api(self) -> Api:
        """Its table."""
        return Api(
            routes=[
                RestRoute(f"{re.escape(path)}(?:[?#].*)?", self._answer, verb=Verb.METRICS)
                for path in self._paths
            ],
            describe=partial(describe_metrics, self._paths),
        )

    def _answer(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        """The page, or a refusal of what follows its path."""
        target = request.target
        path = target.partition("#")[0].partition("?")[0]
        if path != target:
            text = f"Unexpected path: {target}. Should be {path}"
            return HttpResponse(400, text.encode(), _TYPE)
        if self._draw_open is not None and _OPEN in (request.header(b"accept") or b""):
            return self._page(self._draw_open(), CONTENT_TYPE)
        return self._page(self._draw(), _TYPE)

    async def _page(self, make: Callable[[], bytes], content_type: str) -> HttpResponse:
        body: bytes = await self._in_pool(make)
        return HttpResponse(200, body, content_type)

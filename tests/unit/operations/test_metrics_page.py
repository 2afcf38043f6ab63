from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.shelf import response_of

from salver.operations.metrics_page import MetricsPage
from salver.protocols.rest_errors import refusal_or_fault
from salver.protocols.router import Router
from salver.transport.messages import Headers, HttpRequest, HttpResponse

PATHS = ("/monitoring/prometheus/metrics", "/metrics")


class Pool:
    """Runs in the loop, and knows what it ran."""

    def __init__(self) -> None:
        self.ran: list[Callable[[], Any]] = []

    async def __call__(self, call: Callable[[], Any], size: int = 0) -> Any:
        self.ran.append(call)
        return call()


def draw() -> Callable[[], bytes]:
    return lambda: b"# TYPE a counter\na{} 1\n"


def answered(page: MetricsPage, target: str) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
    router = Router(
        [page.api()], failed=refusal_or_fault, not_found=lambda _request: HttpResponse(410)
    )
    return router(HttpRequest("GET", target))


@pytest.fixture
def page() -> MetricsPage:
    return MetricsPage(PATHS, draw, Pool())


@pytest.mark.parametrize("path", PATHS)
async def test_it_is_plain_text_without_more(page: MetricsPage, path: str) -> None:
    response = await response_of(answered(page, path))
    assert (response.status, response.content_type) == (200, "text/plain")
    assert response.body == b"# TYPE a counter\na{} 1\n"
    assert response.headers == ()
    assert not response.close


@pytest.mark.parametrize("more", ["?a=b", "?", "#part", "#a?b", "?a#b"])
async def test_what_follows_the_path_is_refused(page: MetricsPage, more: str) -> None:
    response = answered(page, f"/metrics{more}")
    assert isinstance(response, HttpResponse)
    assert (response.status, response.content_type) == (400, "text/plain")
    assert response.body == f"Unexpected path: /metrics{more}. Should be /metrics".encode()


@pytest.mark.parametrize("path", ["/", "/Metrics", "/metrics/", "/metricsx", "/v1/models/m", ""])
async def test_other_paths_are_not_its_own(page: MetricsPage, path: str) -> None:
    assert (await response_of(answered(page, path))).status == 410


async def test_values_are_taken_down_in_the_loop_and_written_in_the_pool() -> None:
    steps: list[str] = []

    def draw() -> Callable[[], bytes]:
        steps.append("draw")

        def make() -> bytes:
            steps.append("make")
            return b""

        return make

    pool = Pool()
    answer = answered(MetricsPage(["/m"], draw, pool), "/m")
    assert isinstance(answer, Coroutine)
    await answer
    assert steps == ["draw", "make"]
    assert len(pool.ran) == 1


OPEN = b"Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n"


async def test_a_scraper_that_asks_for_it_gets_the_form_with_examples() -> None:
    page = MetricsPage(["/m"], draw, Pool(), lambda: lambda: b"# EOF\n")
    router = Router(
        [page.api()], failed=refusal_or_fault, not_found=lambda _request: HttpResponse(410)
    )
    response = await response_of(router(HttpRequest("GET", "/m", Headers(OPEN))))
    assert response.body == b"# EOF\n"
    assert response.content_type is not None
    assert response.content_type.startswith("application/openmetrics-text; version=1.0.0")
    response = await response_of(router(HttpRequest("GET", "/m")))
    assert response.content_type == "text/plain"


async def test_without_traces_it_gets_the_form_of_the_reference(page: MetricsPage) -> None:
    router = Router(
        [page.api()], failed=refusal_or_fault, not_found=lambda _request: HttpResponse(410)
    )
    response = await response_of(router(HttpRequest("GET", "/metrics", Headers(OPEN))))
    assert response.content_type == "text/plain"

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.shelf import response_of

from salver.rest.metrics_page import MetricsPage
from salver.transport.messages import HttpResponse

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


@pytest.fixture
def page() -> MetricsPage:
    return MetricsPage(PATHS, draw, Pool())


@pytest.mark.parametrize("path", PATHS)
async def test_it_is_plain_text_without_more(page: MetricsPage, path: str) -> None:
    answer = page.answer(path)
    assert answer is not None
    response = await response_of(answer)
    assert isinstance(response, HttpResponse)
    assert (response.status, response.content_type) == (200, "text/plain")
    assert response.body == b"# TYPE a counter\na{} 1\n"
    assert response.headers == ()
    assert not response.close


@pytest.mark.parametrize("more", ["?a=b", "?", "#part", "#a?b", "?a#b"])
async def test_what_follows_the_path_is_refused(page: MetricsPage, more: str) -> None:
    response = page.answer(f"/metrics{more}")
    assert isinstance(response, HttpResponse)
    assert (response.status, response.content_type) == (400, "text/plain")
    assert response.body == f"Unexpected path: /metrics{more}. Should be /metrics".encode()


@pytest.mark.parametrize("path", ["/", "/Metrics", "/metrics/", "/metricsx", "/v1/models/m", ""])
async def test_other_paths_are_not_its_own(page: MetricsPage, path: str) -> None:
    assert page.answer(path) is None


async def test_values_are_taken_down_in_the_loop_and_written_in_the_pool() -> None:
    steps: list[str] = []

    def draw() -> Callable[[], bytes]:
        steps.append("draw")

        def make() -> bytes:
            steps.append("make")
            return b""

        return make

    pool = Pool()
    answer = MetricsPage(["/m"], draw, pool).answer("/m")
    assert asyncio.iscoroutine(answer)
    await answer
    assert steps == ["draw", "make"]
    assert len(pool.ran) == 1

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from tests.shelf import response_of

from salver.errors import Unavailable
from salver.operations.slow_requests import SlowRequestsApi
from salver.protocols.rest_errors import refusal_or_fault
from salver.protocols.router import Router
from salver.transport.messages import HttpRequest, HttpResponse

TOLD = [{"time": "2026-11-22T10:00:00.000Z", "seconds": 1.5}]


async def _here(call: Callable[[], Any]) -> Any:
    return call()


def _unavailable() -> Sequence[Mapping[str, Any]]:
    raise Unavailable("The supervisor does not answer")


async def ask(
    method: str = "GET", slow_ms: int = 100, tell: Callable[[], Any] = lambda: TOLD
) -> HttpResponse:
    router = Router(
        [SlowRequestsApi(slow_ms, tell, _here).api()],
        failed=refusal_or_fault,
        not_found=lambda _request: HttpResponse(410),
        is_administered=False,  # the dashboard is for all who see the metrics
    )
    return await response_of(router(HttpRequest(method, "/admin/v1/slow_requests")))


async def test_they_are_told() -> None:
    answer = await ask()
    assert json.loads(answer.body) == {"slow_request_ms": 100, "requests": TOLD}
    assert ("Cache-Control", "no-store") in answer.headers


async def test_where_none_is_slow_nobody_is_asked() -> None:
    answer = await ask(slow_ms=0, tell=_unavailable)
    assert json.loads(answer.body) == {"slow_request_ms": 0, "requests": []}


async def test_what_cannot_be_had_is_said() -> None:
    assert (await ask(tell=_unavailable)).status == 503


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_they_are_only_read(method: str) -> None:
    answer = await ask(method)
    assert answer.status == 405
    assert ("Allow", "GET") in answer.headers

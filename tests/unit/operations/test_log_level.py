import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from tests.shelf import response_of

from salver.operations.log_level import LogLevelApi
from salver.protocols.rest_errors import refusal_or_fault
from salver.protocols.router import Router
from salver.transport.messages import Headers, HttpRequest, HttpResponse
from salver.vocabulary.access import Actor

PATH = "/admin/v1/log_level"


async def _here(call: Callable[[], Any]) -> Any:
    return call()


class Server:
    def __init__(self) -> None:
        self.levels: list[int] = []
        self.actors: list[Actor] = []

    def set(self, level: int, actor: Actor) -> None:
        self.levels.append(level)
        self.actors.append(actor)

    async def ask(
        self, method: str, body: bytes = b"", raw: bytes = b"", *, is_administered: bool = True
    ) -> HttpResponse:
        router = Router(
            [LogLevelApi(self.set, _here).api()],
            failed=refusal_or_fault,
            not_found=lambda _request: HttpResponse(410),
            is_administered=is_administered,
        )
        return await response_of(router(HttpRequest(method, PATH, Headers(raw), body)))


@pytest.fixture
def server() -> Server:
    return Server()


async def test_the_level_is_read(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "salver")
    answer = await server.ask("GET")
    assert json.loads(answer.body) == {"level": "error"}


async def test_the_level_is_set_by_its_name(server: Server) -> None:
    answer = await server.ask("PUT", b'{"level": "debug"}')
    assert answer.status == 200
    assert json.loads(answer.body) == {"level": "debug"}
    assert server.levels == [logging.DEBUG]
    assert [actor.via for actor in server.actors] == [f"PUT {PATH}"]


@pytest.mark.parametrize(
    "body",
    [b"", b"debug", b"[]", b"{}", b'{"level": 10}', b'{"level": "info", "x": 1}', b"[" * 99999],
)
async def test_what_says_no_level_is_refused_and_changes_nothing(
    server: Server, body: bytes
) -> None:
    assert (await server.ask("PUT", body)).status == 400
    assert server.levels == []


async def test_only_who_administers_the_server_reads_and_sets_it(server: Server) -> None:
    for method in ("GET", "PUT"):
        answer = await server.ask(method, b'{"level": "debug"}', is_administered=False)
        assert answer.status == 403
    assert server.levels == []


async def test_a_page_of_another_origin_may_not_set_it(server: Server) -> None:
    raw = b"Host: localhost:8501\r\nOrigin: http://elsewhere.example\r\n"
    assert (await server.ask("PUT", b'{"level": "critical"}', raw)).status == 403
    assert server.levels == []


async def test_other_methods_are_not_allowed(server: Server) -> None:
    answer = await server.ask("POST", b'{"level": "debug"}')
    assert answer.status == 405
    assert ("Allow", "GET, PUT") in answer.headers

import json
from collections.abc import Coroutine

import pytest

from salver.errors import Unavailable
from salver.rest.admin import AdminRoutes
from salver.transport.messages import HttpRequest, HttpResponse

PATH = "/admin/v1/models/m:clear_quarantine"


class Server:
    """Has one model, two versions of which can be brought back."""

    def __init__(self) -> None:
        self.cleared: list[str] = []
        self.error: Unavailable | None = None

    async def clear(self, name: str) -> tuple[int, ...]:
        if self.error is not None:
            raise self.error
        self.cleared.append(name)
        return (1, 2)

    async def ask(self, method: str, target: str) -> HttpResponse | None:
        routes = AdminRoutes(lambda: ("m", "a b"), self.clear)
        answer = routes(HttpRequest(method, target))
        return (await answer) if isinstance(answer, Coroutine) else answer


@pytest.fixture
def server() -> Server:
    return Server()


async def test_versions_of_a_model_are_brought_back_by_name(server: Server) -> None:
    answer = await server.ask("POST", PATH)
    assert answer is not None
    assert answer.status == 200
    assert json.loads(answer.body) == {"name": "m", "cleared_versions": [1, 2]}
    await server.ask("POST", "/admin/v1/models/a%20b:clear_quarantine")
    assert server.cleared == ["m", "a b"]


async def test_a_model_that_is_not_configured_is_not_found(server: Server) -> None:
    answer = await server.ask("POST", "/admin/v1/models/x:clear_quarantine")
    assert answer is not None
    assert answer.status == 404
    assert "Model x is not configured" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_only_a_post_does_it(server: Server, method: str) -> None:
    answer = await server.ask(method, PATH)
    assert answer is not None
    assert (answer.status, answer.headers) == (405, (("Allow", "POST"),))
    assert server.cleared == []


async def test_what_keeps_it_from_being_done_is_told(server: Server) -> None:
    server.error = Unavailable("The server is stopping")
    answer = await server.ask("POST", PATH)
    assert answer is not None
    assert answer.status == 503


async def test_a_port_that_is_not_for_it_says_which_is(server: Server) -> None:
    routes = AdminRoutes(lambda: ("m",), server.clear, is_open=False)
    answer = routes(HttpRequest("POST", PATH))
    assert isinstance(answer, HttpResponse)
    assert answer.status == 403
    assert "The gRPC port" in json.loads(answer.body)["hint"]
    assert routes(HttpRequest("GET", "/")) is None


@pytest.mark.parametrize(
    "target", ["/", "/v1/models/m", "/admin/v1/models/m", f"{PATH}/", f"{PATH}?x=1", "/admin/v1/"]
)
async def test_other_paths_are_not_its_own(server: Server, target: str) -> None:
    assert await server.ask("POST", target) is None

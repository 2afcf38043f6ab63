from collections.abc import Callable
from typing import Any, TypeVar

from tests.shelf import response_of

from salver.peers.api import MapApi
from salver.peers.map import Peer, PeerMap, Placed, read, text
from salver.protocols.rest_errors import no_route, refusal_or_fault
from salver.protocols.router import Router
from salver.transport.messages import Headers, HttpRequest, HttpResponse
from salver.vocabulary.access import Principal

R = TypeVar("R")

MAP = PeerMap(
    4,
    {name: Peer(name, f"{name}:1") for name in ("n1", "n2")},
    {"open": Placed(("n1",)), "secret": Placed(("n2",))},
)


async def in_pool(call: Callable[[], R], _size: int = 0) -> R:
    return call()


def is_shown(_principal: Principal | None, name: str) -> bool:
    return name == "open"


async def asked(raw: bytes = b"", *, is_guarded: bool = False, **more: Any) -> HttpResponse:
    current = (MAP, text(MAP).encode())
    api = MapApi(lambda: current, is_shown, in_pool, is_guarded=is_guarded).api()
    router = Router([api], failed=refusal_or_fault, not_found=no_route)
    request = HttpRequest("GET", more.get("path", "/cluster/v1/map"), Headers(raw))
    return await response_of(router(request))


async def test_everybody_is_told_of_the_whole_map() -> None:
    answer = await asked()
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert read(answer.body) == MAP


async def test_who_has_it_already_is_not_sent_it_again() -> None:
    tag = dict((await asked()).headers)["ETag"]
    answer = await asked(b"if-none-match: %b\r\n" % tag.encode())
    assert (answer.status, answer.body) == (304, b"")


async def test_who_may_see_some_models_is_told_of_those_and_of_who_has_them() -> None:
    found = read((await asked(is_guarded=True)).body)
    assert (set(found.models), set(found.peers), found.generation) == ({"open"}, {"n1"}, 4)


async def test_other_paths_are_none() -> None:
    assert (await asked(path="/cluster/v1/maps")).status == 404
    assert (await asked(path="/cluster/v1/map?x=1")).status == 200

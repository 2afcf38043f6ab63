import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from tests.routers import router_of
from tests.shelf import HALF_PLUS_TWO, InlineProgram, Shelf, cancelled, response_of

from salver.errors import NotFound, Unauthenticated
from salver.inference.context import RequestContext
from salver.inference.servable import Servable
from salver.inference.wait_for_load import wait_for_load
from salver.instruments.files import Footprint
from salver.lifecycle.handles import Entry
from salver.lifecycle.placeholders import Held, Placeholder
from salver.lifecycle.residency import Residency, ResidencyOptions
from salver.protocols.api import Api, RestRoute
from salver.protocols.rest_errors import refusal_or_fault
from salver.protocols.router import Router
from salver.scheduling.run_pool import RunPool
from salver.transport.messages import Headers, HttpRequest, HttpResponse
from salver.vocabulary.access import UNSAID, Access, Need, Verb
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId

A = TypeVar("A")
WAIT_S = 10.0
ID = ServableId("m", 1)
PREDICT = "/v1/models/m:predict"
ONE = b'{"instances": [1.0]}'
EXAMPLES = b'{"examples": [{"x": 1.0}]}'
GONE = HttpResponse(410)


def made(*routes: RestRoute, **more: Any) -> Router:
    return Router(
        [Api(routes=routes)], failed=refusal_or_fault, not_found=lambda _request: GONE, **more
    )


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(200, repr(request.servable).encode())


async def body_of(router: Router, target: str, method: str = "GET") -> bytes:
    return (await response_of(router(HttpRequest(method, target)))).body


async def test_a_path_is_matched_whole_by_the_first_route_of_its_method() -> None:
    router = made(
        RestRoute("/a", lambda _: HttpResponse(200, b"post"), ("POST",)),
        RestRoute("/a", lambda _: HttpResponse(200, b"first")),
        RestRoute("/a.*", lambda _: HttpResponse(200, b"second")),
    )
    assert await body_of(router, "/a", "POST") == b"post"
    assert await body_of(router, "/a") == b"first"
    assert await body_of(router, "/ab") == b"second"
    assert router(HttpRequest("GET", "/b")) is GONE


async def test_the_groups_of_a_path_name_a_servable() -> None:
    router = made(RestRoute(r"/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<label>.+))?", echo))
    assert await body_of(router, "/a%20b/3") == repr(ServableRequest("a b", 3)).encode()
    assert await body_of(router, "/a@x") == repr(ServableRequest("a", label="x")).encode()
    assert await body_of(made(RestRoute("/a", echo)), "/a") == b"None"


async def test_a_path_that_names_no_servable_in_the_end_is_refused_by_its_api() -> None:
    def read(_match: object) -> None:
        raise NotFound("there is none")

    response = await response_of(made(RestRoute("/a", echo, (), read))(HttpRequest("GET", "/a")))
    assert (response.status, json.loads(response.body)) == (404, {"error": "there is none"})


async def test_an_api_hears_of_what_fails_and_of_clients_that_leave() -> None:
    heard: list[BaseException] = []

    def failed(_request: HttpRequest, error: BaseException) -> HttpResponse:
        heard.append(error)
        return HttpResponse(500, b"its own page")

    async def later(_request: HttpRequest) -> HttpResponse:
        await asyncio.Event().wait()
        raise AssertionError

    def broken(_request: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    api = Api(
        routes=[RestRoute("/later", later), RestRoute("/broken", broken)],
        rest_failed=failed,
        headers=(("A", "b"),),
    )
    router = Router([api], failed=refusal_or_fault, not_found=lambda _request: GONE)
    response = await response_of(router(HttpRequest("GET", "/broken")))
    assert (response.body, response.headers) == (b"its own page", (("A", "b"),))
    waiting = router(HttpRequest("GET", "/later"))
    assert isinstance(waiting, Coroutine)
    await cancelled(asyncio.ensure_future(waiting))
    assert [type(error) for error in heard] == [ZeroDivisionError, asyncio.CancelledError]


def test_a_fault_in_an_api_that_has_no_page_for_it_is_left_to_the_transport() -> None:
    def broken(_request: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        made(RestRoute("/a", broken))(HttpRequest("GET", "/a"))


def with_key(
    context: RequestContext, proceed: "Callable[[], A | Coroutine[Any, Any, A]]", /
) -> "A | Coroutine[Any, Any, A]":
    if context.header(b"x-api-key") != b"k":
        raise Unauthenticated(f"{context.protocol} {context.target}: no key")
    return proceed()


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", PREDICT),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/m"),
        ("GET", "/v1/models/m/metadata"),
        ("GET", "/v1/nonsense"),
        ("OPTIONS", PREDICT),
        ("GET", "/healthz/live"),
        ("GET", "/nowhere"),
    ],
)
async def test_an_interceptor_stands_before_every_path(
    shelf: Shelf, method: str, target: str
) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    router = router_of(shelf, in_pool=shelf.in_pool, interceptors=[with_key])
    for _ in range(2):
        refused = await response_of(router(HttpRequest(method, target, body=ONE)))
        assert refused.status == 401
        assert json.loads(refused.body)["error"] == f"REST {target}: no key"
        fields = Headers(b"X-Api-Key: k\r\n")
        passed = await response_of(router(HttpRequest(method, target, fields, ONE)))
        assert passed.status != 401


async def test_an_interceptor_knows_which_model_is_asked_for_and_how_long_it_may_take(
    shelf: Shelf,
) -> None:
    seen: list[tuple[ServableRequest | None, float | None, str | None]] = []

    def note(context: RequestContext, proceed: "Callable[[], A]", /) -> A:
        seen.append((context.servable, context.timeout_s, context.peer))
        return proceed()

    shelf.put("m", 7, HALF_PLUS_TWO)
    router = router_of(shelf, in_pool=shelf.in_pool, interceptors=[note], timeout_s=5.0)
    for target in ("/v1/models/m/versions/7:predict", PREDICT, PREDICT):
        answer = await response_of(router(HttpRequest("POST", target, body=ONE)))
        assert json.loads(answer.body) == {"predictions": [2.5]}
    assert seen == [
        (ServableRequest("m", 7), 5.0, None),
        (ServableRequest("m"), 5.0, None),
        (ServableRequest("m"), 5.0, None),
    ]


class LazyShelf(Shelf):
    """One model that is loaded when it is asked for."""

    def put_lazily(self, residency: Residency[Servable]) -> None:
        seat = residency.add(ID, "/m/1", lambda: Servable(HALF_PLUS_TWO, InlineProgram))
        self.entry: Entry[Placeholder[Servable]] = Entry(ID, seat)

    def acquire(self, request: ServableRequest) -> Entry[Servable]:
        if request.name != "m":
            raise NotFound("no such model")
        assert self.entry.try_acquire()
        return Held.of(self.entry)  # type: ignore[return-value]


class TestAModelThatIsNotInMemory:
    @pytest.fixture
    def residency(self) -> Iterator[Residency[Servable]]:
        residency: Residency[Servable] = Residency(
            ResidencyOptions(), clock=lambda: 0.0, look=lambda _path: Footprint(1, 1, 1, 1)
        )
        yield residency
        assert residency.close(WAIT_S)

    @pytest.fixture
    def lazy(self, residency: Residency[Servable]) -> Iterator[Callable[..., Router]]:
        pool = RunPool(1)
        shelf = LazyShelf(pool)
        shelf.put_lazily(residency)

        def make(timeout_s: float | None = None) -> Router:
            return router_of(
                shelf, in_pool=shelf.in_pool, interceptors=[wait_for_load], timeout_s=timeout_s
            )

        yield make
        pool.close()

    @pytest.mark.parametrize("count", [1, 20_000])
    async def test_is_waited_for_by_small_and_large_requests(
        self, lazy: Callable[..., Router], count: int
    ) -> None:
        router, body = lazy(), json.dumps({"instances": [1.0] * count}).encode()
        first = router(HttpRequest("POST", PREDICT, body=body))
        assert isinstance(first, Coroutine)
        assert json.loads((await first).body) == {"predictions": [2.5] * count}
        again = await response_of(router(HttpRequest("POST", PREDICT, body=body)))
        assert json.loads(again.body) == {"predictions": [2.5] * count}

    async def test_is_not_loaded_for_a_large_request_that_is_given_up(
        self, lazy: Callable[..., Router], residency: Residency[Servable]
    ) -> None:
        body = json.dumps({"instances": [1.0] * 20_000}).encode()
        answer = lazy()(HttpRequest("POST", PREDICT, body=body))
        assert isinstance(answer, Coroutine)
        answer.close()

    @pytest.mark.parametrize("call", ["classify", "regress"])
    async def test_is_waited_for_by_the_other_calls_too(
        self, lazy: Callable[..., Router], call: str
    ) -> None:
        request = HttpRequest("POST", f"/v1/models/m:{call}", body=EXAMPLES)
        answer = await response_of(lazy()(request))
        assert answer.status == 400
        assert b"inputs found in SignatureDef" in answer.body

    async def test_is_waited_for_no_longer_than_the_request_may_take(
        self, lazy: Callable[..., Router]
    ) -> None:
        answer = await response_of(lazy(0.0)(HttpRequest("POST", PREDICT, body=ONE)))
        assert answer.status == 504
        assert b"to be loaded" in answer.body

    async def test_is_no_reason_to_wait_for_one_that_does_not_exist(
        self, lazy: Callable[..., Router]
    ) -> None:
        answer = lazy()(HttpRequest("POST", "/v1/models/other:predict", body=ONE))
        assert isinstance(answer, HttpResponse)
        assert answer.status == 404


def test_a_route_needs_what_it_says_and_what_refuses_needs_credentials() -> None:
    seen: list[Need] = []

    def look(context: RequestContext, proceed: Callable[[], Any], /) -> Any:
        seen.append(context.need)
        return proceed()

    router = made(
        RestRoute("/a", echo, verb=Verb.HEALTH, is_filtered=True),
        RestRoute("/b", echo),
        RestRoute("/c", echo, verb=Verb.HEALTH, is_administrative=True),
        RestRoute("/d", lambda _request: None, verb=Access.OPEN),
        interceptors=[look],
    )
    for target in ("/a", "/b", "/c", "/d", "/e"):
        router(HttpRequest("GET", target))
    known = Need(Access.KNOWN)
    assert seen == [Need(Verb.HEALTH, is_filtered=True), UNSAID, UNSAID, Need(Access.OPEN), known]

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from tests.shelf import response_of

from salver.errors import InvalidArgument, NotFound, ServingError, Unavailable
from salver.inference.context import RequestContext
from salver.protocols.api import Api, RestRoute
from salver.protocols.calls import served_methods
from salver.protocols.forwarding import Elsewhere, Target
from salver.protocols.methods import Call
from salver.protocols.rest_errors import refusal_or_fault
from salver.protocols.router import Router
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Access, Verb, VerbOrAccess
from salver.vocabulary.requests import ServableRequest

THERE = Target(("n2",))
GONE = HttpResponse(410)


class Handing:
    """Knows where some models are, and answers in the name of the others."""

    def __init__(self, before: str = "there", after: str = "moved") -> None:
        self.before, self.after = before, after

    def elsewhere(self, _context: RequestContext) -> tuple[Elsewhere, ...]:
        return ()

    def target_of(self, _context: RequestContext, servable: ServableRequest) -> Target | None:
        return THERE if servable.name == self.before else None

    def target_after(
        self, _context: RequestContext, servable: ServableRequest, error: ServingError
    ) -> Target | None:
        return THERE if servable.name == self.after and isinstance(error, NotFound) else None

    async def rest(self, request: HttpRequest, target: Target) -> HttpResponse:
        return HttpResponse(200, b"%b by %b" % (request.body, target.nodes[0].encode()))

    async def unary(self, _method: str, data: bytes, _call: Call, target: Target) -> bytes:
        return b"%b by %b" % (data, target.nodes[0].encode())

    async def messages(
        self, _method: str, data: bytes, _call: Call, _target: Target
    ) -> "AsyncGenerator[bytes, None]":
        yield data


def answer_here(request: HttpRequest) -> HttpResponse:
    name = "" if request.servable is None else request.servable.name
    if name in ("moved", "gone"):
        raise NotFound(name)
    if name == "wrong":
        raise InvalidArgument(name)
    return HttpResponse(200, b"here")


async def answer_here_later(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return answer_here(request)


def router(answer: Any, verb: VerbOrAccess = Verb.PREDICT, **more: Any) -> Router:
    route = RestRoute("/m/(?P<name>.*)", answer, verb=verb)
    api = Api(routes=(route, RestRoute("/all", answer, verb=verb)))
    more.setdefault("forwarder", Handing())
    return Router([api], failed=refusal_or_fault, not_found=lambda _request: GONE, **more)


async def body(router: Router, target: str) -> bytes:
    return (await response_of(router(HttpRequest("POST", target, body=b"x")))).body


@pytest.mark.parametrize("answer", [answer_here, answer_here_later])
async def test_a_request_for_a_model_that_is_there_is_answered_there(answer: Any) -> None:
    asked = router(answer)
    assert await body(asked, "/m/there") == b"x by n2"
    assert await body(asked, "/m/here") == b"here"
    assert await body(asked, "/all") == b"here"


@pytest.mark.parametrize("answer", [answer_here, answer_here_later])
async def test_a_request_whose_model_went_meanwhile_is_handed_on_too(answer: Any) -> None:
    asked = router(answer)
    assert await body(asked, "/m/moved") == b"x by n2"
    assert b"gone" in await body(asked, "/m/gone")
    assert b"wrong" in await body(asked, "/m/wrong")


@pytest.mark.parametrize("verb", [Verb.ADMIN, Verb.METRICS, Access.KNOWN, Access.OPEN])
async def test_what_changes_or_watches_a_server_is_answered_by_that_server(
    verb: VerbOrAccess,
) -> None:
    assert await body(router(answer_here, verb), "/m/there") == b"here"


async def test_the_gate_is_asked_before_anything_is_handed_on() -> None:
    def refuse(_context: RequestContext, _proceed: Any, /) -> Any:
        raise Unavailable("not you")

    asked = router(answer_here, interceptors=(refuse,))
    assert b"not you" in await body(asked, "/m/there")


async def test_a_request_that_names_its_model_by_itself_is_handed_on() -> None:
    def named(request: HttpRequest) -> ServableRequest:
        return ServableRequest(request.body.decode())

    route = RestRoute("/named", answer_here, verb=Verb.PREDICT, named_by=named)
    asked = Router(
        [Api(routes=(route,))],
        failed=refusal_or_fault,
        not_found=lambda _request: GONE,
        forwarder=Handing(),
    )
    answered = await response_of(asked(HttpRequest("POST", "/named", body=b"there")))
    assert answered.body == b"there by n2"


def call_here(data: bytes, _call: Call) -> bytes:
    answer_here_of(data.decode())
    return b"here"


async def call_here_later(data: bytes, call: Call) -> bytes:
    await asyncio.sleep(0)
    return call_here(data, call)


def answer_here_of(name: str) -> None:
    if name in ("moved", "gone"):
        raise NotFound(name)


def table(method: Any, verb: VerbOrAccess = Verb.PREDICT, **more: Any) -> Any:
    api = Api(
        methods={"/s/M": method},
        verbs={"/s/M": verb},
        servable_of=lambda _method, data: ServableRequest(data.decode()) if data else None,
    )
    return served_methods(api, (), **more)["/s/M"]


@pytest.mark.parametrize("method", [call_here, call_here_later])
async def test_calls_of_grpc_go_the_same_way(method: Any) -> None:
    served = table(method, forwarder=Handing())
    assert await response_of(served(b"there", Call())) == b"there by n2"
    assert await response_of(served(b"here", Call())) == b"here"
    assert await response_of(served(b"moved", Call())) == b"moved by n2"
    assert await response_of(served(b"", Call())) == b"here"
    with pytest.raises(NotFound, match="gone"):
        await response_of(served(b"gone", Call()))


async def test_a_call_that_administers_is_answered_here() -> None:
    assert table(call_here, Verb.ADMIN, forwarder=Handing())(b"there", Call()) == b"here"


def test_without_a_forwarder_a_method_stays_as_it_is() -> None:
    assert table(call_here) is call_here


async def test_an_answer_that_nobody_waits_for_is_given_up() -> None:
    closed: list[str] = []

    async def wait(request: HttpRequest) -> HttpResponse:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            closed.append(request.target)
        raise AssertionError

    answer: Any = router(wait)(HttpRequest("POST", "/m/here"))
    task = asyncio.ensure_future(answer)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == ["/m/here"]

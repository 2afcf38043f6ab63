import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import pytest

from salver.errors import (
    DeadlineExceeded,
    Internal,
    NotFound,
    Overloaded,
    PeerLost,
    ServingError,
    Unavailable,
    WrongPeerToken,
)
from salver.metrics.text import Family
from salver.peers.choice import Choice
from salver.peers.forwarder import PeerForwarder
from salver.peers.hops import Hops
from salver.peers.map import Peer, PeerMap, Placed
from salver.peers.transports import Fields, Late, Lost, NotBegun, Refused
from salver.protocols.forwarding import Elsewhere, Target
from salver.protocols.methods import Call
from salver.tracing.request import RequestTrace
from salver.tracing.tracer import Tracer
from salver.transport.messages import Headers, HttpRequest, HttpResponse, StreamedResponse
from salver.vocabulary.requests import ServableRequest

SECRET = b"a-secret-of-16-bytes"
OK = HttpResponse(200, b"ok", headers=(("salver-model-version", "3"),))
ABSENT = HttpResponse(404, b"not here")
PEERS = {name: Peer(name, f"{name}:1", f"{name}:2") for name in ("me", "a", "b", "c")}


class Here:
    """The models that are here, by name, with versions and labels."""

    def __init__(self, **models: dict[str | int, int]) -> None:
        self.models = models

    def is_available(self, request: ServableRequest) -> bool:
        known = self.models.get(request.name)
        if known is None:
            return False
        if request.label is not None:
            return request.label in known
        return request.version is None or request.version in known.values()

    def labels(self, name: str) -> dict[str, int]:
        known = self.models.get(name, {})
        return {label: at for label, at in known.items() if isinstance(label, str)}


class Carrier:
    """Answers for peers as it is told: a response, an error, or a future of either."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.fields: list[Fields] = []
        self.timeouts: list[float | None] = []

    async def __call__(
        self, peer: Peer, request: HttpRequest, fields: Fields, timeout_s: float | None
    ) -> HttpResponse:
        self.asked.append(peer.name)
        self.fields.append(fields)
        self.timeouts.append(timeout_s)
        answer = self.answers[peer.name]
        if isinstance(answer, asyncio.Future):
            answer = await answer
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, HttpResponse)
        return answer

    def connections(self) -> dict[str, int]:
        return {"a:1": 2, "gone:1": 1}

    def keep(self, addresses: frozenset[str]) -> None:
        self.kept = addresses

    async def close(self) -> None:
        self.is_closed = True


class GrpcCarrier(Carrier):
    async def unary(
        self,
        peer: Peer,
        method: str,
        data: bytes,
        call: Call,
        fields: Fields,
        timeout_s: float | None,
    ) -> bytes:
        answer = await self(peer, HttpRequest("POST", method, body=data), fields, timeout_s)
        return answer.body

    async def messages(
        self,
        peer: Peer,
        method: str,
        data: bytes,
        call: Call,
        fields: Fields,
        timeout_s: float | None,
    ) -> "AsyncGenerator[bytes, None]":
        yield await self.unary(peer, method, data, call, fields, timeout_s)
        yield b"more"
        if self.answers.get("breaks"):
            raise Lost("broken off")


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def made(
    rest: Carrier | None = None,
    here: Here | None = None,
    *,
    tokens: tuple[bytes, ...] = (SECRET,),
    most: int = 1000,
    grpc: Any = None,
    clock: Callable[[], float] | None = None,
    tracer: Tracer | None = None,
    **placed: Placed,
) -> PeerForwarder:
    clock = clock or Clock()
    forwarder = PeerForwarder(
        here or Here(),
        Hops("me", tokens),
        Choice(most_outstanding=most, monotonic=clock, pick=lambda _count: 0, jitter=lambda: 1.0),
        name="me",
        rest=rest or Carrier(),
        grpc=grpc,
        tracer=tracer,
        monotonic=clock,
    )
    forwarder.put(PeerMap(7, PEERS, placed))
    return forwarder


def request(raw: bytes = b"", timeout_s: float | None = None) -> HttpRequest:
    asked = HttpRequest("POST", "/", Headers(raw))
    asked.timeout_s = timeout_s
    return asked


def cells(families: list[Family], name: str) -> dict[tuple[str, ...], Any]:
    return {
        labels: value
        for each in families
        if each.metric.name == name
        for labels, value in each.cells
    }


M = Placed(("a", "me", "b"), (3, 4), {"stable": 3})


@pytest.mark.parametrize(
    ("servable", "expected"),
    [
        (ServableRequest("m"), Target(("a", "b"))),
        (ServableRequest("m", 3), Target(("a", "b"))),
        (ServableRequest("m", 5), None),
        (ServableRequest("m", label="stable"), Target(("a", "b"))),
        (ServableRequest("m", label="canary"), None),
        (ServableRequest("any", 9), Target(("c",))),
        (ServableRequest("any", label="x"), Target(("c",))),
        (ServableRequest("mine"), None),
        (ServableRequest("nowhere"), None),
        (ServableRequest("unknown"), None),
    ],
)
def test_a_request_goes_to_who_has_what_it_asks_for(
    servable: ServableRequest, expected: Target | None
) -> None:
    forwarder = made(m=M, any=Placed(("c",)), mine=Placed(("me",)), nowhere=Placed())
    assert forwarder.target_of(request(), servable) == expected


@pytest.mark.parametrize(
    ("servable", "is_here"),
    [
        (ServableRequest("m"), True),
        (ServableRequest("m", 3), True),
        (ServableRequest("m", 4), False),
        (ServableRequest("m", label="stable"), False),  # it means version 2 here
        (ServableRequest("m", label="same"), True),
        (ServableRequest("m", label="own"), True),
    ],
)
def test_what_is_here_is_answered_here(servable: ServableRequest, is_here: bool) -> None:
    here = Here(m={"stable": 2, "same": 3, "own": 3, 0: 3})
    placed = Placed(("a", "b"), (3, 4), {"stable": 3, "same": 3})
    forwarder = made(here=here, m=placed)
    assert (forwarder.target_of(request(), servable) is None) == is_here


def test_what_others_have_is_listed_for_clients_alone() -> None:
    forwarder = made(m=M, any=Placed(("c",)), mine=Placed(("me",)), nowhere=Placed())
    expected = (Elsewhere("any", ("c",)), Elsewhere("m", ("a", "b"), (4, 3), (("stable", 3),)))
    assert forwarder.elsewhere(request()) == expected
    hop = b"salver-forwarded: a\r\nsalver-peer-token: %b\r\n"
    assert forwarder.elsewhere(request(hop % SECRET)) == ()
    forwarder.put(PeerMap(8, PEERS, {"any": Placed(("b",))}))
    assert forwarder.elsewhere(request()) == (Elsewhere("any", ("b",)),)


def test_what_was_handed_on_is_not_handed_on_again() -> None:
    forwarder = made(m=M)
    hop = b"salver-forwarded: a\r\nsalver-peer-token: %b\r\n"
    assert forwarder.target_of(request(hop % SECRET), ServableRequest("m")) is None
    assert forwarder.target_of(request(b"salver-forwarded: a\r\n"), ServableRequest("m"))
    with pytest.raises(WrongPeerToken):
        forwarder.target_of(request(hop % b"wrong"), ServableRequest("m"))


@pytest.mark.parametrize(
    ("error", "version", "is_handed_on"),
    [
        (NotFound("gone"), None, True),
        (Unavailable("not yet"), None, True),
        (NotFound("no such signature"), 3, False),  # one was found, and may have been run
        (Internal("broken"), None, False),
        (Overloaded("full"), None, False),
    ],
)
def test_a_request_that_failed_is_handed_on_only_where_nothing_was_found_for_it(
    error: ServingError, version: int | None, is_handed_on: bool
) -> None:
    error.version = version
    found = made(m=M).target_after(request(), ServableRequest("m"), error)
    assert (found is not None) == is_handed_on


async def test_the_answer_says_where_it_is_from_and_the_peer_who_asks() -> None:
    carrier = Carrier(a=OK)
    answer = await made(carrier, m=M).rest(request(timeout_s=30.0), Target(("a", "b")))
    assert (answer.body, answer.headers[-1]) == (b"ok", ("salver-forwarded-to", "a"))
    assert dict(carrier.fields[0]) == {b"salver-forwarded": b"me", b"salver-peer-token": SECRET}
    assert carrier.timeouts == [pytest.approx(30.05)]


async def test_a_server_of_the_own_zone_is_preferred() -> None:
    carrier = Carrier(a=OK, b=OK)
    forwarder = made(carrier, m=M)
    zones = {"me": "x", "a": "y", "b": "x", "c": ""}
    peers = {name: replace(PEERS[name], zone=zone) for name, zone in zones.items()}
    for known in (PEERS, peers):
        forwarder.put(PeerMap(8, known, {"m": M}))
        await forwarder.rest(request(), Target(("a", "b")))
    assert carrier.asked == ["a", "b"]


async def test_a_request_that_is_traced_here_is_traced_below_that_there() -> None:
    tracer = Tracer()
    tracer.current = trace = RequestTrace()
    carrier = Carrier(a=OK)
    forwarder = made(carrier, tracer=tracer, m=M)
    await forwarder.rest(request(), Target(("a",)))
    trace.is_sampled, trace.trace_id, trace.span_id = True, 10, 11
    await forwarder.rest(request(), Target(("a",)))
    first, second = map(dict, carrier.fields)
    assert b"traceparent" not in first
    assert second[b"traceparent"] == b"00-%032x-%016x-01" % (10, 11)


@pytest.mark.parametrize("error", [NotBegun("no connection"), Refused("token")])
async def test_another_is_asked_where_the_first_has_begun_nothing(error: Exception) -> None:
    carrier = Carrier(a=error, b=OK)
    forwarder = made(carrier, m=M)
    assert (await forwarder.rest(request(), Target(("a", "b")))).body == b"ok"
    assert carrier.asked == ["a", "b"]
    assert (await forwarder.rest(request(), Target(("a", "b")))).body == b"ok"
    assert carrier.asked == ["a", "b", "b"]  # the first is put aside


async def test_no_other_is_asked_where_the_first_may_have_begun() -> None:
    carrier = Carrier(a=Lost("closed"), b=OK)
    with pytest.raises(PeerLost, match="The server a was asked and has not answered: closed"):
        await made(carrier, m=M).rest(request(), Target(("a", "b")))
    assert carrier.asked == ["a"]


async def test_time_that_is_over_is_told_as_such() -> None:
    with pytest.raises(DeadlineExceeded, match="the server a"):
        await made(Carrier(a=Late("over")), m=M).rest(request(), Target(("a",)))


async def test_who_can_reach_nobody_is_told_why() -> None:
    carrier = Carrier(a=NotBegun("refused"), b=NotBegun("no route"))
    with pytest.raises(Unavailable) as error:
        await made(carrier, m=M).rest(request(), Target(("a", "b")))
    assert error.value.hint == "a: refused; b: no route"


async def test_a_peer_that_has_not_got_the_model_either_is_passed_over() -> None:
    carrier = Carrier(a=ABSENT, b=OK)
    assert (await made(carrier, m=M).rest(request(), Target(("a", "b")))).body == b"ok"
    carrier = Carrier(a=ABSENT, b=ABSENT)
    answer = await made(carrier, m=M).rest(request(), Target(("a", "b")))
    assert (answer.status, answer.body) == (404, b"not here")
    carrier = Carrier(a=HttpResponse(404, b"", headers=OK.headers), b=OK)
    assert (await made(carrier, m=M).rest(request(), Target(("a", "b")))).status == 404


async def test_one_request_asks_so_many_and_no_more() -> None:
    peers = {f"p{n}": Peer(f"p{n}", f"p{n}:1") for n in range(1000)}
    carrier = Carrier(**dict.fromkeys(peers, NotBegun("no")))
    forwarder = made(carrier)
    forwarder.put(PeerMap(8, peers, {"m": Placed(tuple(peers))}))
    with pytest.raises(Unavailable):
        await forwarder.rest(request(), Target(tuple(peers)))
    assert len(carrier.asked) == 4


async def test_peers_that_left_the_map_or_have_no_such_api_are_not_asked() -> None:
    carrier = Carrier(b=OK)
    forwarder = made(carrier)
    forwarder.put(PeerMap(8, {"a": Peer("a", grpc="a:2"), "b": PEERS["b"]}))
    assert (await forwarder.rest(request(), Target(("a", "gone", "b")))).body == b"ok"
    assert carrier.asked == ["b"]


async def test_too_many_that_wait_are_refused() -> None:
    waits: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    forwarder = made(Carrier(a=waits), most=2, m=M)
    waiting = [asyncio.ensure_future(forwarder.rest(request(), Target(("a",)))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await forwarder.rest(request(), Target(("a",)))
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    states = cells(forwarder.families(), "salver_peer_outstanding_requests")
    assert states == {("a",): 0}


async def test_a_stream_is_outstanding_until_its_end() -> None:
    async def parts() -> "AsyncGenerator[bytes, None]":
        yield b"one"

    forwarder = made(Carrier(a=StreamedResponse(200, parts(), headers=OK.headers)), m=M)
    answer = await forwarder.rest(request(), Target(("a",)))
    assert isinstance(answer, StreamedResponse)
    assert cells(forwarder.families(), "salver_peer_outstanding_requests") == {("a",): 1}
    assert [part async for part in answer.parts] == [b"one"]
    await answer.parts.aclose()
    assert cells(forwarder.families(), "salver_peer_outstanding_requests") == {("a",): 0}


async def test_what_came_of_requests_is_counted() -> None:
    forwarder = made(Carrier(a=NotBegun("no"), b=OK, c=Lost("gone")), m=M)
    await forwarder.rest(request(), Target(("a", "b")))
    with pytest.raises(PeerLost):
        await forwarder.rest(request(), Target(("c",)))
    families = forwarder.families()
    assert cells(families, "salver_forwarded_requests_total") == {("answered",): 1, ("lost",): 1}
    assert cells(families, "salver_peer_requests_total") == {
        ("a", "not_begun"): 1,
        ("b", "answered"): 1,
        ("c", "lost"): 1,
    }
    assert cells(families, "salver_peer_connections") == {("a",): 2, ("",): 1}
    assert cells(families, "salver_peers_put_aside") == {(): 2}
    assert cells(families, "salver_peer_map_generation") == {(): 7}


class CallOf(Call):
    """A call without metadata."""


async def test_calls_of_grpc_are_handed_on_where_there_is_something_that_carries_them() -> None:
    call, servable = CallOf(5.0), ServableRequest("m")
    assert made(m=M).target_of(call, servable) is None
    grpc = GrpcCarrier(a=NotBegun("no"), b=OK)
    forwarder = made(grpc=grpc, m=M)
    target = forwarder.target_of(call, servable)
    assert target == Target(("a", "b"))
    assert await forwarder.unary("/s/M", b"x", call, target) == b"ok"
    assert grpc.asked == ["a", "b"]
    answers = [each async for each in forwarder.messages("/s/M", b"x", call, target)]
    assert answers == [b"ok", b"more"]


async def test_a_stream_of_grpc_that_breaks_off_is_lost_and_not_begun_again() -> None:
    grpc = GrpcCarrier(a=OK, b=OK, breaks=True)
    forwarder = made(grpc=grpc, m=M)
    with pytest.raises(PeerLost):
        _ = [each async for each in forwarder.messages("/s/M", b"x", CallOf(), Target(("a", "b")))]
    assert grpc.asked == ["a"]


async def test_an_error_of_a_peer_is_its_answer() -> None:
    denied = Internal("the model has failed")
    grpc = GrpcCarrier(a=denied, b=OK)
    with pytest.raises(Internal, match="the model has failed"):
        await made(grpc=grpc, m=M).unary("/s/M", b"x", CallOf(), Target(("a", "b")))
    grpc = GrpcCarrier(a=NotFound("not here"), b=OK)
    assert await made(grpc=grpc, m=M).unary("/s/M", b"x", CallOf(), Target(("a", "b"))) == b"ok"


class Saying(GrpcCarrier):
    """Each peer says its name behind its answer."""

    async def unary(
        self,
        peer: Peer,
        method: str,
        data: bytes,
        call: Call,
        fields: Fields,
        timeout_s: float | None,
    ) -> bytes:
        call.add_trailer(b"x-of", peer.name.encode())
        return await super().unary(peer, method, data, call, fields, timeout_s)


class Trailing(CallOf):
    def __init__(self) -> None:
        super().__init__()
        self.trailers: list[tuple[bytes, bytes]] = []

    def add_trailer(self, name: bytes, value: bytes) -> None:
        self.trailers.append((name, value))


async def test_what_is_said_behind_an_answer_is_of_the_peer_that_has_given_it() -> None:
    grpc, call, targets = Saying(a=NotFound("not here"), b=OK), Trailing(), Target(("a", "b"))
    assert await made(grpc=grpc, m=M).unary("/s/M", b"x", call, targets) == b"ok"
    assert call.trailers == [(b"x-of", b"b")]
    grpc, call = Saying(a=NotFound("not here"), b=NotFound("nor here")), Trailing()
    with pytest.raises(NotFound, match="nor here"):
        await made(grpc=grpc, m=M).unary("/s/M", b"x", call, targets)
    assert call.trailers == [(b"x-of", b"b")]
    grpc, call = Saying(a=Internal("broken"), b=OK), Trailing()
    with pytest.raises(Internal):
        await made(grpc=grpc, m=M).unary("/s/M", b"x", call, targets)
    assert call.trailers == [(b"x-of", b"a")]


async def test_connections_are_kept_to_the_peers_of_the_map() -> None:
    carrier = Carrier()
    forwarder = made(carrier)
    assert carrier.kept == {"a:1", "b:1", "c:1"}
    await forwarder.close()
    assert carrier.is_closed

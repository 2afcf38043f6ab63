"""Against both servers of gRPC: ours, and the library's."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from tests.rpc_servers import SERVERS, AnyServer
from tests.unit.transport.http2.client.test_channel import Line, answer, until
from tests.unit.transport.http2.client.test_channel import Peer as RawPeer
from tests.unit.transport.http2.talk import block, frame, headers, number

from salver.errors import NotFound, ResourceExhausted, ServingError, WrongPeerToken
from salver.peers.grpc_transport import Http2GrpcTransport
from salver.peers.map import Peer
from salver.peers.transports import HopFailed, Late, Lost, NotBegun, Refused
from salver.protocols.methods import Call, MethodTable, Stream
from salver.transport.http2.client.channel import ChannelLimits
from salver.transport.http2.header_blocks import Headers
from salver.transport.in_flight import MemoryInFlight

HOST = "127.0.0.1"
FIELDS = ((b"salver-forwarded", b"n1"),)


class Asked(Call):
    """A call as a client has made it."""

    def __init__(self, *pairs: tuple[bytes, bytes]) -> None:
        super().__init__()
        self.sent = Headers(
            [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), *pairs]
        )
        self.trailers: list[tuple[bytes, bytes]] = []

    @property
    def all_headers(self) -> Headers:
        return self.sent

    def add_trailer(self, name: bytes, value: bytes) -> None:
        self.trailers.append((name, value))


class Methods:
    """A table, and what its methods saw."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.headers: list[dict[bytes, bytes]] = []
        self.is_entered = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.was_cancelled = asyncio.Event()
        self.taken = 0

    def table(self) -> MethodTable:
        return {
            "/t.S/Echo": self.echo,
            "/t.S/Wait": self.wait,
            "/t.S/NotFound": self.not_found,
            "/t.S/Refused": self.refused,
            "/t.S/FailsInRun": self.fails_in_run,
            "/t.S/SaysVersion": self.says_version,
            "/t.S/Each": Stream(self.each),
            "/t.S/Many": Stream(self.many),
        }

    def echo(self, data: bytes, call: Call) -> bytes:
        self.calls.append(call)
        self.headers.append(dict(call.all_headers.pairs))
        call.add_trailer(b"x-said", b"behind")
        return data

    async def wait(self, data: bytes, call: Call) -> bytes:
        self.calls.append(call)
        self.is_entered.set()
        try:
            await self.may_go_on.wait()
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise
        return data

    def not_found(self, data: bytes, call: Call) -> bytes:
        call.add_trailer(b"x-said", b"behind")
        raise NotFound(" Servable not found: é% ", hint=data.decode())

    def fails_in_run(self, data: bytes, _call: Call) -> bytes:
        error = NotFound("The run has found no table")
        error.version = int(data)
        raise error

    def says_version(self, data: bytes, call: Call) -> bytes:
        call.add_trailer(b"salver-model-version", data)
        raise NotFound("no")

    def refused(self, _data: bytes, _call: Call) -> bytes:
        raise WrongPeerToken

    async def each(
        self, requests: AsyncIterator[bytes], call: Call
    ) -> "AsyncGenerator[bytes, None]":
        self.headers.append(dict(call.all_headers.pairs))
        async for data in requests:
            for part in data.split(b","):
                if part == b"bad":
                    raise NotFound("nothing")
                yield part

    async def many(
        self, requests: AsyncIterator[bytes], _call: Call
    ) -> "AsyncGenerator[bytes, None]":
        try:
            async for data in requests:
                for _ in range(int(data)):
                    self.taken += 1
                    yield bytes(100_000)
        finally:
            self.was_cancelled.set()


@pytest.fixture
async def methods() -> Methods:
    return Methods()


@pytest.fixture(params=SERVERS)
async def server(
    request: pytest.FixtureRequest, methods: Methods
) -> AsyncIterator[tuple[AnyServer, Peer]]:
    server = SERVERS[request.param](methods.table())
    ((_, port),) = server.listen_tcp(HOST, 0)
    await server.start()
    yield server, Peer("n2", grpc=f"{HOST}:{port}")
    await server.drain(0)


@pytest.fixture
def peer(server: tuple[AnyServer, Peer]) -> Peer:
    return server[1]


@pytest.fixture
async def transport() -> AsyncIterator[Http2GrpcTransport]:
    made = Http2GrpcTransport(in_pool=at_once)
    yield made
    await made.close()


async def at_once(work: Callable[[], Any], _size: int = 0) -> Any:
    return work()


async def echo(
    transport: Http2GrpcTransport, peer: Peer, data: bytes = b"x", call: Call | None = None
) -> bytes:
    return await transport.unary(peer, "/t.S/Echo", data, call or Asked(), FIELDS, None)


@pytest.mark.parametrize("size", [0, 1, 20_000, 300_000, 9_000_000])
async def test_a_message_goes_and_comes_as_it_is(
    transport: Http2GrpcTransport, peer: Peer, size: int
) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert await echo(transport, peer, data) == data


async def test_many_calls_share_a_connection(transport: Http2GrpcTransport, peer: Peer) -> None:
    answers = await asyncio.gather(*(echo(transport, peer, b"%d" % n) for n in range(300)))
    assert answers == [b"%d" % n for n in range(300)]
    assert transport.connections() == {peer.grpc: 1}


async def test_metadata_goes_on_without_what_is_said_of_hops(
    transport: Http2GrpcTransport, peer: Peer, methods: Methods
) -> None:
    call = Asked(
        (b"authorization", b"Bearer a"),
        (b"grpc-timeout", b"1S"),
        (b"grpc-encoding", b"gzip"),
        (b"salver-forwarded", b"liar"),
        (b"salver-peer-token", b"liar"),
        (b"salver-principal", b"liar"),
        (b"x-blob-bin", b"AAEC"),
        (b"x-mine", b"yours"),
    )
    assert await echo(transport, peer, b"x", call) == b"x"
    got = methods.headers[0]
    assert got[b"x-mine"] == b"yours"
    assert got[b"x-blob-bin"].rstrip(b"=") == b"AAEC"
    assert got[b"authorization"] == b"Bearer a"
    assert got[b"salver-forwarded"] == b"n1"
    assert not {b"salver-peer-token", b"salver-principal"} & got.keys()
    assert got.get(b"grpc-encoding", b"identity") == b"identity"
    assert methods.calls[0].timeout_s is None
    assert call.trailers == [(b"x-said", b"behind")]


async def test_credentials_stay_where_the_principal_is_known(
    transport: Http2GrpcTransport, peer: Peer, methods: Methods
) -> None:
    fields = (*FIELDS, (b"salver-principal", b'["a","api_key","r"]'))
    call = Asked((b"authorization", b"Bearer a"), (b"x-api-key", b"k"))
    await transport.unary(peer, "/t.S/Echo", b"x", call, fields, None)
    assert not {b"authorization", b"x-api-key"} & methods.headers[0].keys()


async def test_what_is_left_of_the_time_goes_on(
    transport: Http2GrpcTransport, peer: Peer, methods: Methods
) -> None:
    call = Asked((b"grpc-timeout", b"100S"))
    await transport.unary(peer, "/t.S/Echo", b"x", call, FIELDS, 7.5)
    left_s = methods.calls[0].timeout_s
    assert left_s is not None
    assert 2 < left_s <= 7.5


async def test_a_call_whose_time_is_over_is_late_and_ended_there(
    transport: Http2GrpcTransport, peer: Peer, methods: Methods
) -> None:
    await echo(transport, peer)
    with pytest.raises(Late):
        await transport.unary(peer, "/t.S/Echo", b"x", Asked(), FIELDS, 0.0)
    with pytest.raises((Late, ServingError)):
        await transport.unary(peer, "/t.S/Wait", b"x", Asked(), FIELDS, 0.05)
    await asyncio.wait_for(methods.was_cancelled.wait(), 20)


async def test_a_peer_that_fails_a_call_says_so_with_all_it_says(
    transport: Http2GrpcTransport, peer: Peer
) -> None:
    call = Asked()
    with pytest.raises(NotFound) as caught:
        await transport.unary(peer, "/t.S/NotFound", "try é".encode(), call, FIELDS, None)
    assert caught.value.message == " Servable not found: é% "
    assert caught.value.hint == "try é"
    assert call.trailers == [(b"x-said", b"behind")]


async def test_an_error_of_a_version_that_was_found_says_which(
    transport: Http2GrpcTransport, peer: Peer
) -> None:
    call = Asked()
    with pytest.raises(NotFound) as caught:
        await transport.unary(peer, "/t.S/FailsInRun", b"7", call, FIELDS, None)
    assert caught.value.version == 7
    assert call.trailers == []  # who passes the error on says it anew
    with pytest.raises(NotFound) as caught:
        await transport.unary(peer, "/t.S/NotFound", b"", call, FIELDS, None)
    assert caught.value.version is None


@pytest.mark.parametrize("said", ["x", "-1", "1" * 20])
async def test_a_version_that_is_none_says_nothing(
    transport: Http2GrpcTransport, peer: Peer, said: str
) -> None:
    with pytest.raises(NotFound) as caught:
        await transport.unary(peer, "/t.S/SaysVersion", said.encode(), Asked(), FIELDS, None)
    assert caught.value.version is None


async def test_a_peer_that_refuses_us_is_told_apart(
    transport: Http2GrpcTransport, peer: Peer
) -> None:
    with pytest.raises(Refused):
        await transport.unary(peer, "/t.S/Refused", b"", Asked(), FIELDS, None)


async def test_a_call_that_is_cancelled_is_cancelled_there(
    transport: Http2GrpcTransport, peer: Peer, methods: Methods
) -> None:
    asking = asyncio.ensure_future(transport.unary(peer, "/t.S/Wait", b"x", Asked(), FIELDS, None))
    await asyncio.wait_for(methods.is_entered.wait(), 20)
    asking.cancel()
    await asyncio.wait_for(methods.was_cancelled.wait(), 20)
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await echo(transport, peer, b"still there") == b"still there"


async def test_a_peer_that_drains_answers_what_it_has_and_is_asked_no_more(
    transport: Http2GrpcTransport, server: tuple[AnyServer, Peer], methods: Methods
) -> None:
    serving, peer = server
    asking = asyncio.ensure_future(transport.unary(peer, "/t.S/Wait", b"x", Asked(), FIELDS, None))
    await asyncio.wait_for(methods.is_entered.wait(), 20)
    draining = asyncio.ensure_future(serving.drain(20))
    await until(lambda: all(not each._connections for each in transport._channels.values()))
    with pytest.raises(HopFailed) as caught:
        await echo(transport, peer)
    assert isinstance(caught.value, NotBegun)
    methods.may_go_on.set()
    assert await asking == b"x"
    assert await draining == 0


async def test_a_peer_that_nobody_listens_at_has_begun_nothing(
    transport: Http2GrpcTransport,
) -> None:
    with pytest.raises(NotBegun):
        await echo(transport, Peer("n2", grpc=f"{HOST}:1"))
    with pytest.raises(NotBegun):
        await echo(transport, Peer("n2", rest=f"{HOST}:1"))


async def test_an_answer_larger_than_we_take_fails_its_call_alone(peer: Peer) -> None:
    transport = Http2GrpcTransport(in_pool=at_once, most_bytes=1000)
    with pytest.raises(ResourceExhausted):
        await echo(transport, peer, bytes(1001))
    assert await echo(transport, peer, bytes(1000)) == bytes(1000)
    await transport.close()


async def test_answers_count_as_memory_in_flight_and_are_let_go(peer: Peer) -> None:
    memory = MemoryInFlight(2_000_000)
    transport = Http2GrpcTransport(in_pool=at_once, memory=memory)
    with pytest.raises(ResourceExhausted, match="in flight"):
        await echo(transport, peer, bytes(3_000_000))
    assert len(await echo(transport, peer, bytes(1_000_000))) == 1_000_000
    assert memory.held_bytes == 0
    await transport.close()


async def test_calls_to_peers_that_are_no_more_are_still_answered(
    transport: Http2GrpcTransport, peer: Peer, methods: Methods
) -> None:
    asking = asyncio.ensure_future(transport.unary(peer, "/t.S/Wait", b"x", Asked(), FIELDS, None))
    await asyncio.wait_for(methods.is_entered.wait(), 20)
    transport.keep(frozenset())
    assert transport.connections() == {}
    methods.may_go_on.set()
    assert await asking == b"x"


# Streams.


async def test_the_answers_to_a_message_come_as_they_are_given(
    transport: Http2GrpcTransport, peer: Peer, methods: Methods
) -> None:
    call = Asked((b"x-mine", b"yours"))
    answers = transport.messages(peer, "/t.S/Each", b"a,b,c", call, FIELDS, 20.0)
    assert [part async for part in answers] == [b"a", b"b", b"c"]
    assert methods.headers[0][b"x-mine"] == b"yours"


async def test_a_stream_that_fails_has_given_what_came_before(
    transport: Http2GrpcTransport, peer: Peer
) -> None:
    answers = transport.messages(peer, "/t.S/Each", b"a,bad", Asked(), FIELDS, None)
    assert await anext(answers) == b"a"
    with pytest.raises(NotFound, match="nothing"):
        await anext(answers)


async def test_a_stream_that_nobody_reads_is_held_up_and_ended_there(
    transport: Http2GrpcTransport, peer: Peer, methods: Methods
) -> None:
    answers = transport.messages(peer, "/t.S/Many", b"5000", Asked(), FIELDS, None)
    async with aclosing(answers):
        assert len(await anext(answers)) == 100_000
        assert await echo(transport, peer, b"others go on") == b"others go on"
        assert methods.taken < 2000
    await asyncio.wait_for(methods.was_cancelled.wait(), 20)
    assert methods.taken < 2000


async def test_a_message_of_a_stream_counts_until_it_is_whole(peer: Peer) -> None:
    memory = MemoryInFlight(6_000_000)
    transport = Http2GrpcTransport(in_pool=at_once, memory=memory)

    async def asked(size: int) -> list[int]:
        answers = transport.messages(peer, "/t.S/Each", bytes(size), Asked(), FIELDS, None)
        return [len(part) async for part in answers]

    with pytest.raises(ResourceExhausted, match="in flight"):
        await asked(9_000_000)
    assert await asked(5_000_000) == [5_000_000]
    assert memory.held_bytes == 0
    await transport.close()


# Peers that misbehave.


async def asked_of(
    serve: "Callable[[RawPeer, Line], Awaitable[None]]",
    limits: ChannelLimits | None = None,
    *,
    times: int = 3,
) -> "tuple[list[str], RawPeer]":
    """How calls end at a peer, one after the other."""
    raw = RawPeer(serve)
    port = await raw.open()
    transport = Http2GrpcTransport(in_pool=at_once, limits=limits)
    ends = []
    try:
        for _ in range(times):
            asking = echo(transport, Peer("n2", grpc=f"{HOST}:{port}"))
            (end,) = await asyncio.gather(asyncio.wait_for(asking, 20), return_exceptions=True)
            ends.append(end.decode() if isinstance(end, bytes) else type(end).__name__)
    finally:
        await transport.close()
        await raw.close()
    return ends, raw


def replying(*parts: bytes) -> "Callable[[RawPeer, Line], Awaitable[None]]":
    async def reply(_peer: RawPeer, line: Line) -> None:
        await line.greet()
        await line.request()
        line.send(*parts)
        await line.hang()

    return reply


async def test_a_peer_that_breaks_off_has_begun() -> None:
    async def leave(_peer: RawPeer, line: Line) -> None:
        await line.greet()
        await line.request()
        line.send(headers(1, block([(":status", "200")])))

    ends, _ = await asked_of(leave)
    assert ends[0] == "Lost"
    assert set(ends[1:]) <= {"Lost", "NotBegun"}


@pytest.mark.parametrize(
    ("reply", "end"),
    [
        (frame(3, 0, 1, number(7)), "NotBegun"),
        (frame(7, 0, 0, bytes(8)), "NotBegun"),
        (frame(3, 0, 1, number(2)), "Lost"),
        (headers(1, b"\xff\xff\xff\xff\xff\xff\xff"), "Lost"),
        (headers(1, block([(":status", "503")]), end=True), "Unavailable"),
        (headers(1, block([(":status", "200"), ("grpc-status", "x")]), end=True), "Unknown"),
        (headers(1, block([(":status", "200"), ("grpc-status", "0")]), end=True), "Internal"),
        (answer(1, b"\0\0\0\0\4fine"), "fine"),
        (answer(1, b"\0\0\0\0\5fine"), "Internal"),
        (answer(1, b"\0\0\0\0\1f\0\0\0\0\1f"), "Internal"),
        (answer(1, b"\1\0\0\0\4fine"), "Internal"),
        (answer(1, b"\7\0\0\0\4fine"), "Internal"),
    ],
)
async def test_each_way_to_answer_has_its_end(reply: bytes, end: str) -> None:
    ends, _ = await asked_of(replying(reply), times=1)
    assert ends == [end]


async def test_a_peer_that_hangs_before_it_speaks_has_begun_nothing() -> None:
    async def hang(_peer: RawPeer, line: Line) -> None:
        await line.hang()

    ends, raw = await asked_of(hang, ChannelLimits(connect_timeout_s=0.05))
    assert ends == ["NotBegun"] * 3
    assert raw.accepted <= 2


async def test_a_peer_whose_answer_never_comes_is_late() -> None:
    async def hang(_peer: RawPeer, line: Line) -> None:
        await line.greet()
        while True:
            await line.frame()

    raw = RawPeer(hang)
    port = await raw.open()
    transport = Http2GrpcTransport(in_pool=at_once)
    with pytest.raises(Late):
        await transport.unary(
            Peer("n2", grpc=f"{HOST}:{port}"), "/t.S/Echo", b"x", Asked(), FIELDS, 0.05
        )
    await transport.close()
    with pytest.raises(NotBegun):
        await echo(transport, Peer("n2", grpc=f"{HOST}:{port}"))
    await raw.close()


async def test_who_closes_ends_those_who_wait() -> None:
    async def hang(_peer: RawPeer, line: Line) -> None:
        await line.greet()
        await line.hang()

    raw = RawPeer(hang)
    port = await raw.open()
    transport = Http2GrpcTransport(in_pool=at_once)
    asking = asyncio.ensure_future(echo(transport, Peer("n2", grpc=f"{HOST}:{port}")))
    await until(lambda: transport.connections().get(f"{HOST}:{port}") == 1)
    await transport.close()
    with pytest.raises(Lost):
        await asking
    await raw.close()

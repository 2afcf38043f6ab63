import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme
from tests.unit.transport.http2.client.answering import ASK, END, OK, Asking
from tests.unit.transport.http2.talk import Clock, data, frame, headers, number, setting

from salver.transport.http2.client.channel import Channel, ChannelLimits
from salver.transport.http2.client.session import ClientSession
from salver.transport.http2.client.stream import Loss
from salver.transport.http2.frames import PREFACE
from salver.transport.http2.limits import Http2Limits
from salver.transport.tls import client_context, server_context

HOST = "127.0.0.1"
GREETING = frame(4, 0, 0) + frame(4, 1, 0)
WAIT_S = 20.0
_MOST_TURNS = 500_000  # seconds: only what is broken takes so long
LIMITS = ChannelLimits(
    connection=Http2Limits(keepalive_time_s=5.0, keepalive_timeout_s=5.0, write_timeout_s=20.0),
    connect_timeout_s=WAIT_S,
)


def goaway(last_id: int) -> bytes:
    return frame(7, 0, 0, struct.pack(">II", last_id, 0))


def answer(stream_id: int, body: bytes = b"fine") -> bytes:
    return headers(stream_id, OK) + data(stream_id, body) + headers(stream_id, END, end=True)


class Waiting(Asking):
    """A request that waits for room, and what becomes of it."""

    def __init__(self, body: bytes = b"hello") -> None:
        super().__init__()
        self.sent = body
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.has_begun = asyncio.Event()

    def begin(self, session: ClientSession) -> None:
        self.stream = session.ask(ASK, self.sent, self)
        self.has_begun.set()

    def received(self, data: bytes | memoryview, is_last: bool) -> None:
        super().received(data, is_last)
        if is_last:
            self.over.set_result(None)

    def lost(self, loss: Loss) -> None:
        super().lost(loss)
        self.over.set_result(None)

    async def ended(self) -> "Waiting":
        await asyncio.wait_for(self.over, WAIT_S)
        return self


class Peer:
    """A server that does what the test says on each of its connections."""

    def __init__(self, serve: "Callable[[Peer, Line], Awaitable[None]]") -> None:
        self._serve = serve
        self.lines: list[Line] = []
        self.accepted = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self, tls: Any = None) -> int:
        self._server = await asyncio.start_server(self._accept, HOST, 0, ssl=tls)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: Any = asyncio.current_task()
        self._tasks.add(task)
        self.accepted += 1
        line = Line(reader, writer)
        self.lines.append(line)
        try:
            await self._serve(self, line)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has left, or the test has ended
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def close(self) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


class Line:
    """One connection of a peer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def greet(self, *more: bytes) -> None:
        await self.reader.readexactly(len(PREFACE))
        self.send(GREETING, *more)

    def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))

    async def frame(self) -> tuple[int, int, int, bytes]:
        word, flags, stream_id = struct.unpack(">IBI", await self.reader.readexactly(9))
        return word & 0xFF, flags, stream_id, await self.reader.readexactly(word >> 8)

    async def request(self) -> int:
        """The id of the next request that is complete."""
        while True:
            kind, flags, stream_id, _ = await self.frame()
            if kind in (0, 1) and flags & 1:
                return stream_id

    async def until(self, kind: int) -> bytes:
        while True:
            found, _, _, payload = await self.frame()
            if found == kind:
                return payload

    async def hang(self) -> None:
        await asyncio.Event().wait()


@asynccontextmanager
async def channel_to(
    serve: "Callable[[Peer, Line], Awaitable[None]]",
    limits: ChannelLimits = LIMITS,
    *,
    tls: Any = None,
    trust: Any = None,
) -> AsyncIterator[tuple[Channel, Peer, Clock]]:
    peer = Peer(serve)
    clock = Clock()
    port = await peer.open(tls)
    channel = Channel(HOST, port, monotonic=clock, limits=limits, tls=trust)
    try:
        yield channel, peer, clock
    finally:
        channel.close()
        await peer.close()


def ask(channel: Channel, body: bytes = b"hello") -> Waiting:
    waiting = Waiting(body)
    channel.submit(waiting)
    return waiting


async def until(check: Callable[[], Any]) -> None:
    for _ in range(_MOST_TURNS):
        if check():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come true")


def is_answered(channel: Channel) -> bool:
    """Whether no ping waits for its answer."""
    return all(each.session.ping_since is None for each in channel._connections)


async def answering(_peer: Peer, line: Line) -> None:
    await line.greet()
    while True:
        line.send(answer(await line.request()))


async def test_one_connection_carries_the_requests() -> None:
    async with channel_to(answering) as (channel, peer, _):
        waiting = [ask(channel) for _ in range(50)]
        for one in waiting:
            assert (await one.ended()).body == b"fine"
        assert peer.accepted == 1
        assert not channel.outstanding


async def test_a_name_that_cannot_be_written_refuses_who_asks() -> None:
    channel = Channel("a" * 70, 1, monotonic=Clock(), limits=LIMITS)  # IDNA has up to 63
    one = await ask(channel).ended()
    assert one.loss is not None
    assert not one.loss.has_begun
    channel.close()


async def test_a_server_whose_streams_are_full_gets_another_connection() -> None:
    held: list[Line] = []

    async def two_streams(_peer: Peer, line: Line) -> None:
        await line.greet(setting(3, 2))
        held.append(line)
        await line.hang()

    limits = ChannelLimits(max_connections=3, max_waiting=4)
    async with channel_to(two_streams, limits) as (channel, peer, _):
        waiting = [ask(channel) for _ in range(4)]
        await until(lambda: sum(one.has_begun.is_set() for one in waiting) == 4)
        waiting += [ask(channel) for _ in range(2)]
        await until(lambda: sum(one.has_begun.is_set() for one in waiting) == 6)
        assert peer.accepted == 3
        late = [ask(channel) for _ in range(4)]
        refused = ask(channel)
        assert refused.loss is not None
        assert not refused.loss.has_begun
        assert not any(one.has_begun.is_set() for one in late)
        held[0].send(answer(1))
        await until(lambda: late[0].has_begun.is_set())
        assert not late[1].has_begun.is_set()
        assert peer.accepted == 3


async def test_who_waits_for_room_does_not_wait_for_ever() -> None:
    async def no_streams(_peer: Peer, line: Line) -> None:
        await line.greet(setting(3, 0))
        await line.hang()

    async with channel_to(no_streams, ChannelLimits(max_connections=1)) as (channel, peer, clock):
        waiting = ask(channel)
        await until(lambda: channel.connections == 1)
        assert not waiting.over.done()
        clock.now += 31
        channel.sweep(clock.now)
        assert waiting.loss is not None
        assert not waiting.loss.has_begun
        assert peer.accepted == 1


async def test_who_is_withdrawn_is_not_begun() -> None:
    async with channel_to(answering) as (channel, _, _clock):
        first, second = ask(channel), ask(channel)
        channel.withdraw(first)
        await second.ended()
        assert not first.has_begun.is_set()


async def test_a_server_that_nobody_listens_at_has_begun_nothing_and_is_left_alone() -> None:
    async with channel_to(answering) as (channel, peer, clock):
        await peer.close()
        waiting = ask(channel)
        assert (await waiting.ended()).loss is not None
        assert waiting.loss is not None
        assert not waiting.loss.has_begun
        at_once = ask(channel)
        assert at_once.loss is not None
        assert at_once.loss.reason == waiting.loss.reason
        clock.now += 1
        later = ask(channel)
        assert later.loss is None
        await later.ended()


async def test_a_server_that_comes_back_is_asked_again() -> None:
    async with channel_to(answering) as (channel, peer, clock):
        await ask(channel).ended()
        peer.lines[0].writer.transport.abort()
        await until(lambda: not channel.connections)
        clock.now += 10
        assert (await ask(channel).ended()).body == b"fine"
        assert peer.accepted == 2


async def test_a_server_that_does_not_speak_has_begun_nothing() -> None:
    async def hang(_peer: Peer, line: Line) -> None:
        await line.hang()

    limits = ChannelLimits(connect_timeout_s=0.05)
    async with channel_to(hang, limits) as (channel, _, _clock):
        waiting = await ask(channel).ended()
        assert waiting.loss is not None
        assert not waiting.loss.has_begun
        assert not channel.connections


async def test_a_server_of_something_else_has_begun_nothing() -> None:
    async def http1(_peer: Peer, line: Line) -> None:
        line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await line.hang()

    async with channel_to(http1) as (channel, _, _clock):
        waiting = await ask(channel).ended()
        assert waiting.loss is not None
        assert not waiting.loss.has_begun


async def test_a_server_that_hangs_is_found_out_by_a_ping() -> None:
    pinged = asyncio.Event()

    async def hang(_peer: Peer, line: Line) -> None:
        await line.greet()
        await line.request()
        await line.until(6)
        pinged.set()
        await line.hang()

    async with channel_to(hang) as (channel, _, clock):
        waiting = ask(channel)
        await waiting.has_begun.wait()
        for _ in range(12):
            clock.now += 1
            channel.sweep(clock.now)
        assert waiting.loss is not None
        assert waiting.loss.has_begun
        assert waiting.loss.reason == "keepalive timeout"
        await asyncio.wait_for(pinged.wait(), WAIT_S)
        await until(lambda: not channel.connections)


async def test_a_model_that_thinks_for_long_is_pinged_no_oftener_than_servers_take() -> None:
    pings: list[bytes] = []

    async def think(_peer: Peer, line: Line) -> None:
        await line.greet()
        await line.request()
        while True:
            payload = await line.until(6)
            pings.append(payload)
            line.send(frame(6, 1, 0, payload))

    async with channel_to(think) as (channel, _, clock):
        waiting = ask(channel)
        await waiting.has_begun.wait()
        for _ in range(60):
            clock.now += 1
            channel.sweep(clock.now)
            await until(lambda: is_answered(channel))
        assert waiting.loss is None
        assert 1 <= len(pings) <= 3


async def test_a_server_that_never_opens_the_window_has_not_begun() -> None:
    async def shut(_peer: Peer, line: Line) -> None:
        await line.greet(setting(4, 0))
        while True:
            kind, flags, _, payload = await line.frame()
            if kind == 6 and not flags:
                line.send(frame(6, 1, 0, payload))

    async with channel_to(shut) as (channel, _, clock):
        waiting = ask(channel)
        await waiting.has_begun.wait()
        for _ in range(21):
            clock.now += 1
            channel.sweep(clock.now)
            await until(lambda: is_answered(channel))
        assert waiting.loss is not None
        assert not waiting.loss.has_begun
        assert not channel.outstanding


async def test_a_server_that_goes_again_and_again_is_left_alone() -> None:
    async def going(_peer: Peer, line: Line) -> None:
        await line.greet()
        await line.request()
        line.send(goaway(0) * 50)
        await line.hang()

    async with channel_to(going) as (channel, peer, _):
        for _ in range(100):
            waiting = await ask(channel).ended()
            assert waiting.loss is not None
            assert not waiting.loss.has_begun
        assert peer.accepted <= 2


async def test_a_server_that_goes_when_asked_has_its_answers_awaited() -> None:
    async def parting(peer: Peer, line: Line) -> None:
        await line.greet()
        stream_id = await line.request()
        if peer.accepted == 1:
            line.send(goaway(2**31 - 1))
            await until(lambda: peer.accepted == 2)
        line.send(answer(stream_id))
        await line.hang()

    async with channel_to(parting) as (channel, _, clock):
        first = ask(channel)
        await first.has_begun.wait()
        clock.now += 10
        await until(lambda: not channel._connections)
        second = ask(channel)
        assert (await first.ended()).body == b"fine"
        assert (await second.ended()).body == b"fine"
        await until(lambda: channel.connections == 1)


@pytest.mark.parametrize(
    "hostile",
    [
        frame(6, 0, 0, bytes(8)),
        frame(4, 0, 0),
        frame(8, 0, 0, number(1)),
        data(1),
        headers(1, b"\xff\xff\xff\xff\xff\xff\xff"),
        data(1, bytes(16_000)),
    ],
    ids=["ping", "settings", "window", "empty", "hpack", "data"],
)
async def test_a_flood_ends_the_connection_and_harms_no_other(hostile: bytes) -> None:
    async def flooding(peer: Peer, line: Line) -> None:
        await line.greet()
        stream_id = await line.request()
        if peer.accepted > 1:
            line.send(answer(stream_id))
            await line.hang()
        line.send(headers(1, OK))
        while True:
            line.send(hostile * max(1, 64_000 // len(hostile)))
            await line.writer.drain()

    limits = ChannelLimits(
        connection=Http2Limits(stream_window_bytes=65_535, connection_window_bytes=65_535)
    )
    async with channel_to(flooding, limits) as (channel, peer, clock):
        waiting = ask(channel)
        await waiting.has_begun.wait()
        assert waiting.stream is not None
        waiting.stream.auto_credit = False
        await waiting.ended()
        assert waiting.loss is not None
        assert waiting.loss.has_begun
        await until(lambda: not channel.connections)
        clock.now += 10
        assert (await ask(channel).ended()).body == b"fine"
        assert peer.accepted == 2


async def test_a_connection_that_nobody_uses_is_closed() -> None:
    async with channel_to(answering, ChannelLimits()) as (channel, _, clock):
        await ask(channel).ended()
        assert not channel.is_idle
        for _ in range(2):
            clock.now += 400
            channel.sweep(clock.now)
        await until(lambda: channel.is_idle)


async def test_a_channel_that_closes_tells_those_who_wait() -> None:
    async def hang(_peer: Peer, line: Line) -> None:
        await line.greet(setting(3, 1))
        await line.hang()

    async with channel_to(hang, ChannelLimits(max_connections=1)) as (channel, _, _clock):
        sent, waiting = ask(channel), ask(channel)
        await sent.has_begun.wait()
        channel.close()
        assert waiting.loss is not None
        assert not waiting.loss.has_begun
        assert (await sent.ended()).loss is not None
        refused = ask(channel)
        assert refused.loss is not None


# TLS.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def contexts(authority: trustme.CA, protocols: tuple[str, ...]) -> tuple[Any, Any]:
    certificate = authority.issue_cert(HOST)
    pem = authority.cert_pem.bytes().decode()
    chain = "".join(blob.bytes().decode() for blob in certificate.cert_chain_pems)
    key = certificate.private_key_pem.bytes().decode()
    serving = server_context(
        server_key=key,
        server_cert=chain,
        custom_ca=pem,
        client_verify=True,
        protocols=protocols,
    )
    asking = client_context(key=key, cert=chain, custom_ca=pem, protocols=("h2",))
    return serving, asking


async def test_speaks_tls_and_shows_its_certificate(authority: trustme.CA) -> None:
    serving, asking = contexts(authority, ("h2",))
    async with channel_to(answering, tls=serving, trust=asking) as (channel, peer, _):
        assert (await ask(channel).ended()).body == b"fine"
        assert peer.lines[0].writer.get_extra_info("peercert")


async def test_a_server_of_http1_over_tls_has_begun_nothing(authority: trustme.CA) -> None:
    serving, asking = contexts(authority, ("http/1.1",))
    async with channel_to(answering, tls=serving, trust=asking) as (channel, _, _clock):
        waiting = await ask(channel).ended()
        assert waiting.loss is not None
        assert not waiting.loss.has_begun
        assert "does not speak HTTP/2" in waiting.loss.reason


async def test_a_server_of_another_authority_is_not_asked(authority: trustme.CA) -> None:
    serving, _ = contexts(trustme.CA(), ("h2",))
    _, asking = contexts(authority, ("h2",))
    async with channel_to(answering, tls=serving, trust=asking) as (channel, _peer, _clock):
        waiting = await ask(channel).ended()
        assert waiting.loss is not None
        assert not waiting.loss.has_begun

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from tests.unit.transport.http2.talk import (
    HEAD,
    REQUEST,
    TAIL,
    Clock,
    Ledger,
    block,
    data,
    echo,
    frame,
    frames,
    goaway_of,
    headers,
    number,
    setting,
)

from salver.transport.http2.connection import Http2Connection
from salver.transport.http2.frames import PREFACE, Code
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.stream import Stream
from salver.transport.limits import HttpLimits
from salver.transport.messages import HttpResponse
from salver.transport.service import Service

GREETING = PREFACE + frame(4, 0, 0) + frame(4, 1, 0)


class MemoryTransport(asyncio.Transport):
    """A transport whose other end is a list."""

    def __init__(self, peer: object, *, is_tls: bool) -> None:
        super().__init__()
        self.peer = peer
        self.is_tls = is_tls
        self.log: list[str] = []
        self.writes: list[bytes] = []
        self.unsent_bytes = 0
        self.high_water: int | None = None
        self.protocol: Http2Connection | None = None

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": self.peer}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        if self.high_water is not None:
            self.unsent_bytes += len(data)
            if self.unsent_bytes > self.high_water:
                assert self.protocol is not None
                self.protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.log.append("gather")
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def can_write_eof(self) -> bool:
        return not self.is_tls

    def write_eof(self) -> None:
        self.log.append("eof")

    def close(self) -> None:
        self.log.append("close")

    def abort(self) -> None:
        self.log.append("abort")

    def pause_reading(self) -> None:
        self.log.append("pause")

    def resume_reading(self) -> None:
        self.log.append("resume")

    def is_closing(self) -> bool:
        return "close" in self.log or "abort" in self.log


def _run_at_once(work: Callable[[], Any], size: int = 0) -> Awaitable[Any]:
    raise NotImplementedError


class Door:
    """A service with one HTTP/2 connection."""

    def __init__(
        self,
        limits: Http2Limits | None = None,
        answer: Callable[[Stream, bytes], None] | None = echo,
        *,
        peer: object = ("127.0.0.1", 5),
        is_tls: bool = False,
        is_draining: bool = False,
    ) -> None:
        self.clock = Clock()
        self.events: list[str] = []
        self.service = Service(
            lambda request: HttpResponse(200),
            error_page=lambda status, message, hint: HttpResponse(status),
            limits=HttpLimits(),
            access=None,
            clock=self.clock,
            run_in_pool=_run_at_once,
            monotonic=self.clock,
        )
        self.service.draining = self.service.is_closed = is_draining
        self.service.on_connection = lambda: self.events.append("made")
        self.service.on_empty = lambda: self.events.append("empty")
        self.ledger = Ledger(answer)
        self.connection = Http2Connection(self.service, self.ledger, limits)
        self.transport = MemoryTransport(peer, is_tls=is_tls)
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)

    def send(self, *parts: bytes) -> list[tuple[int, int, int, bytes]]:
        self.connection.data_received(b"".join(parts))
        return self.output()

    def output(self) -> list[tuple[int, int, int, bytes]]:
        writes, self.transport.writes = self.transport.writes, []
        return frames(b"".join(writes))

    def wait(self, seconds: float) -> list[tuple[int, int, int, bytes]]:
        self.clock.now += seconds
        self.service.refresh()
        self.connection.sweep(self.service.tick)
        return self.output()

    def read_by_client(self) -> None:
        """The client has read all that was written."""
        self.transport.unsent_bytes = 0
        self.connection.resume_writing()


async def test_answers_of_one_read_are_one_write() -> None:
    door = Door()
    door.output()
    door.connection.data_received(
        GREETING + b"".join(headers(i) + data(i, b"x", end=True) for i in (1, 3, 5))
    )
    assert len(door.transport.writes) == 1
    ids = [sid for kind, _, sid, _ in door.output() if kind == 0]
    assert ids == [1, 3, 5]
    assert "gather" not in door.transport.log


_MANY = b"".join(data(1, b"x") for _ in range(5000))


def _turns(log: list[str]) -> list[str]:
    return [what for what in log if what in ("pause", "resume")]


async def test_many_frames_of_one_read_are_taken_in_several_turns_of_the_loop() -> None:
    door = Door()
    door.send(GREETING, headers(1), _MANY, data(1, b"y", end=True))
    assert 0 < len(door.ledger.body(1)) < 5000
    assert _turns(door.transport.log) == ["pause"]
    for _ in range(3):
        await asyncio.sleep(0)
    assert door.ledger.body(1) == b"x" * 5000 + b"y"
    assert door.ledger.complete == [1]
    assert _turns(door.transport.log) == ["pause", "pause", "resume"]
    assert door.output()


async def test_bytes_that_come_between_two_turns_wait_behind_the_others() -> None:
    door = Door()
    door.send(GREETING, headers(1), _MANY)
    door.send(data(1, b"y", end=True))  # as TLS may bring them though it was told to pause
    for _ in range(3):
        await asyncio.sleep(0)
    assert door.ledger.body(1) == b"x" * 5000 + b"y"


async def test_long_header_blocks_take_more_of_a_turn() -> None:
    door = Door()
    long = block([*REQUEST, ("x-long", "a" * 30_000)])
    door.send(GREETING, headers(1, long, end=True), headers(3, end=True))
    assert door.ledger.complete == [1]
    await asyncio.sleep(0)
    assert door.ledger.complete == [1, 3]


async def test_a_connection_that_is_lost_between_two_turns_has_none() -> None:
    door = Door()
    door.send(GREETING, headers(1), _MANY)
    door.connection.connection_lost(None)
    before = door.ledger.body(1)
    await asyncio.sleep(0)
    assert door.ledger.body(1) == before


async def test_a_client_that_does_not_read_has_no_further_turn_until_it_does() -> None:
    door = Door(Http2Limits(max_unread_output_bytes=10))
    door.send(GREETING)
    door.transport.high_water = 20
    door.send(headers(1), headers(3, end=True), _MANY)
    before = door.ledger.body(1)
    await asyncio.sleep(0)
    assert door.ledger.body(1) == before
    door.transport.high_water = None
    door.read_by_client()
    for _ in range(3):
        await asyncio.sleep(0)
    assert door.ledger.body(1) == b"x" * 5000
    assert _turns(door.transport.log)[-1] == "resume"


async def test_a_connection_that_ends_in_a_later_turn_is_not_read_on() -> None:
    door = Door(is_tls=True)
    door.send(GREETING, headers(1), _MANY, frame(5, 0, 1))
    for _ in range(3):
        await asyncio.sleep(0)
    assert door.transport.log[-1] == "close"


async def test_who_sends_on_and_on_after_the_end_is_cut_off() -> None:
    limits = Http2Limits(stream_window_bytes=100_000, connection_window_bytes=100_000)
    door = Door(limits)
    door.send(b"no HTTP/2, but as long as the preface of it")
    door.send(bytes(100_000))
    assert door.transport.log == ["eof"]
    door.send(b"x")
    assert door.transport.log == ["eof", "abort"]


async def test_later_answers_of_one_turn_of_the_loop_are_one_write() -> None:
    door = Door(answer=None)
    door.send(GREETING, headers(1, end=True), headers(3, end=True))
    for stream in door.connection.streams:
        stream.respond(HEAD, b"x", TAIL)
    assert door.transport.writes == []
    await asyncio.sleep(0)
    assert len(door.transport.writes) == 1
    assert len(door.output()) == 6


async def test_belongs_to_its_service_while_it_is_open() -> None:
    door = Door(answer=None)
    assert door.service.connections == {door.connection}
    door.send(GREETING, headers(1, end=True))
    (stream,) = door.connection.streams
    stream.send_head(HEAD)
    door.connection.connection_lost(None)
    assert door.ledger.gone == [1]
    assert door.service.connections == set()
    assert door.events == ["made", "empty"]
    assert not door.connection.is_unanswered
    door.output()
    await asyncio.sleep(0)
    assert door.output() == []


async def test_the_service_is_not_empty_while_another_connection_is_open() -> None:
    door = Door()
    other = Http2Connection(door.service, door.ledger)
    other.connection_made(MemoryTransport(None, is_tls=False))
    door.connection.connection_lost(None)
    assert door.events == ["made", "made"]


@pytest.mark.parametrize(
    ("peer", "expected"),
    [(("::ffff:10.0.0.1", 5), "10.0.0.1"), (("::1", 5, 0, 0), "::1"), ("", None), (None, None)],
)
async def test_knows_its_peer(peer: object, expected: str | None) -> None:
    assert Door(peer=peer).connection.peer == expected


async def test_a_large_answer_is_not_copied_into_one() -> None:
    door = Door(answer=None)
    door.send(GREETING, setting(4, 2**20), frame(8, 0, 0, number(2**20)), headers(1, end=True))
    door.connection.streams[0].respond(HEAD, bytes(600_000), TAIL)
    await asyncio.sleep(0)
    assert "gather" in door.transport.log
    assert sum(len(payload) for kind, _, _, payload in door.output() if kind == 0) == 600_000


async def test_what_the_socket_does_not_take_waits_here() -> None:
    door = Door(answer=None)
    door.send(GREETING, setting(4, 2**30), frame(8, 0, 0, number(2**30)), headers(1, end=True))
    door.transport.high_water = 65_536
    door.connection.streams[0].respond(HEAD, bytes(3_000_000), TAIL)
    await asyncio.sleep(0)
    got = len(b"".join(payload for kind, _, _, payload in door.output() if kind == 0))
    assert got < 700_000
    while door.connection.streams:
        door.read_by_client()
        got += len(b"".join(payload for kind, _, _, payload in door.output() if kind == 0))
    assert got == 3_000_000


async def test_a_client_that_reads_nothing_is_not_read_either() -> None:
    door = Door(Http2Limits(max_unread_output_bytes=1000, max_ping_strikes=0))
    door.send(GREETING)
    door.transport.high_water = 100
    ping = frame(6, 0, 0, bytes(8))
    door.send(ping * 30)
    assert "pause" not in door.transport.log
    door.send(ping * 30)
    door.send(ping * 30)
    assert door.transport.log.count("pause") == 1
    door.read_by_client()
    assert door.transport.log[-1] == "resume"


async def test_a_client_that_does_not_read_for_long_is_cut_off() -> None:
    door = Door(Http2Limits(write_timeout_s=10))
    door.send(GREETING)
    door.transport.unsent_bytes = 100
    door.wait(9)
    door.transport.unsent_bytes = 50
    for _ in range(2):
        door.wait(5)
    assert door.transport.log == []
    door.wait(5)
    assert door.transport.log == ["abort"]


async def test_what_is_written_at_once_after_silence_has_its_time() -> None:
    door = Door(Http2Limits(write_timeout_s=10))
    door.send(GREETING)
    door.wait(100)
    door.transport.unsent_bytes = 100
    door.wait(1)
    door.wait(8)
    assert door.transport.log == []


async def test_a_fault_is_told_before_the_end() -> None:
    door = Door(Http2Limits(linger_s=2))
    gone = goaway_of(door.send(GREETING, frame(6, 0, 0, b"short")))
    assert gone == (Code.FRAME_SIZE_ERROR, b"PING has eight octets")
    assert door.transport.log == ["eof"]
    assert door.send(headers(1)) == []
    assert door.wait(1) == []
    assert door.transport.log == ["eof"]
    door.wait(2)
    assert door.transport.log == ["eof", "abort"]


async def test_a_fault_of_a_tls_connection_closes_it() -> None:
    door = Door(is_tls=True)
    door.send(b"GET / HTTP/1.1\r\n\r\n")
    assert door.transport.log == ["close"]


async def test_a_drain_answers_what_is_open_and_closes() -> None:
    door = Door(answer=None)
    door.send(GREETING, headers(1, end=True))
    door.connection.drain()
    _, (_, _, _, probe) = door.output()
    door.send(frame(6, 1, 0, probe))
    assert door.transport.log == []
    assert door.connection.is_unanswered
    door.connection.streams[0].respond(HEAD, b"x", TAIL)
    await asyncio.sleep(0)
    assert len(door.output()) == 3
    assert door.transport.log == ["close"]


async def test_a_drain_of_an_idle_connection_does_not_wait_for_a_dead_client() -> None:
    door = Door(Http2Limits(drain_ping_timeout_s=1))
    door.send(GREETING)
    door.connection.drain()
    door.wait(1)
    assert door.transport.log == ["close"]


async def test_a_connection_that_comes_during_a_drain_is_drained() -> None:
    door = Door(is_draining=True)
    assert goaway_of(door.output()) == (Code.NO_ERROR, b"")


async def test_timeouts_end_it() -> None:
    door = Door(Http2Limits(preface_timeout_s=5))
    door.output()
    assert goaway_of(door.wait(5)) == (Code.PROTOCOL_ERROR, b"preface timeout")
    assert door.transport.log == ["eof"]


async def test_ends_when_the_client_sends_no_more() -> None:
    assert Door().connection.eof_received() is False


async def test_can_be_ended_at_once() -> None:
    door = Door()
    door.connection.abort()
    assert door.transport.log == ["abort"]


async def test_window_alone_is_answered_with_nothing() -> None:
    door = Door()
    door.send(GREETING)
    door.connection.data_received(frame(8, 0, 0, number(100)))
    assert door.transport.writes == []

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from salver.transport.first_bytes import FirstBytes
from salver.transport.http2.frames import PREFACE
from salver.transport.limits import HttpLimits
from salver.transport.messages import HttpResponse
from salver.transport.service import Service


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Transport(asyncio.Transport):
    """Remembers what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: asyncio.BaseProtocol | None = None
        self.log: list[str] = []

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def close(self) -> None:
        self.log.append("closed")

    def abort(self) -> None:
        self.log.append("aborted")


@dataclass
class Spoken(asyncio.Protocol):
    """A protocol that keeps what it is given."""

    name: str
    accepted_s: float = 0.0
    transports: list[asyncio.BaseTransport] = field(default_factory=list)
    data: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transports.append(transport)

    def data_received(self, data: bytes) -> None:
        self.data += data


class World:
    def __init__(self) -> None:
        self.clock = Clock()

        async def in_pool(call: Callable[[], Any], size: int = 0) -> Any:
            return call()

        self.service = Service(
            lambda _request: HttpResponse(200),
            error_page=lambda status, _message, _hint: HttpResponse(status),
            limits=HttpLimits(read_timeout_s=50),
            access=None,
            clock=lambda: 0.0,
            run_in_pool=in_pool,
            monotonic=self.clock,
        )
        self.accepted = 0
        self.emptied = 0
        self.service.on_connection = self._count_accepted
        self.service.on_empty = self._count_emptied
        self.transport = Transport()
        self.connection = FirstBytes(
            self.service,
            lambda _service, accepted_s: Spoken("http1", accepted_s),
            lambda _service, accepted_s: Spoken("http2", accepted_s),
        )
        self.connection.connection_made(self.transport)

    def _count_accepted(self) -> None:
        self.accepted += 1

    def _count_emptied(self) -> None:
        self.emptied += 1

    @property
    def spoken(self) -> Spoken:
        assert isinstance(self.transport.protocol, Spoken)
        return self.transport.protocol


@pytest.fixture
def world() -> World:
    return World()


def test_a_connection_is_counted_before_it_has_said_anything(world: World) -> None:
    assert world.accepted == 1
    assert set(world.service.connections) == {world.connection}
    assert not world.connection.is_unanswered


@pytest.mark.parametrize(
    ("first", "name"),
    [
        (PREFACE, "http2"),
        (PREFACE + b"\0\0\0\4\0\0\0\0\0", "http2"),
        (b"GET / HTTP/1.1\r\n\r\n", "http1"),
        (b"P", None),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
        (b"PO", "http1"),
        (b"PRI * HTTP/1.1\r\n", "http1"),
        (b"\x16\x03\x01", "http1"),
    ],
)
def test_the_first_bytes_tell_what_is_spoken(world: World, first: bytes, name: str | None) -> None:
    world.connection.data_received(first)
    if name is None:
        assert world.transport.protocol is None
        assert world.connection.is_unanswered
    else:
        assert world.spoken.name == name
        assert world.spoken.data == first
        assert world.spoken.transports == [world.transport]
        assert not world.service.connections  # the other protocol counts itself


@pytest.mark.parametrize("cut", range(1, len(PREFACE)))
def test_a_preface_may_come_in_two_parts(world: World, cut: int) -> None:
    world.connection.data_received(PREFACE[:cut])
    world.connection.data_received(PREFACE[cut:] + b"more")
    assert world.spoken.name == "http2"
    assert world.spoken.data == PREFACE + b"more"


def test_what_only_began_as_a_preface_is_a_request_of_http1(world: World) -> None:
    for byte in b"PRO":
        world.connection.data_received(bytes([byte]))
    assert (world.spoken.name, world.spoken.data) == ("http1", b"PRO")


@pytest.mark.parametrize("said", [b"", b"P", PREFACE[:-1]])
def test_a_client_that_does_not_say_what_it_speaks_is_left_in_time(
    said: bytes, world: World
) -> None:
    world.clock.now = 140.0
    world.connection.data_received(said)
    world.connection.sweep(149.9)
    assert world.transport.log == []
    world.connection.sweep(150.0)
    assert world.transport.log == ["closed"]


def test_that_time_begins_when_the_socket_is_accepted(world: World) -> None:
    late = FirstBytes(world.service, lambda *_: Spoken("http1"), lambda *_: Spoken("http2"))
    world.clock.now = 140.0  # a TLS handshake may take long
    transport = Transport()
    late.connection_made(transport)
    late.sweep(150.0)
    assert transport.log == ["closed"]


@pytest.mark.parametrize("first", [b"GET", PREFACE])
def test_the_protocol_is_told_when_the_socket_was_accepted(first: bytes, world: World) -> None:
    world.clock.now = 140.0
    world.connection.data_received(first)
    assert world.spoken.accepted_s == 100.0


def test_a_drain_ends_what_has_said_nothing_and_waits_for_what_has_begun(world: World) -> None:
    world.connection.data_received(b"P")
    world.connection.drain()
    assert world.transport.log == []
    quiet = World()
    quiet.connection.drain()
    assert quiet.transport.log == ["closed"]


def test_a_connection_that_is_lost_or_cut_off_is_forgotten(world: World) -> None:
    world.connection.abort()
    assert world.transport.log == ["aborted"]
    world.connection.connection_lost(None)
    assert not world.service.connections
    assert world.emptied == 1


def test_a_connection_that_is_lost_leaves_the_others(world: World) -> None:
    other = FirstBytes(world.service, lambda *_: Spoken("http1"), lambda *_: Spoken("http2"))
    other.connection_made(Transport())
    world.connection.connection_lost(None)
    assert world.emptied == 0

"""Answers that are sent while they are made, over HTTP/1.1."""

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator

import pytest
from tests.unit.transport.http1.test_connection import CLOSE, DATE, GET, LIMITS, Wire, turn
from tests.unit.transport.parts import Parts

from salver.transport.in_flight import MemoryInFlight
from salver.transport.messages import HttpRequest, HttpResponse, StreamedResponse

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nA: b\r\nC: d\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = itertools.repeat(b"x" * 10)


async def test_each_part_is_a_chunk_and_the_connection_goes_on() -> None:
    parts = Parts([b"one", b"", b"seventeen letters"])
    wire = Wire(parts.answer, is_logging=True)
    wire.send(GET)
    await turn()
    assert wire.transport.sent == [
        HEAD + DATE + CHUNKED,
        b"3\r\none\r\n",
        b"11\r\nseventeen letters\r\n",
        b"0\r\n\r\n",
    ]
    assert parts.is_closed
    (record,) = wire.records
    assert (record.status, record.bytes_out) == (200, 20)
    assert wire.transport.log == []
    wire.send(GET)
    await turn()
    assert len(wire.requests) == 2


async def test_what_is_known_to_be_so_long_is_sent_as_if_it_were_whole() -> None:
    async def answer(_request: HttpRequest) -> HttpResponse:
        async def parts() -> "AsyncGenerator[bytes, None]":
            yield b"one"
            yield b"two"

        return StreamedResponse(200, parts(), "text/x", length=6).with_headers((("C", "d"),))

    wire = Wire(answer)
    wire.send(GET)
    await turn()
    assert wire.transport.sent[0].endswith(b"C: d\r\n" + DATE + b"Content-Length: 6\r\n\r\n")
    assert wire.transport.sent[1:] == [b"one", b"two"]
    wire.send(GET)
    await turn()
    assert len(wire.requests) == 2


async def test_a_client_of_http10_reads_to_the_end_of_the_connection() -> None:
    wire = Wire(Parts([b"one", b"two"]).answer)
    wire.send(b"GET /a HTTP/1.0\r\n\r\n")
    await turn()
    assert wire.sent == (HEAD + CLOSE + DATE + b"\r\nonetwo").replace(b"1.1", b"1.0")
    assert wire.transport.log == ["close"]


async def test_a_client_that_wants_the_head_alone_gets_that() -> None:
    parts = Parts([b"one"])
    wire = Wire(parts.answer)
    wire.send(GET.replace(b"GET", b"HEAD"))
    await turn()
    assert wire.sent == HEAD + DATE + CHUNKED
    assert parts.made == 0


async def test_the_connection_ends_where_that_was_wanted() -> None:
    wire = Wire(Parts([b"one"]).answer)
    wire.send(GET.replace(b"Host", b"Connection: close\r\nHost"))
    await turn()
    assert wire.sent == HEAD + CLOSE + DATE + CHUNKED + b"3\r\none\r\n0\r\n\r\n"
    assert wire.transport.log == ["close"]


async def test_a_drain_waits_for_the_end_of_an_answer_and_then_ends_the_connection() -> None:
    go_on = asyncio.Event()
    parts = Parts([b"one"])
    wire = Wire(parts.answer)
    made = parts._made

    async def slow():  # type: ignore[no-untyped-def]
        async for part in made():
            yield part
            await go_on.wait()

    parts._made = slow  # type: ignore[method-assign]
    wire.send(GET)
    await turn()
    wire.service.draining = True
    wire.connection.drain()
    assert wire.connection.is_unanswered
    assert wire.transport.log == []
    go_on.set()
    await turn()
    assert wire.sent.endswith(b"0\r\n\r\n")
    assert wire.transport.log == ["close"]


async def test_nothing_is_made_while_the_client_does_not_read() -> None:
    memory = MemoryInFlight(10**6)
    parts = Parts(ENDLESS)
    wire = Wire(parts.answer, memory=memory)
    wire.transport.high_water = 14
    wire.send(GET)
    await turn()
    assert parts.made == 1  # what it takes with its head is more than the mark
    await turn()
    assert parts.made == 1
    assert memory.held_bytes > 0
    wire.transport.unsent_bytes = 0
    wire.connection.resume_writing()
    await turn()
    assert parts.made == 2
    wire.connection.connection_lost(None)
    await turn()
    assert parts.is_closed
    assert memory.held_bytes == 0


async def test_a_client_that_reads_nothing_for_too_long_is_cut_off() -> None:
    wire = Wire(Parts(ENDLESS).answer)
    wire.transport.high_water = 14
    wire.send(GET)
    await turn()
    wire.sweep(LIMITS.write_timeout_s - 1)
    assert wire.transport.log == []
    wire.sweep(LIMITS.write_timeout_s + 1)
    assert wire.transport.log == ["abort"]


async def test_a_client_that_waits_for_a_slow_model_is_not_cut_off() -> None:
    wire = Wire(Waiting().answer)
    wire.send(GET)
    await turn()
    wire.sweep(LIMITS.write_timeout_s * 100)
    assert wire.transport.log == []


class Waiting(Parts):
    """Gives one part, and then none for ever."""

    def __init__(self, *, probe: bytes = b"") -> None:
        super().__init__([], probe=probe)

    async def _made(self):  # type: ignore[no-untyped-def]
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            self.is_closed = True


async def test_a_client_that_leaves_closes_what_makes_the_answer() -> None:
    parts = Waiting()
    wire = Wire(parts.answer, is_logging=True)
    wire.send(GET)
    await turn()
    wire.connection.connection_lost(None)
    await turn()
    assert parts.is_closed
    assert wire.service.in_flight == 0
    (record,) = wire.records
    assert (record.status, record.bytes_out, record.remote) == (200, 3, "192.0.2.7")


async def test_a_client_that_sends_no_more_is_asked_whether_it_reads() -> None:
    parts = Waiting(probe=b":\n\n")
    wire = Wire(parts.answer)
    wire.send(GET)
    await turn()
    assert wire.connection.eof_received()
    assert wire.sent.endswith(b"3\r\none\r\n3\r\n:\n\n\r\n")


async def test_what_fails_midway_ends_the_connection_without_an_end_of_the_body(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parts = Parts([b"one", RuntimeError("no more")])
    wire = Wire(parts.answer)
    with caplog.at_level(logging.ERROR):
        wire.send(GET)
        await turn()
    assert wire.sent.endswith(b"3\r\none\r\n")
    assert wire.transport.log == ["abort"]
    assert "broken off" in caplog.text


async def test_what_the_client_sends_meanwhile_waits_for_the_end() -> None:
    wire = Wire(Parts([b"one"]).answer)
    wire.send(GET, GET)
    for _ in range(3):
        await turn()
    assert len(wire.requests) == 2
    assert wire.sent == (HEAD + DATE + CHUNKED + b"3\r\none\r\n0\r\n\r\n") * 2

"""Bodies that wait until it is known whether they are wanted, before both kinds of answerers."""

import asyncio
from typing import Any

import pytest
from tests.unit.transport.http2.asking import Answer, Asking

from salver.errors import Unauthenticated
from salver.protocols.methods import Call, MethodTable, Stream
from salver.rpc.http2_service import GrpcService
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.requests import HttpRequests
from salver.transport.limits import HttpLimits
from salver.transport.messages import HttpRequest, HttpResponse
from salver.transport.service import Service

WINDOW_BYTES = 65_536
MESSAGE = b"\0" + (5).to_bytes(4, "big") + b"hello"
KINDS = ["/rest", "/t/Echo", "/t/One"]


class Screened:
    """Echoes what is sent, when `verdict` has been set."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.verdict: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.asked = self.answered = 0
        self.was_given_up = False
        service = Service(
            self.answer,
            error_page=lambda status, text, _hint: HttpResponse(status, text.encode()),
            limits=HttpLimits(),
            access=None,
            clock=lambda: 0.0,
            run_in_pool=self.in_pool,
            screen=self.screen,
        )
        methods: MethodTable = {
            "/t/Echo": self.echo,
            "/t/One": Stream(self.each, is_request_single=True),
        }
        grpc = GrpcService(
            methods,
            in_pool=self.in_pool,
            requests=HttpRequests(service),
            screens=dict.fromkeys(methods, self.screen_call),
        )
        limits = Http2Limits(stream_window_bytes=WINDOW_BYTES)
        self.asking = Asking(grpc, limits)

    def begin(self) -> int:
        kind = "text/plain" if self.path == "/rest" else "application/grpc"
        fields = [(":method", "POST"), (":scheme", "http"), (":path", self.path)]
        return self.asking.begin([*fields, (":authority", "a"), ("content-type", kind)])

    async def in_pool(self, call: Any, size: int = 0) -> Any:
        return call()

    def answer(self, request: HttpRequest) -> HttpResponse:
        self.answered += 1
        return HttpResponse(200, request.body)

    def echo(self, data: bytes, _call: Call) -> bytes:
        self.answered += 1
        return data

    async def each(self, requests: Any, call: Call) -> Any:
        async for data in requests:
            yield self.echo(data, call)

    async def screen(self, _request: HttpRequest) -> HttpResponse | None:
        return None if await self.wait() else HttpResponse(401, b"no")

    async def screen_call(self, _call: Call) -> None:
        if not await self.wait():
            raise Unauthenticated("no")

    async def wait(self) -> bool:
        self.asked += 1
        try:
            return await self.verdict
        except asyncio.CancelledError:
            self.was_given_up = True
            raise

    async def settled(self, stream: int) -> Answer:
        for _ in range(10):
            await asyncio.sleep(0)
            self.asking.exchange()
        return self.asking.answers[stream]


@pytest.mark.parametrize("path", KINDS)
async def test_a_body_waits_and_is_then_taken(path: str) -> None:
    screened = Screened(path)
    stream = screened.begin()
    screened.asking.send(stream, MESSAGE[:3])
    await screened.settled(stream)
    screened.asking.send(stream, MESSAGE[3:], is_last=True)
    assert not (await screened.settled(stream)).is_over
    assert (screened.asked, screened.answered) == (1, 0)
    screened.verdict.set_result(True)
    answer = await screened.settled(stream)
    assert (answer.is_over, answer.body) == (True, MESSAGE)
    assert (screened.asked, screened.answered) == (1, 1)


@pytest.mark.parametrize("path", KINDS)
async def test_or_it_is_refused_without_a_window(path: str) -> None:
    screened = Screened(path)
    stream = screened.begin()
    await screened.settled(stream)
    screened.asking.send(stream, b"\0\0\1\0\0" + bytes(WINDOW_BYTES - 5))
    await screened.settled(stream)
    assert screened.asking.client.local_flow_control_window(stream) == 0
    screened.verdict.set_result(False)
    answer = await screened.settled(stream)
    assert answer.is_over
    assert answer.head.get("grpc-status", answer.head[":status"]) in ("16", "401")
    assert screened.answered == 0


@pytest.mark.parametrize("path", KINDS)
async def test_what_was_let_in_gets_its_window_back(path: str) -> None:
    screened = Screened(path)
    stream = screened.begin()
    await screened.settled(stream)
    size = 2 * WINDOW_BYTES
    message = b"\0" + size.to_bytes(4, "big") + bytes(size)
    screened.asking.send(stream, message[:WINDOW_BYTES])
    screened.verdict.set_result(True)
    await screened.settled(stream)
    screened.asking.send(stream, message[WINDOW_BYTES : 2 * WINDOW_BYTES])
    screened.asking.send(stream, message[2 * WINDOW_BYTES :], is_last=True)
    answer = await screened.settled(stream)
    assert answer.body == message
    assert screened.answered == 1


@pytest.mark.parametrize("path", KINDS)
async def test_nobody_waits_for_a_client_that_has_left(path: str) -> None:
    screened = Screened(path)
    stream = screened.begin()
    await screened.settled(stream)
    screened.asking.client.reset_stream(stream)
    screened.asking.exchange()
    await screened.settled(stream)
    assert screened.was_given_up
    assert screened.answered == 0


@pytest.mark.parametrize("path", KINDS)
async def test_a_body_that_comes_with_its_header_fields_is_not_asked_about(path: str) -> None:
    screened = Screened(path)
    stream = screened.begin()
    screened.asking.send(stream, MESSAGE, is_last=True)
    assert (await screened.settled(stream)).body == MESSAGE
    assert screened.asked == 0

import asyncio
import gzip
import socket
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.transport.http1 import request_reader
from salver.transport.http1.connection import Connection
from salver.transport.http1.filling import Filling
from salver.transport.in_flight import UNLIMITED, MemoryInFlight
from salver.transport.limits import HttpLimits
from salver.transport.messages import HttpRequest, HttpResponse, LargeResponse
from salver.transport.service import AccessRecord, Service

LIMITS = HttpLimits(
    max_header_bytes=300,
    max_body_bytes=100_000,
    max_pipelined_bytes=100,
    min_body_progress_bytes=10,
    read_timeout_s=50,
    write_timeout_s=60,
    linger_s=2,
)
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
DATE = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"


class Ends:
    """The socket under a transport, as far as it can be asked for its error."""

    def __init__(self, error: int = 0) -> None:
        self.error = error

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR)
        return self.error


class MemoryTransport(asyncio.Transport):
    """A transport whose other end is a list."""

    def __init__(self, peer: object, *, is_tls: bool = False) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.log: list[str] = []
        self.unsent_bytes = 0
        self.high_water: int | None = None
        self.protocol: Connection | None = None
        self.spoken: Connection | Filling | None = None
        self.ends: Ends | None = Ends()
        self.peer = peer
        self._is_tls = is_tls

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": self.peer, "socket": self.ends}[name]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))
        if self.high_water is not None and len(data) > self.high_water:
            self.unsent_bytes = len(data)
            assert self.protocol is not None
            self.protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def can_write_eof(self) -> bool:
        return not self._is_tls

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

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, Connection | Filling)
        self.spoken = protocol


class Wire:
    """One connection with a handler, its clock and what it was asked."""

    def __init__(
        self,
        answer: Callable[[HttpRequest], HttpResponse | Coroutine[Any, Any, HttpResponse]]
        | None = None,
        *,
        peer: object = ("192.0.2.7", 1234),
        is_tls: bool = False,
        is_logging: bool = False,
        is_connected: bool = True,
        memory: MemoryInFlight = UNLIMITED,
    ) -> None:
        self.now = 0.0
        self.requests: list[HttpRequest] = []
        self.records: list[AccessRecord] = []
        self.inflated: list[bytes] = []
        self.answer = answer or (lambda request: HttpResponse(200, request.target.encode()))
        self.service = Service(
            self._handle,
            error_page=lambda status, message, hint: HttpResponse(
                status, message.encode(), "text/plain"
            ),
            limits=LIMITS,
            access=self.records.append if is_logging else None,
            clock=lambda: 0.0,
            run_in_pool=self._in_pool,
            monotonic=lambda: self.now,
            memory=memory,
        )
        self.connection = Connection(self.service)
        self.transport = MemoryTransport(peer, is_tls=is_tls)
        self.transport.protocol = self.connection
        if is_connected:
            self.connection.connection_made(self.transport)

    def _handle(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        self.requests.append(request)
        return self.answer(request)

    async def _in_pool(self, work: Callable[[], Any], size: int = 0) -> Any:
        self.inflated.append(await asyncio.sleep(0, work()))
        return self.inflated[-1]

    def send(self, *data: bytes) -> None:
        for piece in data:
            self.connection.data_received(piece)

    def sweep(self, now: float) -> None:
        self.now = now
        self.service.refresh()
        self.connection.sweep(now)

    @property
    def sent(self) -> bytes:
        return b"".join(self.transport.sent)

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.requests]


class Later:
    """A handler whose answers come when the test says so."""

    def __init__(self) -> None:
        self.answers: list[asyncio.Future[HttpResponse]] = []

    def __call__(self, request: HttpRequest) -> Coroutine[Any, Any, HttpResponse]:
        answer: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)

        async def wait() -> HttpResponse:
            return await answer

        return wait()


async def turn() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


def ok(body: bytes, extra: bytes = b"") -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%b%bContent-Length: %d\r\n\r\n%b"
        % (extra, DATE, len(body), body)
    )


CLOSE = b"Connection: close\r\n"
CHUNKED = "Transfer-Encoding: chunked"

# Answers at once.


async def test_a_request_is_answered_in_one_write() -> None:
    wire = Wire()
    wire.send(GET)
    assert wire.transport.sent == [ok(b"/a")]
    assert wire.transport.log == []
    assert wire.service.in_flight == 0


async def test_a_request_knows_its_body_and_its_client() -> None:
    wire = Wire()
    wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nX-A: b\r\nContent-Length: 3\r\n\r\na", b"b", b"c")
    (request,) = wire.requests
    assert (request.method, request.body, request.header(b"x-a")) == ("POST", b"abc", b"b")
    assert (request.peer, request.peer) == ("192.0.2.7", "192.0.2.7")
    assert request.keep_alive


@pytest.mark.parametrize(
    ("name", "peer"),
    [(("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7"), (("::1", 1, 0, 0), "::1"), ("", None)],
)
async def test_a_peer_is_an_address(name: object, peer: str | None) -> None:
    wire = Wire(peer=name)
    wire.send(GET)
    assert wire.requests[0].peer == peer


async def test_pipelined_requests_are_answered_in_order() -> None:
    wire = Wire()
    wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(200)))
    await turn()
    assert wire.targets == [f"/{number}" for number in range(200)]
    assert wire.sent == b"".join(ok(b"/%d" % number) for number in range(200))


async def test_a_client_that_pipelines_much_gives_way() -> None:
    wire = Wire()
    wire.send(GET * 100)
    assert len(wire.requests) == 65
    wire.send(GET)
    await turn()
    assert len(wire.requests) == 101


async def test_head_is_answered_without_a_body() -> None:
    wire = Wire()
    wire.send(b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wire.sent == ok(b"/a")[:-2]


async def test_a_large_answer_is_sent_whole() -> None:
    body = b"x" * 100_000
    wire = Wire(lambda request: HttpResponse(200, body))
    wire.send(GET)
    assert wire.sent == ok(body)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /close HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_the_last_answer_closes(request_: bytes) -> None:
    wire = Wire(lambda request: HttpResponse(200, close=request.target == "/close"))
    wire.send(request_ + GET)
    assert wire.sent == ok(b"", CLOSE)
    assert wire.transport.log == ["close"]
    wire.send(GET)
    assert len(wire.requests) == 1


async def test_http_1_0_is_answered_in_kind() -> None:
    wire = Wire()
    wire.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /a HTTP/1.0\r\n\r\n")
    kept = ok(b"/a", b"Connection: keep-alive\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert wire.sent == kept + ok(b"/a", CLOSE).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert wire.transport.log == ["close"]


async def test_a_client_that_asks_is_told_to_send_its_body() -> None:
    wire = Wire()
    head = b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    wire.send(head)
    assert wire.sent == CONTINUE
    wire.send(b"a", b"b")
    assert wire.transport.sent == [CONTINUE, ok(b"/a")]


async def test_a_handler_that_fails_is_answered_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(request: HttpRequest) -> HttpResponse:
        raise LookupError("what was wrong")

    wire = Wire(fail)
    wire.send(GET, GET)
    assert wire.sent.count(b"HTTP/1.1 500 Internal Server Error\r\n") == 2
    assert "what was wrong" in caplog.text


# Answers later.


async def test_an_answer_may_come_later() -> None:
    later = Later()
    wire = Wire(later)
    wire.send(GET)
    await turn()
    assert (wire.sent, wire.service.in_flight) == (b"", 1)
    later.answers[0].set_result(HttpResponse(200, b"x"))
    await turn()
    assert (wire.sent, wire.service.in_flight) == (ok(b"x"), 0)


async def test_requests_behind_an_unanswered_one_wait() -> None:
    later = Later()
    wire = Wire(later)
    wire.send(GET + b"GET /b HTTP/1.1\r\nHost: a\r\n", b"\r\n")
    await turn()
    assert wire.targets == ["/a"]
    later.answers[0].set_result(HttpResponse(200, b"x"))
    await turn()
    assert wire.targets == ["/a", "/b"]
    later.answers[1].set_result(HttpResponse(200, b"y", close=True))
    await turn()
    assert wire.sent == ok(b"x") + ok(b"y", CLOSE)
    assert wire.transport.log == ["close"]


async def test_reading_pauses_when_too_much_waits() -> None:
    later = Later()
    wire = Wire(later)
    wire.send(GET)
    wire.send(*[GET] * 10)
    assert wire.transport.log == ["pause"]
    later.answers[0].set_result(HttpResponse(200))
    await turn()
    assert wire.transport.log == ["pause", "resume"]
    for number in range(1, 11):
        later.answers[number].set_result(HttpResponse(200))
        await turn()
    assert len(wire.requests) == 11


async def test_an_awaitable_that_fails_is_answered_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    later = Later()
    wire = Wire(later)
    wire.send(GET)
    later.answers[0].set_exception(LookupError("what was wrong"))
    await turn()
    assert wire.sent.startswith(b"HTTP/1.1 500 ")
    assert "what was wrong" in caplog.text


NO_ROOM = b"HTTP/1.1 429 Client Error\r\n"


async def test_a_request_that_there_is_no_memory_for_is_refused_in_words() -> None:
    def starve(request: HttpRequest) -> HttpResponse:
        raise MemoryError("no room")

    async def starve_later(request: HttpRequest) -> HttpResponse:
        raise MemoryError("no room")

    for handler in (starve, starve_later):
        wire = Wire(handler)
        wire.send(GET)
        await turn()
        assert wire.sent.startswith(NO_ROOM)
        assert wire.sent.endswith(b"Out of memory: no room")
        assert wire.transport.log == []


async def test_a_body_that_there_is_no_memory_for_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(request_reader, "SMALLEST_BYTES", 3)
    for name, coding in (("LargeBody", "Content-Length: 9"), ("ChunkedBody", CHUNKED)):
        with monkeypatch.context() as starved:
            starved.setattr(request_reader, name, full)
            wire = Wire()
            wire.send(f"POST /a HTTP/1.1\r\nHost: a\r\n{coding}\r\n\r\n3".encode())
            assert wire.sent.startswith(NO_ROOM)
            assert wire.sent.endswith(b"Out of memory")
            wire.send(b"the rest")
            wire.sweep(2)
            assert wire.transport.log == ["eof", "abort"]


async def test_without_memory_even_for_a_page_the_client_is_not_left_waiting() -> None:
    async def starve_later(request: HttpRequest) -> HttpResponse:
        raise MemoryError

    def no_page(status: int, message: str, hint: str | None) -> HttpResponse:
        raise MemoryError

    wire = Wire(starve_later)
    wire.service.error_page = no_page
    wire.send(GET)
    await turn()
    assert (wire.sent, wire.transport.log) == (b"", ["abort"])


@pytest.mark.parametrize("is_logging", [False, True])
async def test_a_large_answer_is_sent_part_by_part(is_logging: bool) -> None:
    parts = [b"a" * LargeResponse.SMALLEST_BYTES, b"bc", b"d" * 100]

    async def answer(request: HttpRequest) -> HttpResponse:
        return LargeResponse(200, parts)

    wire = Wire(answer, is_logging=is_logging)
    wire.send(GET + GET)
    await turn()
    assert wire.sent == ok(b"".join(parts)) * 2
    assert [record.bytes_out for record in wire.records] == [len(b"".join(parts))] * 2 * is_logging


async def test_work_for_a_client_that_left_is_cancelled() -> None:
    later = Later()
    wire = Wire(later)
    wire.send(GET)
    await turn()
    wire.connection.connection_lost(None)
    await turn()
    assert later.answers[0].cancelled()
    assert wire.service.in_flight == 0
    assert (wire.sent, wire.service.connections) == (b"", set())


async def test_work_that_had_not_begun_never_begins() -> None:
    async def never(request: HttpRequest) -> HttpResponse:
        raise AssertionError

    wire = Wire(never)
    wire.send(GET)
    wire.connection.connection_lost(None)
    await turn()
    assert wire.service.in_flight == 0


async def test_an_answer_that_comes_although_the_client_left_is_dropped() -> None:
    async def stubborn(request: HttpRequest) -> HttpResponse:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return HttpResponse(200)
        raise AssertionError

    wire = Wire(stubborn)
    wire.send(GET)
    await turn()
    wire.connection.connection_lost(ConnectionResetError())
    await turn()
    assert (wire.sent, wire.service.in_flight) == (b"", 0)


async def test_an_answer_to_a_client_that_leaves_at_that_moment_is_dropped() -> None:
    async def answer(request: HttpRequest) -> HttpResponse:
        wire.connection.connection_lost(None)
        return HttpResponse(200)

    wire = Wire(answer)
    wire.send(GET)
    await turn()
    assert (wire.sent, wire.service.in_flight) == (b"", 0)


async def test_a_client_whose_work_was_cancelled_is_not_left_waiting() -> None:
    later = Later()
    wire = Wire(later)
    wire.send(GET)
    await turn()
    later.answers[0].cancel()
    await turn()
    assert wire.transport.log == ["abort"]


# Memory.


def posted(body: bytes) -> bytes:
    return b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_a_body_is_counted_as_it_comes_in_and_until_it_is_answered() -> None:
    memory, later = MemoryInFlight(1000), Later()
    wire = Wire(later, memory=memory)
    whole = posted(bytes(60))
    wire.send(whole[:-20])
    assert memory.held_bytes == 40
    wire.send(whole[-20:])
    assert memory.held_bytes == 60
    later.answers[0].set_result(HttpResponse(200, b"x"))
    await turn()
    assert memory.held_bytes == 0


async def test_a_request_that_waits_is_counted_though_it_came_at_once() -> None:
    memory, later = MemoryInFlight(1000), Later()
    wire = Wire(later, memory=memory)
    wire.send(posted(bytes(60)))
    assert memory.held_bytes == 60
    wire.connection.connection_lost(None)
    await turn()
    assert memory.held_bytes == 0


async def test_a_body_that_would_be_too_much_is_refused_and_let_go() -> None:
    memory = MemoryInFlight(50)
    wire = Wire(memory=memory)
    wire.send(posted(bytes(60))[:-1])
    assert wire.sent.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 1\r\n" in wire.sent
    assert b"Requests in flight would hold 59 bytes, more than 50" in wire.sent
    assert (wire.requests, memory.held_bytes, memory.rejected) == ([], 0, 1)


async def test_a_request_that_would_wait_with_too_much_is_refused_and_the_next_answered() -> None:
    memory, later = MemoryInFlight(50), Later()
    wire = Wire(later, memory=memory)
    wire.send(posted(bytes(60)))
    assert wire.sent.startswith(b"HTTP/1.1 503 ")
    assert memory.held_bytes == 0
    wire.send(posted(bytes(10)))
    later.answers[1].set_result(HttpResponse(200, b"x"))
    await turn()
    assert wire.sent.endswith(ok(b"x"))


async def test_what_is_inflated_is_counted() -> None:
    body = gzip.compress(bytes(100_000))
    memory = MemoryInFlight(100_000)
    wire = Wire(memory=memory)
    wire.send(gzipped(body) + GET)
    await turn()
    assert wire.sent.startswith(b"HTTP/1.1 503 ")
    assert wire.sent.endswith(ok(b"/a"))
    assert memory.held_bytes == 0


async def test_an_answer_is_counted_until_it_is_read() -> None:
    memory = MemoryInFlight(10)
    wire = Wire(lambda _request: HttpResponse(200, bytes(1000)), memory=memory)
    wire.transport.high_water = 100
    wire.send(GET)
    assert memory.held_bytes > 1000
    wire.connection.resume_writing()
    assert memory.held_bytes == 0


async def test_an_answer_that_nobody_reads_is_let_go_with_its_connection() -> None:
    memory = MemoryInFlight(10)
    wire = Wire(lambda _request: HttpResponse(200, bytes(1000)), memory=memory)
    wire.transport.high_water = 100
    wire.send(GET)
    wire.connection.connection_lost(None)
    assert memory.held_bytes == 0


async def test_a_very_large_body_is_put_together_in_the_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_reader, "_LONG_TO_JOIN_BYTES", 1000)
    chunk = bytes(range(256)) * 3
    wire = Wire()
    head = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire.send(head, *[b"%x\r\n%b\r\n" % (len(chunk), chunk)] * 2, b"0\r\n\r\n")
    await turn()
    assert wire.requests[0].body == chunk * 2
    assert len(wire.inflated) == 1


# Gzip.


def gzipped(body: bytes) -> bytes:
    return (
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
        % (
            len(body),
            body,
        )
    )


async def test_a_gzipped_body_is_inflated_in_the_pool() -> None:
    wire = Wire()
    wire.send(gzipped(gzip.compress(b"plain")) + GET)
    assert wire.requests == []
    await turn()
    assert [request.body for request in wire.requests] == [b"plain", b""]
    assert wire.inflated == [b"plain"]
    assert wire.sent == ok(b"/a") * 2


async def test_an_inflated_body_may_be_answered_later() -> None:
    later = Later()
    wire = Wire(later)
    wire.send(gzipped(gzip.compress(b"plain")))
    await turn()
    later.answers[0].set_result(HttpResponse(200, b"x"))
    await turn()
    assert wire.sent == ok(b"x")


async def test_broken_gzip_becomes_an_empty_body() -> None:
    wire = Wire()
    wire.send(gzipped(b"no gzip"))
    await turn()
    assert wire.requests[0].body == b""


async def test_no_body_needs_no_inflating() -> None:
    wire = Wire()
    wire.send(gzipped(b""))
    assert (wire.requests[0].body, wire.inflated) == (b"", [])


async def test_a_gzip_bomb_is_refused_and_the_connection_goes_on() -> None:
    wire = Wire()
    wire.send(gzipped(gzip.compress(b"\0" * 200_000)) + GET)
    await turn()
    assert wire.sent.startswith(b"HTTP/1.1 413 Request Entity Too Large\r\n")
    assert b"Request body is larger than 100000 bytes" in wire.sent
    assert wire.targets == ["/a"]


# Refusals.


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ((b"hello\r\n\r\n",), b"400 Bad Request"),
        ((b"he", b"llo\r\n"), b"400 Bad Request"),
        ((GET + b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",), b"501 Not Implemented"),
        ((b"GET /" + b"a" * 300,), b"431 Request Header Fields Too Large"),
        (
            (
                b"POST / HTTP/1.1\r\nHost: a\r\n"
                b"Content-Length: 100001\r\nExpect: 100-continue\r\n\r\n",
            ),
            b"413 Request Entity Too Large",
        ),
        ((b"POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n",), b"417 Expectation Failed"),
    ],
)
async def test_a_refusal_ends_the_connection_and_drops_the_rest(
    data: tuple[bytes, ...], status: bytes
) -> None:
    wire = Wire()
    wire.send(*data)
    page = wire.transport.sent[-1]
    assert page.startswith(b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\n" % status + CLOSE)
    assert wire.transport.log == ["eof"]
    handled = len(wire.requests)
    wire.send(GET)
    assert len(wire.requests) == handled
    assert not wire.connection.is_unanswered
    assert wire.connection.eof_received() is False


async def test_a_refused_client_is_given_time_to_read_why() -> None:
    wire = Wire()
    wire.send(b"hello\r\n")
    wire.sweep(1.9)
    assert wire.transport.log == ["eof"]
    wire.sweep(2)
    assert wire.transport.log == ["eof", "abort"]


async def test_tls_has_no_half_closed_connections() -> None:
    wire = Wire(is_tls=True)
    wire.send(b"hello\r\n")
    assert wire.transport.log == []
    busy = Wire(Later(), is_tls=True)
    busy.send(GET)
    assert busy.connection.eof_received() is False


WORDS = [
    GET,
    b"POST / HTTP/1.1\r\nHost: a\r\n",
    b"HEAD / HTTP/1.0\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"\r\n",
    b"5\r\n",
    b"0\r\n\r\n",
    gzipped(b"abc"),
]


@given(
    st.lists(
        st.sampled_from(WORDS) | st.binary(max_size=20),
        max_size=12,
    ),
    st.integers(1, 100),
)
def test_whatever_is_sent_nothing_is_raised(words: list[bytes], step: int) -> None:
    async def send_all() -> None:
        wire = Wire()
        data = b"".join(words)
        for start in range(0, len(data), step):
            wire.send(data[start : start + step])
            await turn()
        wire.connection.eof_received()
        wire.connection.connection_lost(None)
        await turn()
        assert wire.service.in_flight == 0
        assert not wire.service.connections

    asyncio.run(send_all())


# Clients that send no more.


@pytest.mark.parametrize("data", [b"", GET, GET[:5], GET[:-2] + b"Content-Length: 5\r\n\r\n12"])
async def test_a_client_that_is_owed_nothing_is_let_go(data: bytes) -> None:
    wire = Wire()
    wire.send(data)
    assert wire.connection.eof_received() is False
    assert not wire.connection.is_unanswered


async def test_a_half_closed_connection_still_gets_its_answers() -> None:
    later = Later()
    wire = Wire(later)
    wire.send(GET + GET + GET[:5])
    assert wire.connection.eof_received() is True
    for number in range(2):
        await turn()
        later.answers[number].set_result(HttpResponse(200, b"x"))
    await turn()
    assert wire.sent == CONTINUE + ok(b"x") * 2
    assert wire.transport.log == ["close"]


async def test_a_refusal_to_a_half_closed_connection_closes() -> None:
    later = Later()
    wire = Wire(later)
    wire.send(GET + b"hello\r\n\r\n")
    wire.connection.eof_received()
    later.answers[0].set_result(HttpResponse(200, b"x"))
    await turn()
    assert b"400 Bad Request" in wire.sent
    assert wire.transport.log == ["close"]


async def test_a_client_that_left_is_told_from_one_that_still_reads() -> None:
    later = Later()
    wire = Wire(later)
    wire.send(GET)
    wire.connection.eof_received()
    wire.sweep(1)
    assert wire.transport.log == []
    wire.transport.ends = Ends(error=32)
    wire.sweep(2)
    assert wire.transport.log[-1:] == ["abort"]
    wire.connection.connection_lost(None)
    wire.connection._abort_if_reset()  # a probe that fires late
    await turn()
    assert len(wire.transport.log) == 1


async def test_a_transport_without_a_socket_cannot_be_asked() -> None:
    wire = Wire(Later())
    wire.transport.ends = None
    wire.send(GET)
    wire.connection.eof_received()
    wire.sweep(1)
    assert wire.transport.log == []
    wire.connection.connection_lost(None)
    await turn()


async def test_http_1_0_knows_no_interim_answers() -> None:
    wire = Wire(Later())
    wire.send(b"GET /a HTTP/1.0\r\n\r\n")
    assert wire.connection.eof_received() is True
    assert wire.sent == b""
    wire.connection.connection_lost(None)
    await turn()


# Clients that do not read.


async def test_what_a_client_does_not_read_is_not_added_to() -> None:
    wire = Wire()
    wire.transport.high_water = 10
    wire.send(GET + GET)
    wire.send(GET)
    assert len(wire.requests) == 1
    wire.transport.high_water = None
    wire.connection.resume_writing()
    assert len(wire.requests) == 3


async def test_an_answer_that_came_later_waits_for_the_client_too() -> None:
    later = Later()
    wire = Wire(later)
    wire.transport.high_water = 10
    wire.send(GET + GET)
    later.answers[0].set_result(HttpResponse(200))
    await turn()
    assert len(wire.requests) == 1
    wire.connection.resume_writing()
    assert len(wire.requests) == 2
    wire.connection.connection_lost(None)
    await turn()


async def test_a_client_that_reads_nothing_is_dropped() -> None:
    wire = Wire()
    wire.transport.high_water = 10
    wire.send(GET)
    wire.sweep(59)
    wire.transport.unsent_bytes -= 10
    wire.sweep(60)  # it has read something
    wire.transport.unsent_bytes -= 9
    wire.sweep(119)
    assert wire.transport.log == []
    assert wire.connection.is_unanswered
    wire.sweep(120)
    assert wire.transport.log == ["abort"]


async def test_a_client_that_does_not_read_its_last_answer_is_dropped() -> None:
    wire = Wire(lambda request: HttpResponse(200, close=True))
    wire.send(GET)
    before = wire.connection.is_unanswered
    wire.transport.unsent_bytes = 5
    assert (before, wire.connection.is_unanswered) == (False, True)
    wire.sweep(60)
    assert wire.transport.log == ["close", "abort"]


# Clients that are slow.


async def test_an_idle_connection_is_closed() -> None:
    wire = Wire()
    wire.sweep(40)
    wire.send(GET)
    wire.sweep(89)
    assert wire.transport.log == []
    wire.sweep(90)
    assert wire.transport.log == ["close"]


async def test_an_idle_connection_that_was_not_read_to_the_end_is_dropped() -> None:
    wire = Wire()
    wire.send(GET)
    wire.transport.unsent_bytes = 5
    wire.sweep(50)
    assert wire.transport.log == ["abort"]


async def test_the_time_of_the_first_head_begins_with_the_connection() -> None:
    wire = Wire()
    wire.sweep(40)
    wire.send(b"GET /")
    assert wire.connection.is_unanswered
    wire.sweep(49)
    wire.send(b"a")
    assert wire.sent == b""
    wire.sweep(50)
    assert wire.sent.startswith(b"HTTP/1.1 408 Request Time-out\r\n")
    assert wire.sent.endswith(b"Request Time-out: the request's header did not arrive")
    assert wire.transport.log == ["eof"]


async def test_that_time_begins_when_the_socket_is_accepted() -> None:
    """And not after a TLS handshake, or when it is known which protocol is spoken."""
    wire = Wire(is_connected=False)
    wire.sweep(30)
    wire.connection.connection_made(wire.transport)
    wire.sweep(49)
    assert wire.transport.log == []
    wire.sweep(50)
    assert wire.transport.log == ["close"]
    handed_over = Connection(wire.service, 20.0)
    transport = MemoryTransport(None, is_tls=False)
    handed_over.connection_made(transport)
    handed_over.data_received(b"GET /")
    handed_over.sweep(69.9)
    assert transport.log == []
    handed_over.sweep(70)
    assert transport.log == ["eof"]


async def test_a_body_behind_a_late_head_has_time_of_its_own() -> None:
    wire = Wire()
    wire.sweep(45)
    wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na")
    wire.sweep(94)
    wire.send(b"bc")
    assert wire.sent.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_later_head_must_arrive_in_time() -> None:
    wire = Wire()
    wire.sweep(10)
    wire.send(GET)
    wire.transport.sent.clear()
    wire.sweep(50)
    wire.send(b"GET /")
    assert wire.connection.is_unanswered
    wire.sweep(99)
    wire.send(b"a")
    assert wire.sent == b""
    wire.sweep(100)
    assert wire.sent.startswith(b"HTTP/1.1 408 Request Time-out\r\n")
    assert wire.sent.endswith(b"Request Time-out: the request's header did not arrive")
    assert wire.transport.log == ["eof"]


async def test_a_second_slow_head_has_its_own_time() -> None:
    wire = Wire()
    wire.send(GET[:5])
    wire.sweep(40)
    wire.send(GET[5:])
    wire.sweep(80)
    wire.send(GET[:5])
    wire.sweep(129)
    assert wire.transport.log == []
    wire.sweep(130)
    assert wire.transport.log == ["eof"]


async def test_a_body_must_make_progress() -> None:
    wire = Wire()
    wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
    wire.send(b"x" * 10)
    wire.sweep(50)
    wire.send(b"x" * 9)
    wire.sweep(99)
    assert wire.sent == b""
    wire.sweep(100)
    assert wire.sent.endswith(b"Request Time-out: the request's body did not arrive")


async def test_a_second_body_makes_progress_by_what_comes_of_it() -> None:
    wire = Wire()
    for size, later in ((9000, 0), (8000, 60)):
        wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        wire.send(b"x" * (size - 1))
        wire.sweep(50 + later)
        assert wire.transport.log == []
        wire.send(b"x")
    assert wire.sent.count(b"200 OK") == 2


async def test_an_answer_may_take_its_time() -> None:
    wire = Wire(Later())
    wire.send(GET)
    wire.sweep(1000)
    assert wire.transport.log == []
    wire.connection.connection_lost(None)
    await turn()


# Drain.


async def test_a_draining_server_closes_after_each_answer() -> None:
    later = Later()
    wire = Wire(later)
    wire.send(GET)
    wire.service.draining = True
    wire.connection.drain()
    assert wire.transport.log == []
    later.answers[0].set_result(HttpResponse(200, b"x"))
    await turn()
    assert wire.sent == ok(b"x", CLOSE)
    assert wire.transport.log == ["close"]


async def test_an_idle_connection_is_closed_when_draining() -> None:
    wire = Wire()
    wire.connection.drain()
    assert wire.transport.log == ["close"]
    assert not wire.connection.is_unanswered


async def test_a_request_that_has_begun_is_awaited_when_draining() -> None:
    wire = Wire()
    wire.send(GET[:5])
    wire.service.draining = True
    wire.connection.drain()
    wire.send(GET[5:])
    assert wire.sent == ok(b"/a", CLOSE)


async def test_an_answer_nobody_has_read_yet_is_sent_when_draining() -> None:
    wire = Wire()
    wire.transport.high_water = 10
    wire.send(GET)
    wire.connection.drain()
    assert wire.transport.log == ["close"]


async def test_requests_that_wait_are_answered_when_draining() -> None:
    wire = Wire()
    wire.transport.high_water = 10
    wire.send(GET + GET)
    wire.connection.drain()
    assert wire.transport.log == []


async def test_a_connection_can_be_cut() -> None:
    wire = Wire()
    wire.connection.abort()
    assert wire.transport.log == ["abort"]


# The access log.


async def test_every_answer_is_recorded() -> None:
    wire = Wire(is_logging=True)
    wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    wire.send(gzipped(b"broken"))
    await turn()
    wire.send(b"hello\r\n")
    assert [(r.method, r.status, r.bytes_in, r.remote) for r in wire.records] == [
        ("POST", 200, 3, "192.0.2.7"),
        ("POST", 200, 6, "192.0.2.7"),
        ("", 400, 0, "192.0.2.7"),
    ]


async def test_a_refusal_is_recorded_with_as_much_as_was_read_of_the_request() -> None:
    for data in (
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 300,
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
        b"GET /a HTTP/2.0\r\n\r\n",
        b"GET /" + b"x" * 300,
    ):
        wire = Wire(is_logging=True)
        wire.send(GET + data)
        records = [(r.status, r.method, r.target) for r in wire.records]
        assert records[0] == (200, "GET", "/a")
        is_known = data.startswith(b"POST")
        assert records[1][1:] == (("POST", "/a") if is_known else ("", ""))


async def test_a_body_that_is_late_is_recorded_with_its_head() -> None:
    wire = Wire(is_logging=True)
    wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nUser-Agent: me\r\n\r\nabc")
    wire.sweep(51)
    [record] = wire.records
    assert (record.status, record.target, record.user_agent) == (408, "/a", "me")


async def test_a_refusal_to_head_has_no_body() -> None:
    wire = Wire()
    wire.send(b"HEAD /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    wire.sweep(51)
    assert wire.sent.startswith(b"HTTP/1.1 408 ")
    assert wire.sent.endswith(b"\r\n\r\n")


async def test_a_request_that_was_given_up_is_recorded() -> None:
    later = Later()
    for began in (False, True):
        wire = Wire(later, is_logging=True)
        wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        if began:
            await turn()
        wire.now = 7.0
        wire.connection.connection_lost(None)
        wire.transport.peer = None
        await turn()
        assert [
            (r.method, r.target, r.status, r.bytes_in, r.bytes_out, r.remote, r.seconds)
            for r in wire.records
        ] == [("POST", "/a", 499, 3, 0, "192.0.2.7", 7.0)]


async def test_an_answer_nobody_waits_for_is_recorded_as_given_up() -> None:
    async def answer(request: HttpRequest) -> HttpResponse:
        wire.connection.connection_lost(None)
        return HttpResponse(200)

    wire = Wire(answer, is_logging=True)
    wire.send(GET)
    await turn()
    assert [record.status for record in wire.records] == [499]


async def test_the_transport_s_own_pages_have_the_fields_their_target_wants() -> None:
    def broken(request: HttpRequest) -> HttpResponse:
        raise ValueError

    for data, target in (
        (b"POST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n", "/v1/a"),
        (gzipped(gzip.compress(b"\0" * 200_000, mtime=0)), "/a"),
        (GET, "/a"),
        (b"hello\r\n\r\n", "None"),
    ):
        wire = Wire(broken)
        wire.service.page_headers = lambda target: (("X-Of", str(target)),)
        wire.send(data)
        await turn()
        assert f"\r\nX-Of: {target}\r\n".encode() in wire.sent


async def test_the_server_hears_of_the_last_connection() -> None:
    wire = Wire(is_connected=False)
    heard: list[str] = []
    wire.service.on_connection = lambda: heard.append("made")
    wire.service.on_empty = lambda: heard.append("empty")
    other = Connection(wire.service)
    for connection in (wire.connection, other):
        connection.connection_made(wire.transport)
    wire.connection.connection_lost(None)
    assert heard == ["made", "made"]
    other.connection_lost(None)
    assert heard == ["made", "made", "empty"]
    wire.send(GET)
    assert wire.sent == b""


# Large bodies.


def fill(wire: Wire, data: bytes) -> None:
    filling = wire.transport.spoken
    assert isinstance(filling, Filling)
    filling.get_buffer(-1)[: len(data)] = data
    filling.buffer_updated(len(data))


@pytest.fixture
def all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_reader, "SMALLEST_BYTES", 3)


@pytest.mark.usefixtures("all_are_large")
async def test_a_large_body_is_read_in_place_each_time() -> None:
    wire = Wire()
    for _ in range(2):
        wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\na")
        fill(wire, b"bcd")
        assert wire.transport.log[-2:] == ["pause", "resume"]
        fill(wire, b"ef")
        assert wire.transport.spoken is wire.connection
        assert wire.requests[-1].body == b"abcdef"
    wire.send(GET)
    assert wire.targets == ["/a", "/a", "/a"]
    assert wire.transport.log == ["pause", "resume"] * 4


@pytest.mark.usefixtures("all_are_large")
async def test_a_client_that_waits_for_leave_to_send_a_large_body_gets_it_once() -> None:
    wire = Wire()
    wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert wire.sent == CONTINUE
    fill(wire, b"abcd")
    assert wire.sent == CONTINUE + ok(b"/a")


@pytest.mark.usefixtures("all_are_large")
async def test_a_large_body_that_stops_coming_is_refused_and_the_rest_dropped() -> None:
    wire = Wire()
    wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\na")
    fill(wire, b"b" * 20)
    wire.sweep(50)
    assert not wire.sent
    wire.sweep(100)
    assert wire.sent.startswith(b"HTTP/1.1 408 ")
    assert wire.transport.spoken is wire.connection
    wire.send(b"c" * 39)
    assert not wire.requests


@pytest.mark.usefixtures("all_are_large")
async def test_over_tls_a_large_body_comes_in_pieces() -> None:
    wire = Wire(is_tls=True)
    wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n", b"abc", b"def")
    assert wire.requests[0].body == b"abcdef"
    assert wire.transport.spoken is None

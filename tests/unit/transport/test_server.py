"""The server on real sockets, on asyncio's own loop and on uvloop."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trustme
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from salver.transport import server as http1
from salver.transport.limits import HttpLimits
from salver.transport.messages import HttpRequest, HttpResponse
from salver.transport.server import HttpServer
from salver.transport.service import AccessRecord
from salver.transport.tls import server_context

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
Run = Callable[[Coroutine[object, object, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a scenario on one kind of loop."""
    chosen: Run = request.param
    return chosen


@pytest.fixture(scope="module")
def server_tls() -> ssl.SSLContext:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    return server_context(
        server_key=certificate.private_key_pem.bytes().decode(),
        server_cert=certificate.cert_chain_pems[0].bytes().decode(),
    )


class Site:
    """A server on loopback, whose `/wait` is answered once `go` is set."""

    def __init__(self, limits: HttpLimits | None = None) -> None:
        self.go = asyncio.Event()
        self.asked = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.records: list[AccessRecord] = []
        self.now = 0.0
        self.server = HttpServer(
            self.handle,
            error_page=lambda status, message, hint: HttpResponse(status, message.encode()),
            clock=lambda: 0.0,
            run_in_pool=self.in_pool,
            limits=limits,
            access=self.records.append,
            monotonic=lambda: self.now,
            screen=self.screen,
        )
        self.port = 0

    def screen(
        self, request: HttpRequest
    ) -> HttpResponse | Coroutine[Any, Any, HttpResponse | None] | None:
        if request.target == "/never":
            return HttpResponse(401, b"no")
        return self.screen_later(request) if request.target.startswith("/later") else None

    async def screen_later(self, request: HttpRequest) -> HttpResponse | None:
        self.asked.set()
        await self.go.wait()
        return HttpResponse(401, b"no") if request.target == "/later/no" else None

    def handle(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        if request.target == "/wait":
            return self.wait()
        if request.target == "/large":
            return HttpResponse(200, b"x" * 10_000_000)
        return HttpResponse(200, request.target.encode() + request.body)

    async def wait(self) -> HttpResponse:
        self.asked.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return HttpResponse(200, b"waited")

    async def in_pool(self, work: Callable[[], Any], size: int = 0) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, work)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, data: bytes) -> bytes:
        """Everything a client gets that sends `data` and then no more."""
        reader, writer = await self.open()
        try:
            writer.write(data)
            writer.write_eof()
            return await reader.read()
        finally:
            await end(writer)


async def end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def serving(limits: HttpLimits | None = None) -> AsyncIterator[Site]:
    site = Site(limits)
    ((_, site.port),) = await site.server.listen("127.0.0.1", 0)
    try:
        async with asyncio.timeout(20) if hasattr(asyncio, "timeout") else serving_for_ever():
            yield site
    finally:
        await site.server.close()


@asynccontextmanager
async def serving_for_ever() -> AsyncIterator[None]:
    """Python 3.10 has no `asyncio.timeout`."""
    yield


def answered(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def test_requests_on_one_connection_are_answered(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as site:
            got = await site.ask(
                GET * 2 + b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
                b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3\r\nabc\r\n0\r\n\r\n"
            )
            assert got.count(b"HTTP/1.1 200 OK\r\n") == 4
            assert got.endswith(answered(b"/cabc"))
            assert answered(b"/babc") in got

    run(scenario())


def test_a_large_body_and_a_large_answer_pass(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as site:
            body = bytes(range(256)) * 20_000
            head = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
            got = await site.ask(head + body)
            assert got.endswith(answered(b"/b" + body))
            got = await site.ask(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
            assert got.endswith(answered(b"/a"))
            assert len(got) > 10_000_000

    run(scenario())


def test_a_body_is_sent_when_the_client_is_told_to(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as site:
            reader, writer = await site.open()
            writer.write(
                b"POST /b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            )
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"abc")
            writer.write_eof()
            assert (await reader.read()).endswith(answered(b"/babc"))
            await end(writer)

    run(scenario())


def test_a_client_that_still_sends_reads_why_it_is_refused(run: Run) -> None:
    async def scenario() -> None:
        async with serving(HttpLimits(max_body_bytes=1000)) as site:
            reader, writer = await site.open()
            writer.write(b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
            writer.write(b"x" * 10_000_000)
            got = await reader.read()
            assert got.startswith(b"HTTP/1.1 413 Request Entity Too Large\r\n")
            await end(writer)

    run(scenario())


def test_a_half_closed_connection_gets_an_answer_that_comes_later(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as site:
            reader, writer = await site.open()
            writer.write(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            writer.write_eof()
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            site.go.set()
            assert (await reader.read()).endswith(answered(b"waited"))
            await end(writer)

    run(scenario())


@pytest.mark.parametrize("is_reset", [True, False])
def test_work_for_a_client_that_leaves_is_cancelled(run: Run, is_reset: bool) -> None:
    async def scenario() -> None:
        async with serving() as site:
            client = socket.create_connection(("127.0.0.1", site.port))
            client.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await site.asked.wait()
            assert site.server.in_flight == 1
            if is_reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            await site.cancelled.wait()
            assert await site.server.drain(10) == 0
            assert (site.server.in_flight, site.server.connections) == (0, 0)

    run(scenario())


def test_all_addresses_are_served_and_returned(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as site:
            ((host, port),) = await site.server.listen("", 0)
            assert host in ("::", "0.0.0.0")
            site.port = port
            assert (await site.ask(GET)).endswith(answered(b"/a"))

    run(scenario())


def test_a_port_in_use_is_an_error(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as site:
            with pytest.raises(OSError, match="in use"):
                await site.server.listen("127.0.0.1", site.port)

    run(scenario())


# asyncio of Python 3.10 leaves its TLS transport unclosed when the client ends first.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_https_is_served(run: Run) -> None:
    authority = trustme.CA()
    cert = authority.issue_cert("127.0.0.1")
    context = server_context(
        server_key=cert.private_key_pem.bytes().decode(),
        server_cert=cert.cert_chain_pems[0].bytes().decode(),
    )

    async def scenario() -> None:
        async with serving() as site:
            ((_, port),) = await site.server.listen("127.0.0.1", 0, context)
            client = ssl.create_default_context()
            authority.configure_trust(client)
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
            writer.write(GET + b"hello\r\n\r\n")
            got = await reader.readuntil(b"request line")
            assert answered(b"/a") in got
            assert b"HTTP/1.1 400 Bad Request\r\n" in got
            await end(writer)

    run(scenario())


def test_a_tls_client_on_a_plain_port_is_not_left_waiting(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as site:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection(
                    "127.0.0.1", site.port, ssl=ssl.create_default_context()
                )

    run(scenario())


# Timeouts.


def test_slow_clients_are_swept_up_by_themselves(run: Run) -> None:
    async def scenario() -> None:
        async with serving(HttpLimits(read_timeout_s=0.04, linger_s=0.04)) as site:
            reader, writer = await site.open()
            writer.write(b"GET /")
            site.now = 1.0
            assert (await reader.read()).startswith(b"HTTP/1.1 408 Request Time-out\r\n")
            await end(writer)
            reader, writer = await site.open()
            site.now = 2.0
            assert await reader.read() == b""
            await end(writer)

    run(scenario())


@pytest.mark.parametrize("is_shared", [False, True], ids=["alone", "shared"])
@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"])
def test_a_tls_handshake_that_nobody_makes_is_ended(
    said: bytes, is_shared: bool, run: Run, server_tls: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        site = Site(HttpLimits(read_timeout_s=0.3))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            site.port = listener.getsockname()[1]
            await site.server.serve([listener.dup()], server_tls, is_shared=is_shared)
            reader, writer = await site.open()
            writer.write(said)
            with suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 20) == b""
            await end(writer)
            await site.server.close()

    run(scenario())


def test_a_server_without_connections_sleeps(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with serving(HttpLimits(read_timeout_s=0.01)) as site:
            swept = asyncio.Event()
            ticked = site.server._on_timer

            def tick() -> None:
                ticked()
                if site.server.connections == 0:
                    swept.set()

            monkeypatch.setattr(site.server, "_on_timer", tick)
            await site.ask(GET)
            await swept.wait()
            assert site.server._timer is None
            await site.ask(GET)

    run(scenario())


# Drain.


def test_draining_lets_requests_finish(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as site:
            idle_reader, idle_writer = await site.open()
            reader, writer = await site.open()
            writer.write(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await site.asked.wait()
            draining = asyncio.ensure_future(site.server.drain(10))
            assert await idle_reader.read() == b""
            with pytest.raises(ConnectionRefusedError):
                await site.open()
            assert not draining.done()
            site.go.set()
            got = await reader.read()
            assert b"Connection: close\r\n" in got
            assert got.endswith(answered(b"waited"))
            assert await draining == 0
            for end_of in (writer, idle_writer):
                await end(end_of)

    run(scenario())


def test_draining_cuts_what_takes_too_long(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as site:
            reader, writer = await site.open()
            writer.write(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await site.asked.wait()
            assert await site.server.drain(0.01) == 1
            await site.cancelled.wait()
            assert site.server.connections == 0
            assert await reader.read() == b""
            await end(writer)

    run(scenario())


def test_draining_answers_what_has_been_sent_already(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as site:
            clients = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(20)]
            for client in clients:
                client.sendall(GET)
            assert await site.server.drain(10) == 0
            for client in clients:
                assert client.recv(1000).endswith(answered(b"/a"))
                client.close()

    run(scenario())


def test_draining_does_not_accept_for_ever(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with serving() as site:
            monkeypatch.setattr(http1, "BACKLOG", 1)
            with socket.create_connection(("127.0.0.1", site.port)) as client:
                assert await site.server.drain(10) == 0
                assert client.recv(1) == b""

    run(scenario())


def test_a_server_that_never_served_drains_and_closes(run: Run) -> None:
    async def scenario() -> None:
        site = Site()
        assert await site.server.drain(10) == 0
        await site.server.close()

    run(scenario())


def test_a_socket_that_cannot_listen_is_an_error(run: Run) -> None:
    async def scenario() -> None:
        closed = socket.socket()
        closed.close()
        with pytest.raises((OSError, ValueError)):
            await Site().server.serve([closed])

    run(scenario())


def test_answers_are_recorded(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as site:
            await site.ask(GET)
            assert [(record.remote, record.target) for record in site.records] == [
                ("127.0.0.1", "/a")
            ]

    run(scenario())


# Bad input.


@settings(max_examples=30)
@given(
    st.lists(
        st.lists(st.sampled_from([GET, GET[:7], b"\r\n", b"\0\xff"]) | st.binary()).map(b"".join),
        min_size=1,
        max_size=3,
    )
)
def test_the_server_lives_whatever_is_sent(sent: list[bytes]) -> None:
    async def scenario() -> None:
        async with serving(HttpLimits(linger_s=0.05)) as site:
            await asyncio.gather(*[site.ask(data) for data in sent], return_exceptions=True)
            assert (await site.ask(GET)).endswith(answered(b"/a"))

    uvloop.run(scenario())


def test_the_timeouts_are_looked_at_once_a_second_or_more_often() -> None:
    async def never(_work: Callable[[], Any], size: int = 0) -> Any:
        raise AssertionError(size)

    def sweep_s(limits: HttpLimits | None) -> float:
        return HttpServer(
            lambda request: HttpResponse(200),
            error_page=lambda status, message, hint: HttpResponse(status),
            clock=lambda: 0.0,
            run_in_pool=never,
            limits=limits,
        )._sweep_s

    assert sweep_s(None) == 0.5
    assert sweep_s(HttpLimits(linger_s=100)) == 1.0


def test_a_socket_may_be_shared_with_others_who_serve_it(run: Run) -> None:
    async def scenario() -> None:
        site, other = Site(), Site()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            site.port = listener.getsockname()[1]
            await site.server.serve([listener.dup()], is_shared=True)
            reader, writer = await site.open()
            writer.write(GET)
            assert b"/a" in await reader.readuntil(b"/a")
            await end(writer)
            assert await site.server.drain(10) == 0
            await other.server.serve([listener.dup()], is_shared=True)
            reader, writer = await site.open()
            writer.write(GET)
            assert b"/a" in await reader.readuntil(b"/a")
            await end(writer)
            assert (site.server.accepted, other.server.accepted) == (1, 1)
            await other.server.close()

    run(scenario())


def test_tls_is_spoken_on_shared_sockets(run: Run) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")

    async def scenario() -> None:
        site = Site()
        context = server_context(
            server_key=certificate.private_key_pem.bytes().decode(),
            server_cert=certificate.cert_chain_pems[0].bytes().decode(),
        )
        client = ssl.create_default_context()
        authority.configure_trust(client)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            port = listener.getsockname()[1]
            await site.server.serve([listener.dup()], context, is_shared=True)
            plain = socket.create_connection(("127.0.0.1", port))
            plain.sendall(b"no handshake")
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
            writer.write(GET)
            assert b"/a" in await reader.readuntil(b"/a")
            await end(writer)
            plain.close()
            await site.server.close()

    run(scenario())


def test_before_a_drain_idle_clients_may_be_told_in_an_answer_to_leave(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as site:
            reader, writer = await site.open()
            writer.write(GET)
            await reader.readuntil(b"/a")
            draining = asyncio.ensure_future(site.server.drain(10, idle_s=10))
            for _ in range(50):  # turns; a drain takes what waits first
                await asyncio.sleep(0)
            assert not site.server._listeners
            writer.write(GET)
            answer = await reader.read()
            assert b"200" in answer
            assert b"close" in answer.lower()
            await end(writer)
            assert await draining == 0

    run(scenario())


def test_before_a_drain_answers_may_end_connections_while_new_ones_are_taken(run: Run) -> None:
    """A client that keeps its connection is to open the next one elsewhere, and loses nothing."""

    async def scenario() -> None:
        async with serving() as site:
            reader, writer = await site.open()
            writer.write(GET)
            assert b"close" not in (await reader.readuntil(b"/a")).lower()
            site.server.end_connections()
            for _ in range(2):
                writer.write(GET)
                answer = await reader.read()
                assert b"200" in answer
                assert b"connection: close" in answer.lower()
                await end(writer)
                reader, writer = await site.open()
            await end(writer)
            assert await site.server.drain(10) == 0

    run(scenario())


def unfinished(target: str, *, size: int = 900 << 20) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (target.encode(), size)


def test_a_body_that_nobody_wants_is_not_waited_for(run: Run) -> None:
    async def scenario() -> None:
        async with serving(HttpLimits(max_linger_bytes=1 << 16)) as site:
            reader, writer = await site.open()
            writer.write(GET + unfinished("/never"))
            got = await reader.read()
            assert answered(b"/a") in got
            assert got.endswith(b"no")
            assert b"HTTP/1.1 401 Unauthorized\r\n" in got
            assert got.count(b"Connection: close") == 1
            assert [record.status for record in site.records] == [200, 401]
            writer.write(bytes(64 << 20))  # more than is read and dropped
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(writer.drain(), 0.3)
            writer.transport.abort()

    run(scenario())


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_body_waits_until_it_is_known_whether_it_is_wanted(run: Run, is_refused: bool) -> None:
    async def scenario() -> None:
        async with serving() as site:
            reader, writer = await site.open()
            target = "/later/no" if is_refused else "/later"
            writer.write(unfinished(target, size=200_000) + bytes(100_000))
            await site.asked.wait()
            site.go.set()
            writer.write(bytes(100_000) + GET[:-2] + b"Connection: close\r\n\r\n")
            got = await reader.read()
            if is_refused:
                assert got.endswith(b"\r\n\r\nno")
            else:
                assert answered(target.encode() + bytes(200_000)) in got
                assert got.endswith(answered(b"/a"))
            assert site.server.in_flight == 0
            await end(writer)

    run(scenario())


@pytest.mark.parametrize("is_reset", [False, True])
def test_nobody_waits_for_a_client_that_left_before_that_was_known(
    run: Run, is_reset: bool
) -> None:
    async def scenario() -> None:
        async with serving() as site:
            _, writer = await site.open()
            writer.write(unfinished("/later"))
            await site.asked.wait()
            if is_reset:
                end_of_client = writer.get_extra_info("socket")
                end_of_client.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            writer.transport.abort()
            if not is_reset:  # it may still read
                site.go.set()
            assert await site.server.drain(10.0) == 0
            assert site.records == []

    run(scenario())

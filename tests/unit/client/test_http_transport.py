import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.canned import CLOSE, Last, canned, http

from salver.client.address import Address, Tls, parse_address
from salver.client.cluster import has_not_arrived
from salver.client.exchange import Exchange, Reply
from salver.client.http_transport import AsyncHttpTransport, HttpTransport, _error, _made
from salver.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable

GET: Exchange[Any] = Exchange("/v1/models", None, lambda reply: reply)
POST: Exchange[Any] = Exchange("/v1/models/m:predict", b"{}", lambda reply: reply)


class Twins:
    """Both transports behind one blocking door."""

    def __init__(self, is_async: bool) -> None:
        self._is_async = is_async

    def send(
        self,
        url: str,
        *exchanges: Exchange[Any],
        timeout_s: float | None = 10.0,
        tls: Tls | None = None,
        **headers: str,
    ) -> list[Reply]:
        address = parse_address(url)
        if self._is_async:
            return asyncio.run(self._send(address, exchanges, timeout_s, tls, headers))
        transport = HttpTransport(address, tls, headers)
        try:
            return [transport.send(exchange, timeout_s) for exchange in exchanges]
        finally:
            transport.close()

    async def _send(
        self, address: Any, exchanges: Any, timeout_s: float | None, tls: Any, headers: Any
    ) -> list[Reply]:
        transport = AsyncHttpTransport(address, tls, headers)
        try:
            return [await transport.send(exchange, timeout_s) for exchange in exchanges]
        finally:
            await transport.close()


@pytest.fixture(params=[False, True], ids=["blocking", "async"])
def twins(request: pytest.FixtureRequest) -> Twins:
    return Twins(request.param)


def test_a_request_arrives_and_its_reply_comes_back(twins: Twins) -> None:
    with canned([http(200, b"one", "X-Y: z\r\n"), http(404, b"two")]) as server:
        first, second = twins.send(f"{server.url}/proxy", GET, POST, authorization="Bearer t")
    assert (first.status, first.body, first.headers["x-y"]) == (200, b"one", "z")
    assert (second.status, second.body) == (404, b"two")
    assert server.paths == ["/proxy/v1/models", "/proxy/v1/models/m:predict"]
    _, headers, body = server.requests[1]
    assert (headers["content-type"], headers["authorization"]) == ("application/json", "Bearer t")
    assert body == b"{}"


def test_a_connection_is_used_again(twins: Twins) -> None:
    with canned([http(200)]) as server:
        twins.send(server.url, *[POST] * 5)
        assert len(server.requests) == 5
        assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        CLOSE,
        Last(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nhalf"),
        Last(b"nonsense\r\n\r\n"),
    ],
)
def test_a_reply_that_does_not_come_whole_is_unavailable(twins: Twins, answer: bytes) -> None:
    with canned([answer]) as server, pytest.raises(Unavailable, match="cannot be reached: "):
        twins.send(server.url, POST)


def test_nobody_there_is_unavailable(twins: Twins) -> None:
    with canned([http(200)]) as server:
        url = server.url
    with pytest.raises(Unavailable, match=f"^{url} cannot be reached: ") as caught:
        twins.send(url, POST)
    assert caught.value.hint == "Is a server running there?"


def test_a_server_that_says_nothing_is_late(twins: Twins) -> None:
    late = pytest.raises(DeadlineExceeded, match=r"^No answer within 0\.05 s$")
    with canned([b"HTTP/1.1 200 X\r\n"]) as server, late:
        twins.send(server.url, POST, timeout_s=0.05)


@contextmanager
def silent() -> Iterator[str]:
    """The URL of a listener that takes no connection, as if its machine were off."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        where = listener.getsockname()
        for _ in range(3):  # its queue is full
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(where)
        yield f"http://127.0.0.1:{where[1]}"


def test_to_connect_may_have_a_limit_of_its_own() -> None:
    with silent() as url:
        address = replace(parse_address(url), connect_s=0.1)
        for error in (
            connecting(address, 60.0),
            connecting(address, 0.1),
            connecting(address, None),
        ):
            assert has_not_arrived(error)


def connecting(address: Address, timeout_s: float | None) -> DeadlineExceeded:
    transport = HttpTransport(address, None, {})
    with closing(transport), pytest.raises(DeadlineExceeded) as caught:
        transport.send(POST, timeout_s)
    with pytest.raises(DeadlineExceeded) as later:
        asyncio.run(AsyncHttpTransport(address, None, {}).send(POST, timeout_s))
    assert has_not_arrived(later.value)
    return caught.value


def test_a_server_that_trickles_is_late_too(twins: Twins) -> None:
    is_over = threading.Event()

    def trickle(*_: Any) -> bytes:
        connection = server._sockets[-1]
        connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n")
        while not is_over.wait(0.01):
            connection.sendall(b"x")
        return CLOSE

    with canned(trickle) as server:
        try:
            with pytest.raises(DeadlineExceeded, match=r"^No answer within 0\.2 s$"):
                twins.send(server.url, POST, timeout_s=0.2)
        finally:
            is_over.set()


def test_no_limit_is_none(twins: Twins) -> None:
    with canned([http(200, b"x")]) as server:
        assert twins.send(server.url, GET, timeout_s=None)[0].body == b"x"


def test_a_reply_in_a_coding_that_is_none_is_told(twins: Twins) -> None:
    refused = pytest.raises(InvalidArgument, match="cannot be asked: ")
    with canned([http(200, b"no gzip", "Content-Encoding: gzip\r\n")]) as server, refused:
        twins.send(server.url, GET)


def test_tls_files_must_be_there(twins: Twins, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="TLS cannot be set up: "):
        twins.send("https://127.0.0.1:1", GET, tls=Tls(ca=tmp_path / "none.pem"))


def test_httpx_alone_knows_when_a_phase_is_late() -> None:
    assert _error("u", httpx.PoolTimeout("x"), None).message == "No answer in time"


def test_a_fork_does_not_share_the_connections_of_its_parent() -> None:
    with canned([http(200, b"parent"), CLOSE, http(200, b"child")]) as server:
        transport = HttpTransport(parse_address(server.url), None, {})
        assert transport.send(GET, 10.0).body == b"parent"
        mine = transport._client
        transport._process += 1  # as a fork finds it
        with suppress(Unavailable):
            transport.send(GET, 10.0)
        assert transport._client is not mine
        assert not mine.is_closed  # the parent's connections stay as they are
        mine.close()
        transport.close()


@pytest.mark.parametrize("url", ["http://\u2603.net:1", "http://\0x:1"])
def test_a_host_that_is_none_is_told(twins: Twins, url: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be asked: "):
        twins.send(url, GET)


def test_a_header_that_cannot_be_sent_is_told(twins: Twins) -> None:
    with pytest.raises(InvalidArgument, match="No connection can be made so: "):
        twins.send("http://127.0.0.1:1", GET, name="é")
    with pytest.raises(InvalidArgument, match="Illegal header value"), canned([]) as server:
        twins.send(server.url, GET, name="a\r\nb: c")


def test_a_proxy_that_needs_more_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(**_: Any) -> httpx.Client:
        raise ImportError("no socksio")

    with pytest.raises(FailedPrecondition, match="The proxy cannot be used: no socksio"):
        _made(lacking, {})

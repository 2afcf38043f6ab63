"""REST over connections of our own: httptools on the loop's protocols.

Cheap on purpose, so that the server is what is measured: a small request costs the generator
12 µs of CPU with 16 clients and 28 with one; with httpx, measured beside it, 430.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, cast
from urllib.parse import urlsplit

import httptools

from salver.bench.lines import Done, Line
from salver.client.address import Address, Tls
from salver.errors import Unavailable

__all__ = ["HttpLines", "error_text", "http_request"]

_OK: Final = range(200, 300)
_SHOWN: Final = 300  # characters of an error that is no JSON
_AT_ONCE: Final = 64  # connections that are opened together: backlogs of servers are short


def http_request(
    address: Address, path: str, body: bytes, headers: Mapping[str, str] | None = None
) -> bytes:
    """A POST as it goes over the connection; `headers` stand beside or instead of the usual."""
    parts = urlsplit(address.target)
    given = {"Content-Type": "application/json", **(headers or {})}
    lines = "".join([f"{name}: {value}\r\n" for name, value in given.items()])
    head = (
        f"POST {parts.path}{path} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
        f"User-Agent: salver-bench\r\n{lines}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def error_text(body: bytes) -> str:
    """What the server says is wrong, of the body of its answer."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["error"])
    return body.decode(errors="replace").strip()[:_SHOWN]


class HttpLines:
    """See `Lines`."""

    def __init__(self, address: Address, tls: Tls | None, timeout_s: float) -> None:
        """Connect to nobody yet.

        Args:
            address: of REST.
            tls: of use where the address is secure.
            timeout_s: for an answer, and for a connection.
        """
        self._address = address
        self._tls = (tls or Tls()).context() if address.is_secure else None
        self._timeout_s = timeout_s
        self._lines: list[_HttpLine] = []

    async def open(self, count: int) -> list[Line]:
        """See `Lines`."""
        opened = [_HttpLine(self._connect, self._timeout_s) for _ in range(count)]
        self._lines += opened
        for start in range(0, count, _AT_ONCE):
            some = opened[start : start + _AT_ONCE]
            try:
                await asyncio.gather(*[line.connect() for line in some])
            except OSError as error:
                reason = str(error) or "no connection in time"
                raise Unavailable(
                    f"{self._address.target} cannot be reached: {reason}",
                    hint="Is a server running there?",
                ) from error
        return cast("list[Line]", opened)

    async def close(self) -> None:
        """See `Lines`."""
        for line in self._lines:
            line.close()
        self._lines.clear()

    async def _connect(self, line: "_HttpLine") -> "_Connection":
        parts = urlsplit(self._address.target)
        port = parts.port or (443 if self._address.is_secure else 80)
        connecting = asyncio.get_running_loop().create_connection(
            lambda: _Connection(line), parts.hostname or "", port, ssl=self._tls
        )
        try:
            _, connection = await asyncio.wait_for(connecting, self._timeout_s)
        except asyncio.TimeoutError as error:
            raise ConnectionError("no connection in time") from error
        return connection


class _HttpLine:
    """One connection at a time; made anew when the server has closed it."""

    def __init__(
        self, connect: "Callable[[_HttpLine], Awaitable[_Connection]]", timeout_s: float
    ) -> None:
        self._connect = connect
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._connection: _Connection | None = None
        self._done: Done | None = None
        self._due_s = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._again: asyncio.Task[None] | None = None

    async def connect(self) -> "_Connection":
        connection = await self._connect(self)
        if connection.transport.is_closing():
            raise ConnectionError("the server closed the connection")
        self._connection = connection
        return connection

    def send(self, request: bytes, done: Done) -> None:
        """See `Line`."""
        self._done = done
        self._due_s = self._loop.time() + self._timeout_s
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout_s, self._look)
        if self._connection is not None:
            self._connection.transport.write(request)
        else:
            self._again = self._loop.create_task(self._reconnect(request))

    def close(self) -> None:
        """Connect and answer no more."""
        self._done = None
        if self._again is not None:
            self._again.cancel()
        if self._watch is not None:
            self._watch.cancel()
        self._drop()

    def end(self, failure: str, message: str, received: int) -> None:
        """Say how the request went."""
        done, self._done = self._done, None
        if done is not None:
            done(failure, message, received)

    def leave(self, connection: "_Connection") -> bool:
        """Use a connection no more; whether it was in use."""
        if self._connection is not connection:
            return False
        self._connection = None
        return True

    async def _reconnect(self, request: bytes) -> None:
        try:
            connection = await self.connect()
        except OSError as error:
            self.end("no connection", str(error), 0)
            return
        connection.transport.write(request)

    def _look(self) -> None:
        """One timer for all requests: it is set again for what is left of the last."""
        self._watch = None
        if self._done is None:
            return
        left_s = self._due_s - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
            return
        if self._again is not None:
            self._again.cancel()
        self._drop()
        self.end("timeout", f"no answer within {self._timeout_s:g} s", 0)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.transport.abort()


class _Connection(asyncio.Protocol):
    """Reads answers; its methods are those that the loop and the parser call."""

    transport: asyncio.Transport

    def __init__(self, line: _HttpLine) -> None:
        self._line = line
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("connection lost", str(exc or "the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail("no HTTP", str(error))

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self._line.leave(self)
            self.transport.abort()
        received, self._received = self._received, 0
        chunks, self._chunks = self._chunks, []
        if status in _OK:
            self._line.end("", "", received)
        else:
            self._line.end(str(status), error_text(b"".join(chunks)), received)

    def _fail(self, failure: str, message: str) -> None:
        # Of a connection that was left already nobody waits for anything.
        if self._line.leave(self):
            self.transport.abort()
            self._line.end(failure, message, self._received)

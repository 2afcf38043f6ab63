"""The HTTP server: sockets, timeouts and drain around its connections."""

import asyncio
import contextlib
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from salver.instruments.threads import InPool
from salver.transport.accepting import Acceptor
from salver.transport.first_bytes import FirstBytes, MakeProtocol
from salver.transport.heads import RequestHead
from salver.transport.http1.connection import Connection
from salver.transport.in_flight import UNLIMITED, MemoryInFlight
from salver.transport.limits import HttpLimits
from salver.transport.listeners import BACKLOG, open_listeners
from salver.transport.messages import ErrorPage, Handler, PageHeaders, Screen
from salver.transport.service import AccessRecord, Service
from salver.transport.turns import Turns

__all__ = ["HttpServer"]

# What the kernel has already accepted takes this many turns of the loop to be accepted and read.
_TURNS = 5


class HttpServer:
    """Serves one handler on any number of listening sockets. Used on one loop only."""

    def __init__(
        self,
        handler: Handler,
        *,
        error_page: ErrorPage,
        clock: Callable[[], float],
        run_in_pool: InPool,
        limits: HttpLimits | None = None,
        access: Callable[[AccessRecord], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        page_headers: PageHeaders | None = None,
        http2: MakeProtocol | None = None,
        admit: Callable[[RequestHead], None] | None = None,
        memory: MemoryInFlight = UNLIMITED,
        screen: Screen | None = None,
    ) -> None:
        """Make a server that does not listen yet.

        Args:
            handler: answers a request at once, or with an awaitable, which is cancelled when the
                client leaves. What it raises is logged and answered with a 500 page.
            error_page: makes the pages of what never reaches the handler: 400, 408, 413, 417, 431,
                501; and 500.
            clock: seconds since the epoch, for `Date` and the access log.
            run_in_pool: takes long work, such as inflating, off the loop.
            limits: on what clients send.
            access: is told of every answer; must not block.
            monotonic: seconds, for timeouts and durations.
            page_headers: further fields for those pages, by the request's target.
            http2: makes the protocol of a connection that begins with HTTP/2's preface; None for a
                server of HTTP/1.1 alone.
            admit: raises a Refusal for requests that are understood, and yet not taken; asked once
                for all requests with the same head.
            memory: counts what requests hold.
            screen: see there; None where every body is taken.
        """
        self._http2 = http2
        limits = limits or HttpLimits()
        self._service = Service(
            handler,
            error_page=error_page,
            limits=limits,
            access=access,
            clock=clock,
            run_in_pool=run_in_pool,
            monotonic=monotonic,
            page_headers=page_headers,
            admit=admit,
            memory=memory,
            screen=screen,
        )
        self._service.on_connection = self._welcome
        self._service.on_empty = self._wake
        self._sweep_s = min(
            1.0, limits.read_timeout_s / 4, limits.write_timeout_s / 4, limits.linger_s / 4
        )
        self._listeners: list[asyncio.AbstractServer | Acceptor] = []
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._accepted = 0
        self._accepted_before = 0  # by listeners that are closed

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._service.connections)

    @property
    def accepted(self) -> int:
        """How many connections have come on sockets that other processes accept from too."""
        own = sum(each.accepted for each in self._listeners if isinstance(each, Acceptor))
        return own + self._accepted_before

    @property
    def in_flight(self) -> int:
        """How many requests wait for an awaitable's answer."""
        return self._service.in_flight

    async def listen(
        self, host: str, port: int, ssl_context: ssl.SSLContext | None = None
    ) -> tuple[tuple[str, int], ...]:
        """Open a port and serve on it.

        Args:
            host: see `open_listeners`; empty for all addresses.
            port: 0 takes a free one.
            ssl_context: serve HTTPS.

        Returns:
            The addresses bound, (host, port) each.

        Raises:
            OSError: the port is in use, or the host has no address here.
        """
        sockets = open_listeners(host, port)
        addresses = tuple(listener.getsockname()[:2] for listener in sockets)
        await self.serve(sockets, ssl_context)
        return addresses

    async def serve(
        self,
        sockets: Sequence[socket.socket],
        ssl_context: ssl.SSLContext | None = None,
        *,
        is_shared: bool = False,
        turns: Turns | None = None,
    ) -> None:
        """Serve on sockets that are bound already, which become the server's.

        Args:
            sockets: see there.
            ssl_context: serve HTTPS.
            is_shared: other processes accept from them too, and somebody has them listen.
            turns: with these processes.

        Raises:
            OSError: one of them cannot listen.
        """
        loop = asyncio.get_running_loop()
        limits = self._service.limits
        for listener in sockets:
            if is_shared:
                more: dict[str, Any] = _tls_timeouts(loop, limits) if ssl_context else {}
                more.update(turns=turns, held=lambda: self.connections)
                self._listeners.append(Acceptor(listener, self._protocol, ssl_context, **more))
                continue
            self._listeners.append(
                await loop.create_server(
                    self._protocol,
                    sock=listener,
                    backlog=BACKLOG,
                    ssl=ssl_context,
                    **(_tls_timeouts(loop, limits) if ssl_context else {}),
                )
            )

    def _protocol(self) -> asyncio.Protocol:
        if self._http2 is None:
            return Connection(self._service)
        return FirstBytes(self._service, Connection, self._http2)

    def end_connections(self) -> None:
        """Have each further answer over HTTP/1 end its connection; new ones are taken still.

        For the time before a drain in which whoever sends requests finds out that there will be
        one: a client that is about to ask again opens its next connection, and finds another
        server as soon as it is sent to one. A connection of HTTP/2 stays, since `drain` has words
        to end it by without the loss of a request.
        """
        self._service.draining = True

    async def drain(self, timeout_s: float, *, idle_s: float = 0.0) -> int:
        """Stop accepting, let what was asked be answered, end every connection.

        Answers end their connections from here on; idle ones are closed.

        Args:
            timeout_s: what is unanswered by then is cut off.
            idle_s: how long idle ones may stay before, where clients have another process to go
                to: one that is about to ask is answered, and leaves by itself.

        Returns:
            How many connections were cut off unanswered.
        """
        service = self._service
        service.draining = service.is_closed = True
        await self._accept_what_waits()
        self._stop_listening()
        await _turn()
        if idle_s > 0:
            for connection in tuple(service.connections):
                if not isinstance(connection, (Connection, FirstBytes)):
                    connection.drain()  # HTTP/2 has words for it
            await self._wait_for_end(idle_s)
        for connection in tuple(service.connections):
            connection.drain()
        await self._wait_for_end(timeout_s)
        cut = sum(connection.is_unanswered for connection in service.connections)
        await self.close()
        return cut

    async def _wait_for_end(self, timeout_s: float) -> None:
        """Wait until there is no connection, but not longer than this."""
        if self._service.connections:
            self._empty.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._empty.wait(), timeout_s)

    async def close(self) -> None:
        """Stop accepting and end every connection now."""
        self._stop_listening()
        for connection in tuple(self._service.connections):
            connection.abort()
        await _turn()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def sweep(self) -> None:
        """End the connections that have been too slow; runs by itself while there are any."""
        self._service.refresh()
        now = self._service.tick
        for connection in tuple(self._service.connections):
            connection.sweep(now)

    async def _accept_what_waits(self) -> None:
        """Accept what the kernel has accepted, which closing the listener would reset."""
        for _ in range(BACKLOG):
            before = self._accepted
            await _turn()
            if self._accepted == before:
                return

    def _welcome(self) -> None:
        self._accepted += 1
        self._start_sweeping()

    def _start_sweeping(self) -> None:
        if self._timer is None:
            self._service.refresh()
            self._timer = asyncio.get_running_loop().call_later(self._sweep_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._service.connections:
            self.sweep()
            self._start_sweeping()

    def _stop_listening(self) -> None:
        self._accepted_before = self.accepted
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()

    def _wake(self) -> None:
        self._empty.set()


async def _turn() -> None:
    """Let the loop do what it can do at once."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def _tls_timeouts(loop: asyncio.AbstractEventLoop, limits: HttpLimits) -> dict[str, Any]:
    timeouts = {"ssl_handshake_timeout": limits.read_timeout_s}
    if sys.version_info >= (3, 11) or type(loop).__module__.startswith("uvloop"):
        # A client that idles does not answer our close; it must not hold up a stop for 30 s.
        timeouts["ssl_shutdown_timeout"] = limits.linger_s
    return timeouts

"""One HTTP/2 connection: between a socket, a `Session` and the service."""

import asyncio
from typing import cast

from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.session import Session
from salver.transport.http2.stream import Http2Service, Stream
from salver.transport.http2.watch import Watch
from salver.transport.http2.wire import Wire
from salver.transport.identity import address_of, identity_of
from salver.transport.service import Service

__all__ = ["Http2Connection"]

_DEFAULT_LIMITS = Http2Limits()


class Http2Connection(Wire[Session]):
    """The protocol of one accepted socket. Used on the loop only.

    `connection_made` may be called by hand, with a transport that is open already; the first bytes
    are then handed to `data_received`.
    """

    def __init__(
        self,
        service: Service,
        answerer: Http2Service,
        limits: Http2Limits | None = None,
        *,
        accepted_s: float | None = None,
    ) -> None:
        """Make the protocol of a socket that is yet to be connected.

        Args:
            service: of the server whose connection this is: its clock, sweeps and drains.
            answerer: is told of requests.
            limits: on the client.
            accepted_s: the monotonic time at which it was accepted; None for now.
        """
        super().__init__(limits or _DEFAULT_LIMITS)
        self._service = service
        self._accepted_s = service.monotonic() if accepted_s is None else accepted_s
        self._answerer = answerer
        self._ending_since = 0.0
        self._unsent_bytes = 0
        self._unsent_since = 0.0

    @property
    def is_unanswered(self) -> bool:
        return bool(self._session.streams) or self._transport.get_write_buffer_size() > 0

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The requests that have neither been answered nor given up."""
        return self._session.streams

    @property
    def peer(self) -> str | None:
        """The address of the other end, without its port; None when it has none."""
        return self._session.peer

    # What the loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        service = self._service
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._session = Session(
            self._answerer,
            self._limits,
            clock=service.monotonic,
            wake=self._wake,
            new_waiter=self._loop.create_future,
            peer=address_of(transport),
            identify=lambda: identity_of(transport),
        )
        self._watch = Watch(self._session, service.monotonic(), accepted_s=self._accepted_s)
        service.connections.add(self)
        service.on_connection()
        if service.is_closed:
            self._session.drain()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        service = self._service
        self._is_gone = True
        self._session.abandon()
        service.connections.discard(self)
        if not service.connections:
            service.on_empty()

    # Ends.

    def _end(self) -> None:
        """Send what is written, and close."""
        self._is_ending = True
        self._ending_since = self._unsent_since = self._service.tick
        if self._session.is_closed and self._transport.can_write_eof():
            # Closing with bytes unread resets the connection, and the client would not learn why:
            # what it sends is dropped until it closes, or for a while.
            self._transport.write_eof()
        else:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def drain(self) -> None:
        self._session.drain()
        self._flush()

    def sweep(self, now: float) -> None:
        if not self._is_ending:
            self._watch.sweep(now)
            self._flush()
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent_bytes or not self._unsent_bytes:
            self._unsent_since = now
        elif now - self._unsent_since >= self._limits.write_timeout_s:
            self._transport.abort()
        if self._is_ending and not unsent and now - self._ending_since >= self._limits.linger_s:
            self._transport.abort()
        self._unsent_bytes = unsent

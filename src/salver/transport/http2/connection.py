"""One HTTP/2 connection: between a socket, a `Session` and the service."""

import asyncio
from typing import cast

from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.session import Session
from salver.transport.http2.stream import Http2Service, Stream
from salver.transport.http2.watch import Watch
from salver.transport.service import Service

__all__ = ["Http2Connection"]

_DEFAULT_LIMITS = Http2Limits()


class Http2Connection(asyncio.Protocol):
    """The protocol of one accepted socket. Used on the loop only.

    `connection_made` may be called by hand, with a transport that is open already; the first bytes
    are then handed to `data_received`.
    """

    __slots__ = (
        "_accepted_s",
        "_answerer",
        "_dropped_bytes",
        "_ending_since",
        "_is_behind",
        "_is_ending",
        "_is_gone",
        "_is_paused",
        "_is_waking",
        "_limits",
        "_loop",
        "_service",
        "_session",
        "_transport",
        "_unsent_bytes",
        "_unsent_since",
        "_watch",
    )

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
        self._service = service
        self._accepted_s = service.monotonic() if accepted_s is None else accepted_s
        self._answerer = answerer
        self._limits = limits or _DEFAULT_LIMITS
        self._is_ending = False
        self._ending_since = 0.0
        self._unsent_bytes = 0
        self._unsent_since = 0.0
        self._dropped_bytes = 0
        self._is_gone = False
        self._is_behind = False  # what has been read waits for its turn
        self._is_paused = False  # the client does not read
        self._is_waking = False

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
        name = transport.get_extra_info("peername")
        self._session = Session(
            self._answerer,
            self._limits,
            clock=service.monotonic,
            wake=self._wake,
            new_waiter=self._loop.create_future,
            peer=str(name[0]).removeprefix("::ffff:") if isinstance(name, tuple) else None,
        )
        self._watch = Watch(self._session, service.monotonic(), accepted_s=self._accepted_s)
        service.connections.add(self)
        service.on_connection()
        if service.draining:
            self._session.drain()
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self._is_ending:
            self._drop(len(data))
            return
        session = self._session
        session.receive(data)
        if session.out.parts or session.out.waiting or session.is_done:
            self._flush()
        if session.has_more and not self._is_behind:
            self._is_behind = True
            self._transport.pause_reading()
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Other connections have had their turn."""
        if self._is_gone or self._is_paused or not self._is_behind:
            return
        self._is_behind = False
        self.data_received(b"")
        self._read_on()

    def _read_on(self) -> None:
        """Read again, if nothing stands against it."""
        if not (self._is_behind or self._is_paused or self._transport.is_closing()):
            self._transport.resume_reading()

    def _drop(self, count: int) -> None:
        """Who sends more than what was on its way is not going to read why the connection ends."""
        self._dropped_bytes += count
        if self._dropped_bytes > self._limits.connection_window_bytes:
            self._transport.abort()

    def eof_received(self) -> bool:
        return False  # an HTTP/2 connection has no use for one direction

    def connection_lost(self, exc: Exception | None) -> None:
        service = self._service
        self._is_gone = True
        self._session.abandon()
        service.connections.discard(self)
        if not service.connections:
            service.on_empty()

    def pause_writing(self) -> None:
        self._session.out.block(True)

    def resume_writing(self) -> None:
        self._session.out.block(False)
        was_paused, self._is_paused = self._is_paused, False
        if was_paused:
            self._read_on()
        self._flush()
        if was_paused and self._is_behind:
            self._loop.call_soon(self._go_on)

    # Writing.

    def _wake(self) -> None:
        """Something is to be written: once, for all that this turn of the loop adds."""
        if not self._is_waking and not self._session.is_reading and not self._is_gone:
            self._is_waking = True
            self._loop.call_soon(self._flush_later)

    def _flush_later(self) -> None:
        self._is_waking = False
        self._flush()

    def _flush(self) -> None:
        """Write what is there, and what windows and the socket allow of what waits."""
        if self._is_gone or self._is_ending:
            return
        session = self._session
        out = session.out
        transport = self._transport
        while True:
            if out.waiting:
                out.pump()
            is_large = out.is_large
            parts = out.take()
            if not parts:
                break
            if is_large:
                transport.writelines(parts)
            else:
                transport.write(b"".join(parts))
            if not out.can_pump:
                break
        if out.is_blocked:
            unsent = transport.get_write_buffer_size()
            if unsent > self._limits.max_unread_output_bytes and not self._is_paused:
                self._is_paused = True
                transport.pause_reading()
        if session.is_done:
            self._end()

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

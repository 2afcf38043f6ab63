"""One HTTP/2 connection between a socket and an `Endpoint`, whichever side that is."""

import asyncio
from typing import Any, Generic, TypeVar

from salver.transport.http2.endpoint import Endpoint
from salver.transport.http2.limits import Http2Limits

__all__ = ["Wire"]

E = TypeVar("E", bound=Endpoint[Any])


class Wire(asyncio.Protocol, Generic[E]):
    """Reads and writes one socket. Used on the loop only.

    A subclass makes `_session`, `_transport` and `_loop` when the connection is made, and says how
    it ends.
    """

    _session: E
    _transport: asyncio.Transport
    _loop: asyncio.AbstractEventLoop

    def __init__(self, limits: Http2Limits) -> None:
        """Make it.

        Args:
            limits: on the other side.
        """
        self._limits = limits
        self._is_ending = False
        self._dropped_bytes = 0
        self._is_gone = False
        self._is_behind = False  # what has been read waits for its turn
        self._is_paused = False  # the other side does not read
        self._is_waking = False

    # What the loop says.

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

    def _end(self) -> None:
        """Nothing more is to be done: send what is written, and close."""
        raise NotImplementedError

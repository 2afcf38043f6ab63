"""The streams of one connection of a server."""

import asyncio
from collections.abc import Callable

from salver.transport.http2.frames import Code, reset
from salver.transport.http2.header_blocks import Headers
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.outbox import Outbox
from salver.transport.http2.stream import Http2Service, Stream
from salver.transport.http2.table import StreamTable
from salver.transport.identity import TlsIdentity

__all__ = ["Streams"]

# What a request earns in frames that move nothing.
_FRAMES_PER_REQUEST = 8


class Streams(StreamTable[Stream]):
    """The table of streams; what each stream knows as its owner.

    Attributes:
        lingering: how many have gone while their work still runs.
        peer: the client's address, if it is known.
        identify: reads whom its certificate names.
    """

    def __init__(
        self,
        service: Http2Service,
        out: Outbox,
        limits: Http2Limits,
        *,
        clock: Callable[[], float],
        new_waiter: "Callable[[], asyncio.Future[None]]",
        peer: str | None,
        identify: Callable[[], TlsIdentity | None],
    ) -> None:
        super().__init__(out, limits, clock=clock, new_waiter=new_waiter)
        self._service = service
        self.peer = peer
        self.identify = identify
        self.lingering = 0
        self._to_reset: dict[int, float] = {}  # id → when it was answered

    @property
    def are_too_many(self) -> bool:
        """True if another would be more than the client may have."""
        return len(self.open) + self.lingering >= self._limits.max_concurrent_streams

    def begin(self, stream_id: int, headers: Headers, is_last: bool) -> None:
        """Open a stream and tell the service."""
        stream = Stream(stream_id, headers, self, self._out, self._limits.stream_window_bytes)
        self.open[stream_id] = stream
        stream.is_remote_done = is_last
        self.tokens.left += _FRAMES_PER_REQUEST
        try:
            self._service.opened(stream, is_last)
        except Exception as error:  # noqa: BLE001 the request ends here, and the log hears of it
            self._blame(stream, error)

    # What streams ask.

    def finished(self, stream: Stream) -> None:
        """An answer has ended; see `stream.Owner`."""
        self.resets.left += 1
        self._remove(stream)
        if not stream.is_remote_done:
            # The client may stop sending: RFC 9113 §8.1.
            if stream.is_reset_late and len(self._to_reset) < self._limits.max_remembered_resets:
                self.expect_late(stream.id, stream.recv_window)
                self._to_reset[stream.id] = self._out.tick
            else:
                self.reset(stream.id, Code.NO_ERROR, stream.recv_window)
        if not self.is_reading:
            self._out.wake()

    def reset_late(self, now: float) -> None:
        """Reset streams that were answered early and whose clients had time to stop by then."""
        until = now - self._limits.linger_s
        late = [stream_id for stream_id, since in self._to_reset.items() if since <= until]
        for stream_id in late:
            del self._to_reset[stream_id]
            self._out.parts.append(reset(stream_id, Code.NO_ERROR))

    def released(self, stream: Stream) -> None:
        """Work for a stream that has gone has ended; see `stream.Owner`."""
        self.lingering -= 1

    def _remove(self, stream: Stream) -> None:
        del self.open[stream.id]
        if stream.unread_bytes:
            self.inflow.credit(None, stream.unread_bytes)
            stream.unread_bytes = 0
        if stream.held:
            self.lingering += 1

"""A server's HTTP/2 connection without its socket: bytes in, calls to the service, bytes out."""

import asyncio
from collections.abc import Callable

from salver.transport.http2.control import DRAIN_PING, Control
from salver.transport.http2.endpoint import Endpoint
from salver.transport.http2.frames import (
    PREFACE,
    Code,
    ConnectionFault,
    Flag,
    Setting,
    goaway,
    ping,
)
from salver.transport.http2.header_blocks import HeaderBlocks, Headers
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.outbox import Outbox
from salver.transport.http2.stream import Http2Service, Stream
from salver.transport.http2.streams import Streams
from salver.transport.identity import TlsIdentity

__all__ = ["Session"]

_LAST_ID = 2**31 - 1


class Session(Endpoint[Streams]):
    """The protocol of one connection. Used on one thread; calls the service from `receive`.

    Attributes:
        is_draining: a graceful end has begun.
        is_final: and the last GOAWAY is out.
        drain_since: when `drain` was called.
    """

    def __init__(
        self,
        service: Http2Service,
        limits: Http2Limits,
        *,
        clock: Callable[[], float],
        wake: Callable[[], None],
        new_waiter: "Callable[[], asyncio.Future[None]]",
        peer: str | None = None,
        identify: Callable[[], TlsIdentity | None] = lambda: None,
    ) -> None:
        """Begin with our SETTINGS in `out`.

        Args:
            service: is told of requests.
            limits: on the client.
            clock: monotonic seconds.
            wake: called when something was added to `out` outside `receive`.
            new_waiter: makes a future for `Stream.drained`.
            peer: the client's address.
            identify: reads whom its certificate names.
        """
        self._clock = clock
        now = clock()
        out = Outbox(wake, now)
        streams = Streams(
            service,
            out,
            limits,
            clock=clock,
            new_waiter=new_waiter,
            peer=peer,
            identify=identify,
        )
        super().__init__(
            limits,
            out,
            streams,
            HeaderBlocks(limits.max_header_list_bytes, limits.header_table_bytes, Headers),
            Control(streams, out, limits, clock),
        )
        self.drain_since = now
        self.is_draining = self.is_final = False
        self._has_preface = False
        self._greet((Setting.MAX_CONCURRENT_STREAMS, limits.max_concurrent_streams))

    @property
    def peer(self) -> str | None:
        """The client's address."""
        return self._streams.peer

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Those that have neither ended nor gone."""
        return tuple(self._streams.open.values())

    @property
    def is_busy(self) -> bool:
        """True while a request is unanswered, or its work goes on though the client has left."""
        return bool(self._streams.open or self._streams.lingering)

    # Reading.

    def _read_preface(self, data: bytes) -> int:
        if data.startswith(PREFACE):
            self._has_preface = True
            return len(PREFACE)
        if not PREFACE.startswith(data):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "no HTTP/2 preface")
        return 0

    def _on_ping(self) -> None:
        super()._on_ping()
        if self._control.has_drained and self.is_draining:
            self.finish_drain()

    # Header blocks.

    def _on_block(self, block: bytes, flags: int, stream_id: int) -> None:
        is_last = bool(flags & Flag.END_STREAM)
        streams = self._streams
        if stream_id <= streams.last_id or stream_id & 1 == 0:
            self._on_late_block(block, is_last, stream_id)
            return
        headers = self._blocks.cached.get(block)
        if headers is None:
            self._check_block_size(len(block))
            headers = self._blocks.read(block)
        streams.last_id = stream_id
        if headers.fault or (is_last and headers.content_length > 0):
            streams.provoked(stream_id, Code.PROTOCOL_ERROR)
        elif headers.size_bytes > self.limits.max_header_list_bytes:
            streams.provoked(stream_id, Code.ENHANCE_YOUR_CALM)
        elif self.is_final or streams.are_too_many:
            streams.take()
            streams.reset(stream_id, Code.REFUSED_STREAM)
        else:
            streams.begin(stream_id, headers, is_last)

    def _on_late_block(self, block: bytes, is_last: bool, stream_id: int) -> None:
        """A header block that opens no stream: trailers, or a fault."""
        if stream_id & 1 == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "HEADERS on a stream that is not a client's")
        streams = self._streams
        self._check_block_size(len(block))
        trailers = self._blocks.read(block, are_trailers=True)
        stream = streams.open.get(stream_id)
        if stream is None:
            if not streams.was_reset(stream_id):
                raise ConnectionFault(Code.STREAM_CLOSED, "HEADERS on a closed stream")
            streams.take()
        elif stream.is_remote_done:
            streams.fault(stream, Code.STREAM_CLOSED)
        elif not is_last or trailers.fault:
            streams.fault(stream, Code.PROTOCOL_ERROR)
        elif trailers.size_bytes > self.limits.max_header_list_bytes:
            streams.fault(stream, Code.ENHANCE_YOUR_CALM)
        else:
            stream.trailers = trailers
            streams.deliver(stream, b"", 0, True)

    def tick(self, now: float) -> None:
        """See `Endpoint.tick`."""
        super().tick(now)
        self._streams.reset_late(now)

    # Ends.

    @property
    def is_done(self) -> bool:
        """True once there is nothing more to do."""
        return self.is_closed or (self.is_final and not self._streams.open)

    def drain(self) -> None:
        """End gracefully: what is on its way is answered, what comes later is refused."""
        if not self.is_draining and not self.is_closed:
            self.is_draining = True
            self.drain_since = self._clock()
            self.out.parts += (goaway(_LAST_ID, Code.NO_ERROR), ping(DRAIN_PING))

    def finish_drain(self) -> None:
        """What was on its way at `drain` has arrived: take no more."""
        if not self.is_final and not self.is_closed:
            self.is_final = True
            self.out.parts.append(goaway(self._streams.last_id, Code.NO_ERROR))

"""One HTTP/2 connection without its socket: bytes in, calls to the service, bytes out."""

import asyncio
from collections.abc import Callable

from salver.transport.http2.bodies import Bodies
from salver.transport.http2.control import DRAIN_PING, KEEPALIVE_PING, Control
from salver.transport.http2.frames import (
    FIRST_WINDOW,
    FRAME_HEAD,
    MAX_WINDOW,
    MIN_FRAME_BYTES,
    PREFACE,
    Code,
    ConnectionFault,
    Flag,
    Kind,
    Setting,
    goaway,
    ping,
    settings,
    window_update,
)
from salver.transport.http2.header_blocks import HeaderBlocks
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.stream import Http2Service, Outbox, Stream
from salver.transport.http2.streams import Streams

__all__ = ["Session"]

_unpack = FRAME_HEAD.unpack_from
_ID_MASK = MAX_WINDOW
_LAST_ID = 2**31 - 1
_FRAME_HEAD_BYTES = 9
# What one turn may cost, in frames, about a microsecond each: other connections wait meanwhile, and
# a loop may bring megabytes of frames of ten octets at once.
_TURN_COST = 2048
_REQUEST_COST = 16
# So many octets beyond a usual header block, and of other frames, cost what a frame does.
_COST_SHIFT = 3
_SHORT_BLOCK_BYTES = 512


class Session:
    """The protocol of one connection. Used on one thread; calls the service from `receive`.

    Attributes:
        limits: on the client.
        out: what is to be written.
        has_more: frames wait though they are whole: `receive` is to be called again, be it with
            nothing.
        heard: the tick of the last bytes received.
        is_closed: nothing more is read; what is written is to be sent, and the socket closed.
        is_draining: a graceful end has begun.
        is_final: and the last GOAWAY is out.
        drain_since: when `drain` was called.
        ping_since: our keepalive ping waits for its answer since; None: none does.
        partial_since: a frame or header block waits for its rest since; None: none does.
    """

    __slots__ = (
        "_block",
        "_block_flags",
        "_block_id",
        "_blocks",
        "_bodies",
        "_clock",
        "_continuations",
        "_control",
        "_has_preface",
        "_is_expecting",
        "_is_restricted",
        "_rest",
        "_streams",
        "drain_since",
        "has_more",
        "heard",
        "is_closed",
        "is_draining",
        "is_final",
        "limits",
        "out",
        "partial_since",
        "ping_since",
    )

    def __init__(
        self,
        service: Http2Service,
        limits: Http2Limits,
        *,
        clock: Callable[[], float],
        wake: Callable[[], None],
        new_waiter: "Callable[[], asyncio.Future[None]]",
        peer: str | None = None,
    ) -> None:
        """Begin with our SETTINGS in `out`.

        Args:
            service: is told of requests.
            limits: on the client.
            clock: monotonic seconds.
            wake: called when something was added to `out` outside `receive`.
            new_waiter: makes a future for `Stream.drained`.
            peer: the client's address.
        """
        self.limits = limits
        self._clock = clock
        now = clock()
        self.out = Outbox(wake, now)
        self._streams = Streams(
            service, self.out, limits, clock=clock, new_waiter=new_waiter, peer=peer
        )
        self._blocks = HeaderBlocks(limits.max_header_list_bytes, limits.header_table_bytes)
        self._bodies = Bodies(self._streams)
        self._control = Control(self._streams, self.out, limits, clock)
        self._rest = b""
        self._block: list[bytes] | None = None
        self._block_id = self._block_flags = self._continuations = 0
        self._has_preface = self._is_restricted = False
        self._is_expecting = True  # of SETTINGS, or the rest of a header block
        self.heard = self.drain_since = now
        self.partial_since: float | None = None
        self.ping_since: float | None = None
        self.is_closed = self.is_draining = self.is_final = False
        self.has_more = False
        self._greet()

    def _greet(self) -> None:
        limits = self.limits
        values = (
            (Setting.HEADER_TABLE_SIZE, limits.header_table_bytes),
            (Setting.MAX_CONCURRENT_STREAMS, limits.max_concurrent_streams),
            (Setting.INITIAL_WINDOW_SIZE, limits.stream_window_bytes),
            (Setting.MAX_FRAME_SIZE, limits.max_frame_bytes),
            (Setting.MAX_HEADER_LIST_SIZE, limits.max_header_list_bytes),
        )
        self.out.parts.append(settings(values))
        more = limits.connection_window_bytes - FIRST_WINDOW
        if more:
            self.out.parts.append(window_update(0, more))

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

    @property
    def is_reading(self) -> bool:
        """True within `receive`: what is written then needs no waking."""
        return self._streams.is_reading

    @property
    def is_ready(self) -> bool:
        """True once the client's preface and SETTINGS have come."""
        return self._control.is_ready

    @property
    def is_acknowledged(self) -> bool:
        """True once the client has acknowledged our SETTINGS."""
        return self._control.is_acknowledged

    # Reading.

    def receive(self, data: bytes) -> None:
        """Take what the socket gave; answers may be in `out` afterwards.

        Args:
            data: any part of what the client sends.
        """
        if self.is_closed:
            return
        self.heard = self.out.tick
        self._streams.is_reading = True
        try:
            self._read(data)
        except ConnectionFault as fault:
            self.fail(fault.code, fault.reason)
        finally:
            self._streams.is_reading = False

    def _read(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        self.has_more = False
        began = self._begin(data)
        pos = self._read_frames(data, began) if self._has_preface else began
        self._rest = data[pos:]
        if self.has_more or (not self._rest and self._block is None):
            self.partial_since = None
        elif self.partial_since is None or pos > began:
            self.partial_since = self.out.tick

    def _begin(self, data: bytes) -> int:
        """Take the preface, and the rest of the DATA frame that has begun.

        Returns:
            Where the first frame begins.
        """
        if self._bodies.is_within:
            return self._bodies.go_on(data, 0)
        if self._has_preface:
            return 0
        if data.startswith(PREFACE):
            self._has_preface = True
            return len(PREFACE)
        if not PREFACE.startswith(data):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "no HTTP/2 preface")
        return 0

    def _read_frames(self, data: bytes, pos: int) -> int:
        """Take the frames that are whole, as many as a turn allows, and of DATA what is there.

        Returns:
            Where in `data` the first frame begins that was not taken.
        """
        size = len(data)
        cost = 0
        most = self.limits.max_frame_bytes
        take_data = self._bodies.take
        while cost < _TURN_COST and size - pos >= _FRAME_HEAD_BYTES:
            word, flags, stream_id = _unpack(data, pos)
            length = word >> 8
            kind = word & 0xFF
            stream_id &= _ID_MASK
            start = pos + _FRAME_HEAD_BYTES
            if length > most:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "frame too long")
            cost += 1
            if self._is_expecting:
                self._check_expected(kind, stream_id)
            if kind == 0:
                if start == size and flags & Flag.PADDED and length:
                    break
                pos = take_data(data, start, length, flags, stream_id)
            elif start + length > size:
                self._foresee(kind, length)
                break
            else:
                pos = start + length
                if kind == 1:
                    cost += _REQUEST_COST + (max(length - _SHORT_BLOCK_BYTES, 0) >> _COST_SHIFT)
                    self._on_headers(data[start:pos], flags, stream_id)
                else:
                    cost += length >> _COST_SHIFT
                    self._on_other(kind, data[start:pos], flags, stream_id)
        self.has_more = cost >= _TURN_COST and size - pos >= _FRAME_HEAD_BYTES
        return pos

    def _check_expected(self, kind: int, stream_id: int) -> None:
        if self._block is None:
            if kind != Kind.SETTINGS:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "the first frame must be SETTINGS")
        elif kind != Kind.CONTINUATION or stream_id != self._block_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a header block was interrupted")

    def _foresee(self, kind: int, length: int) -> None:
        """Refuse to wait for what will be refused."""
        if kind in (Kind.HEADERS, Kind.CONTINUATION):
            self._check_block_size(length)
        elif length > MIN_FRAME_BYTES:
            # None of the others has a use for that much.
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "frame too long for its kind")

    def _on_other(self, kind: int, payload: bytes, flags: int, stream_id: int) -> None:
        if kind == Kind.CONTINUATION:
            self._on_continuation(payload, flags)
            return
        control = self._control
        control.obey(kind, payload, flags, stream_id)
        if kind == Kind.SETTINGS:
            self._is_expecting = False
            if control.is_acknowledged and not self._is_restricted:
                self._is_restricted = True
                self._blocks.restrict(self.limits.header_table_bytes)
        elif kind == Kind.PING:
            if control.has_ponged:
                self.ping_since = None
            if control.has_drained and self.is_draining:
                self.finish_drain()

    # Header blocks.

    def _on_headers(self, payload: bytes, flags: int, stream_id: int) -> None:
        if flags & (Flag.PADDED | Flag.PRIORITY):
            payload = _strip(payload, flags, stream_id)
        if flags & Flag.END_HEADERS:
            self._on_block(payload, flags, stream_id)
            return
        self._check_block_size(len(payload))
        self._block = [payload]
        self._block_id = stream_id
        self._block_flags = flags
        self._continuations = 0
        self._is_expecting = True

    def _on_continuation(self, payload: bytes, flags: int) -> None:
        block = self._block
        if block is None:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._continuations += 1
        if self._continuations > self.limits.max_continuation_frames:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many CONTINUATION frames")
        self._check_block_size(len(payload))
        block.append(payload)
        if flags & Flag.END_HEADERS:
            self._block = None
            self._is_expecting = False
            self._on_block(b"".join(block), self._block_flags, self._block_id)

    def _check_block_size(self, more: int) -> None:
        size = more + sum(map(len, self._block or ()))
        if size > 2 * self.limits.max_header_list_bytes:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "header block too large")

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
            streams.pay()
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
            streams.pay()
        elif stream.is_remote_done:
            streams.fault(stream, Code.STREAM_CLOSED)
        elif not is_last or trailers.fault:
            streams.fault(stream, Code.PROTOCOL_ERROR)
        elif trailers.size_bytes > self.limits.max_header_list_bytes:
            streams.fault(stream, Code.ENHANCE_YOUR_CALM)
        else:
            stream.trailers = trailers
            streams.deliver(stream, b"", 0, True)

    # Ends.

    @property
    def is_done(self) -> bool:
        """True once there is nothing more to do."""
        return self.is_closed or (self.is_final and not self._streams.open)

    def fail(self, code: int, reason: str) -> None:
        """End the connection with GOAWAY; every stream has gone."""
        if not self.is_closed:
            self.abandon()
            self.out.parts.append(goaway(self._streams.last_id, code, reason.encode()))

    def abandon(self) -> None:
        """The socket is gone, or about to be: tell the service of every stream."""
        self.is_closed = True
        self.has_more = False
        self._rest = b""
        self._block = None
        self._streams.leave_all()

    def expire(self, stream: Stream) -> None:
        """End a stream that is too slow."""
        self._streams.expire(stream)

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

    # The clock.

    def keep_alive(self, now: float) -> None:
        """Ping the client."""
        self._control.has_ponged = False
        self.ping_since = now
        self.out.parts.append(ping(KEEPALIVE_PING))

    def tick(self, now: float) -> None:
        """It is now this monotonic time, about."""
        self.out.tick = now
        self._streams.purse.cap()
        self._streams.resets.cap()


def _strip(payload: bytes, flags: int, stream_id: int) -> bytes:
    """A header block without padding and priority."""
    end = len(payload)
    start = 0
    if flags & Flag.PADDED:
        if not payload:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "padding without its length")
        start = 1
        end -= payload[0]
    if flags & Flag.PRIORITY:
        if len(payload) < start + 5:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
        if int.from_bytes(payload[start : start + 4], "big") & _ID_MASK == stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a stream depends on itself")
        start += 5
    if end < start:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "more padding than frame")
    return payload[start:end]

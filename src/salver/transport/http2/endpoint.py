"""One side of an HTTP/2 connection without its socket: bytes in, header blocks and bodies out."""

from typing import Any, Generic, TypeVar

from salver.transport.http2.bodies import Bodies
from salver.transport.http2.control import KEEPALIVE_PING, Control
from salver.transport.http2.frames import (
    FIRST_WINDOW,
    FRAME_HEAD,
    MAX_WINDOW,
    MIN_FRAME_BYTES,
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
from salver.transport.http2.outbox import BaseStream, Outbox
from salver.transport.http2.table import StreamTable

__all__ = ["Endpoint"]

T = TypeVar("T", bound=StreamTable[Any])

_unpack = FRAME_HEAD.unpack_from
_ID_MASK = MAX_WINDOW
_FRAME_HEAD_BYTES = 9
# What one turn may cost, in frames, about a microsecond each: other connections wait meanwhile, and
# a loop may bring megabytes of frames of ten octets at once.
_TURN_COST = 2048
_REQUEST_COST = 16
# So many octets beyond a usual header block, and of other frames, cost what a frame does.
_COST_SHIFT = 3
_SHORT_BLOCK_BYTES = 512


class Endpoint(Generic[T]):
    """The protocol of one connection. Used on one thread; calls others from `receive`.

    Attributes:
        limits: on the other side.
        out: what is to be written.
        has_more: frames wait though they are whole: `receive` is to be called again, be it with
            nothing.
        heard: the tick of the last bytes received.
        is_closed: nothing more is read; what is written is to be sent, and the socket closed.
        ping_since: our keepalive ping waits for its answer since; None: none does.
        partial_since: a frame or header block waits for its rest since; None: none does.
    """

    def __init__(
        self,
        limits: Http2Limits,
        out: Outbox,
        streams: T,
        blocks: HeaderBlocks[Any],
        control: Control,
    ) -> None:
        """Begin; `_greet` is the subclass's to call.

        Args:
            limits: on the other side.
            out: of this connection.
            streams: likewise.
            blocks: reads the header blocks of the other side.
            control: obeys its control frames.
        """
        self.limits = limits
        self.out = out
        self._streams = streams
        self._blocks = blocks
        self._bodies = Bodies(streams)
        self._control = control
        self._rest = b""
        self._block: list[bytes] | None = None
        self._block_id = self._block_flags = self._continuations = 0
        self._has_preface = True
        self._is_restricted = False
        self._is_expecting = True  # of SETTINGS, or the rest of a header block
        self.heard = out.tick
        self.partial_since: float | None = None
        self.ping_since: float | None = None
        self.is_closed = False
        self.has_more = False

    def _greet(self, *more_values: tuple[int, int]) -> None:
        limits = self.limits
        values = (
            (Setting.HEADER_TABLE_SIZE, limits.header_table_bytes),
            *more_values,
            (Setting.INITIAL_WINDOW_SIZE, limits.stream_window_bytes),
            (Setting.MAX_FRAME_SIZE, limits.max_frame_bytes),
            (Setting.MAX_HEADER_LIST_SIZE, limits.max_header_list_bytes),
        )
        self.out.parts.append(settings(values))
        more = limits.connection_window_bytes - FIRST_WINDOW
        if more:
            self.out.parts.append(window_update(0, more))

    @property
    def is_reading(self) -> bool:
        """True within `receive`: what is written then needs no waking."""
        return self._streams.is_reading

    @property
    def is_ready(self) -> bool:
        """True once the other side's SETTINGS have come."""
        return self._control.is_ready

    @property
    def is_acknowledged(self) -> bool:
        """True once the other side has acknowledged our SETTINGS."""
        return self._control.is_acknowledged

    @property
    def streams(self) -> tuple[Any, ...]:
        """Those that have neither ended nor gone."""
        return tuple(self._streams.open.values())

    # Reading.

    def receive(self, data: bytes) -> None:
        """Take what the socket gave; answers may be in `out` afterwards.

        Args:
            data: any part of what the other side sends.
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
        return 0 if self._has_preface else self._read_preface(data)

    def _read_preface(self, data: bytes) -> int:
        """Take what comes before the first frame; only a client sends that.

        Returns:
            Where the first frame begins.
        """
        raise NotImplementedError

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
            self._on_ping()

    def _on_ping(self) -> None:
        if self._control.has_ponged:
            self.ping_since = None

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
        """A header block is whole."""
        raise NotImplementedError

    # Ends.

    @property
    def is_done(self) -> bool:
        """True once there is nothing more to do."""
        return self.is_closed

    @property
    def _last_of_peer(self) -> int:
        """The last stream that the other side has opened."""
        return self._streams.last_id

    def fail(self, code: int, reason: str) -> None:
        """End the connection with GOAWAY; every stream has gone."""
        if not self.is_closed:
            self.abandon()
            self.out.parts.append(goaway(self._last_of_peer, code, reason.encode()))

    def abandon(self) -> None:
        """The socket is gone, or about to be: tell of every stream."""
        self.is_closed = True
        self.has_more = False
        self._rest = b""
        self._block = None
        self._streams.leave_all()

    def expire(self, stream: BaseStream) -> None:
        """End a stream that is too slow."""
        self._streams.expire(stream)

    # The clock.

    def keep_alive(self, now: float) -> None:
        """Ping the other side."""
        self._control.has_ponged = False
        self.ping_since = now
        self.out.parts.append(ping(KEEPALIVE_PING))

    def tick(self, now: float) -> None:
        """It is now this monotonic time, about."""
        self.out.tick = now
        self._streams.tokens.cap()
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

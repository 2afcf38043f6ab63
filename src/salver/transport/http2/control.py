"""The frames that carry neither fields nor bodies: SETTINGS, PING, WINDOW_UPDATE and the others."""

import math
import struct
from collections.abc import Callable
from typing import Any

from salver.transport.http2.frames import (
    ACK,
    MAX_FRAME_BYTES,
    MAX_WINDOW,
    MIN_FRAME_BYTES,
    Code,
    ConnectionFault,
    Flag,
    Kind,
    Setting,
    ping,
)
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.outbox import Outbox
from salver.transport.http2.table import StreamTable

__all__ = ["DRAIN_PING", "KEEPALIVE_PING", "Control"]

DRAIN_PING = b"salver\x00\x01"
KEEPALIVE_PING = b"salver\x00\x02"

_FRAMES_PER_DATA = 3
# A change of all windows costs a frame more for every so many streams.
_STREAMS_PER_FRAME_SHIFT = 5
# Without requests, RFC 1122's interval of TCP keepalives is asked of pings, as gRPC's C core does.
_IDLE_PING_INTERVAL_S = 7200.0
_DEFAULT_TABLE_BYTES = 4096


class Control:
    """Obeys the control frames of one connection.

    Attributes:
        is_ready: the other side's SETTINGS have come.
        is_acknowledged: and it has acknowledged ours.
        has_ponged: our keepalive ping was answered; whoever sent it sets this to False.
        has_drained: our drain ping was answered.
    """

    def __init__(
        self,
        streams: StreamTable[Any],
        out: Outbox,
        limits: Http2Limits,
        clock: Callable[[], float],
    ) -> None:
        self._streams = streams
        self._out = out
        self._limits = limits
        self._clock = clock
        self._pinged_at = -math.inf
        self._strikes = 0
        self._paid_data_frames = 0
        self.is_ready = self.is_acknowledged = False
        self.has_ponged = self.has_drained = False
        self._handlers: dict[int, Callable[[bytes, int, int], None]] = {
            Kind.PRIORITY: self._on_priority,
            Kind.RST_STREAM: self._on_reset,
            Kind.SETTINGS: self._on_settings,
            Kind.PUSH_PROMISE: self._on_push_promise,
            Kind.PING: self._on_ping,
            Kind.GOAWAY: self._on_goaway,
            Kind.WINDOW_UPDATE: self._on_window_update,
        }

    def obey(self, kind: int, payload: bytes, flags: int, stream_id: int) -> None:
        """Take one frame; those of unknown kinds are ignored.

        Raises:
            ConnectionFault: it ends the connection.
        """
        handle = self._handlers.get(kind)
        if handle is None:
            self._streams.take()
        else:
            handle(payload, flags, stream_id)

    def _on_priority(self, payload: bytes, flags: int, stream_id: int) -> None:
        self._streams.take()
        if stream_id == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PRIORITY on stream 0")
        is_short = len(payload) != 5
        if is_short or int.from_bytes(payload[:4], "big") & MAX_WINDOW == stream_id:
            stream = self._streams.open.get(stream_id)
            code = Code.FRAME_SIZE_ERROR if is_short else Code.PROTOCOL_ERROR
            if stream is None:
                raise ConnectionFault(code, "bad PRIORITY")
            self._streams.fault(stream, code)

    def _on_push_promise(self, payload: bytes, flags: int, stream_id: int) -> None:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "a client cannot push")

    def _on_goaway(self, payload: bytes, flags: int, stream_id: int) -> None:
        """The client is about to leave: it closes when it has its answers."""
        self._streams.take()
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "GOAWAY has eight octets or more")

    def _on_reset(self, payload: bytes, flags: int, stream_id: int) -> None:
        streams = self._streams
        if len(payload) != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "RST_STREAM has four octets")
        if streams.is_idle(stream_id):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        stream = streams.open.get(stream_id)
        if stream is None:
            streams.take()
        else:
            streams.leave(stream)
            streams.pay_reset()

    # PING.

    def _on_ping(self, payload: bytes, flags: int, stream_id: int) -> None:
        self._streams.take()
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "PING has eight octets")
        if flags & Flag.ACK:
            if payload == KEEPALIVE_PING:
                self.has_ponged = True
            elif payload == DRAIN_PING:
                self.has_drained = True
            return
        self._out.parts.append(ping(payload, Flag.ACK))
        self._judge_ping()

    def _judge_ping(self) -> None:
        """Count pings that come too often, as gRPC's C core does (`ping_abuse_policy.cc`).

        There, what the server sends forgives them, window updates among it; here data that comes
        does, since our windows are too large to be updated by a slow upload.
        """
        limits = self._limits
        now = self._clock()
        if self._out.has_moved:
            self._out.has_moved = False
            self._strikes = 0
            self._pinged_at = now
            return
        is_idle = not self._streams.open and not limits.permit_pings_without_calls
        interval_s = _IDLE_PING_INTERVAL_S if is_idle else limits.min_ping_interval_s
        is_soon = now < self._pinged_at + interval_s
        self._pinged_at = now
        if is_soon:
            self._strikes += 1
            if self._strikes > limits.max_ping_strikes > 0:
                raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too_many_pings")

    # SETTINGS.

    def _on_settings(self, payload: bytes, flags: int, stream_id: int) -> None:
        self._streams.take()
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & Flag.ACK:
            if payload:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "an acknowledgement is empty")
            if not self.is_ready:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "the first frame must be SETTINGS")
            self.is_acknowledged = True
            return
        if len(payload) % 6:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "SETTINGS come in six octets")
        # The last of each counts: thousands in one frame are no more work than one.
        for number, value in dict(struct.iter_unpack(">HI", payload)).items():
            self._on_setting(number, value)
        self._out.parts.append(ACK)
        self.is_ready = True

    def _on_setting(self, number: int, value: int) -> None:
        out = self._out
        if number == Setting.INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "window too large")
            change = value - out.initial_window
            out.initial_window = value
            self._streams.tokens.left -= len(self._streams.open) >> _STREAMS_PER_FRAME_SHIFT
            for stream in self._streams.open.values():
                stream.widen(change)
                if stream.send_window > MAX_WINDOW:
                    raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "window too large")
        elif number == Setting.MAX_FRAME_SIZE:
            if not MIN_FRAME_BYTES <= value <= MAX_FRAME_BYTES:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "bad MAX_FRAME_SIZE")
            out.max_frame_bytes = value
        elif number == Setting.HEADER_TABLE_SIZE:
            if value < _DEFAULT_TABLE_BYTES:
                out.forget_table()
        elif number == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "bad ENABLE_PUSH")

    # WINDOW_UPDATE.

    def _on_window_update(self, payload: bytes, flags: int, stream_id: int) -> None:
        if len(payload) != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "WINDOW_UPDATE has four octets")
        self._pay_window_update()
        increment = int.from_bytes(payload, "big") & MAX_WINDOW
        streams = self._streams
        if stream_id == 0:
            if not increment:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "an increment of nothing")
            self._out.window += increment
            if self._out.window > MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "window too large")
            return
        stream = streams.open.get(stream_id)
        if stream is None:
            if streams.is_idle(stream_id):
                raise ConnectionFault(Code.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
        elif not increment:
            streams.fault(stream, Code.PROTOCOL_ERROR)
        else:
            stream.widen(increment)
            if stream.send_window > MAX_WINDOW:
                streams.fault(stream, Code.FLOW_CONTROL_ERROR)

    def _pay_window_update(self) -> None:
        """Who reads our DATA may tell us of it; who gives window by the octet may not for long."""
        sent = self._out.data_frames
        self._streams.tokens.left += (sent - self._paid_data_frames) * _FRAMES_PER_DATA
        self._paid_data_frames = sent
        self._streams.take()

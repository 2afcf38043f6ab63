"""The streams of one connection, as both sides have them: which are open, and what ends cost."""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from salver.transport.http2.frames import Code, ConnectionFault, reset, window_update
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.outbox import BaseStream, Outbox

__all__ = ["Inflow", "StreamTable", "TokenBucket"]

logger = logging.getLogger(__name__)

S = TypeVar("S", bound=BaseStream)


class TokenBucket:
    """A token bucket that reads the clock only when it is empty.

    Attributes:
        left: tokens. Whoever does useful work may add some; `cap` takes away what is too much.
    """

    __slots__ = ("_burst", "_clock", "_per_s", "_since", "left")

    def __init__(self, burst: int, per_s: float, clock: Callable[[], float]) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._since = clock()
        self.left = burst

    def take(self) -> bool:
        """Take one token; False if there is none."""
        self.left -= 1
        if self.left >= 0:
            return True
        now = self._clock()
        earned = int((now - self._since) * self._per_s)
        if earned:
            self._since = now
            self.left = min(self._burst, earned) - 1
        return self.left >= 0

    def cap(self) -> None:
        """Keep no more than the first burst."""
        self.left = min(self.left, self._burst)


class Inflow:
    """The receiving side's flow control of one connection, RFC 9113 §5.2.

    Window is given back when half of it is due, so that a small request costs no frame.

    Attributes:
        window: what the other side may still send.
        due: bytes that are done with and have not been given back.
    """

    __slots__ = ("_half", "_out", "_stream_half", "due", "window")

    def __init__(self, out: Outbox, limits: Http2Limits) -> None:
        self._out = out
        self._half = limits.connection_window_bytes // 2
        self._stream_half = limits.stream_window_bytes // 2
        self.window = limits.connection_window_bytes
        self.due = 0

    def credit(self, stream: BaseStream | None, count: int) -> None:
        """Bytes are done with; of a stream that goes on, or of none."""
        self.due += count
        if self.due > self._half:
            self._out.parts.append(window_update(0, self.due))
            self.window += self.due
            self.due = 0
        if stream is not None and not stream.is_remote_done and not stream.is_gone:
            stream.to_credit += count
            if stream.to_credit > self._stream_half:
                self._out.parts.append(window_update(stream.id, stream.to_credit))
                stream.recv_window += stream.to_credit
                stream.to_credit = 0


class StreamTable(Generic[S]):
    """The streams of one connection; what each stream knows as its owner.

    Attributes:
        open: those that have neither ended nor gone, by id.
        last_id: the highest seen.
        inflow: what the other side may send.
        tokens: pays for frames that move nothing.
        resets: pays for streams that are reset.
        is_reading: the session reads: what is written then needs no waking.
        new_waiter: makes a future for `BaseStream.drained`.
    """

    def __init__(
        self,
        out: Outbox,
        limits: Http2Limits,
        *,
        clock: Callable[[], float],
        new_waiter: "Callable[[], asyncio.Future[None]]",
    ) -> None:
        self._out = out
        self._limits = limits
        self._reset_by_us: dict[int, int] = {}  # id → what was still allowed to come
        self.new_waiter = new_waiter
        self.inflow = Inflow(out, limits)
        self.tokens = TokenBucket(limits.control_burst, limits.control_frames_per_s, clock)
        self.resets = TokenBucket(limits.reset_burst, limits.resets_per_s, clock)
        self.open: dict[int, S] = {}
        self.last_id = 0
        self.is_reading = False

    def deliver(self, stream: S, chunk: bytes | memoryview, size: int, is_last: bool) -> None:
        """Hand a part of a body to whom it is for."""
        stream.received_bytes += size
        self._out.has_moved = True
        if is_last:
            stream.is_remote_done = True
        promised = stream.headers.content_length
        if promised >= 0 and (
            stream.received_bytes > promised or (is_last and stream.received_bytes != promised)
        ):
            self.inflow.credit(None, size)
            self.fault(stream, Code.PROTOCOL_ERROR)
            return
        if stream.auto_credit:
            self.inflow.credit(stream, size)
        else:
            stream.unread_bytes += size
        try:
            if stream.answerer is not None:
                stream.answerer.received(chunk, is_last)
        except Exception as error:  # noqa: BLE001 the request ends here, and the log hears of it
            self._blame(stream, error)

    # What streams ask.

    def finished(self, stream: S) -> None:
        """All is sent that this side had to send; see `outbox.Owner`."""
        raise NotImplementedError

    def reset_stream(self, stream: S, code: int) -> None:
        """A stream is given up; see `outbox.Owner`."""
        self._remove(stream)
        stream.abandon()
        self.reset(stream.id, code)
        self._out.wake()

    def credit(self, stream: S, count: int) -> None:
        """Bytes of a body are done with; see `outbox.Owner`."""
        self.inflow.credit(stream, count)
        self._out.wake()

    # What the other side brings about.

    def leave(self, stream: S) -> None:
        """The other side gave it up, or its fault ends it: tell whom it is for."""
        self._remove(stream)
        stream.abandon()
        try:
            if stream.answerer is not None:
                stream.answerer.left()
        except Exception:
            logger.exception("The answerer of an HTTP/2 stream has failed at its end.")

    def leave_all(self) -> None:
        """The connection is gone."""
        for stream in tuple(self.open.values()):
            self.leave(stream)

    def expire(self, stream: S) -> None:
        """End a stream that is too slow."""
        self.leave(stream)
        self.reset(stream.id, Code.CANCEL)

    def fault(self, stream: S, code: int) -> None:
        """End a stream by an error of RFC 9113 §5.4.2."""
        self.leave(stream)
        self.provoked(stream.id, code)

    def provoked(self, stream_id: int, code: int) -> None:
        """Reset a stream for what the other side did: it pays as if it had (CVE-2025-8671)."""
        self.reset(stream_id, code)
        self.pay_reset()

    def reset(self, stream_id: int, code: int, window: int | None = None) -> None:
        """Send RST_STREAM, and expect frames that were on their way.

        Args:
            stream_id: of the stream.
            code: why.
            window: how much may be on its way; None for as much as a new stream may bring.
        """
        self.expect_late(stream_id, self._limits.stream_window_bytes if window is None else window)
        self._out.parts.append(reset(stream_id, code))

    def expect_late(self, stream_id: int, window: int) -> None:
        """Drop frames of a stream that has gone, which were on their way; see `reset`."""
        known = self._reset_by_us
        known[stream_id] = window
        if len(known) > self._limits.max_remembered_resets:
            del known[next(iter(known))]

    def was_reset(self, stream_id: int) -> bool:
        """True if we have reset it, and not too many since."""
        return stream_id in self._reset_by_us

    def take_late(self, stream_id: int, length: int) -> None:
        """DATA of a stream that we have reset: its window is not given back.

        Raises:
            ConnectionFault: it is more than was allowed to be on its way.
        """
        left = self._reset_by_us[stream_id] - length
        if left < 0:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a stream that was reset goes on")
        self._reset_by_us[stream_id] = left

    def is_idle(self, stream_id: int) -> bool:
        """True if the other side has not opened it, nor one behind it."""
        return stream_id > self.last_id or not stream_id & 1

    def take(self) -> None:
        """A frame moves nothing.

        Raises:
            ConnectionFault: there were too many of them.
        """
        if not self.tokens.take():
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many frames that move nothing")

    def pay_reset(self) -> None:
        """A stream was reset by the other side or for its fault.

        Raises:
            ConnectionFault: there were too many of them.
        """
        if not self.resets.take():
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many resets")

    def _remove(self, stream: S) -> None:
        del self.open[stream.id]
        if stream.unread_bytes:
            self.inflow.credit(None, stream.unread_bytes)
            stream.unread_bytes = 0

    def _blame(self, stream: S, error: Exception) -> None:
        logger.error("The answerer of an HTTP/2 stream has failed.", exc_info=error)
        if not stream.is_gone:
            self.leave(stream)
            self.reset(stream.id, Code.INTERNAL_ERROR)

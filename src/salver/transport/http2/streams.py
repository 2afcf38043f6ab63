"""The streams of one connection: which are open, how they end, and what ends cost."""

import asyncio
import logging
from collections.abc import Callable

from salver.transport.http2.frames import Code, ConnectionFault, reset
from salver.transport.http2.header_blocks import Headers
from salver.transport.http2.inflow import Inflow
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.purse import Purse
from salver.transport.http2.stream import Http2Service, Outbox, Stream

__all__ = ["Streams"]

logger = logging.getLogger(__name__)

# What a request earns in frames that move nothing.
_FRAMES_PER_REQUEST = 8


class Streams:
    """The table of streams; what each stream knows as its owner.

    Attributes:
        open: those that have neither ended nor gone, by id.
        last_id: the highest seen.
        lingering: how many have gone while their work still runs.
        purse: pays for frames that move nothing.
        resets: pays for streams that are reset.
        is_reading: the session reads: what is written then needs no waking.
        peer: the client's address, if it is known.
        new_waiter: makes a future for `Stream.drained`.
    """

    __slots__ = (
        "_limits",
        "_out",
        "_reset_by_us",
        "_service",
        "inflow",
        "is_reading",
        "last_id",
        "lingering",
        "new_waiter",
        "open",
        "peer",
        "purse",
        "resets",
    )

    def __init__(
        self,
        service: Http2Service,
        out: Outbox,
        limits: Http2Limits,
        *,
        clock: Callable[[], float],
        new_waiter: "Callable[[], asyncio.Future[None]]",
        peer: str | None,
    ) -> None:
        self._service = service
        self._out = out
        self._limits = limits
        self._reset_by_us: dict[int, None] = {}
        self.new_waiter = new_waiter
        self.peer = peer
        self.inflow = Inflow(out, limits)
        self.purse = Purse(limits.control_burst, limits.control_frames_per_s, clock)
        self.resets = Purse(limits.reset_burst, limits.resets_per_s, clock)
        self.open: dict[int, Stream] = {}
        self.last_id = 0
        self.lingering = 0
        self.is_reading = False

    @property
    def are_too_many(self) -> bool:
        """True if another would be more than the client may have."""
        return len(self.open) + self.lingering >= self._limits.max_concurrent_streams

    def begin(self, stream_id: int, headers: Headers, is_last: bool) -> None:
        """Open a stream and tell the service."""
        stream = Stream(stream_id, headers, self, self._out, self._limits.stream_window_bytes)
        self.open[stream_id] = stream
        stream.is_remote_done = is_last
        self.purse.left += _FRAMES_PER_REQUEST
        try:
            self._service.opened(stream, is_last)
        except Exception as error:  # noqa: BLE001 the request ends here, and the log hears of it
            self._blame_service(stream, error)

    def deliver(self, stream: Stream, chunk: bytes | memoryview, size: int, is_last: bool) -> None:
        """Hand a part of a body to the service."""
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
            self._service.received(stream, chunk, is_last)
        except Exception as error:  # noqa: BLE001 the request ends here, and the log hears of it
            self._blame_service(stream, error)

    # What streams ask.

    def finished(self, stream: Stream) -> None:
        """An answer has ended; see `stream.Owner`."""
        self.resets.left += 1
        self._remove(stream)
        if not stream.is_remote_done:
            # The client may stop sending: RFC 9113 §8.1.
            self.reset(stream.id, Code.NO_ERROR)
        if not self.is_reading:
            self._out.wake()

    def reset_stream(self, stream: Stream, code: int) -> None:
        """The service gives a stream up; see `stream.Owner`."""
        self._remove(stream)
        stream.abandon()
        self.reset(stream.id, code)
        self._out.wake()

    def credit(self, stream: Stream, count: int) -> None:
        """The service is done with bytes of a body; see `stream.Owner`."""
        self.inflow.credit(stream, count)
        self._out.wake()

    def released(self, stream: Stream) -> None:
        """Work for a stream that has gone has ended; see `stream.Owner`."""
        self.lingering -= 1

    # What the client brings about.

    def leave(self, stream: Stream) -> None:
        """The client gave it up, or its fault ends it: tell the service."""
        self._remove(stream)
        stream.abandon()
        try:
            self._service.left(stream)
        except Exception:
            logger.exception("The answerer of an HTTP/2 stream has failed at its end.")

    def leave_all(self) -> None:
        """The connection is gone."""
        for stream in tuple(self.open.values()):
            self.leave(stream)

    def expire(self, stream: Stream) -> None:
        """End a stream that is too slow."""
        self.leave(stream)
        self.reset(stream.id, Code.CANCEL)

    def fault(self, stream: Stream, code: int) -> None:
        """End a stream by an error of RFC 9113 §5.4.2."""
        self.leave(stream)
        self.provoked(stream.id, code)

    def provoked(self, stream_id: int, code: int) -> None:
        """Reset a stream because of what the client did: it pays as if it had (CVE-2025-8671)."""
        self.reset(stream_id, code)
        self.pay_reset()

    def reset(self, stream_id: int, code: int) -> None:
        """Send RST_STREAM, and expect frames that were on their way."""
        known = self._reset_by_us
        known[stream_id] = None
        if len(known) > self._limits.max_remembered_resets:
            del known[next(iter(known))]
        self._out.parts.append(reset(stream_id, code))

    def was_reset(self, stream_id: int) -> bool:
        """True if we have reset it, and not too many since."""
        return stream_id in self._reset_by_us

    def is_idle(self, stream_id: int) -> bool:
        """True if the client has not opened it, nor one behind it."""
        return stream_id > self.last_id or not stream_id & 1

    def pay(self) -> None:
        """A frame moves nothing.

        Raises:
            ConnectionFault: there were too many of them.
        """
        if not self.purse.pay():
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many frames that move nothing")

    def pay_reset(self) -> None:
        """A stream was reset by the client or for its fault.

        Raises:
            ConnectionFault: there were too many of them.
        """
        if not self.resets.pay():
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many resets")

    def _remove(self, stream: Stream) -> None:
        del self.open[stream.id]
        if stream.unread_bytes:
            self.inflow.credit(None, stream.unread_bytes)
            stream.unread_bytes = 0
        if stream.held:
            self.lingering += 1

    def _blame_service(self, stream: Stream, error: Exception) -> None:
        logger.error("The answerer of an HTTP/2 stream has failed.", exc_info=error)
        if not stream.is_gone:
            self.leave(stream)
            self.reset(stream.id, Code.INTERNAL_ERROR)

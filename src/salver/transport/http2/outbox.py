"""What both sides of a connection share on the way out: frames, turns and windows."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeAlias

from salver.transport.http2.frames import (
    FIRST_WINDOW,
    FRAME_HEAD,
    MIN_FRAME_BYTES,
    Code,
    Flag,
    Kind,
    header_frames,
)
from salver.transport.http2.header_blocks import Headers
from salver.transport.in_flight import Holding

__all__ = ["DONE", "ENDING", "SILENT", "STREAMING", "BaseStream", "Data", "Outbox", "Owner"]

Data: TypeAlias = bytes | bytearray | memoryview

SILENT: Final = 0
"""States of what a stream sends: nothing yet."""
STREAMING: Final = 1
"""Its head is out, and data follows."""
ENDING: Final = 2
"""All data is there, and waits for windows or the socket."""
DONE: Final = 3
"""Nothing more is sent, nor received."""

# Streams that wait to send take turns of this size.
_TURN_BYTES = 64 * 1024
# What goes to the socket before it is asked whether it can take more.
_BURST_BYTES = 512 * 1024
_GATHER_FROM_BYTES = 32 * 1024
# A message up to this size fits every peer's frames and is sent in one go.
_FAST_BYTES = MIN_FRAME_BYTES
_NO_FAST_WAY = -1
# Giving window by the octet earns a peer nothing.
_MOVING_BYTES = 256
_pack = FRAME_HEAD.pack


class Owner(Protocol):
    """What a stream needs of its connection, whichever side it is."""

    def finished(self, stream: Any) -> None:
        """All is sent that this side had to send."""

    def reset_stream(self, stream: Any, code: int) -> None:
        """End the stream before its end."""

    def credit(self, stream: Any, count: int) -> None:
        """Give window back."""

    @property
    def new_waiter(self) -> "Callable[[], asyncio.Future[None]]":
        """Makes a future of the connection's loop."""


class Outbox:
    """What is to be written, and the other side's windows and settings that bound it.

    Attributes:
        parts: bytes in their order; whoever writes them takes them by `take`.
        is_large: worth handing the parts to the kernel one by one.
        window: of the connection.
        initial_window: of a new stream.
        max_frame_bytes: the longest frame the other side takes.
        waiting: streams with data that the connection's window or the socket hold up, in turn; not
            those whose own window is spent: they come back when it grows.
        is_blocked: the socket takes no more.
        unwritten_bytes: of bodies in `parts`.
        data_frames: sent so far, without those that move next to nothing.
        tick: about now, monotonic seconds.
        update: what the other side is told of its dynamic table before the next field.
        has_moved: fields or data were sent, or data came, since this was last set to False.
        fast_bytes: a message up to this size may be written without further questions.
        wake: called after something was added to `parts` by other than the reader.
    """

    def __init__(self, wake: Callable[[], None], now: float) -> None:
        self.parts: list[Data] = []
        self.is_large = False
        self.window = FIRST_WINDOW
        self.initial_window = FIRST_WINDOW
        self.max_frame_bytes = MIN_FRAME_BYTES
        self.waiting: dict[BaseStream, None] = {}
        self.is_blocked = False
        self.has_moved = False
        self.update = b""
        self.fast_bytes = _FAST_BYTES
        self.data_frames = 0
        self.unwritten_bytes = 0
        self.tick = now
        self.wake = wake

    def take(self) -> list[Data]:
        """What is to be written now; it is the caller's."""
        parts, self.parts = self.parts, []
        self.is_large = False
        self.unwritten_bytes = 0
        return parts

    def head(self, stream_id: int, block: bytes, flags: int) -> None:
        """Add a header block."""
        if self.update:
            block, self.update = self.update + block, b""
            self.block(self.is_blocked)
        self.parts.append(header_frames(stream_id, block, flags, self.max_frame_bytes))
        self.has_moved = True

    def block(self, is_blocked: bool) -> None:
        """The socket takes no more, or takes more again."""
        self.is_blocked = is_blocked
        self.fast_bytes = _NO_FAST_WAY if is_blocked or self.update else _FAST_BYTES

    def forget_table(self) -> None:
        """The other side's dynamic table has shrunk: say that we use none (RFC 7541 §4.2)."""
        self.update = b"\x20"
        self.block(self.is_blocked)

    def pump(self) -> None:
        """Add what the waiting streams can send, a burst at most."""
        most = _BURST_BYTES
        waiting = self.waiting
        while waiting and most > 0 and self.window > 0 and not self.is_blocked:
            stream = next(iter(waiting))
            del waiting[stream]
            sent = stream.pump(min(most, _TURN_BYTES))
            most -= sent
            if stream.is_waiting and stream.send_window > 0:
                waiting[stream] = None

    @property
    def can_pump(self) -> bool:
        """True if `pump` would add something."""
        return (
            bool(self.waiting)
            and self.window > 0
            and not self.is_blocked
            and any(stream.send_window > 0 for stream in self.waiting)
        )


class BaseStream:
    """One request and its answer, as each side has them. Used on the connection's loop only.

    Whatever is sent after the stream has gone is dropped in silence.

    Attributes:
        id: odd, growing.
        headers: that the other side has begun with.
        answerer: is told of what the other side sends; None drops it.
        trailers: that the other side has ended with, if there were some.
        auto_credit: parts of the body that comes give their window back as they are handed over.
            Where False, `credit` does, and what is not credited bounds what the other side may
            send.
        is_untimed: of a call that may rightly be silent for long: neither the body that comes nor
            the reading of the one that goes is timed.
        is_reset_late: an answer before the end of the request leaves the client some time to stop
            by itself, before the stream is reset.
        is_remote_done: the other side has sent all it had to send.
        received_bytes: of the body so far.
        held: see `Stream.hold`.
        send_window: what the other side takes of this stream.
    """

    __slots__ = (
        "_dribbled_bytes",
        "_out",
        "_owner",
        "_queue",
        "_state",
        "_tail",
        "_unread",
        "_waiter",
        "answerer",
        "auto_credit",
        "headers",
        "held",
        "id",
        "is_remote_done",
        "is_reset_late",
        "is_untimed",
        "progress",
        "received_bytes",
        "recv_window",
        "send_window",
        "since",
        "to_credit",
        "trailers",
        "unread_bytes",
        "write_since",
    )
    _dribbled_bytes: int  # of what waits: sent since `write_since`
    answerer: Any  # each side has its own; so are these
    headers: Any
    trailers: Any

    def __init__(
        self, stream_id: int, headers: Headers, owner: Owner, out: Outbox, window: int
    ) -> None:
        self.id = stream_id
        self.headers = headers
        self._owner = owner
        self._out = out
        self.recv_window = window
        self.send_window = out.initial_window
        self.answerer = None
        self.trailers = None
        self.held = 0
        self.auto_credit = True
        self.is_untimed = self.is_reset_late = False
        self.is_remote_done = False
        self.received_bytes = self.progress = self.to_credit = self.unread_bytes = 0
        self.since = self.write_since = out.tick
        self._state = SILENT
        self._queue: deque[Data] | None = None
        self._tail: bytes | None = None  # trailers that end what is sent; empty: without
        self._waiter: asyncio.Future[None] | None = None
        self._unread: Holding | None = None

    @property
    def is_gone(self) -> bool:
        """True once nothing more is sent, nor received."""
        return self._state == DONE

    @property
    def is_waiting(self) -> bool:
        """True while data waits for windows or the socket."""
        return bool(self._queue)

    # Sending.

    def send_head(self, block: bytes) -> None:
        """Begin what parts follow."""
        if self._state == SILENT:
            self._state = STREAMING
            self._out.head(self.id, block, 0)
            self._out.wake()

    def send_data(self, data: Data | Sequence[Data]) -> None:
        """Send a part of the body; see `drained`."""
        if self._state == STREAMING:
            chunks = (data,) if isinstance(data, (bytes, bytearray, memoryview)) else data
            self._enqueue([chunk for chunk in chunks if len(chunk)])

    def send_trailers(self, block: bytes | None = None) -> None:
        """End what `send_head` began; with None, without trailers."""
        if self._state == STREAMING:
            self._state = ENDING
            self._tail = block or b""
            self._enqueue(())

    def count_unread(self, holding: Holding) -> None:
        """Count what the other side has not taken of the body, until it has, or has left.

        Args:
            holding: new.
        """
        if self._queue:
            holding.add(sum(map(len, self._queue)))
            self._unread = holding

    async def drained(self) -> None:
        """Wait until what was sent is on its way, or nobody waits for it."""
        while self._queue:
            if self._waiter is None:
                self._waiter = self._owner.new_waiter()
            await asyncio.shield(self._waiter)

    def reset(self, code: int = Code.CANCEL) -> None:
        """End the stream before its end."""
        if self._state != DONE:
            self._owner.reset_stream(self, code)

    def credit(self, count: int) -> None:
        """Received bytes are done with: the other side may send as many more.

        Args:
            count: of the bytes handed over while `auto_credit` was False.
        """
        count = min(count, self.unread_bytes)
        if count > 0:
            self.unread_bytes -= count
            self._owner.credit(self, count)

    # For the connection.

    def abandon(self) -> None:
        """Nothing can be sent any more."""
        self._state = DONE
        self._drop_queue()
        self._out.waiting.pop(self, None)
        self._release_waiter()

    def widen(self, increment: int) -> None:
        """The other side takes so much more of it, or less."""
        self.send_window += increment
        if self._queue and self.send_window > 0:
            self._out.waiting[self] = None

    def pump(self, most: int) -> int:
        """Add frames of what waits, as windows allow.

        Returns:
            The bytes of body added, `most` or the rest of a part more at most.
        """
        out = self._out
        queue = self._queue
        sent = 0
        while queue and sent < most:
            chunk = queue[0]
            size = len(chunk)
            step = min(size, self.send_window, out.window, out.max_frame_bytes, _TURN_BYTES)
            if step <= 0:
                break
            if step < size:
                view = memoryview(chunk)
                queue[0] = view[step:]
                chunk = view[:step]
            else:
                queue.popleft()
            is_end = not queue and self._tail == b""
            out.parts += (_pack(step << 8, is_end, self.id), chunk)
            out.window -= step
            self.send_window -= step
            sent += step
            if step >= _MOVING_BYTES or not queue:
                out.data_frames += 1
            if is_end:
                self._finish()
        if sent:
            out.has_moved = True
            out.unwritten_bytes += sent
            self._dribbled_bytes += sent
            if self._dribbled_bytes >= _MOVING_BYTES or not queue:
                self._dribbled_bytes = 0
                self.write_since = out.tick
            if sent >= _GATHER_FROM_BYTES:
                out.is_large = True
        if not queue:
            self._conclude()
        return sent

    def _enqueue(self, chunks: Iterable[Data]) -> None:
        out = self._out
        if not self._queue:
            self._queue = deque(chunks)
            self._dribbled_bytes = 0
            self.write_since = out.tick
            if not self._queue:
                self._conclude()
            elif not out.is_blocked and out.unwritten_bytes < _BURST_BYTES:
                self.pump(_TURN_BYTES)
        else:
            self._queue.extend(chunks)
        if self._queue and self.send_window > 0:
            out.waiting[self] = None
        out.wake()

    def _conclude(self) -> None:
        """All data is on its way."""
        if self._state == ENDING:
            if self._tail:
                self._out.head(self.id, self._tail, Flag.END_STREAM)
            else:
                self._out.parts.append(_pack(Kind.DATA, Flag.END_STREAM, self.id))
            self._finish()
        self._release_waiter()

    def _finish(self) -> None:
        self._state = DONE
        self._drop_queue()
        self._owner.finished(self)

    def _drop_queue(self) -> None:
        self._queue = None
        if self._unread is not None:
            self._unread.release()
            self._unread = None

    def _release_waiter(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

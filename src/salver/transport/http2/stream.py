"""One request and its answer, and what all streams of a connection share on the way out."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

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

__all__ = ["Data", "Http2Service", "Outbox", "Owner", "Stream"]

Data: TypeAlias = bytes | bytearray | memoryview

# States of an answer.
_SILENT, _STREAMING, _ENDING, _DONE = range(4)
# Streams that wait to send take turns of this size.
_TURN_BYTES = 64 * 1024
# What goes to the socket before it is asked whether it can take more.
_BURST_BYTES = 512 * 1024
_GATHER_FROM_BYTES = 32 * 1024
# An answer up to this size fits every client's frames and is sent in one go.
_FAST_BYTES = MIN_FRAME_BYTES
_NO_FAST_WAY = -1
# Giving window by the octet earns a client nothing.
_MOVING_BYTES = 256
_pack = FRAME_HEAD.pack


class Http2Service(Protocol):
    """What a connection calls; one for each listening server. Nothing of it may block."""

    def opened(self, stream: "Stream", is_last: bool) -> None:
        """A request's header block is here, well formed.

        Args:
            stream: new; may be answered at once.
            is_last: no body follows.
        """

    def received(self, stream: "Stream", data: bytes | memoryview, is_last: bool) -> None:
        """A part of a request's body is here; not called once the answer has ended.

        Args:
            stream: whose.
            data: never changes afterwards; a view may keep a whole read of the socket alive. Empty
                when the body ended behind its last part.
            is_last: the request is complete; `stream.trailers` are its trailers.
        """

    def left(self, stream: "Stream") -> None:
        """The client has reset it, or the connection is gone: nothing can be sent any more."""


class Owner(Protocol):
    """What a stream needs of its connection."""

    @property
    def peer(self) -> str | None:
        """The client's address."""

    def finished(self, stream: "Stream") -> None:
        """The answer has ended."""

    def reset_stream(self, stream: "Stream", code: int) -> None:
        """End the stream without an answer."""

    def credit(self, stream: "Stream", count: int) -> None:
        """Give window back."""

    def released(self, stream: "Stream") -> None:
        """The work of a stream that has gone is done."""

    @property
    def new_waiter(self) -> "Callable[[], asyncio.Future[None]]":
        """Makes a future of the connection's loop."""


class Outbox:
    """What is to be written, and the client's windows and settings that bound it.

    Attributes:
        parts: bytes in their order; whoever writes them takes them by `take`.
        is_large: worth handing the parts to the kernel one by one.
        window: of the connection.
        initial_window: of a new stream.
        max_frame_bytes: the longest frame the client takes.
        waiting: streams with data that the connection's window or the socket hold up, in turn; not
            those whose own window is spent: they come back when it grows.
        is_blocked: the socket takes no more.
        unwritten_bytes: of bodies in `parts`.
        data_frames: sent so far, without those that move next to nothing.
        tick: about now, monotonic seconds.
        update: what the client is told of its dynamic table before the next field.
        has_moved: fields or data were sent, or data came, since this was last set to False.
        fast_bytes: an answer up to this size may be written without further questions.
        wake: called after something was added to `parts` by other than the reader.
    """

    __slots__ = (
        "data_frames",
        "fast_bytes",
        "has_moved",
        "initial_window",
        "is_blocked",
        "is_large",
        "max_frame_bytes",
        "parts",
        "tick",
        "unwritten_bytes",
        "update",
        "waiting",
        "wake",
        "window",
    )

    def __init__(self, wake: Callable[[], None], now: float) -> None:
        self.parts: list[Data] = []
        self.is_large = False
        self.window = FIRST_WINDOW
        self.initial_window = FIRST_WINDOW
        self.max_frame_bytes = MIN_FRAME_BYTES
        self.waiting: dict[Stream, None] = {}
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
        """The client's dynamic table has shrunk: say that we use none (RFC 7541 §4.2)."""
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


class Stream:
    """One request. Made by the connection; used on its loop only.

    Whatever is sent after the stream has gone is dropped in silence.

    Attributes:
        id: odd, growing.
        headers: of the request, shared with requests whose fields are the same.
        answerer: free for the upper layer.
        trailers: of the request, once it is complete and had some.
        auto_credit: parts of the body give their window back as they are handed over. Where False,
            `credit` does, and what is not credited bounds what the client may send.
        is_patient: of a call that may rightly be silent for long: neither the request's body nor
            the reading of the answer is timed.
        received_bytes: of the body so far.
        send_window: what the client takes of this stream.
    """

    __slots__ = (
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
        "is_patient",
        "is_remote_done",
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

    def __init__(
        self, stream_id: int, headers: Headers, owner: Owner, out: Outbox, window: int
    ) -> None:
        self.id = stream_id
        self.headers = headers
        self._owner = owner
        self._out = out
        self.recv_window = window
        self.send_window = out.initial_window
        self.answerer: Any = None
        self.trailers: Headers | None = None
        self.auto_credit = True
        self.is_patient = False
        self.is_remote_done = False
        self.received_bytes = self.progress = self.to_credit = self.unread_bytes = self.held = 0
        self.since = self.write_since = out.tick
        self._state = _SILENT
        self._queue: deque[Data] | None = None
        self._tail: bytes | None = None  # trailers that end the answer; empty: without
        self._waiter: asyncio.Future[None] | None = None
        self._unread: Holding | None = None

    @property
    def peer(self) -> str | None:
        """The address of the other end, without its port; None when it has none."""
        return self._owner.peer

    @property
    def is_gone(self) -> bool:
        """True once the answer is sent, or nobody waits for it."""
        return self._state == _DONE

    @property
    def is_waiting(self) -> bool:
        """True while data waits for windows or the socket."""
        return bool(self._queue)

    # Answers.

    def respond(
        self, head: bytes, data: Data | Sequence[Data], trailers: bytes | None = None
    ) -> None:
        """Give the whole answer; what windows or the socket hold up is sent when they let it.

        Args:
            head: a header block.
            data: the body, whole or in parts; must not change afterwards.
            trailers: a header block; None ends with the last of the data.
        """
        if self._state:
            return
        out = self._out
        if type(data) is bytes and trailers is not None:
            size = len(data)
            if (
                size <= out.fast_bytes
                and size <= self.send_window
                and size <= out.window
                and len(head) <= MIN_FRAME_BYTES >= len(trailers)
            ):
                out.window -= size
                out.data_frames += 1
                out.has_moved = True
                stream_id = self.id
                out.parts += (
                    _pack(len(head) << 8 | 1, 4, stream_id),
                    head,
                    _pack(size << 8, 0, stream_id),
                    data,
                    _pack(len(trailers) << 8 | 1, 5, stream_id),
                    trailers,
                )
                self._state = _DONE
                self._owner.finished(self)
                return
        self._respond_in_parts(head, data, trailers)

    def _respond_in_parts(
        self, head: bytes, data: Data | Sequence[Data], trailers: bytes | None
    ) -> None:
        chunks = (data,) if isinstance(data, (bytes, bytearray, memoryview)) else data
        chunks = [chunk for chunk in chunks if len(chunk)]
        if not chunks and trailers is None:
            self.refuse(head)
            return
        self._out.head(self.id, head, 0)
        self._state = _ENDING
        self._tail = trailers or b""
        self._enqueue(chunks)

    def refuse(self, block: bytes) -> None:
        """Answer by one header block alone (gRPC: trailers-only)."""
        if self._state == _SILENT:
            self._out.head(self.id, block, Flag.END_STREAM)
            self._finish()

    def send_head(self, block: bytes) -> None:
        """Begin an answer whose parts follow."""
        if self._state == _SILENT:
            self._state = _STREAMING
            self._out.head(self.id, block, 0)
            self._out.wake()

    def send_data(self, data: Data | Sequence[Data]) -> None:
        """Send a part of the body; see `drained`."""
        if self._state == _STREAMING:
            chunks = (data,) if isinstance(data, (bytes, bytearray, memoryview)) else data
            self._enqueue([chunk for chunk in chunks if len(chunk)])

    def send_trailers(self, block: bytes | None = None) -> None:
        """End an answer that `send_head` began; with None, without trailers."""
        if self._state == _STREAMING:
            self._state = _ENDING
            self._tail = block or b""
            self._enqueue(())

    def count_unread(self, holding: Holding) -> None:
        """Count what the client has not taken of the answer, until it has, or has left.

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
        """End the stream without (the rest of) an answer."""
        if self._state != _DONE:
            self._owner.reset_stream(self, code)

    def credit(self, count: int) -> None:
        """Received bytes are done with: the client may send as many more.

        Args:
            count: of the bytes handed over while `auto_credit` was False.
        """
        count = min(count, self.unread_bytes)
        if count > 0:
            self.unread_bytes -= count
            self._owner.credit(self, count)

    def hold(self) -> None:
        """Work begins that goes on though the client leaves: until `let_go` it counts as a request.

        Without this, a client that cancels its requests at once could start any amount of work.
        """
        self.held += 1

    def let_go(self) -> None:
        """That work has ended."""
        self.held -= 1
        if not self.held and self._state == _DONE:
            self._owner.released(self)

    # For the connection.

    def abandon(self) -> None:
        """Nothing can be sent any more."""
        self._state = _DONE
        self._drop_queue()
        self._out.waiting.pop(self, None)
        self._release_waiter()

    def widen(self, increment: int) -> None:
        """The client takes so much more of it, or less."""
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
        if self._state == _ENDING:
            if self._tail:
                self._out.head(self.id, self._tail, Flag.END_STREAM)
            else:
                self._out.parts.append(_pack(Kind.DATA, Flag.END_STREAM, self.id))
            self._finish()
        self._release_waiter()

    def _finish(self) -> None:
        self._state = _DONE
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

"""Calls of one message, over HTTP/2, from their first byte to their end. Used on the loop only.

A call whose method answers at once has neither task nor future nor timer.
"""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

from salver.errors import Cancelled, DeadlineExceeded, Internal, ServingError, drop_frames
from salver.rpc.http2_blocks import TRAILERS_OK, head_of, refusal_of
from salver.rpc.http2_messages import HEAD_BYTES, Message, MessageReader, deflated, framed
from salver.rpc.http2_route import Route
from salver.rpc.http2_running import (
    EXPIRED,
    LARGE_BYTES,
    NO_MESSAGE,
    OVERTIME_S,
    Data,
    Running,
    broken,
)
from salver.rpc.table import Call
from salver.transport.http2.stream import Stream
from salver.transport.in_flight import Holding

__all__ = ["UnaryCall"]


class UnaryCall:
    """A call of one message, answered by one."""

    __slots__ = (
        "_expires",
        "_holding",
        "_is_asked",
        "_is_over",
        "_message",
        "_reader",
        "_route",
        "_running",
        "_stream",
        "_task",
        "_timer",
    )

    def __init__(self, running: Running, stream: Stream, route: Route) -> None:
        self._running = running
        self._stream = stream
        self._route = route
        self._reader: MessageReader | None = None
        self._message: Message | None = None
        self._holding: Holding | None = None
        self._is_asked = False
        self._is_over = False
        self._task: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expires: float | None = None
        if route.timeout_s is not None:
            self._expires = running.loop.time() + route.timeout_s
            running.time(self)

    @property
    def is_silent(self) -> bool:
        """Whether its message has not come."""
        return not (self._is_asked or self._is_over)

    # What the client does.

    def received(self, data: Data, is_last: bool) -> None:
        """Take bytes of the message; the call is made when it is whole."""
        if self._is_over or self._is_asked:
            return
        if is_last and self._reader is None:
            size = len(data) - HEAD_BYTES
            # The usual: one frame that is the message, as it is.
            if (
                size >= 0
                and not data[0]
                and int.from_bytes(data[1:HEAD_BYTES], "big") == size
                and size <= self._running.limits.max_receive_bytes
            ):
                self._ask(bytes(data[HEAD_BYTES:]))
                return
        self._gather(data, is_last)

    def left(self) -> None:
        """The client waits no more."""
        self._end()
        if self._task is not None:
            self._task.cancel()

    @property
    def _held(self) -> Holding:
        """What the call holds; counted for all but those that are answered at once."""
        if self._holding is None:
            self._holding = Holding(self._running.memory)
        return self._holding

    def _gather(self, data: Data, is_last: bool) -> None:
        if self._message is None:
            if self._reader is None:
                self._reader = MessageReader(self._running.limits.max_receive_bytes)
            try:
                self._held.grow(len(data))
                messages = self._reader.read(data)
            except ServingError as error:
                self._fail(error)
                return
            if messages:
                self._message = messages[0]  # as in the C core, what follows counts for nothing
        if self._message is not None:
            if is_last:
                self._go_on()
            else:
                # Many clients say in a frame of its own that it was the last. That is there by
                # then, if it came together with the message; nobody has to wait for it.
                self._running.loop.call_soon(self._go_on)
        elif is_last:
            self._fail(Internal(NO_MESSAGE))

    # What the method does.

    def _go_on(self) -> None:
        if self._is_over or self._is_asked or self._message is None:
            return
        message, self._message = self._message, None
        try:
            data = self._running.message(message, self._route.encoding, self._held)
        except ServingError as error:
            self._fail(error)
            return
        if isinstance(data, bytes):
            self._ask(data)
        else:
            self._is_asked = True
            self._await(self._ask_later(data), 0)

    async def _ask_later(self, message: Coroutine[Any, Any, bytes]) -> bytes:
        data = await message
        answer = self._method(data)
        return answer if isinstance(answer, bytes) else await answer

    def _method(self, data: bytes) -> bytes | Awaitable[bytes]:
        method: Any = self._route.method
        expires = self._expires
        made: bytes | Awaitable[bytes] = method(
            data, Call(None if expires is None else expires - self._running.loop.time())
        )
        return made

    def _ask(self, data: bytes) -> None:
        self._is_asked = True
        try:
            answer = self._method(data)
        except ServingError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a call ends here; the server goes on
            self._fail(broken(error))
        else:
            if isinstance(answer, bytes):
                self._answer(answer)
            else:
                self._await(answer, len(data))

    def _await(self, answer: Awaitable[bytes], size: int) -> None:
        try:
            self._held.grow_to(size)
        except ServingError as error:
            if isinstance(answer, Coroutine):
                answer.close()
            self._fail(error)
            return
        self._stream.hold()
        self._task = self._running.begin(answer)
        self._task.add_done_callback(self._answered)

    def _answered(self, task: "asyncio.Future[Any]") -> None:
        self._running.tasks.discard(task)
        self._stream.let_go()
        self._release()
        self._task = None  # its failure knows the call, and what that has read; no cycle of them
        if task.cancelled():
            error: BaseException | None = Cancelled("Cancelled on the server side")
        else:
            error = task.exception()
        if self._is_over:
            if error is not None:
                drop_frames(error)
            return
        if error is None:
            self._answer(task.result())
        else:
            self._fail(error if isinstance(error, ServingError) else broken(error))

    def _answer(self, answer: bytes) -> None:
        running = self._running
        try:
            running.check_sent(answer)
        except ServingError as error:
            self._fail(error)
            return
        encoding = self._route.answer_encoding
        if encoding is None:
            self._respond(answer, None)
        elif len(answer) <= LARGE_BYTES:
            self._respond_deflated(answer, deflated(answer, encoding), encoding)
        else:
            self._task = running.begin(self._deflate(answer, encoding))
            self._task.add_done_callback(running.tasks.discard)

    async def _deflate(self, answer: bytes, encoding: bytes) -> None:
        made = await self._running.in_pool(lambda: deflated(answer, encoding))
        if not self._is_over:
            self._respond_deflated(answer, made, encoding)

    def _respond_deflated(self, answer: bytes, made: bytes | None, encoding: bytes) -> None:
        self._respond(answer if made is None else made, encoding, is_compressed=made is not None)

    def _respond(self, data: bytes, encoding: bytes | None, *, is_compressed: bool = False) -> None:
        self._end()
        stream = self._stream
        stream.respond(head_of(encoding), framed(data, is_compressed), TRAILERS_OK)
        if not stream.is_gone:
            stream.count_unread(Holding(self._running.memory))
            # What its client takes slowly is in flight until it is sent.
            sending = self._running.begin(stream.drained())
            sending.add_done_callback(self._running.tasks.discard)

    # Ends.

    def _fail(self, error: ServingError) -> None:
        drop_frames(error)
        self._end()
        self._stream.refuse(refusal_of(error))

    def _end(self) -> None:
        self._is_over = True
        self._reader = self._message = None
        if self._task is None:
            self._release()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _release(self) -> None:
        if self._holding is not None:
            self._holding.release()
            self._holding = None

    def start_timer(self) -> None:
        """See `Running.time`."""
        if not self._is_over and self._expires is not None:
            loop = self._running.loop
            self._timer = loop.call_at(self._expires + OVERTIME_S, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if not self._is_over:
            self._fail(DeadlineExceeded(EXPIRED))
            if self._task is not None:
                self._task.cancel()

"""Calls of one message, over HTTP/2, from their first byte to their end. Used on the loop only.

A call whose method answers at once has neither task nor future nor timer.
"""

from collections.abc import Coroutine
from typing import Any

from salver.errors import Internal, ServingError
from salver.inference.later import Later
from salver.instruments.threads import LARGE_BYTES
from salver.rpc.http2_blocks import head_of, refusal_of
from salver.rpc.http2_call import Http2Call
from salver.rpc.http2_messages import HEAD_BYTES, Message, MessageReader, deflated, framed
from salver.rpc.http2_route import Route
from salver.rpc.http2_running import NO_MESSAGE, Data, Running, broken
from salver.transport.http2.stream import Stream
from salver.transport.in_flight import Holding

__all__ = ["UnaryCall"]


class UnaryCall(Http2Call):
    """A call of one message, answered by one."""

    __slots__ = ("_holding", "_is_called", "_message", "_reader")

    def __init__(self, running: Running, stream: Stream, route: Route) -> None:
        Http2Call.__init__(self, running, stream, route)
        self._reader: MessageReader | None = None
        self._message: Message | None = None
        self._holding: Holding | None = None
        self._is_called = False  # the method

    @property
    def is_silent(self) -> bool:
        """Whether its message has not come."""
        return not (self._is_called or self._is_over)

    # What the client does.

    def received(self, data: Data, is_last: bool) -> None:
        """Take bytes of the message; the call is made when it is whole."""
        if self._is_over or self._is_called:
            return
        try:
            if is_last and self._reader is None:
                size = len(data) - HEAD_BYTES
                # The usual: one frame that is the message, as it is.
                if (
                    size >= 0
                    and not data[0]
                    and int.from_bytes(data[1:HEAD_BYTES], "big") == size
                    and size <= self._running.limits.max_receive_bytes
                ):
                    self._call(bytes(data[HEAD_BYTES:]))
                    return
            self._gather(data, is_last)
        except MemoryError as error:
            self._fail(broken(error))

    @property
    def _held(self) -> Holding:
        """What the call holds; counted for all but those that are answered at once."""
        if self._holding is None:
            self._holding = Holding(self._running.memory)
        return self._holding

    def _gather(self, data: Data, is_last: bool) -> None:
        is_first = self._reader is None
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
        elif is_first and self._stream.headers.admission is not None:
            self.screen()  # for others `GrpcService` has it called

    # What the method does.

    def _go_on(self) -> None:
        if self._is_over or self._is_called or self._message is None:
            return
        message, self._message = self._message, None
        try:
            data = self._running.message(message, self._route.encoding, self._held)
        except ServingError as error:
            self._fail(error)
            return
        except MemoryError as error:
            self._fail(broken(error))
            return
        if isinstance(data, bytes):
            self._call(data)
        else:
            self._is_called = True
            self._await(self._call_later(data), 0)

    async def _call_later(self, message: Coroutine[Any, Any, bytes]) -> bytes:
        data = await message
        self._note_time_left()
        method: Any = self._route.method
        answer = method(data, self)
        return answer if isinstance(answer, bytes) else await answer

    def _call(self, data: bytes) -> None:
        self._is_called = True
        self._note_time_left()
        method: Any = self._route.method
        try:
            answer = method(data, self)
        except ServingError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a call ends here; the server goes on
            self._fail(broken(error))
        else:
            if isinstance(answer, bytes):
                self._succeed(answer)
            else:
                self._await(answer, len(data))

    def _await(self, answer: Coroutine[Any, Any, bytes], size: int) -> None:
        try:
            self._held.grow_to(size)
        except ServingError as error:
            answer.close()
            self._fail(error)
            return
        if self._route.answer_encoding is None:
            answer = Later(self._answered(answer), answer.close)
        self._begin(answer)

    async def _answered(self, answer: Coroutine[Any, Any, bytes]) -> bytes:
        """Answer as soon as the method has, not in a further turn of the loop."""
        made = await answer
        if not self._is_over:
            self._succeed(made)
        return made

    def _succeed(self, answer: bytes) -> None:
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
        try:
            made = await self._running.in_pool(lambda: deflated(answer, encoding))
        except Exception as error:  # noqa: BLE001 - a call ends here; the server goes on
            if not self._is_over:
                self._fail(error if isinstance(error, ServingError) else broken(error))
            return
        if not self._is_over:
            self._respond_deflated(answer, made, encoding)

    def _respond_deflated(self, answer: bytes, made: bytes | None, encoding: bytes) -> None:
        self._respond(answer if made is None else made, encoding, is_compressed=made is not None)

    def _respond(self, data: bytes, encoding: bytes | None, *, is_compressed: bool = False) -> None:
        self._end()
        stream = self._stream
        stream.respond(head_of(encoding), framed(data, is_compressed), self._route.trailers)
        if not stream.is_gone:
            stream.count_unread(Holding(self._running.memory))
            # What its client takes slowly is in flight until it is sent.
            sending = self._running.begin(stream.drained())
            sending.add_done_callback(self._running.tasks.discard)

    # Ends.

    def _refuse(self, error: ServingError) -> None:
        self._stream.refuse(refusal_of(error, self._route.fields))

    def _end(self) -> None:
        Http2Call._end(self)
        self._reader = self._message = None
        if self._task is None:
            self._release()

    def _release(self) -> None:
        if self._holding is not None:
            self._holding.release()
            self._holding = None

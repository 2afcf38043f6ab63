"""Calls of any number of messages, over HTTP/2. Used on the loop only."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from salver.errors import Internal, ServingError
from salver.instruments.threads import LARGE_BYTES
from salver.protocols import methods
from salver.rpc.http2_blocks import head_of, refusal_of, trailers_of
from salver.rpc.http2_call import Http2Call
from salver.rpc.http2_messages import Message, MessageReader, deflated, framed
from salver.rpc.http2_route import Route
from salver.rpc.http2_running import NO_MESSAGE, Data, Running, broken
from salver.transport.http2.stream import Stream
from salver.transport.in_flight import Holding

__all__ = ["StreamCall"]


class StreamCall(Http2Call):
    """A call of any number of messages, both ways."""

    def __init__(
        self, running: Running, stream: Stream, route: Route, method: methods.Stream
    ) -> None:
        Http2Call.__init__(self, running, stream, route)
        self.interceptors = ()
        self._method = method
        self._reader = MessageReader(running.limits.max_receive_bytes)
        self._messages: deque[Message] = deque()
        self._uncredited = 0  # bytes that came and are not taken
        self._waiter: asyncio.Future[None] | None = None  # while the method waits for a message
        self._is_complete = False  # the client sends no more
        self._failure: ServingError | None = None  # of what it has sent
        self._has_begun = False  # the answer
        stream.auto_credit = False
        stream.is_untimed = True
        if not method.is_request_single:
            self._begin(self._run())

    @property
    def is_silent(self) -> bool:
        """Whether its one message has not come."""
        return self._task is None and not self._is_over

    # What the client does.

    def received(self, data: Data, is_last: bool) -> None:
        """Take bytes of messages."""
        if self._is_over or self._is_complete:
            self._stream.credit(len(data))
            return
        self._is_complete = is_last
        try:
            self._messages.extend(self._reader.read(data))
        except (ServingError, MemoryError) as error:
            self._failure = error if isinstance(error, ServingError) else broken(error)
            self._is_complete = True
        else:
            if is_last and not self._reader.is_between:
                self._failure = Internal(NO_MESSAGE)
        if self._messages:
            self._uncredited += len(data)
        else:
            self._stream.credit(len(data))
        self._wake()
        if self._task is None:
            if self._messages or self._is_complete:
                self._start_single()
            elif self._is_first(data) and self._stream.headers.admission is not None:
                self.screen()  # for others `GrpcService` has it called

    def _is_first(self, data: Data) -> bool:
        return self._stream.received_bytes == len(data)

    def _start_single(self) -> None:
        if self._messages:
            self._is_complete = True
            self._begin(self._run())
        else:
            self._fail(self._failure or Internal(NO_MESSAGE))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the method does.

    async def _run(self) -> None:
        self._note_time_left()
        stream = self._stream
        async with (
            aclosing(self._requests()) as requests,
            aclosing(self._method.method(requests, self)) as responses,
        ):
            async for response in responses:
                await self._send(response)
                await stream.drained()

    async def _requests(self) -> "AsyncGenerator[bytes, None]":
        """The client's messages, until it has no more or the server drains."""
        running = self._running
        limit = 1 if self._method.is_request_single else None
        given = 0
        while given != limit:
            if self._messages:
                # What waits is bounded by the stream's window, so this one alone is counted.
                holding = Holding(running.memory)
                try:
                    made = running.message(self._messages.popleft(), self._route.encoding, holding)
                    data = made if isinstance(made, bytes) else await made
                    holding.grow_to(len(data))
                    given += 1
                    yield data
                finally:
                    holding.release()
                continue
            self._stream.credit(self._uncredited)
            self._uncredited = 0
            if self._failure is not None:
                raise self._failure
            if self._is_complete or running.draining.done():
                return
            self._waiter = running.loop.create_future()
            await asyncio.wait(
                (self._waiter, running.draining), return_when=asyncio.FIRST_COMPLETED
            )
            self._waiter = None

    async def _send(self, response: bytes) -> None:
        running = self._running
        running.check_sent(response)
        encoding = self._route.answer_encoding
        made = None
        if encoding is not None:
            chosen = encoding
            if len(response) <= LARGE_BYTES:
                made = deflated(response, chosen)
            else:
                made = await running.in_pool(lambda: deflated(response, chosen))
        if not self._has_begun:
            self._has_begun = True
            self._stream.send_head(head_of(encoding))
        self._stream.send_data(framed(response if made is None else made, made is not None))

    # Ends.

    def _succeed(self, _result: Any) -> None:
        self._end()
        if not self._has_begun:
            self._stream.send_head(head_of(self._route.answer_encoding))
        self._stream.send_trailers(self._route.trailers)

    def _refuse(self, error: ServingError) -> None:
        if self._has_begun:
            self._stream.send_trailers(trailers_of(error, self._route.fields))
        else:
            self._stream.refuse(refusal_of(error, self._route.fields))

    def _end(self) -> None:
        Http2Call._end(self)
        self._messages.clear()

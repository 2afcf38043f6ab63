"""Calls of any number of messages, over HTTP/2. Used on the loop only."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from salver.errors import Cancelled, DeadlineExceeded, Internal, ServingError, drop_frames
from salver.rpc import table
from salver.rpc.http2_blocks import TRAILERS_OK, head_of, refusal_of, trailers_of
from salver.rpc.http2_messages import Message, MessageReader, deflated, framed
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

__all__ = ["StreamCall"]


class StreamCall:
    """A call of any number of messages, both ways."""

    __slots__ = (
        "_expires",
        "_failure",
        "_has_begun",
        "_is_complete",
        "_is_over",
        "_messages",
        "_method",
        "_reader",
        "_route",
        "_running",
        "_stream",
        "_task",
        "_timer",
        "_uncredited",
        "_waiter",
    )

    def __init__(
        self, running: Running, stream: Stream, route: Route, method: table.Stream
    ) -> None:
        self._running = running
        self._stream = stream
        self._route = route
        self._method = method
        self._reader = MessageReader(running.limits.max_receive_bytes)
        self._messages: deque[Message] = deque()
        self._uncredited = 0  # bytes that came and are not taken
        self._waiter: asyncio.Future[None] | None = None  # while the method waits for a message
        self._is_complete = False  # the client sends no more
        self._failure: ServingError | None = None  # of what it has sent
        self._has_begun = False  # the answer
        self._is_over = False
        self._task: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expires: float | None = None
        stream.auto_credit = False
        stream.is_patient = True
        if route.timeout_s is not None:
            self._expires = running.loop.time() + route.timeout_s
            running.time(self)
        if not method.is_request_single:
            self._start()

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
        except ServingError as error:
            self._failure = error
            self._is_complete = True
        else:
            if is_last and not self._reader.is_between:
                self._failure = Internal(NO_MESSAGE)
        if self._messages:
            self._uncredited += len(data)
        else:
            self._stream.credit(len(data))
        self._wake()
        if self._task is None and (self._messages or self._is_complete):
            self._start_single()

    def left(self) -> None:
        """The client waits no more."""
        self._end()
        if self._task is not None:
            self._task.cancel()

    def _start_single(self) -> None:
        if self._messages:
            self._is_complete = True
            self._start()
        else:
            self._fail(self._failure or Internal(NO_MESSAGE))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the method does.

    def _start(self) -> None:
        self._stream.hold()
        self._task = self._running.begin(self._run())
        self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        expires = self._expires
        call = Call(None if expires is None else expires - self._running.loop.time())
        stream = self._stream
        async with (
            aclosing(self._requests()) as requests,
            aclosing(self._method.method(requests, call)) as responses,
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
            wanted = encoding
            if len(response) <= LARGE_BYTES:
                made = deflated(response, wanted)
            else:
                made = await running.in_pool(lambda: deflated(response, wanted))
        if not self._has_begun:
            self._has_begun = True
            self._stream.send_head(head_of(encoding))
        self._stream.send_data(framed(response if made is None else made, made is not None))

    def _ended(self, task: "asyncio.Future[Any]") -> None:
        self._running.tasks.discard(task)
        self._stream.let_go()
        self._task = None  # see there: no cycle of call, task, failure and its frames
        if task.cancelled():
            error: BaseException | None = Cancelled("Cancelled on the server side")
        else:
            error = task.exception()
        if self._is_over:
            if error is not None:
                drop_frames(error)
            return
        if error is not None:
            self._fail(error if isinstance(error, ServingError) else broken(error))
            return
        self._end()
        if not self._has_begun:
            self._stream.send_head(head_of(self._route.answer_encoding))
        self._stream.send_trailers(TRAILERS_OK)

    # Ends.

    def _fail(self, error: ServingError) -> None:
        drop_frames(error)
        self._end()
        if self._has_begun:
            self._stream.send_trailers(trailers_of(error))
        else:
            self._stream.refuse(refusal_of(error))

    def _end(self) -> None:
        self._is_over = True
        self._messages.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

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

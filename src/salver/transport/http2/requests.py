"""Plain HTTP requests that come by HTTP/2, for the handler that answers those of HTTP/1.1."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Coroutine
from email.utils import formatdate
from functools import partial
from typing import Final

from salver.errors import Overloaded, drop_frames
from salver.transport.heads import Refusal, RequestHead, body_too_large, read_request_line
from salver.transport.http2 import header_blocks
from salver.transport.http2.header_blocks import encode_block
from salver.transport.http2.stream import Stream
from salver.transport.in_flight import Holding
from salver.transport.messages import Headers, HttpRequest, HttpResponse
from salver.transport.service import CLIENT_LEFT, Service, overload

__all__ = ["HttpRequests"]

_log = logging.getLogger(__name__)

_SMALL_BYTES: Final = 4096  # parts of bodies up to here are put together at once
_LONG_TO_JOIN_BYTES: Final = 1 << 20  # for the loop
_LINGER_BYTES: Final = 1 << 20  # of a body that is too large are still read, and dropped
_MAX_RENDERED: Final = 512
_OF_HTTP1: Final = frozenset(("connection", "keep-alive", "transfer-encoding", "upgrade"))


class HttpRequests:
    """Hands requests to the handler of a service; an `Http2Service`. Used on the loop only.

    What it keeps of the fields of a request, it keeps as their memo.
    """

    def __init__(self, service: Service) -> None:
        """Make it.

        Args:
            service: its handler answers, and its limits on bodies hold.
        """
        self.service = service
        self._rendered: dict[tuple[int, str | None, tuple[tuple[str, str], ...]], bytes] = {}
        self._second = -1

    # What the connections say.

    def opened(self, stream: Stream, is_last: bool) -> None:
        """See `Http2Service`."""
        head = stream.headers.memo
        if not isinstance(head, RequestHead):
            try:
                head = stream.headers.memo = _head_of(stream.headers)
            except Refusal as refusal:
                _Request(self, stream, None).refuse(refusal)
                return
        request = stream.answerer = _Request(self, stream, head)
        most_bytes = self.service.limits.max_body_bytes
        if head.length > most_bytes + _LINGER_BYTES:
            request.refuse(body_too_large(most_bytes))
        elif is_last:
            request.received(b"", True)

    def received(self, stream: Stream, data: bytes | memoryview, is_last: bool) -> None:
        """See `Http2Service`."""
        if stream.answerer is not None:
            stream.answerer.received(data, is_last)

    def left(self, stream: Stream) -> None:
        """See `Http2Service`."""
        if stream.answerer is not None:
            stream.answerer.left()

    # Answers.

    def block(self, response: HttpResponse) -> bytes:
        """The header block of an answer."""
        second = int(self.service.clock())
        if second != self._second:
            self._second = second
            self._rendered.clear()
        key = (response.status, response.content_type, response.headers)
        rendered = self._rendered.get(key)
        if rendered is None:
            if len(self._rendered) >= _MAX_RENDERED:
                self._rendered.clear()
            rendered = self._rendered[key] = self._render(*key)
        return rendered + encode_block([(b"content-length", b"%d" % len(response.body))])

    def _render(
        self, status: int, content_type: str | None, headers: tuple[tuple[str, str], ...]
    ) -> bytes:
        fields = [(":status", str(status))]
        if content_type is not None:
            fields.append(("content-type", content_type))
        fields += ((name.lower(), value) for name, value in headers)
        fields.append(("date", formatdate(self._second, usegmt=True)))
        return encode_block(
            [(name.encode(), value.encode()) for name, value in fields if name not in _OF_HTTP1]
        )


class _Request:
    """One request, from its first byte to its answer."""

    __slots__ = (
        "_bytes_in",
        "_head",
        "_holding",
        "_is_over",
        "_parts",
        "_requests",
        "_started",
        "_stream",
        "_task",
    )

    def __init__(self, requests: HttpRequests, stream: Stream, head: RequestHead | None) -> None:
        self._requests = requests
        self._stream = stream
        self._head = head
        self._parts: deque[bytes | bytearray | memoryview] = deque()
        self._holding = Holding(requests.service.memory)
        self._bytes_in = 0
        self._started = 0.0
        self._is_over = False
        self._task: asyncio.Task[None] | None = None

    def received(self, data: bytes | memoryview, is_last: bool) -> None:
        """Take a part of the body; the request is handled when it is whole."""
        if self._is_over:
            return
        size = len(data)
        self._bytes_in += size
        most_bytes = self._requests.service.limits.max_body_bytes
        if self._bytes_in > most_bytes:
            self._parts.clear()
            # Many clients do not look at an answer that comes before they have sent everything.
            if is_last or self._bytes_in > most_bytes + _LINGER_BYTES:
                self.refuse(body_too_large(most_bytes))
            return
        if is_last and not self._parts:
            self._dispatch(bytes(data))
            return
        parts = self._parts
        try:
            self._holding.grow(size)
        except Overloaded as error:
            self.refuse(overload(error))
            return
        if size > _SMALL_BYTES:
            parts.append(data)
        elif parts and isinstance(parts[-1], bytearray):
            parts[-1] += data
        else:
            # Many small parts as they are would take many times their size.
            parts.append(bytearray(data))
        if is_last and self._bytes_in > _LONG_TO_JOIN_BYTES:
            self._started = self._requests.service.monotonic()
            self._await(self._handle_unready(None))
        elif is_last:
            body = b"".join(parts)
            parts.clear()
            self._dispatch(body)

    def left(self) -> None:
        """The client waits no more."""
        if self._task is None:
            self._holding.release()
        if self._is_over:
            return
        self._is_over = True
        self._parts.clear()
        if self._task is not None:
            self._task.cancel()
            service = self._requests.service
            service.record(
                self._head, CLIENT_LEFT, self._stream.peer, self._bytes_in, self._started
            )

    def refuse(self, refusal: Refusal) -> None:
        """Answer what is not understood, or too much."""
        service = self._requests.service
        self._parts.clear()
        self._holding.release()
        self._started = service.monotonic()
        target = None if self._head is None else self._head.target
        self._answer(service.refusal_page(refusal, target))

    def _dispatch(self, body: bytes) -> None:
        service = self._requests.service
        head = self._head
        assert head is not None  # what has none was refused
        if service.access is not None:
            self._started = service.monotonic()
        if head.is_gzipped and body:
            self._await(self._handle_unready(body))
            return
        try:
            answer = service.handler(self._request(head, body))
        except Exception as error:  # noqa: BLE001 the request ends here, and the log hears of it
            answer = self._fault(error)
        if isinstance(answer, HttpResponse):
            self._holding.release()
            self._answer(answer)
        else:
            self._await(answer)

    def _request(self, head: RequestHead, body: bytes) -> HttpRequest:
        return HttpRequest(head.method, head.target, head.headers, body, True, self._stream)

    async def _handle_unready(self, body: bytes | None) -> HttpResponse:
        """Answer a request whose body is in parts, or compressed."""
        service, head = self._requests.service, self._head
        assert head is not None  # what has none was refused
        try:
            if body is None:
                body = await service.joined(self._parts)
            if head.is_gzipped:
                body = await service.inflated(body, self._holding)
        except Refusal as refusal:
            return service.refusal_page(refusal, head.target)
        answer = service.handler(self._request(head, body))
        return answer if isinstance(answer, HttpResponse) else await answer

    def _await(self, answer: Awaitable[HttpResponse]) -> None:
        try:
            self._holding.grow_to(self._bytes_in)
        except Overloaded as error:
            if isinstance(answer, Coroutine):
                answer.close()
            self.refuse(overload(error))
            return
        self._requests.service.in_flight += 1
        self._stream.hold()
        self._task = asyncio.get_running_loop().create_task(self._answer_later(answer))
        self._task.add_done_callback(partial(self._settle, answer))

    async def _answer_later(self, answer: Awaitable[HttpResponse]) -> None:
        try:
            response = await answer
        except Exception as error:  # noqa: BLE001 the request ends here, and the log hears of it
            response = self._fault(error)
        if not self._is_over:
            self._answer(response)

    def _settle(self, answer: Awaitable[HttpResponse], _task: "asyncio.Task[None]") -> None:
        self._requests.service.in_flight -= 1
        if isinstance(answer, Coroutine):
            answer.close()  # it may have been cancelled before it began
        self._stream.let_go()
        self._holding.release()
        if not self._is_over:
            # Somebody else gave the work up: better no answer than a client that waits for ever.
            self._is_over = True
            self._stream.reset()

    def _fault(self, error: Exception) -> HttpResponse:
        _log.error("The handler of a request has failed.", exc_info=error)
        drop_frames(error)
        target = None if self._head is None else self._head.target
        return self._requests.service.refusal_page(Refusal(500, "Internal Server Error"), target)

    def _answer(self, response: HttpResponse) -> None:
        self._is_over = True
        requests, head = self._requests, self._head
        body = b"" if head is not None and head.is_head else response.body
        stream = self._stream
        stream.respond(requests.block(response), body)
        stream.count_unread(Holding(requests.service.memory))
        if requests.service.access is not None:
            requests.service.record(
                head, response, self._stream.peer, self._bytes_in, self._started
            )


def _head_of(headers: header_blocks.Headers) -> RequestHead:
    """The head as HTTP/1.1 would have it, shared by all requests with these fields.

    Raises:
        Refusal: 400 or 501.
    """
    line = read_request_line(b"%b %b HTTP/1.1\r\n" % (headers.method, headers.path))
    fields = headers.pairs
    if headers.authority:
        fields = [(b"host", headers.authority), *(f for f in fields if f[0] != b"host")]
    raw = b"".join([b"%b: %b\r\n" % field for field in fields])
    length = max(headers.content_length, 0)
    return RequestHead(line, Headers(raw), length, True, b"\r\n" + raw)

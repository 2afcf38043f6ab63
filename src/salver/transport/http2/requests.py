"""Plain HTTP requests that come by HTTP/2, for the handler that answers those of HTTP/1.1."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import aclosing
from email.utils import formatdate
from functools import partial
from typing import Any, Final

from salver.errors import Overloaded
from salver.transport.heads import (
    Refusal,
    RequestHead,
    body_too_large,
    check_host,
    read_request_line,
)
from salver.transport.http2 import header_blocks
from salver.transport.http2.header_blocks import encode_block
from salver.transport.http2.held_back import hold_back
from salver.transport.http2.stream import Stream
from salver.transport.identity import TlsIdentity
from salver.transport.in_flight import Holding
from salver.transport.messages import Headers, HttpResponse, Later, StreamedResponse
from salver.transport.service import CLIENT_LEFT, Service, overload
from salver.vocabulary.access import Principal

__all__ = ["HttpRequests"]

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

    def opened(self, stream: Stream, is_last: bool) -> None:
        """See `Http2Service`."""
        head, refusal = stream.headers.memo, None
        if not isinstance(head, RequestHead):
            head = None
            try:
                head = _head_of(stream.headers)
                if self.service.admit is not None:
                    self.service.admit(head)
            except Refusal as error:
                refusal = error
            else:
                stream.headers.memo = head
        request = stream.answerer = _Request(self, stream, head, refusal)
        most_bytes = self.service.limits.max_body_bytes
        if head is not None and head.length > most_bytes + _LINGER_BYTES:
            request.refuse(refusal or body_too_large(most_bytes))
        elif is_last:
            request.received(b"", True)
        elif head is not None and head.headers.admission is None:
            # A body that came together with these fields is there by the next turn of the loop;
            # then the handler itself is asked.
            request.screen_soon()

    def block(self, response: HttpResponse, *, has_length: bool = True) -> bytes:
        """The header block of an answer; without its length where nobody knows that yet."""
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
        if not has_length:
            return rendered
        return rendered + encode_block([(b"content-length", b"%d" % response.size)])

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
    """One request, from its first byte to its answer; the `Client` that waits for that."""

    def __init__(
        self,
        requests: HttpRequests,
        stream: Stream,
        head: RequestHead | None,
        refusal: Refusal | None = None,
    ) -> None:
        self._requests = requests
        self._refusal = refusal  # that it gets, whatever its body
        self._stream = stream
        self._head = head
        self._parts: deque[bytes | bytearray | memoryview] = deque()
        self._holding = Holding(requests.service.memory)
        self._bytes_in = 0
        self._started = 0.0
        self._is_over = False
        self._is_screened = refusal is not None or requests.service.screen is None
        self._streamed: StreamedResponse | None = None  # that is sent while it is made
        self._task: asyncio.Task[None] | None = None
        self.principal: Principal | None = None

    @property
    def peer(self) -> str | None:
        """See `Client`."""
        return self._stream.peer

    @property
    def identity(self) -> TlsIdentity | None:
        """See `Client`."""
        return self._stream.identity

    def received(self, data: bytes | memoryview, is_last: bool) -> None:
        """Take a part of the body; the request is handled when it is whole."""
        if self._is_over or not (is_last or self._is_screened or self._is_wanted(data)):
            return
        self._bytes_in += len(data)
        most_bytes = self._requests.service.limits.max_body_bytes
        if self._refusal is not None:
            self._drop(self._refusal, _LINGER_BYTES, is_last)
            return
        if self._bytes_in > most_bytes:
            self._drop(body_too_large(most_bytes), most_bytes + _LINGER_BYTES, is_last)
            return
        try:
            if is_last and not self._parts:
                body = bytes(data)
            else:
                self._keep(data)
                if not is_last:
                    return
                if self._bytes_in > _LONG_TO_JOIN_BYTES:
                    self._started = self._requests.service.monotonic()
                    self._await(self._unready(self._parts))
                    return
                body = b"".join(self._parts)
                self._parts.clear()
        except Overloaded as error:
            self.refuse(overload(error))
        except MemoryError as error:
            self._holding.release()
            self._answer(self._fault(error))
        else:
            self._dispatch(body)

    def _is_wanted(self, data: bytes | memoryview) -> bool:
        """Whether to go on with the first part of a body; else it is kept for later, or dropped."""
        self.screen()
        answerer = self._stream.answerer
        if answerer is not None and answerer is not self:
            answerer.received(data, False)
            return False
        return not self._is_over

    def screen_soon(self) -> None:
        """Have `screen` called in the next turn of the loop, if there is anything to ask."""
        if not self._is_screened:
            asyncio.get_running_loop().call_soon(self.screen)

    def screen(self) -> None:
        """Refuse the request, or wait with its body, where its header fields say that already."""
        service, head = self._requests.service, self._head
        if self._is_screened or self._is_over or self._task is not None:
            return
        self._is_screened = True
        assert service.screen is not None
        assert head is not None  # what has none was refused
        answer = service.screen(service.request(head, b"", self))
        if isinstance(answer, HttpResponse):
            self._turn_away(answer)
        elif answer is not None:
            hold_back(self._stream, answer, self._is_let_in)

    def _is_let_in(self, verdict: "asyncio.Task[HttpResponse | None]") -> bool:
        if verdict.cancelled() or verdict.exception() is not None:
            self._stream.reset()  # as where an answer is given up
            return False
        answer = verdict.result()
        if answer is not None:
            self._turn_away(answer)
        return answer is None

    def _turn_away(self, response: HttpResponse) -> None:
        """Answer before the body has come: curl 7 takes an immediate reset for a failure."""
        self._started = self._requests.service.monotonic()
        self._stream.is_reset_late = True
        self._answer(response)

    def _drop(self, refusal: Refusal, most_bytes: int, is_last: bool) -> None:
        """Refuse the request when its body has come, or so much of it.

        Many clients do not look at an answer that comes before they have sent everything; curl
        takes the end of the stream, which has to follow such an answer, for an error.
        """
        self._parts.clear()
        if is_last or self._bytes_in > most_bytes:
            self.refuse(refusal)

    def _keep(self, data: bytes | memoryview) -> None:
        self._holding.grow(len(data))
        parts = self._parts
        if len(data) > _SMALL_BYTES:
            parts.append(data)
        elif parts and isinstance(parts[-1], bytearray):
            parts[-1] += data
        else:
            # Many small parts as they are would take many times their size.
            parts.append(bytearray(data))

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
            self._record(self._streamed or CLIENT_LEFT)

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
        if head.coding is not None and body:
            self._await(self._unready(body))
            return
        try:
            answer = service.handler(service.request(head, body, self))
        except Exception as error:  # noqa: BLE001 the request ends here, and the log hears of it
            answer = self._fault(error)
        if isinstance(answer, HttpResponse):
            self._holding.release()
            self._answer(answer)
        else:
            self._await(answer)

    def _unready(self, body: "bytes | deque[Any]") -> Later:
        assert self._head is not None  # what has none was refused
        return self._requests.service.answer_unready(self._head, body, self._holding, self)

    def _await(self, answer: Later) -> None:
        try:
            self._holding.grow_to(self._bytes_in)
        except Overloaded as error:
            answer.close()
            self.refuse(overload(error))
            return
        self._requests.service.in_flight += 1
        self._stream.hold()
        self._task = asyncio.get_running_loop().create_task(self._answer_later(answer))
        self._task.add_done_callback(partial(self._settle, answer))

    async def _answer_later(self, answer: Later) -> None:
        try:
            response = await answer
        except Exception as error:  # noqa: BLE001 the request ends here, and the log hears of it
            response = self._fault(error)
        if isinstance(response, StreamedResponse):
            await self._send(response)
        elif not self._is_over:
            self._answer(response)

    async def _send(self, response: StreamedResponse) -> None:
        """Send an answer while it is made; to cancel it closes what makes it."""
        head, stream = self._head, self._stream
        self._streamed = response
        block = self._requests.block(response, has_length=False)
        async with aclosing(response.parts) as parts:
            if head is not None and head.is_head:
                stream.refuse(block)
            else:
                stream.send_head(block)
                try:
                    async for part in parts:
                        await self._send_part(response, part)
                except Exception as error:  # noqa: BLE001 the request ends here; the log hears
                    self._requests.service.broke_off(error)
                    return  # what has no end is reset
                stream.send_trailers()
        if not self._is_over:
            self._is_over = True
            self._record(response)

    async def _send_part(self, response: StreamedResponse, part: bytes) -> None:
        stream = self._stream
        stream.send_data(part)
        response.sent_bytes += len(part)
        if stream.is_waiting:
            unread = Holding(self._requests.service.memory)
            unread.add(len(part))
            try:
                await stream.drained()
            finally:
                unread.release()

    def _settle(self, answer: Later, _task: "asyncio.Task[None]") -> None:
        self._requests.service.in_flight -= 1
        self._task = None  # no cycle of request, task, what has cancelled it and its frames
        answer.close()  # it may have been cancelled before it began
        self._stream.let_go()
        self._holding.release()
        if not self._is_over:
            # Somebody else gave the work up: better no answer than a client that waits for ever.
            self._is_over = True
            self._stream.reset()

    def _fault(self, error: Exception) -> HttpResponse:
        self._parts.clear()
        target = None if self._head is None else self._head.target
        return self._requests.service.fault_page(error, target)

    def _answer(self, response: HttpResponse) -> None:
        self._is_over = True
        requests, head = self._requests, self._head
        parts: Sequence[bytes] = (response.body, *response.more)
        if head is not None and head.is_head:
            parts = ()
        stream = self._stream
        stream.respond(requests.block(response), parts)
        stream.count_unread(Holding(requests.service.memory))
        if requests.service.access is not None:
            self._record(response)

    def _record(self, response: HttpResponse) -> None:
        service = self._requests.service
        if service.access is not None:
            service.record(
                *(self._head, response, self._stream.peer, self._bytes_in, self._started),
                self.principal,
            )


def _head_of(headers: header_blocks.Headers) -> RequestHead:
    """The head as HTTP/1.1 would have it, shared by all requests with these fields.

    Raises:
        Refusal: 400 or 501.
    """
    line = read_request_line(b"%b %b HTTP/1.1\r\n" % (headers.method, headers.path))
    hosts = [value for name, value in headers.pairs if name == b"host"]
    if headers.authority:
        hosts = [headers.authority]
    check_host(hosts, is_needed=True)
    fields = [(b"host", hosts[0]), *(field for field in headers.pairs if field[0] != b"host")]
    raw = b"".join([b"%b: %b\r\n" % field for field in fields])
    length = max(headers.content_length, 0)
    return RequestHead(line, Headers(raw), length, True, b"\r\n" + raw, hosts[0])

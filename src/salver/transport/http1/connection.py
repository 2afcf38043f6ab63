"""One HTTP/1.1 connection: between a socket, a `RequestReader` and the handler.

While the handler answers at once there is neither task nor future. One request is answered at a
time: what a client sends behind an unanswered one waits unread, so answers are in order by
construction.
"""

import asyncio
import enum
import socket
from functools import partial
from typing import Any, cast

from salver.errors import Overloaded
from salver.transport.heads import Refusal, RequestHead, RequestLine
from salver.transport.http1.filling import Filling
from salver.transport.http1.request_reader import Body, RequestReader, Stage
from salver.transport.http1.responses import CLOSE, HTTP10, KEEP_ALIVE
from salver.transport.http1.streamed import StreamedBody
from salver.transport.identity import TlsIdentity, address_of, identity_of
from salver.transport.in_flight import Holding
from salver.transport.messages import HttpRequest, HttpResponse, Later, StreamedResponse
from salver.transport.service import CLIENT_LEFT, Service, overload
from salver.vocabulary.access import Principal

__all__ = ["Connection"]

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# A client that pipelines thousands of requests gives way to the others after this many.
_REQUESTS_IN_A_ROW = 64
# Below, copying the body behind its head is cheaper than a second buffer for the kernel.
_JOIN_BELOW_BYTES = 32 * 1024
_PROBE_DELAYS_S = (0.02, 0.2)


class _Phase(enum.Enum):
    """What a connection waits for."""

    READING = enum.auto()  # a request, or the rest of one
    BUSY = enum.auto()  # an answer, or the client to read one; what comes meanwhile is held
    LINGER = enum.auto()  # the client to read a refusal; what comes is dropped
    CLOSING = enum.auto()  # what was written to be sent; what comes is dropped


_READING, _BUSY, _LINGER, _CLOSING = _Phase


class Connection(asyncio.Protocol):
    """The protocol of one accepted socket. Used on the loop only."""

    def __init__(self, service: Service, accepted_s: float | None = None) -> None:
        """Make the protocol of a socket that is yet to be connected.

        Args:
            service: of the server whose connection this is.
            accepted_s: the monotonic time of that; None for now.
        """
        self._service = service
        self._accepted_s = service.monotonic() if accepted_s is None else accepted_s
        self._reader = RequestReader(service.heads, service.limits)
        self._phase = _READING
        self._stage = Stage.IDLE
        self._since = self._accepted_s  # in this phase and stage, or of the last progress
        self._progress = 0  # bytes received or unsent at `_since`
        self._head: RequestHead | None = None  # of the request a task has yet to answer
        self._task: asyncio.Task[Any] | None = None
        self._holding: Holding | None = None  # of the request that is read or answered
        self._unread: Holding | None = None  # of the answer that the client has not read
        self._streamed: StreamedBody | None = None  # the answer that is sent while it is made
        self._peer: str | None = None
        self.principal: Principal | None = None  # of the request that is answered
        self._is_blocked = False
        self._is_eof = False
        self._is_filling = False
        self._is_gone = False
        self._is_paused = False

    # What requests and the server ask.

    @property
    def peer(self) -> str | None:
        if self._peer is None:
            self._peer = address_of(self._transport)
        return self._peer

    @property
    def identity(self) -> TlsIdentity | None:
        return identity_of(self._transport)

    @property
    def is_unanswered(self) -> bool:
        if self._phase is _CLOSING:
            return self._transport.get_write_buffer_size() > 0
        return self._phase is _BUSY or (
            self._phase is _READING and self._reader.stage is not Stage.IDLE
        )

    # What the loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._service.connections.add(self)
        self._service.on_connection()

    def connection_lost(self, exc: Exception | None) -> None:
        service = self._service
        self._is_gone = True
        self._phase = _CLOSING
        self._reader = RequestReader(service.heads, service.limits)  # lets go of half a body
        service.connections.discard(self)
        if self._task is not None:
            self._task.cancel()
        else:
            self._release()
        self._release_unread()
        if not service.connections:
            service.on_empty()

    def data_received(self, data: bytes) -> None:
        if self._phase is _READING:
            try:
                request = self._reader.read(data)
                if request is None:
                    self._wait_for_more()
                    return
            except (Refusal, MemoryError) as refusal:
                self._refuse(refusal)
                return
            self._dispatch(*request)
            if self._phase is _READING and self._reader.held:
                self._read()
        elif self._phase is _BUSY:
            self._hold(data)
        elif self._phase is _LINGER:
            self._drop(len(data))

    def eof_received(self) -> bool:
        """The client sends no more. It may still read: RFC 9112 §9.6, a half-closed connection.

        Returns:
            True to keep the other direction open for answers.
        """
        is_tls = not self._transport.can_write_eof()
        if self._phase is not _BUSY or is_tls:
            self._expect_flush()
            return False
        self._is_eof = True
        if self._streamed is not None:
            self._streamed.probe()
            self._look_for_reset()
        elif self._head is not None and not self._head.is_http10:
            self._probe()
        return True

    def pause_writing(self) -> None:
        self._is_blocked = True

    def resume_writing(self) -> None:
        self._is_blocked = False
        self._release_unread()
        if self._streamed is not None:
            self._streamed.resume()
        self._go_on()

    # Requests.

    def _read(self) -> None:
        """Answer what has come in, as far as it can be answered now."""
        next_request = self._reader.next
        try:
            for _ in range(_REQUESTS_IN_A_ROW):
                request = next_request()
                if request is None:
                    self._wait_for_more()
                    return
                self._dispatch(*request)
                if self._phase is not _READING:
                    return
        except (Refusal, MemoryError) as refusal:
            self._refuse(refusal)
            return
        self._phase = _BUSY
        self._loop.call_soon(self._go_on)

    def _wait_for_more(self) -> None:
        stage, is_new_body = self._reader.stage, self._reader.has_new_body
        if stage is not self._stage or is_new_body:
            self._stage = stage
            self._reader.has_new_body = False
            if stage is not Stage.HEAD or self._since != self._accepted_s:
                self._since = self._service.tick  # the first head's time began with the connection
            self._progress = 0
        if stage is Stage.BODY and is_new_body and not self._is_body_wanted():
            return
        if self._reader.wants_continue:
            self._reader.wants_continue = False
            self._transport.write(_CONTINUE)
        if stage is Stage.BODY:
            self._hold_received()
            self._fill()

    def _is_body_wanted(self) -> bool:
        """Whether to take the body that has begun; else its request has its answer, or waits."""
        screen, head = self._service.screen, self._reader.begun
        if screen is None or not isinstance(head, RequestHead):
            return True
        answer = screen(self._service.request(head, b"", self))
        if answer is None:
            return True
        if isinstance(answer, HttpResponse):
            self._turn_away(head, answer)
        else:
            self._phase = _BUSY
            self._task = self._loop.create_task(answer)
            self._task.add_done_callback(partial(self._screened, head))
        return False

    def _screened(self, head: RequestHead, task: "asyncio.Task[HttpResponse | None]") -> None:
        self._task = None
        if self._is_gone:
            return
        if task.cancelled() or task.exception() is not None:
            self._transport.abort()  # as where an answer is given up
        elif (answer := task.result()) is None:
            self._go_on()
        else:
            self._turn_away(head, answer)

    def _hold_received(self) -> None:
        """Count what has come of a body.

        Raises:
            Refusal: too much is in flight.
        """
        try:
            self._held.grow_to(self._reader.received)
        except Overloaded as error:
            raise overload(error) from None

    @property
    def _held(self) -> Holding:
        if self._holding is None:
            self._holding = Holding(self._service.memory)
        return self._holding

    def _release(self) -> None:
        if self._holding is not None:
            self._holding.release()
            self._holding = None

    def _release_unread(self) -> None:
        if self._unread is not None:
            self._unread.release()
            self._unread = None

    def _fill(self) -> None:
        """Have the rest of a large body read in place; TLS has buffers of its own in between."""
        try:
            body = self._reader.begin_in_place() if self._transport.can_write_eof() else None
        except MemoryError as error:
            self._refuse(error)
            return
        if body is not None:
            self._is_filling = True
            self._speak(Filling(self, body, self._filled))

    def _filled(self, count: int) -> None:
        request = self._reader.wrote(count)
        try:
            self._hold_received()
        except Refusal as refusal:
            self._refuse(refusal)
            return
        if request is not None:
            self._end_filling()
            self._dispatch(*request)

    def _end_filling(self) -> None:
        if self._is_filling:
            self._is_filling = False
            self._speak(self)

    def _speak(self, protocol: asyncio.BaseProtocol) -> None:
        self._transport.set_protocol(protocol)
        # uvloop looks at whose buffer to read into only when it begins to read.
        self._transport.pause_reading()
        self._transport.resume_reading()

    def _hold(self, data: bytes) -> None:
        """Keep what came too early; past a bound, stop reading."""
        self._reader.feed(data)
        bound = self._service.limits.max_pipelined_bytes
        if self._reader.unread_bytes > bound and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        """Take up what was held, if nothing else is to be waited for."""
        if self._phase is not _BUSY or self._task is not None or self._is_blocked:
            return
        self._phase = _READING
        self._since = self._service.tick
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        self._read()
        if self._is_eof and self._phase is _READING:
            self._close()

    # Answers.

    def _dispatch(self, head: RequestHead, body: Body) -> None:
        service = self._service
        started = 0.0 if service.access is None else service.monotonic()
        answer: HttpResponse | Later
        if not isinstance(body, bytes) or (head.coding is not None and body):
            bytes_in = len(body) if isinstance(body, bytes) else sum(map(len, body))
            answer = service.answer_unready(head, body, self._held, self)
            self._await(head, answer, bytes_in, started)
            return
        request = HttpRequest(head.method, head.target, head.headers, body, head.keep_alive, self)
        try:
            answer = service.handler(request)
        except Exception as error:  # noqa: BLE001 the request ends here, and the log hears of it
            answer = self._fault(head, error)
        if isinstance(answer, HttpResponse):
            self._release()
            self._answer(head, answer, len(body), started)
        else:
            self._await(head, answer, len(body), started)

    def _await(
        self,
        head: RequestHead,
        answer: Later,
        bytes_in: int,
        started: float,
    ) -> None:
        try:
            self._held.grow_to(bytes_in)
        except Overloaded as error:
            answer.close()
            self._release()
            page = self._service.refusal_page(overload(error), head.target)
            self._answer(head, page, bytes_in, started)
            return
        self._phase = _BUSY
        self._head = head
        self._service.in_flight += 1
        self._task = self._loop.create_task(self._answer_later(head, answer, bytes_in, started))
        self._task.add_done_callback(partial(self._settle, answer, bytes_in, started))
        if self._service.access is not None:
            _ = self.peer  # which cannot be asked for once the client has left

    async def _answer_later(
        self,
        head: RequestHead,
        answer: Later,
        bytes_in: int,
        started: float,
    ) -> None:
        try:
            response = await answer
        except Exception as error:  # noqa: BLE001 the request ends here, and the log hears of it
            response = self._fault(head, error)
        if isinstance(response, StreamedResponse):
            await self._stream(head, response, bytes_in, started)
        elif not self._is_gone:
            self._head = None
            self._answer(head, response, bytes_in, started)

    async def _stream(
        self, head: RequestHead, response: StreamedResponse, bytes_in: int, started: float
    ) -> None:
        """Send an answer while it is made; to cancel it closes what makes it."""
        service = self._service
        body = StreamedBody(self._transport, response, is_chunked=not head.is_http10)
        is_last = service.draining or not head.keep_alive or head.is_http10
        mode = (CLOSE if is_last else KEEP_ALIVE) | (HTTP10 if head.is_http10 else 0)
        rendered = service.response_heads.render(
            mode, response.status, response.content_type, response.headers
        )
        self._head, self._streamed = None, body
        try:
            await body.send(rendered, self._unwritten, is_head=head.is_head)
        except Exception as error:
            service.broke_off(error)
            raise
        finally:
            self._streamed = None
            if service.access is not None:
                service.record(head, response, self._peer, bytes_in, started, self.principal)
                self.principal = None
        self._since = service.tick
        self._after_answer(is_last=is_last or service.draining)

    def _unwritten(self) -> int:
        """How much the client has yet to read before more is written; 0 where it may be now."""
        if not self._is_blocked:
            return 0
        self._since = self._service.tick
        self._progress = self._transport.get_write_buffer_size()
        self._hold_unread()
        return self._progress

    def _settle(
        self,
        answer: Later,
        bytes_in: int,
        started: float,
        task: "asyncio.Task[None]",
    ) -> None:
        self._service.in_flight -= 1
        self._task = None
        self._release()
        if self._head is not None:
            self._service.record(
                self._head, CLIENT_LEFT, self._peer, bytes_in, started, self.principal
            )
            self._head = None
        answer.close()  # it may have been cancelled before it began
        if (task.cancelled() or task.exception() is not None) and not self._is_gone:
            # Somebody else gave the work up, or there was no memory even for a page that says so:
            # better no answer than a client that waits for ever.
            self._transport.abort()
        else:
            self._go_on()

    def _fault(self, head: RequestHead, error: Exception) -> HttpResponse:
        return self._service.fault_page(error, head.target)

    def _answer(
        self, head: RequestHead, response: HttpResponse, bytes_in: int, started: float
    ) -> None:
        service = self._service
        is_last = response.close or service.draining or not head.keep_alive
        self._send(CLOSE if is_last else KEEP_ALIVE, head, response)
        self._since = service.tick
        if is_last or self._is_blocked:
            self._after_answer(is_last=is_last)
        if service.access is not None:
            service.record(head, response, self.peer, bytes_in, started, self.principal)
            self.principal = None

    def _after_answer(self, *, is_last: bool) -> None:
        if is_last:
            self._close()
        elif self._is_blocked:
            self._phase = _BUSY
            self._progress = self._transport.get_write_buffer_size()
        if self._is_blocked and not self._is_gone:
            self._hold_unread()

    def _hold_unread(self) -> None:
        self._release_unread()
        self._unread = Holding(self._service.memory)
        self._unread.add(self._transport.get_write_buffer_size())

    def _send(self, mode: int, head: RequestHead | None, response: HttpResponse) -> None:
        if head is not None and head.is_http10:
            mode |= HTTP10
        heads = self._service.response_heads
        body = response.body
        key = (mode, response.status, response.content_type, response.headers)
        rendered = heads.get(key) or heads.render(*key)
        size = len(body)
        if head is not None and head.is_head:
            body = b""
        if size < _JOIN_BELOW_BYTES:
            self._transport.write(b"%b%d\r\n\r\n%b" % (rendered, size, body))
        else:
            begin = b"%b%d\r\n\r\n" % (rendered, response.size)
            self._transport.writelines((begin, body, *response.more))

    # Ends.

    def _refuse(self, refusal: Refusal | MemoryError) -> None:
        """Answer what is not understood or too much, and end; the rest of it is dropped."""
        service = self._service
        begun = self._reader.begun
        target = None if begun is None else begun.target
        if isinstance(refusal, MemoryError):
            response = service.fault_page(refusal, target)
        else:
            response = service.refusal_page(refusal, target)
        self._turn_away(begun, response)

    def _turn_away(self, begun: RequestHead | RequestLine | None, response: HttpResponse) -> None:
        """Give the last answer of the connection before all of its request has come."""
        service = self._service
        self._reader = RequestReader(service.heads, service.limits)
        self._release()
        self._send(CLOSE, begun if isinstance(begun, RequestHead) else None, response)
        self._end_filling()
        if self._is_eof:
            self._close()
        else:
            # Closing with bytes unread resets the connection, and the client would lose the page.
            self._phase = _LINGER
            self._since = service.tick
            self._progress = 0
            if self._is_paused:
                self._is_paused = False
                self._transport.resume_reading()
            if self._transport.can_write_eof():
                self._transport.write_eof()
        if service.access is not None:
            now = service.monotonic()
            service.record(begun, response, self.peer, 0, now, self.principal)
            self.principal = None

    def _drop(self, count: int) -> None:
        """Drop what comes behind a refusal; who sends too much of it is not read any more."""
        self._progress += count
        if self._progress > self._service.limits.max_linger_bytes and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _close(self) -> None:
        self._expect_flush()
        self._transport.close()

    def _expect_flush(self) -> None:
        self._phase = _CLOSING
        self._since = self._service.tick
        self._progress = self._transport.get_write_buffer_size()

    def abort(self) -> None:
        self._transport.abort()

    def drain(self) -> None:
        is_idle = self._phase is _READING and self._reader.stage is Stage.IDLE
        is_answered = self._phase is _BUSY and self._task is None
        if is_idle or (is_answered and not self._reader.unread_bytes):
            self._close()

    def _probe(self) -> None:
        """Find out whether a client that sends no more still reads.

        A half-closed and a closed socket look the same until something is sent: the closed one
        answers with a reset. An interim response may be sent at any time (RFC 9110 §15.2), and this
        is the one every client knows.
        """
        self._transport.write(_CONTINUE)
        self._look_for_reset()

    def _look_for_reset(self) -> None:
        for delay_s in _PROBE_DELAYS_S:
            self._loop.call_later(delay_s, self._abort_if_reset)

    def _abort_if_reset(self) -> None:
        if self._is_eof and not self._is_gone:
            end = self._transport.get_extra_info("socket")
            if end is not None and end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._transport.abort()

    # Timeouts.

    def sweep(self, now: float) -> None:
        limits = self._service.limits
        age_s = now - self._since
        if self._phase is _READING:
            if age_s >= limits.read_timeout_s:
                self._sweep_reading(now)
        elif self._phase is _LINGER:
            if age_s >= limits.linger_s:
                self._transport.abort()
        elif self._phase is _BUSY and self._task is not None:
            self._abort_if_reset()
            if self._streamed is not None and self._is_blocked:
                self._sweep_sending(now, age_s)
        else:
            self._sweep_sending(now, age_s)

    def _sweep_sending(self, now: float, age_s: float) -> None:
        limits = self._service.limits
        unsent_bytes = self._transport.get_write_buffer_size()
        if self._progress - unsent_bytes >= limits.min_body_progress_bytes:
            self._progress = unsent_bytes
            self._since = now
        elif age_s >= limits.write_timeout_s:
            self._transport.abort()

    def _sweep_reading(self, now: float) -> None:
        stage = self._reader.stage
        if stage is Stage.IDLE:
            if self._transport.get_write_buffer_size():
                self._transport.abort()
            else:
                self._close()
            return
        received_bytes = self._reader.received
        enough = self._service.limits.min_body_progress_bytes
        if stage is Stage.BODY and received_bytes - self._progress >= enough:
            self._progress = received_bytes
            self._since = now
            return
        part = "header" if stage is Stage.HEAD else "body"
        self._refuse(Refusal(408, f"Request Time-out: the request's {part} did not arrive"))

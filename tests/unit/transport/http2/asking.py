"""A client of any HTTP/2 service in this process: `h2`, without sockets."""

import asyncio
from collections.abc import Callable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived

from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.session import Session
from salver.transport.http2.stream import Http2Service

__all__ = ["Answer", "Asking"]

_MOST_TURNS = 200_000  # a second or more: only what is broken takes so long

Fields = list[tuple[str, str]]


class Answer:
    """What came back on one stream."""

    def __init__(self) -> None:
        self.head: dict[str, str] = {}
        self.body = b""
        self.trailers: dict[str, str] = {}
        self.is_over = False
        self.reset: int | None = None


class Asking:
    """One connection."""

    def __init__(self, service: Http2Service, limits: Http2Limits | None = None) -> None:
        self.session = Session(
            service,
            limits or Http2Limits(),
            clock=lambda: 1000.0,
            wake=lambda: None,
            new_waiter=lambda: asyncio.get_running_loop().create_future(),
            peer="127.0.0.1",
        )
        self.client = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.client.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.exchange()

    def begin(self, fields: Fields, *, is_last: bool = False) -> int:
        """Send a head; gives the stream's id."""
        stream_id = self.client.get_next_available_stream_id()
        self.answers[stream_id] = Answer()
        self.client.send_headers(stream_id, fields, end_stream=is_last)
        self.exchange()
        return stream_id

    def send(self, stream_id: int, data: bytes, *, is_last: bool = False) -> Answer:
        """Send a part of a body; gives what has come back by then."""
        while len(data) > 16_384:
            self.client.send_data(stream_id, data[:16_384])
            data = data[16_384:]
            self.exchange()
        self.client.send_data(stream_id, data, end_stream=is_last)
        self.exchange()
        return self.answers[stream_id]

    def ask(self, fields: Fields, body: bytes = b"") -> Answer:
        """A whole request at once."""
        stream_id = self.begin(fields, is_last=not body)
        answer = self.answers[stream_id]
        if body and not (answer.is_over or answer.reset):
            self.send(stream_id, body, is_last=True)
        return answer

    async def until_over(self, answer: Answer) -> None:
        """Let the loop go on until an answer has ended."""
        await self.until(lambda: answer.is_over)

    async def until_bytes(self, answer: Answer, count: int) -> None:
        """Let the loop go on until so much of its body has come."""
        await self.until(lambda: len(answer.body) >= count)

    async def until(self, check: Callable[[], Any]) -> None:
        """Let the loop go on until this is true."""
        for _ in range(_MOST_TURNS):
            if check():
                return
            await asyncio.sleep(0)
            self.exchange()
        raise AssertionError("it does not come true")

    def exchange(self) -> None:
        """Carry bytes both ways until nobody has anything to say."""
        out = self.session.out
        while True:
            upward = self.client.data_to_send()
            if upward:
                self.session.receive(upward)
            if out.can_pump:
                out.pump()
            downward = b"".join(out.take())
            if downward:
                for event in self.client.receive_data(downward):
                    self._take(event)
            if not upward and not downward:
                return

    def _take(self, event: Any) -> None:
        answer = self.answers.get(getattr(event, "stream_id", 0))
        if answer is None:
            return
        if isinstance(event, ResponseReceived):
            answer.head = _fields(event)
        elif isinstance(event, DataReceived):
            answer.body += event.data
            self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, TrailersReceived):
            answer.trailers = _fields(event)
        elif isinstance(event, StreamEnded):
            answer.is_over = True
        elif isinstance(event, StreamReset):
            answer.reset = int(event.error_code)


def _fields(event: Any) -> dict[str, str]:
    return dict(event.headers)

"""The other end of a client's session, for tests: raw frames, or the `h2` library as a server."""

import asyncio
from collections.abc import Callable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes, Settings
from tests.unit.transport.http2.talk import Clock, frame, frames

from salver.transport.http2.client.session import ClientSession
from salver.transport.http2.client.stream import ClientStream, Loss
from salver.transport.http2.frames import PREFACE
from salver.transport.http2.header_blocks import encode_block
from salver.transport.http2.limits import Http2Limits

ASK = encode_block(
    [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/a/b"),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ]
)
OK = encode_block([(b":status", b"200"), (b"content-type", b"application/grpc")])
END = encode_block([(b"grpc-status", b"0")])


class Asking:
    """One request, and what it is told."""

    def __init__(self) -> None:
        self.stream: ClientStream | None = None
        self.parts: list[bytes] = []
        self.is_over = False
        self.loss: Loss | None = None

    def received(self, data: bytes | memoryview, is_last: bool) -> None:
        assert not self.is_over
        self.parts.append(bytes(data))
        self.is_over = is_last

    def lost(self, loss: Loss) -> None:
        assert not self.is_over
        self.is_over = True
        self.loss = loss

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


class Raw:
    """A client's session, fed with raw frames as of a server."""

    def __init__(self, limits: Http2Limits | None = None, *, greet: bool = True) -> None:
        self.clock = Clock()
        self.wakes = 0
        self.session = ClientSession(
            limits or Http2Limits(),
            clock=self.clock,
            wake=self._wake,
            new_waiter=lambda: asyncio.get_running_loop().create_future(),
        )
        greeting = b"".join(self.session.out.take())
        assert greeting.startswith(PREFACE)
        self.greeting = frames(greeting[len(PREFACE) :])
        if greet:
            self.send(frame(4, 0, 0), frame(4, 1, 0))

    def _wake(self) -> None:
        self.wakes += 1

    def send(self, *parts: bytes) -> list[tuple[int, int, int, bytes]]:
        """Let the session read, in one go; what it writes."""
        self.session.receive(b"".join(parts))
        return self.output()

    def output(self) -> list[tuple[int, int, int, bytes]]:
        out = self.session.out
        parts = out.take()
        while out.can_pump:
            out.pump()
            parts += out.take()
        return frames(b"".join(parts))

    def ask(self, body: bytes = b"hello") -> Asking:
        asking = Asking()
        asking.stream = self.session.ask(ASK, body, asking)
        return asking


class Talk:
    """A client's session with `h2` as its server, which answers every request at its end."""

    def __init__(
        self,
        limits: Http2Limits | None = None,
        answer: Callable[["Talk", int, bytes], None] | None = None,
        settings: dict[SettingCodes, int] | None = None,
    ) -> None:
        self.session = ClientSession(
            limits or Http2Limits(),
            clock=Clock(),
            wake=lambda: None,
            new_waiter=lambda: asyncio.get_running_loop().create_future(),
        )
        self.server = H2Connection(H2Configuration(client_side=False))
        self.server.local_settings = Settings(client=False, initial_values=settings or {})
        self.server.initiate_connection()
        self.answer = answer or echo
        self.requests: dict[int, list[tuple[bytes, bytes]]] = {}
        self.bodies: dict[int, bytes] = {}
        self.resets: list[int] = []
        self.unsent: dict[int, bytes] = {}
        self.exchange()

    def ask(self, body: bytes = b"hello", block: bytes = ASK) -> Asking:
        asking = Asking()
        asking.stream = self.session.ask(block, body, asking)
        self.exchange()
        return asking

    def exchange(self) -> None:
        """Carry bytes both ways until nobody has anything to say."""
        out = self.session.out
        while True:
            if out.can_pump:
                out.pump()
            upward = b"".join(out.take())
            if upward:
                for event in self.server.receive_data(upward):
                    self._take(event)
            self._send_on()
            downward = self.server.data_to_send()
            if downward:
                self.session.receive(downward)
            while self.session.has_more:
                self.session.receive(b"")
            if not upward and not downward:
                return

    def respond(self, stream_id: int, body: bytes) -> None:
        """Answer, as the client's windows let it."""
        self.server.send_headers(
            stream_id, [(":status", "200"), ("content-type", "application/grpc")]
        )
        self.unsent[stream_id] = body

    def _send_on(self) -> None:
        for stream_id, body in list(self.unsent.items()):
            sent = body
            while sent:
                room = min(
                    self.server.local_flow_control_window(stream_id),
                    self.server.max_outbound_frame_size,
                )
                if room <= 0:
                    break
                self.server.send_data(stream_id, sent[:room])
                sent = sent[room:]
            if sent:
                self.unsent[stream_id] = sent
            else:
                del self.unsent[stream_id]
                self.server.send_headers(stream_id, [("grpc-status", "0")], end_stream=True)

    def _take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self.requests[event.stream_id] = list(event.headers)
            self.bodies[event.stream_id] = b""
        elif isinstance(event, DataReceived):
            self.bodies[event.stream_id] += event.data
            self.server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self.answer(self, event.stream_id, self.bodies[event.stream_id])
        elif isinstance(event, StreamReset):
            self.unsent.pop(event.stream_id, None)
            self.resets.append(event.stream_id)


def echo(talk: Talk, stream_id: int, body: bytes) -> None:
    talk.respond(stream_id, body)

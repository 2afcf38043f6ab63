"""The other end of an HTTP/2 session, for tests: raw frames, or the `h2` library as a client."""

import asyncio
import struct
from collections.abc import Callable

import hpack
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event

from salver.transport.http2.frames import PREFACE
from salver.transport.http2.header_blocks import encode_block
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.session import Session
from salver.transport.http2.stream import Stream

REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a/b"),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]
HEAD = encode_block([(b":status", b"200"), (b"content-type", b"application/grpc")])
TAIL = encode_block([(b"grpc-status", b"0")])


def block(fields: list[tuple[str, str]]) -> bytes:
    """A header block without use of the dynamic table."""
    return encode_block([(name.encode(), value.encode()) for name, value in fields])


def request_with(*more: tuple[str, str], without: str = "") -> bytes:
    """The block of a good request, changed."""
    return block([pair for pair in REQUEST if pair[0] != without] + list(more))


GOOD = block(REQUEST)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream_id) + payload


def headers(stream_id: int, data: bytes = GOOD, *, end: bool = False) -> bytes:
    return frame(1, 5 if end else 4, stream_id, data)


def data(stream_id: int, payload: bytes = b"", *, end: bool = False) -> bytes:
    return frame(0, int(end), stream_id, payload)


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def setting(which: int, value: int) -> bytes:
    return frame(4, 0, 0, struct.pack(">HI", which, value))


def frames(output: bytes) -> list[tuple[int, int, int, bytes]]:
    """(kind, flags, stream id, payload) of all frames."""
    found = []
    while output:
        word, flags, stream_id = struct.unpack_from(">IBI", output)
        end = 9 + (word >> 8)
        assert len(output) >= end
        found.append((word & 0xFF, flags, stream_id, output[9:end]))
        output = output[end:]
    return found


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Entry:
    """Tells a ledger of the rest of a request."""

    def __init__(self, ledger: "Ledger", stream: Stream) -> None:
        self.ledger = ledger
        self.stream = stream

    def received(self, data: bytes | memoryview, is_last: bool) -> None:
        self.ledger.received(self.stream, data, is_last)

    def left(self) -> None:
        self.ledger.left(self.stream)


class Ledger:
    """A service that keeps what it is told, and answers as the test says."""

    def __init__(self, answer: Callable[[Stream, bytes], None] | None = None) -> None:
        self.answer = answer
        self.opened_streams: list[Stream] = []
        self.bodies: dict[int, list[bytes]] = {}
        self.complete: list[int] = []
        self.gone: list[int] = []
        self.set_up: Callable[[Stream], None] = lambda stream: None

    def opened(self, stream: Stream, is_last: bool) -> None:
        self.opened_streams.append(stream)
        self.bodies[stream.id] = []
        stream.answerer = Entry(self, stream)
        self.set_up(stream)
        if is_last:
            self._end(stream)

    def received(self, stream: Stream, data: bytes | memoryview, is_last: bool) -> None:
        assert stream.id not in self.gone
        assert stream.id not in self.complete
        self.bodies[stream.id].append(bytes(data))
        if is_last:
            self._end(stream)

    def left(self, stream: Stream) -> None:
        assert stream.id not in self.gone
        self.gone.append(stream.id)

    def body(self, stream_id: int) -> bytes:
        return b"".join(self.bodies[stream_id])

    def _end(self, stream: Stream) -> None:
        self.complete.append(stream.id)
        if self.answer is not None:
            self.answer(stream, self.body(stream.id))


def echo(stream: Stream, body: bytes) -> None:
    stream.respond(HEAD, body, TAIL)


class Raw:
    """A session and its ledger, fed with raw frames."""

    def __init__(
        self,
        limits: Http2Limits | None = None,
        answer: Callable[[Stream, bytes], None] | None = None,
        *,
        greet: bool = True,
        ledger: Ledger | None = None,
    ) -> None:
        self.clock = Clock()
        self.ledger = ledger or Ledger(answer)
        self.wakes = 0
        self.session = Session(
            self.ledger,
            limits or Http2Limits(),
            clock=self.clock,
            wake=self._wake,
            new_waiter=lambda: asyncio.get_running_loop().create_future(),
            peer="127.0.0.1",
        )
        if greet:
            self.send(PREFACE + frame(4, 0, 0) + frame(4, 1, 0))

    def _wake(self) -> None:
        self.wakes += 1

    def send(self, *parts: bytes) -> list[tuple[int, int, int, bytes]]:
        """Let the session read, in one go; what it writes."""
        self.session.receive(b"".join(parts))
        return self.output()

    def output(self) -> list[tuple[int, int, int, bytes]]:
        """What the session has written since, pumped as far as windows allow."""
        out = self.session.out
        parts = out.take()
        while out.can_pump:
            out.pump()
            parts += out.take()
        return frames(b"".join(parts))

    def stream(self, stream_id: int = 1) -> Stream:
        return next(s for s in self.ledger.opened_streams if s.id == stream_id)


def goaway_of(output: list[tuple[int, int, int, bytes]]) -> tuple[int, bytes] | None:
    """The code and reason of the GOAWAY among frames."""
    for kind, _, _, payload in output:
        if kind == 7:
            return struct.unpack_from(">I", payload, 4)[0], payload[8:]
    return None


def resets_of(output: list[tuple[int, int, int, bytes]]) -> list[tuple[int, int]]:
    """(stream id, code) of the RST_STREAMs among frames."""
    return [(sid, int.from_bytes(p, "big")) for kind, _, sid, p in output if kind == 3]


class Talk(Raw):
    """A session with `h2` as its client."""

    def __init__(
        self,
        limits: Http2Limits | None = None,
        answer: Callable[[Stream, bytes], None] | None = echo,
    ) -> None:
        super().__init__(limits, answer, greet=False)
        self.client = H2Connection(H2Configuration(client_side=True))
        self.client.initiate_connection()
        self.events: list[Event] = []
        self.exchange()

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
                self.events += self.client.receive_data(downward)
            if not upward and not downward:
                return

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def dynamic_blocks() -> hpack.Encoder:
    return hpack.Encoder()

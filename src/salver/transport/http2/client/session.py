"""A client's HTTP/2 connection without its socket: requests and bytes in, answers and bytes out."""

import asyncio
from collections.abc import Callable

from salver.transport.http2.client.control import ClientControl
from salver.transport.http2.client.stream import Asker, ClientStream
from salver.transport.http2.client.streams import ClientStreams
from salver.transport.http2.endpoint import Endpoint
from salver.transport.http2.frames import PREFACE, Code, ConnectionFault, Flag, Setting
from salver.transport.http2.header_blocks import AnswerHeaders, HeaderBlocks
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.outbox import Data, Outbox

__all__ = ["ClientSession"]


class ClientSession(Endpoint[ClientStreams]):
    """The protocol of one connection. Used on one thread; calls askers from `receive`."""

    _control: ClientControl

    def __init__(
        self,
        limits: Http2Limits,
        *,
        clock: Callable[[], float],
        wake: Callable[[], None],
        new_waiter: "Callable[[], asyncio.Future[None]]",
    ) -> None:
        """Begin with the preface and our SETTINGS in `out`.

        Args:
            limits: on the server.
            clock: monotonic seconds.
            wake: called when something was added to `out` outside `receive`.
            new_waiter: makes a future for `BaseStream.drained`.
        """
        out = Outbox(wake, clock())
        streams = ClientStreams(out, limits, clock=clock, new_waiter=new_waiter)
        super().__init__(
            limits,
            out,
            streams,
            HeaderBlocks(limits.max_header_list_bytes, limits.header_table_bytes, AnswerHeaders),
            ClientControl(streams, out, limits, clock),
        )
        self._is_leaving = False
        out.parts.append(PREFACE)
        self._greet((Setting.ENABLE_PUSH, 0))

    # Asking.

    @property
    def has_room(self) -> bool:
        """True if a request may begin now."""
        return (
            self._control.is_ready
            and self._control.last_id is None
            and not self.is_closed
            and not self._is_leaving
            and self._streams.has_room
        )

    @property
    def is_leaving(self) -> bool:
        """True once no request may begin any more."""
        return (
            self.is_closed
            or self._is_leaving
            or self._control.last_id is not None
            or self._streams.is_spent
        )

    @property
    def ending(self) -> str:
        """Why the connection has ended; empty where it has not."""
        return self._streams.ending

    @property
    def outstanding(self) -> int:
        """How many requests wait for the end of their answer."""
        return len(self._streams.open)

    def when_room(self, notify: Callable[[], None] | None) -> None:
        """Have it called when a request has ended; None ends that."""
        self._streams.on_room = notify

    def ask(self, block: bytes, data: Data | tuple[Data, ...], asker: Asker) -> ClientStream:
        """Send a whole request; there must be room.

        Args:
            block: a header block of `encode_block`.
            data: the body, whole or in parts; must not change afterwards.
            asker: is told of the answer.
        """
        stream = self._streams.begin(asker)
        stream.ask(block, data)
        return stream

    def begin(self, block: bytes, asker: Asker) -> ClientStream:
        """Send the head of a request whose body follows by parts; there must be room."""
        stream = self._streams.begin(asker)
        stream.send_head(block)
        return stream

    # Reading.

    def _on_block(self, block: bytes, flags: int, stream_id: int) -> None:
        headers = self._blocks.cached.get(block)
        if headers is None:
            self._check_block_size(len(block))
            headers = self._blocks.read(block)
        streams = self._streams
        stream = streams.open.get(stream_id)
        if stream is not None:
            streams.headed(stream, headers, bool(flags & Flag.END_STREAM))
        elif streams.is_idle(stream_id):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "an answer to no request")
        elif streams.was_reset(stream_id):
            streams.take()
        else:
            raise ConnectionFault(Code.STREAM_CLOSED, "HEADERS on a closed stream")

    # Ends.

    @property
    def is_done(self) -> bool:
        """True once there is nothing more to do."""
        return self.is_closed or (self.is_leaving and not self._streams.open)

    @property
    def _last_of_peer(self) -> int:
        return 0

    def fail(self, code: int, reason: str) -> None:
        """End the connection with GOAWAY; every request is lost."""
        self._streams.ending = self._streams.ending or reason
        super().fail(code, reason)

    def lose(self, reason: str) -> None:
        """The socket is gone: every request is lost."""
        self._streams.ending = self._streams.ending or reason
        self.abandon()

    def retire(self) -> None:
        """Begin no more requests; it is done when those there are have ended."""
        self._is_leaving = True

    def tick(self, now: float) -> None:
        """It is now this monotonic time, about."""
        super().tick(now)
        self._streams.cap()

"""The streams of one connection of a client."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from salver.transport.http2.client.stream import Asker, ClientStream, Loss
from salver.transport.http2.frames import MAX_WINDOW, Code
from salver.transport.http2.header_blocks import AnswerHeaders
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.outbox import Outbox
from salver.transport.http2.table import StreamTable, TokenBucket

__all__ = ["ClientStreams"]

logger = logging.getLogger(__name__)

_FRAMES_PER_ANSWER: Final = 8  # that move nothing
# Half of what a server of ours takes from one connection: clients who leave must not cost others
# the connection that they share.
_RESET_SHARE: Final = 2
_FAULTY: Final = Loss("the answer breaks the rules of HTTP/2")
_EXPIRED: Final = "the answer, or the reading of the request, makes no progress"


class ClientStreams(StreamTable[ClientStream]):
    """The table of streams.

    Attributes:
        most: that the server takes at one time.
        ending: why the connection ends, once it does.
        on_room: called when one has ended and another may begin; None where nobody waits.
    """

    def __init__(
        self,
        out: Outbox,
        limits: Http2Limits,
        *,
        clock: Callable[[], float],
        new_waiter: "Callable[[], asyncio.Future[None]]",
    ) -> None:
        super().__init__(out, limits, clock=clock, new_waiter=new_waiter)
        self.most = limits.max_concurrent_streams
        self.ending = ""
        self.on_room: Callable[[], None] | None = None
        self.last_id = -1
        self._cancels = TokenBucket(
            max(limits.reset_burst // _RESET_SHARE, 1), limits.resets_per_s / _RESET_SHARE, clock
        )

    @property
    def has_room(self) -> bool:
        """True if another request may begin."""
        return len(self.open) < self.most and not self.is_spent

    @property
    def is_spent(self) -> bool:
        """True if there is no further id."""
        return self.last_id >= MAX_WINDOW - 1

    def begin(self, asker: Asker | None) -> ClientStream:
        """Open a stream; its header block is to be written before any other is opened."""
        self.last_id += 2
        stream = ClientStream(self.last_id, self, self._out, self._limits.stream_window_bytes)
        stream.answerer = asker
        self.open[stream.id] = stream
        return stream

    def headed(self, stream: ClientStream, headers: AnswerHeaders, is_last: bool) -> None:
        """The fields of an answer are here, or its trailers."""
        if headers.fault:
            self.fault(stream, Code.PROTOCOL_ERROR)
        elif headers.size_bytes > self._limits.max_header_list_bytes:
            self.fault(stream, Code.ENHANCE_YOUR_CALM)
        elif not stream.headers.status:
            if 100 <= headers.status < 200 and not is_last:
                self.take()  # what is only said meanwhile
            elif headers.status < 200:
                self.fault(stream, Code.PROTOCOL_ERROR)
            else:
                stream.headers = headers
                if is_last:
                    # HEAD and 304 promise a body that does not come.
                    stream.received_bytes = max(headers.content_length, 0)
                    self.deliver(stream, b"", 0, True)
        elif headers.status or not is_last:
            self.fault(stream, Code.PROTOCOL_ERROR)
        else:
            stream.trailers = headers
            self.deliver(stream, b"", 0, True)

    def deliver(
        self, stream: ClientStream, chunk: bytes | memoryview, size: int, is_last: bool
    ) -> None:
        """Hand a part of an answer to whom it is for."""
        if not stream.headers.status:
            self.inflow.credit(None, size)
            self.fault(stream, Code.PROTOCOL_ERROR)
            return
        super().deliver(stream, chunk, size, is_last)
        if is_last and not stream.is_gone:
            self._complete(stream)

    def _complete(self, stream: ClientStream) -> None:
        """The answer has ended."""
        stream.is_remote_done = True
        self.resets.left += 1
        self._cancels.left += 1
        self.tokens.left += _FRAMES_PER_ANSWER
        self._remove(stream)
        if not stream.is_sent:
            # The rest of the request is of no use any more: RFC 9113 §8.1.
            self.reset(stream.id, Code.CANCEL)
        stream.abandon()

    # What streams ask.

    def finished(self, stream: ClientStream) -> None:
        """The request is on its way; see `outbox.Owner`."""
        if not self.is_reading:
            self._out.wake()

    def reset_stream(self, stream: ClientStream, code: int) -> None:
        """A request is given up; see `outbox.Owner`.

        A server counts the resets of a connection, which many clients share. So beyond a number of
        them a request that is on its way is left alone: its answer is dropped.
        """
        if stream.is_sent and not self._cancels.take():
            stream.answerer = None
            stream.auto_credit = True
            stream.credit(stream.unread_bytes)
            return
        super().reset_stream(stream, code)

    # What the server brings about.

    def leave(self, stream: ClientStream, loss: Loss | None = None) -> None:
        """No more comes of an answer: tell whom it is for."""
        if loss is None:
            loss = Loss(self.ending, stream.is_sent) if self.ending else _FAULTY
        self._remove(stream)
        stream.abandon()
        asker = stream.answerer
        if asker is not None:
            try:
                asker.lost(loss)
            except Exception:
                logger.exception("Who waited for an HTTP/2 answer has failed at its end.")

    def expire(self, stream: ClientStream) -> None:
        """End a stream that is too slow."""
        self.leave(stream, Loss(_EXPIRED, stream.is_sent))
        self.reset(stream.id, Code.CANCEL)

    def refuse_above(self, last_id: int, reason: str) -> None:
        """The server goes, and has not looked at what is above that id."""
        for stream in tuple(self.open.values()):
            if stream.id > last_id:
                self.leave(stream, Loss(reason, has_begun=False))

    def cap(self) -> None:
        """Keep no more tokens than the first burst."""
        self._cancels.cap()

    def _remove(self, stream: ClientStream) -> None:
        super()._remove(stream)
        if self.on_room is not None:
            self.on_room()

"""One request and its answer, as a client has them."""

from typing import Final, NamedTuple, Protocol

from salver.transport.http2.frames import FRAME_HEAD, MIN_FRAME_BYTES, Flag
from salver.transport.http2.header_blocks import AnswerHeaders
from salver.transport.http2.outbox import ENDING, BaseStream, Data, Outbox, Owner

__all__ = ["NO_ANSWER", "Asker", "ClientStream", "Loss"]

_SENT: Final = 4  # the request is on its way, whole; see `outbox.DONE` and the others
_pack = FRAME_HEAD.pack

NO_ANSWER: Final = AnswerHeaders()
"""The fields of an answer that has not come."""


class Loss(NamedTuple):
    """Why a request gets no answer, or not the rest of one.

    Attributes:
        reason: for people.
        has_begun: the server may have looked at the request. Where False it has not, and the
            request may be sent again, here or elsewhere, whatever it does.
        code: of `frames.Code`, where the server has reset the stream; else None.
    """

    reason: str
    has_begun: bool = True
    code: int | None = None


class Asker(Protocol):
    """Who waits for an answer. Called on the loop; nothing of it may block."""

    def received(self, data: bytes | memoryview, is_last: bool) -> None:
        """A part of the answer is here; `ClientStream.headers` are its fields.

        Args:
            data: never changes afterwards; a view may keep a whole read of the socket alive.
            is_last: the answer is complete; `ClientStream.trailers` are its trailers. Nothing is
                called after that.
        """

    def lost(self, loss: Loss) -> None:
        """There will be no answer, or not the rest of one. Nothing is called after that."""


class ClientStream(BaseStream):
    """One request. Made by the session; used on its loop only.

    Attributes:
        headers: of the answer; `NO_ANSWER` until they have come.
        answerer: is told of the answer; None drops it.
    """

    __slots__ = ()
    answerer: Asker | None
    headers: AnswerHeaders
    trailers: AnswerHeaders | None

    def __init__(self, stream_id: int, owner: Owner, out: Outbox, window: int) -> None:
        BaseStream.__init__(self, stream_id, NO_ANSWER, owner, out, window)

    @property
    def is_sent(self) -> bool:
        """True once the request is on its way, whole."""
        return self._state == _SENT

    def ask(self, block: bytes, data: Data | tuple[Data, ...]) -> None:
        """Send the whole request; what windows or the socket hold up is sent when they let it.

        Args:
            block: a header block.
            data: the body, whole or in parts; must not change afterwards.
        """
        out = self._out
        if type(data) is bytes:
            size = len(data)
            if (
                0 < size <= out.fast_bytes
                and size <= self.send_window
                and size <= out.window
                and len(block) <= MIN_FRAME_BYTES
            ):
                out.window -= size
                self.send_window -= size
                out.data_frames += 1
                out.has_moved = True
                stream_id = self.id
                out.parts += (
                    _pack(len(block) << 8 | 1, 4, stream_id),
                    block,
                    _pack(size << 8, 1, stream_id),
                    data,
                )
                self._state = _SENT
                self._owner.finished(self)
                return
        chunks = (data,) if isinstance(data, (bytes, bytearray, memoryview)) else data
        chunks = tuple(chunk for chunk in chunks if len(chunk))
        if not chunks:
            out.head(self.id, block, Flag.END_STREAM)
            self._finish()
            return
        out.head(self.id, block, 0)
        self._state = ENDING
        self._tail = b""
        self._enqueue(chunks)

    def _finish(self) -> None:
        self._state = _SENT
        self._drop_queue()
        self._owner.finished(self)

"""One request and its answer, as a server has them."""

from collections.abc import Callable, Sequence
from typing import Protocol

from salver.transport.http2.frames import FRAME_HEAD, MIN_FRAME_BYTES, Flag
from salver.transport.http2.header_blocks import Headers
from salver.transport.http2.outbox import DONE, ENDING, SILENT, BaseStream, Data
from salver.transport.http2.outbox import Owner as BaseOwner
from salver.transport.identity import TlsIdentity

__all__ = ["Answerer", "Http2Service", "Owner", "Stream"]

_pack = FRAME_HEAD.pack


class Http2Service(Protocol):
    """What a connection calls; one for each listening server. Nothing of it may block."""

    def opened(self, stream: "Stream", is_last: bool) -> None:
        """A request's header block is here, well formed.

        Args:
            stream: new; may be answered at once, or given an `answerer`.
            is_last: no body follows.
        """


class Answerer(Protocol):
    """What is told of the rest of a request."""

    def received(self, data: bytes | memoryview, is_last: bool) -> None:
        """A part of the body is here; not called once the answer has ended.

        Args:
            data: never changes afterwards; a view may keep a whole read of the socket alive. Empty
                when the body ended behind its last part.
            is_last: the request is complete; `Stream.trailers` are its trailers.
        """

    def left(self) -> None:
        """The client has reset it, or the connection is gone: nothing can be sent any more."""


class Owner(BaseOwner, Protocol):
    """What a stream needs of its connection."""

    @property
    def peer(self) -> str | None:
        """The client's address."""

    @property
    def identify(self) -> "Callable[[], TlsIdentity | None]":
        """Reads whom the client's certificate names."""

    def released(self, stream: "Stream") -> None:
        """The work of a stream that has gone is done."""


class Stream(BaseStream):
    """One request. Made by the connection; used on its loop only.

    Attributes:
        headers: of the request, shared with requests whose fields are the same.
        answerer: is told of the rest of the request; None drops it.
        trailers: of the request, once it is complete and had some.
    """

    __slots__ = ()
    _owner: Owner
    answerer: Answerer | None
    headers: Headers
    trailers: Headers | None

    @property
    def peer(self) -> str | None:
        """The address of the other end, without its port; None when it has none."""
        return self._owner.peer

    @property
    def identity(self) -> TlsIdentity | None:
        """Whom the certificate of the other end names; None when it has shown none."""
        return self._owner.identify()

    # Answers.

    def respond(
        self, head: bytes, data: Data | Sequence[Data], trailers: bytes | None = None
    ) -> None:
        """Give the whole answer; what windows or the socket hold up is sent when they let it.

        Args:
            head: a header block.
            data: the body, whole or in parts; must not change afterwards.
            trailers: a header block; None ends with the last of the data.
        """
        if self._state:
            return
        out = self._out
        if type(data) is bytes and trailers is not None:
            size = len(data)
            if (
                size <= out.fast_bytes
                and size <= self.send_window
                and size <= out.window
                and len(head) <= MIN_FRAME_BYTES >= len(trailers)
            ):
                out.window -= size
                out.data_frames += 1
                out.has_moved = True
                stream_id = self.id
                out.parts += (
                    _pack(len(head) << 8 | 1, 4, stream_id),
                    head,
                    _pack(size << 8, 0, stream_id),
                    data,
                    _pack(len(trailers) << 8 | 1, 5, stream_id),
                    trailers,
                )
                self._state = DONE
                self._owner.finished(self)
                return
        self._respond_in_parts(head, data, trailers)

    def _respond_in_parts(
        self, head: bytes, data: Data | Sequence[Data], trailers: bytes | None
    ) -> None:
        chunks = (data,) if isinstance(data, (bytes, bytearray, memoryview)) else data
        chunks = [chunk for chunk in chunks if len(chunk)]
        if not chunks and trailers is None:
            self.refuse(head)
            return
        self._out.head(self.id, head, 0)
        self._state = ENDING
        self._tail = trailers or b""
        self._enqueue(chunks)

    def refuse(self, block: bytes) -> None:
        """Answer by one header block alone (gRPC: trailers-only)."""
        if self._state == SILENT:
            self._out.head(self.id, block, Flag.END_STREAM)
            self._finish()

    def hold(self) -> None:
        """Work begins that goes on though the client leaves: until `let_go` it counts as a request.

        Without this, a client that cancels its requests at once could start any amount of work.
        """
        self.held += 1

    def let_go(self) -> None:
        """That work has ended."""
        self.held -= 1
        if not self.held and self._state == DONE:
            self._owner.released(self)

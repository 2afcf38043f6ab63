"""Messages as gRPC frames them in the DATA of a stream: one byte of flags, four of length.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md and `compression.md` beside
it; the texts of errors are those of gRPC's C core.
"""

import zlib
from collections import deque
from typing import Any, Final, NamedTuple

from salver.errors import Internal, ResourceExhausted

__all__ = [
    "HEAD_BYTES",
    "Message",
    "MessageReader",
    "Pieces",
    "deflated",
    "framed",
    "sent_too_large",
]

Data = bytes | memoryview
Pieces = deque[Any]
"""Parts of a message: bytes, or what has their interface."""

HEAD_BYTES: Final = 5
_JOIN_BELOW_BYTES: Final = 1 << 14
_LONG_TO_JOIN_BYTES: Final = 1 << 20  # for the loop
_SMALL_BYTES: Final = 4096  # pieces up to here are put together at once
_WINDOW: Final = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
_LEVEL: Final = 6  # zlib's default, and the C core's


class Message(NamedTuple):
    """A message as it came.

    Attributes:
        is_compressed: as its flag says.
        body: whole; in pieces if there is so much of it that the loop should not join them.
    """

    is_compressed: bool
    body: bytes | Pieces


def framed(data: bytes, is_compressed: bool = False) -> bytes | tuple[bytes, bytes]:
    """A message with what stands before it; a large one is not copied for that."""
    size = len(data)
    prefix = (b"\1" if is_compressed else b"\0") + size.to_bytes(4, "big")
    return prefix + data if size < _JOIN_BELOW_BYTES else (prefix, data)


def sent_too_large(size: int, most_bytes: int) -> ResourceExhausted:
    """The failure of a call whose answer is too large."""
    return ResourceExhausted(f"SERVER: Sent message larger than max ({size} vs. {most_bytes})")


class MessageReader:
    """Makes messages of a stream's bytes, wherever they are cut.

    It keeps no more than what has come of one message, however long that says it is.
    """

    __slots__ = ("_head", "_held", "_needed", "_pieces", "most_bytes")

    def __init__(self, most_bytes: int) -> None:
        """Begin before the first message.

        Args:
            most_bytes: of a message.
        """
        self.most_bytes = most_bytes
        self._pieces: deque[bytes | bytearray | memoryview] = deque()
        self._held = 0
        self._head: int | None = None  # the flags of the message that is being read
        self._needed = HEAD_BYTES

    @property
    def is_between(self) -> bool:
        """Whether the last message has ended and no other begun."""
        return self._head is None and not self._held

    def read(self, data: Data) -> list[Message]:
        """Take what came; gives the messages that are whole now.

        Raises:
            ResourceExhausted: a message says that it is too large.
        """
        self._hold(data)
        found = []
        while self._held >= self._needed:
            if self._head is None:
                block = b"".join(self._take(self._needed))
                size = int.from_bytes(block[1:], "big")
                if size > self.most_bytes:
                    raise ResourceExhausted(
                        f"SERVER: Received message larger than max ({size} vs. {self.most_bytes})"
                    )
                if block[0] > 1:
                    raise Internal(f"Bad GRPC frame type 0x{block[0]:02x}")
                self._head, self._needed = block[0], size
            else:
                pieces = self._take(self._needed)
                is_long = self._needed > _LONG_TO_JOIN_BYTES
                body = pieces if is_long else b"".join(pieces)
                found.append(Message(bool(self._head), body))
                self._head, self._needed = None, HEAD_BYTES
        return found

    def _hold(self, data: Data) -> None:
        size = len(data)
        if not size:
            return
        self._held += size
        if size > _SMALL_BYTES:
            self._pieces.append(data)
            return
        # Many small pieces as they are would take many times their size.
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, bytearray):
            last += data
        else:
            self._pieces.append(bytearray(data))

    def _take(self, size: int) -> Pieces:
        self._held -= size
        parts: Pieces = deque()
        while size:
            piece = self._pieces.popleft()
            if len(piece) > size:
                view = memoryview(piece)
                parts.append(view[:size])
                self._pieces.appendleft(view[size:])
                break
            size -= len(piece)
            parts.append(memoryview(piece))
        return parts


def deflated(data: bytes, encoding: bytes) -> bytes | None:
    """A message compressed; None where that makes it no smaller."""
    stream = zlib.compressobj(_LEVEL, wbits=_WINDOW[encoding])
    made = stream.compress(data) + stream.flush()
    return made if len(made) < len(data) else None

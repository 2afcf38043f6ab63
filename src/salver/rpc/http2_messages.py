"""Messages as gRPC frames them in the DATA of a stream: one byte of flags, four of length.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md and `compression.md` beside
it; the texts of errors are those of gRPC's C core.
"""

import zlib
from collections import deque
from typing import Final

from salver.errors import Internal, ResourceExhausted

__all__ = ["HEAD_BYTES", "Inflater", "MessageReader", "deflated", "framed", "sent_too_large"]

Data = bytes | memoryview

HEAD_BYTES: Final = 5
_JOIN_BELOW_BYTES: Final = 1 << 14
_SMALL_BYTES: Final = 4096  # pieces up to here are put together at once
_WINDOW: Final = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
_LEVEL: Final = 6  # zlib's default, and the C core's


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

    __slots__ = ("_head", "_held", "_most_bytes", "_pieces", "_wanted")

    def __init__(self, most_bytes: int) -> None:
        """Begin before the first message.

        Args:
            most_bytes: of a message.
        """
        self._most_bytes = most_bytes
        self._pieces: deque[bytes | bytearray | memoryview] = deque()
        self._held = 0
        self._head: int | None = None  # the flags of the message that is being read
        self._wanted = HEAD_BYTES

    @property
    def is_between(self) -> bool:
        """Whether the last message has ended and no other begun."""
        return self._head is None and not self._held

    def read(self, data: Data) -> list[tuple[bool, bytes]]:
        """Take what came; gives the messages that are whole now, each with "is compressed".

        Raises:
            ResourceExhausted: a message says that it is too large.
        """
        self._hold(data)
        found = []
        while self._held >= self._wanted:
            block = self._take(self._wanted)
            if self._head is None:
                size = int.from_bytes(block[1:], "big")
                if size > self._most_bytes:
                    raise ResourceExhausted(
                        f"SERVER: Received message larger than max ({size} vs. {self._most_bytes})"
                    )
                if block[0] > 1:
                    raise Internal(f"Bad GRPC frame type 0x{block[0]:02x}")
                self._head, self._wanted = block[0], size
            else:
                found.append((bool(self._head), block))
                self._head, self._wanted = None, HEAD_BYTES
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

    def _take(self, size: int) -> bytes:
        self._held -= size
        parts = []
        while size:
            piece = self._pieces.popleft()
            if len(piece) > size:
                view = memoryview(piece)
                parts.append(view[:size])
                self._pieces.appendleft(view[size:])
                break
            size -= len(piece)
            parts.append(memoryview(piece))
        return b"".join(parts)


class Inflater:
    """Inflates one message, a part at a time; a few bytes of it can become very many."""

    __slots__ = ("_inflated", "_most_bytes", "_parts", "_rest", "_stream")

    def __init__(self, data: bytes, encoding: bytes, most_bytes: int) -> None:
        """Begin.

        Args:
            data: the message.
            encoding: `gzip` or `deflate`.
            most_bytes: of the message once it is inflated.
        """
        self._stream = zlib.decompressobj(_WINDOW[encoding])
        self._rest = data
        self._most_bytes = most_bytes
        self._inflated = 0
        self._parts: list[bytes] = []

    def up_to(self, most_bytes: int) -> bytes | None:
        """The message; None where it has more bytes than that, which `message` then gives.

        Raises:
            Internal: it is broken.
            ResourceExhausted: it would be too large.
        """
        try:
            part = self._stream.decompress(self._rest, most_bytes)
        except zlib.error:
            raise _broken("zlib error") from None
        self._rest = self._stream.unconsumed_tail
        self._parts.append(part)
        size = len(part)
        del part  # what fails is remembered with its frames
        self._inflated += size
        if self._inflated > self._most_bytes:
            self._parts.clear()
            raise ResourceExhausted("Decompressed message larger than max")
        if self._stream.eof:
            if self._stream.unused_data:
                raise _broken("not all input consumed")
            return b"".join(self._parts)
        if size < most_bytes:
            raise _broken("data error")
        return None

    def message(self) -> bytes:
        """All of it, however long that takes; raises as `up_to`."""
        message = self.up_to(self._most_bytes - self._inflated + 1)
        if message is None:
            raise _broken("data error")  # it ends where the limit does, and has no end
        return message


def _broken(why: str) -> Internal:
    return Internal(f"Decompression failed due to {why}")


def deflated(data: bytes, encoding: bytes) -> bytes | None:
    """A message compressed; None where that makes it no smaller."""
    stream = zlib.compressobj(_LEVEL, wbits=_WINDOW[encoding])
    made = stream.compress(data) + stream.flush()
    return made if len(made) < len(data) else None

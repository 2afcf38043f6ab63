"""Large bodies, read from the socket straight to where they stay."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from salver.instruments.heap import keep_freed_pages, unfilled_bytes

__all__ = ["LARGEST_BYTES", "SMALLEST_BYTES", "Filling", "LargeBody"]

SMALLEST_BYTES: Final = 256 * 1024  # what the loop reads at once anyway
LARGEST_BYTES: Final = 64 << 20  # a length is soon said: this is all that is set aside on its word


class LargeBody:
    """A body that is written piece by piece, in place."""

    __slots__ = ("_body", "_filled", "_view")

    def __init__(self, size: int, pieces: Iterable[bytes]) -> None:
        """Set aside memory.

        Args:
            size: of the whole.
            pieces: what has come of it.

        Raises:
            MemoryError: there is no room.
        """
        keep_freed_pages()
        self._body, self._view = unfilled_bytes(size)
        self._filled = 0
        for piece in pieces:
            self._view[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)

    @property
    def rest(self) -> memoryview:
        """Where to write what comes next."""
        return self._view[self._filled :]

    def wrote(self, count: int) -> bytes | None:
        """Say that so many bytes have been written to `rest`; the whole, if those were the last."""
        self._filled += count
        return self._body if self._filled == len(self._body) else None


class Filling(asyncio.BufferedProtocol):
    """The protocol of a socket while a large body comes in: all but that is the connection's."""

    __slots__ = ("_body", "_connection", "_on_bytes")

    def __init__(
        self, connection: asyncio.Protocol, body: LargeBody, on_bytes: Callable[[int], None]
    ) -> None:
        """Stand in for a connection.

        Args:
            connection: is told what else the loop says.
            body: to fill.
            on_bytes: is told how many bytes have been written.
        """
        self._connection = connection
        self._body = body
        self._on_bytes = on_bytes

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._body.rest

    def buffer_updated(self, nbytes: int) -> None:
        self._on_bytes(nbytes)

    def eof_received(self) -> bool | None:
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

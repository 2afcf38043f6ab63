"""Compressed bodies and messages: inflated a piece at a time, within bounds.

A few bytes can become very many, so no step here makes more than it was asked for, and none holds
the GIL for long: zlib works without it on pieces of a MiB, and so are the pieces put together.
"""

import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from salver.instruments.heap import joined

__all__ = ["RATIO_FROM_BYTES", "Broken", "InflateLimits", "Inflating", "TooLarge"]

_PIECE_BYTES: Final = 1 << 20
_SMALL_BYTES: Final = 4096
# A finished member hands back a copy of what follows it: of a slice that is cheap, of a body made
# of empty members it would be quadratic.
_SLICE_BYTES: Final = 64 << 10
_WINDOW: Final = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}


RATIO_FROM_BYTES: Final = 1 << 20
"""What is inflated to no more than this may have any ratio."""


@dataclass(frozen=True, slots=True)
class InflateLimits:
    """What a compressed body may become.

    Attributes:
        most_bytes: of it.
        most_ratio: bytes for each byte that came, beyond `RATIO_FROM_BYTES`. zlib makes 1,032 of
            one at most, where a single byte is repeated.
    """

    most_bytes: int
    most_ratio: int = 1000


class Broken(Exception):
    """What came is no compressed data, or ends too soon. The text names the fault."""


class TooLarge(Exception):
    """It would become larger than it may.

    Attributes:
        limits: that it goes beyond.
        is_by_ratio: whether it is the ratio that is too large.
    """

    def __init__(self, limits: InflateLimits, most_bytes: int) -> None:
        super().__init__(f"more than {most_bytes} bytes")
        self.limits = limits
        self.is_by_ratio = most_bytes < limits.most_bytes


class Inflating:
    """One body that is inflated, as far as is asked for. Used by one thread at a time.

    Attributes:
        size: of what there is so far.
    """

    def __init__(
        self,
        data: bytes,
        encoding: bytes,
        limits: InflateLimits,
        *,
        has_one_member: bool = False,
        on_growth: Callable[[int], None] = lambda _size: None,
    ) -> None:
        """Begin.

        Args:
            data: as it came.
            encoding: `gzip` or `deflate`.
            limits: see there.
            has_one_member: whether something behind the first member is a fault. If not, members
                in a row are one body (RFC 1952 §2.2).
            on_growth: called with the bytes of each piece before the next is made; what it raises
                ends the work.
        """
        self._data = data
        self._at = 0  # what is before has been taken into `_rest`
        self._rest = b""
        self._has_pending = False  # zlib may hold output of what it has read
        self._window = _WINDOW[encoding]
        self._stream = zlib.decompressobj(self._window)
        self._has_one_member = has_one_member
        self._limits = limits
        by_ratio = max(len(data) * limits.most_ratio, RATIO_FROM_BYTES)
        self._most_bytes = min(limits.most_bytes, by_ratio)
        self._on_growth = on_growth
        self._pieces: deque[bytes | bytearray] = deque()
        self.size = 0

    def whole(self, most_bytes: int) -> bytes | None:
        """All of it; None where there are that many bytes by now, and perhaps more to come.

        May be called again after None. What was inflated is given away, and kept no more.

        Raises:
            Broken: see there.
            TooLarge: see there.
        """
        return joined(self._pieces) if self._inflate(most_bytes) else None

    def _inflate(self, most_bytes: int) -> bool:
        """Go on until there are so many bytes, or all; whether it is known that that is all."""
        while self.size < most_bytes:
            left_bytes = min(most_bytes, self._most_bytes + 1) - self.size
            piece = self._next(min(left_bytes, _PIECE_BYTES))
            if piece is None:
                return True
            self.size += len(piece)
            if self.size > self._most_bytes:
                self._pieces.clear()
                raise TooLarge(self._limits, self._most_bytes)
            self._on_growth(len(piece))
            self._keep(piece)
        return False

    def _next(self, most_bytes: int) -> bytes | None:
        """The next piece, which may be empty; None at the end."""
        rest = self._rest
        if self._stream.eof:
            rest = self._stream.unused_data or self._slice()
            if not rest:
                return None
            if self._has_one_member:
                raise Broken("not all input consumed")
            self._stream = zlib.decompressobj(self._window)
        elif not rest and not self._has_pending:
            rest = self._slice()
            if not rest:
                raise Broken("data error")
        try:
            piece = self._stream.decompress(rest, most_bytes)
        except zlib.error:
            raise Broken("zlib error") from None
        self._rest = self._stream.unconsumed_tail
        self._has_pending = len(piece) == most_bytes
        return piece

    def _slice(self) -> bytes:
        slice_ = self._data[self._at : self._at + _SLICE_BYTES]
        self._at += len(slice_)
        return slice_

    def _keep(self, piece: bytes) -> None:
        # Many small pieces as they are would take many times their size.
        if len(piece) > _SMALL_BYTES:
            self._pieces.append(piece)
        elif self._pieces and isinstance(self._pieces[-1], bytearray):
            self._pieces[-1] += piece
        elif piece:
            self._pieces.append(bytearray(piece))

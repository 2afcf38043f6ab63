"""Bytes in, requests out: the reading half of an HTTP/1.1 connection, without any I/O.

A head that arrives whole is looked up by its bytes, or read by llhttp. A body is counted off by its
length, or decoded from chunks. What comes in pieces gives the same requests as what comes at once.
"""

import enum
from collections import deque

from salver.transport.heads import (
    CHUNKED,
    HeadCache,
    Refusal,
    RequestHead,
    RequestLine,
    request_line_fault,
    request_line_of,
)
from salver.transport.http1.chunked import ChunkedBody
from salver.transport.http1.filling import LARGEST_BYTES, SMALLEST_BYTES, LargeBody
from salver.transport.limits import HttpLimits

__all__ = ["Body", "RequestReader", "Stage"]

Body = bytes | deque[bytes]
"""A body, whole, or in pieces if there is so much of it that the loop should not join them."""

_LONG_TO_JOIN_BYTES = 1 << 20
_END_OF_HEAD = b"\r\n\r\n"


class Stage(enum.Enum):
    """How far a request has come in."""

    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


class RequestReader:
    """The requests of one connection, one after the other.

    Attributes:
        held: what was fed; empty once everything has been read and `next` has returned None.
        received: bytes of the current body so far, with their transfer coding.
        has_new_body: a body has begun since the caller has last reset this.
        wants_continue: the client waits to be told to send its body; for the caller to reset.
    """

    def __init__(self, heads: HeadCache, limits: HttpLimits) -> None:
        self._heads = heads
        self._known_head = heads.get
        self._limits = limits
        self.held = b""
        self._position = 0  # of what is unread in `held`
        self._scanned = 0  # there is no end of a head before this
        self._head: RequestHead | None = None
        self._chunks: ChunkedBody | None = None
        self._pieces: list[bytes] = []
        self._missing = 0
        self._in_place: LargeBody | None = None
        self.received = 0
        self.has_new_body = False
        self.wants_continue = False

    @property
    def stage(self) -> Stage:
        """What the request behind the last one returned has come to, once `next` returned None."""
        if self._head is not None:
            return Stage.BODY
        return Stage.HEAD if self.held else Stage.IDLE

    @property
    def begun(self) -> RequestHead | RequestLine | None:
        """The head of the request that is being read, or its first line, once they are known."""
        return self._head or request_line_of(self.held[self._position :])

    @property
    def unread_bytes(self) -> int:
        """How much was fed and not read."""
        return len(self.held) - self._position

    def read(self, data: bytes) -> tuple[RequestHead, Body] | None:
        """Feed `data` and take the next request, as `next` would.

        The common case, one whole request with a head seen before, touches no state.
        """
        if not self.held and self._head is None:
            end = data.find(_END_OF_HEAD) + 4
            head = self._known_head(data[:end])
            if head is not None and head.is_plain and len(data) - end == head.length:
                return head, data[end:]
        self.feed(data)
        return self.next()

    def feed(self, data: bytes) -> None:
        """Add what arrived to what is to be read."""
        if self._position == len(self.held):
            self.held = data
            self._position = self._scanned = 0
        else:
            self._scanned -= self._position
            self.held = self.held[self._position :] + data
            self._position = 0

    def next(self) -> tuple[RequestHead, Body] | None:
        """The next whole request and its body as it was sent; None when there is none yet.

        Raises:
            Refusal: what was sent is no request, or too large; nothing can be read any more.
        """
        if self._head is not None:
            return self._continue_body(self._head)
        data = self.held
        end = data.find(_END_OF_HEAD, self._scanned) + 4
        if end < 4:
            if self._position == len(data):
                self.held = b""
                self._position = self._scanned = 0
            else:
                self._wait_for_head()
            return None
        raw = data[self._position : end]
        head = self._known_head(raw)
        if head is None:
            if raw[0] in b"\r\n":
                self._skip_empty_lines()
                return self.next()
            head = self._parse(raw)
        if head.is_plain:
            stop = end + head.length
            if stop <= len(data):
                self._position = self._scanned = stop
                return head, data[end:stop]
        self.held = data[end:]
        self._position = self._scanned = 0
        self._begin_body(head)
        return self._continue_body(head)

    def begin_in_place(self) -> LargeBody | None:
        """Where the rest of the current body is to be written, in place of `feed`; None: nowhere.

        From then on `wrote` takes the place of `read`, until it returns the request.

        Raises:
            MemoryError: there is no room for the body, and so no use in reading it.
        """
        missing = self._missing
        if self._head is None or not SMALLEST_BYTES <= missing <= LARGEST_BYTES - self.received:
            return None
        self._in_place = LargeBody(self.received + missing, self._pieces)
        return self._in_place

    def wrote(self, count: int) -> tuple[RequestHead, bytes] | None:
        """Count what was written in place; the request, when that was the last of it."""
        assert self._head is not None
        assert self._in_place is not None
        self.received += count
        self._missing -= count
        body = self._in_place.wrote(count)
        if body is None:
            return None
        head = self._head
        self._head = self._in_place = None
        self._pieces = []
        return head, body

    def _wait_for_head(self) -> None:
        self._skip_empty_lines()
        begun = self.held
        if begun:
            self._scanned = max(0, len(begun) - 3)
            self._check_size(begun)
            fault = request_line_fault(begun)
            if fault is not None:
                raise fault

    def _skip_empty_lines(self) -> None:
        """RFC 9112 §2.2: a client may send some before a request."""
        self.held = self.held[self._position :].lstrip(b"\r\n")
        self._position = self._scanned = 0

    def _parse(self, raw: bytes) -> RequestHead:
        self._check_size(raw)
        return self._heads.parse(raw)

    def _check_size(self, raw: bytes) -> None:
        if len(raw) > self._limits.max_header_bytes:
            raise Refusal(
                431,
                f"Request header is larger than {self._limits.max_header_bytes} bytes",
                "The server's --max_header_bytes sets this limit.",
            )

    def _begin_body(self, head: RequestHead) -> None:
        limits = self._limits
        self._head = head
        self.received = 0
        self.has_new_body = True
        self.wants_continue = head.expects_continue and not self.held
        if head.length == CHUNKED:
            self._chunks = ChunkedBody(limits.max_body_bytes, limits.max_header_bytes)
        else:
            self._missing = head.length

    def _continue_body(self, head: RequestHead) -> tuple[RequestHead, Body] | None:
        data, self.held = self.held, b""
        self.received += len(data)
        if self._chunks is None:
            pieces = self._pieces
            pieces.append(data[: self._missing])
            rest = data[self._missing :]
            self._missing -= len(pieces[-1])
            if self._missing:
                return None
        else:
            after = self._chunks.feed(data)
            if after is None:
                return None
            pieces, rest = self._chunks.pieces, after
        self.held = rest
        self._head = self._chunks = None
        self._pieces = []
        is_long = self.received > _LONG_TO_JOIN_BYTES
        return head, deque(pieces) if is_long else b"".join(pieces)

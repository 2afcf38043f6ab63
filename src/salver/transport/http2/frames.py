"""The numbers of RFC 9113 and the frames a server sends."""

import struct
from collections.abc import Iterable

__all__ = [
    "ACK",
    "FRAME_HEAD",
    "PREFACE",
    "Code",
    "ConnectionFault",
    "Flag",
    "Kind",
    "Setting",
    "goaway",
    "header_frames",
    "ping",
    "reset",
    "settings",
    "window_update",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_WINDOW = 2**31 - 1
MIN_FRAME_BYTES = 2**14
MAX_FRAME_BYTES = 2**24 - 1
FIRST_WINDOW = 65_535
"""Of the connection, and of a stream until SETTINGS say otherwise."""

FRAME_HEAD = struct.Struct(">IBI")
"""(length << 8 | kind, flags, stream id): nine octets in three numbers."""


class Kind:
    """Frame types, RFC 9113 §6."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag:
    """Frame flags; `ACK` and `END_STREAM` share a bit."""

    ACK = 0x1
    END_STREAM = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class Code:
    """Error codes, RFC 9113 §7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11


class Setting:
    """Settings, RFC 9113 §6.5.2."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ConnectionFault(Exception):
    """What the client did ends its connection: an error of RFC 9113 §5.4.1.

    Attributes:
        code: of `Code`; goes into GOAWAY, as `reason` does.
        reason: for whoever reads the client's log.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


ACK = FRAME_HEAD.pack(Kind.SETTINGS, Flag.ACK, 0)
"""The acknowledgement of the client's SETTINGS."""


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """A SETTINGS frame of (setting, value) pairs."""
    payload = b"".join(struct.pack(">HI", *pair) for pair in values)
    return FRAME_HEAD.pack(len(payload) << 8 | Kind.SETTINGS, 0, 0) + payload


def ping(payload: bytes, flags: int = 0) -> bytes:
    """A PING frame of eight octets."""
    return FRAME_HEAD.pack(8 << 8 | Kind.PING, flags, 0) + payload


def goaway(last_id: int, code: int, debug: bytes = b"") -> bytes:
    """A GOAWAY frame: streams above `last_id` were not looked at."""
    head = FRAME_HEAD.pack(8 + len(debug) << 8 | Kind.GOAWAY, 0, 0)
    return head + struct.pack(">II", last_id, code) + debug


def reset(stream_id: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return FRAME_HEAD.pack(4 << 8 | Kind.RST_STREAM, 0, stream_id) + code.to_bytes(4, "big")


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; of the connection for stream 0."""
    head = FRAME_HEAD.pack(4 << 8 | Kind.WINDOW_UPDATE, 0, stream_id)
    return head + increment.to_bytes(4, "big")


def header_frames(stream_id: int, block: bytes, flags: int, max_frame_bytes: int) -> bytes:
    """A header block as HEADERS and as many CONTINUATIONs as it takes.

    Args:
        stream_id: whose.
        block: HPACK.
        flags: 0 or `Flag.END_STREAM`.
        max_frame_bytes: the longest payload the client takes.
    """
    size = len(block)
    if size <= max_frame_bytes:
        return (
            FRAME_HEAD.pack(size << 8 | Kind.HEADERS, flags | Flag.END_HEADERS, stream_id) + block
        )
    frames: list[bytes] = []
    kind = Kind.HEADERS
    for start in range(0, size, max_frame_bytes):
        part = block[start : start + max_frame_bytes]
        if start + max_frame_bytes >= size:
            flags |= Flag.END_HEADERS
        frames += (FRAME_HEAD.pack(len(part) << 8 | kind, flags, stream_id), part)
        kind, flags = Kind.CONTINUATION, 0
    return b"".join(frames)

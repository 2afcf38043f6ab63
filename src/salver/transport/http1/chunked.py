"""Bodies in chunks (RFC 9112 §7.1): bytes in, pieces out; no I/O.

Strict: a chunk's size is hexadecimal digits and nothing else, a line ends with CR LF. Extensions
and trailers are read and dropped; they count against a limit, so that they cannot cost more than a
body.
"""

import re

from salver.transport.heads import Refusal, body_too_large

__all__ = ["ChunkedBody"]

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_SIZE, _DATA, _DATA_END, _TRAILERS = range(4)


class ChunkedBody:
    """One body on its way.

    Attributes:
        pieces: what has arrived of it, in order.
        size: the sum of their lengths, and of what the last size line announced.
    """

    def __init__(self, max_body_bytes: int, max_overhead_bytes: int) -> None:
        """Begin a body.

        Args:
            max_body_bytes: of all chunks together.
            max_overhead_bytes: of extensions and trailers together, and of a line.
        """
        self.pieces: list[bytes] = []
        self.size = 0
        self._max_body_bytes = max_body_bytes
        self._max_overhead_bytes = max_overhead_bytes
        self._overhead = 0
        self._missing = 0
        self._rest = b""
        self._state = _SIZE

    def feed(self, data: bytes) -> bytes | None:
        """Take what arrived.

        Returns:
            None while the body goes on; what follows it (perhaps nothing) once it is complete.

        Raises:
            Refusal: 400 for bytes that are no chunked body, 413 for one over the limit.
        """
        data, self._rest = self._rest + data, b""
        position = 0
        while True:
            if self._state == _DATA:
                position = self._take_data(data, position)
                if self._missing:
                    return None
                self._state = _DATA_END
            end = data.find(b"\r\n", position)
            if end < 0:
                self._keep(data[position:])
                return None
            line = data[position:end]
            position = end + 2
            if self._state == _TRAILERS and not line:
                return data[position:]
            self._read_line(line)

    def _take_data(self, data: bytes, position: int) -> int:
        piece = data[position : position + self._missing]
        self.pieces.append(piece)
        self._missing -= len(piece)
        return position + len(piece)

    def _keep(self, rest: bytes) -> None:
        if self._state == _DATA_END and rest not in (b"", b"\r"):
            raise _malformed()
        if self._overhead + len(rest) > self._max_overhead_bytes:
            raise _too_much_overhead()
        self._rest = rest

    def _read_line(self, line: bytes) -> None:
        if self._state == _DATA_END:
            if line:
                raise _malformed()
            self._state = _SIZE
            return
        if self._state == _TRAILERS:
            self._count(len(line) + 2)
            if not _TRAILER.fullmatch(line):
                raise _malformed()
            return
        found = _SIZE_LINE.fullmatch(line)
        if found is None:
            raise _malformed()
        self._count(len(line) - len(found[1]))
        self._missing = int(found[1], 16)
        self.size += self._missing
        if self.size > self._max_body_bytes:
            raise body_too_large(self._max_body_bytes)
        self._state = _DATA if self._missing else _TRAILERS

    def _count(self, overhead_bytes: int) -> None:
        self._overhead += overhead_bytes
        if self._overhead > self._max_overhead_bytes:
            raise _too_much_overhead()


def _malformed() -> Refusal:
    return Refusal(400, "Bad Request: malformed chunked body")


def _too_much_overhead() -> Refusal:
    return Refusal(400, "Bad Request: chunk extensions or trailers are too large")

"""Header blocks (RFC 7541): reading them with a cache, writing them as constants.

Clients send the same block again and again, once their fields stand in HPACK's dynamic table. As
long as that table does not change, equal bytes mean equal fields, and the *same* `Headers` is
handed out, so that what is made of it can be kept on it.
"""

import re
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from hpack import HPACKError
from hpack.hpack import encode_integer
from hpack.table import HeaderTable

from salver.transport import messages
from salver.transport.http2.field_reader import FieldReader
from salver.transport.http2.frames import Code, ConnectionFault

__all__ = ["AnswerHeaders", "HeaderBlocks", "Headers", "encode_block"]

H = TypeVar("H", bound="Headers")

_BAD_NAME = re.compile(rb"[^!#$%&'*+\-.^_`|~0-9a-z]")
_BAD_VALUE = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]\Z")
_BAD_VALUE_OF_ANSWERS = re.compile(rb"[\x00\r\n]")
_OF_HTTP1 = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_PSEUDO_OF_ANSWERS = frozenset({b":status"})
_CACHED_BLOCKS = 128
_KNOWN_LISTS = 128
_MOST_CACHED_BYTES = 4096


class Headers(messages.Headers):
    """The fields of one header block; shared by all requests whose blocks are the same.

    Attributes:
        method: `:method`; this and the others are empty in trailers and when they were not sent.
        path: `:path`, with its query.
        scheme: `:scheme`.
        authority: `:authority`.
        content_length: -1 when there was none.
        fault: why the message is malformed (RFC 9113 §8.1.1); empty when it is well formed.
        size_bytes: by HPACK's measure.
        memo: free for the upper layer, which may keep here what it has made of the fields.
    """

    _known = _PSEUDO
    _bad_value = _BAD_VALUE

    def __init__(
        self, fields: Sequence[tuple[bytes, bytes]] = (), *, are_trailers: bool = False
    ) -> None:
        """Take decoded fields, names and values; well formed or not."""
        super().__init__()
        self.memo: object | None = None
        self.size_bytes = sum(len(name) + len(value) + 32 for name, value in fields)
        self.content_length = -1
        pseudo: dict[bytes, bytes] = {}
        self._pairs: list[tuple[bytes, bytes]] = []
        self.fault = ""
        try:
            for name, value in fields:
                self._take(name, value, pseudo)
            self._check(pseudo, are_trailers)
        except _Malformed as malformed:
            self.fault = str(malformed)
        self.method = pseudo.get(b":method", b"")
        self.path = pseudo.get(b":path", b"")
        self.scheme = pseudo.get(b":scheme", b"")
        self.authority = pseudo.get(b":authority", b"")

    @property
    def pairs(self) -> list[tuple[bytes, bytes]]:
        """Names and values in their order, without the pseudo-headers."""
        return self._pairs

    def _take(self, name: bytes, value: bytes, pseudo: dict[bytes, bytes]) -> None:
        if self._bad_value.search(value):
            raise _Malformed("a field value has forbidden characters")
        if name.startswith(b":"):
            if name not in self._known:
                raise _Malformed("unknown pseudo-header")
            if name in pseudo:
                raise _Malformed("a pseudo-header came twice")
            if self._pairs:
                raise _Malformed("a pseudo-header came after a field")
            pseudo[name] = value
            return
        if not name or _BAD_NAME.search(name):
            raise _Malformed("a field name has forbidden characters")
        if name in _OF_HTTP1:
            raise _Malformed("a field of HTTP/1.1 connections")
        if name == b"te" and value.lower() != b"trailers":
            raise _Malformed("te must be trailers")
        if name == b"content-length":
            self._take_length(value)
        self._pairs.append((name, value))

    def _take_length(self, value: bytes) -> None:
        if not value.isdigit() or len(value) > 18:
            raise _Malformed("content-length is no number")
        length = int(value)
        if self.content_length not in (-1, length):
            raise _Malformed("two different content-lengths")
        self.content_length = length

    def _check(self, pseudo: dict[bytes, bytes], are_trailers: bool) -> None:
        if are_trailers:
            if pseudo:
                raise _Malformed("a pseudo-header in trailers")
            return
        method = pseudo.get(b":method")
        if not method or b":scheme" not in pseudo or not pseudo.get(b":path"):
            raise _Malformed("a pseudo-header is missing")
        path = pseudo[b":path"]
        if not path.startswith(b"/") and not (path == b"*" and method == b"OPTIONS"):
            raise _Malformed("the path must begin with a slash")
        host = self.get(b"host")
        if host is not None and host.lower() != pseudo.get(b":authority", host).lower():
            raise _Malformed("host is not the authority")


class AnswerHeaders(Headers):
    """The fields of a header block that a server sends: those of an answer, or trailers.

    Blanks at the ends of values, which RFC 9113 §8.2.1 forbids, are left as they are: gRPC's C core
    writes a `grpc-message` so, where the message begins or ends with some.

    Attributes:
        status: `:status`; 0 in trailers, which have none.
    """

    _known = _PSEUDO_OF_ANSWERS
    _bad_value = _BAD_VALUE_OF_ANSWERS
    status = 0

    def _check(self, pseudo: dict[bytes, bytes], are_trailers: bool) -> None:
        said = pseudo.get(b":status")
        if said is not None:
            if len(said) != 3 or not said.isdigit() or said < b"100":
                raise _Malformed("a status is three digits")
            self.status = int(said)


class _Malformed(Exception):
    """A rule of RFC 9113 §8 is broken."""


class HeaderBlocks(Generic[H]):
    """Reads the header blocks of one connection, in the order they arrive.

    Attributes:
        cached: blocks that mean the same as long as the dynamic table stays as it is. Look here
            first: `blocks.cached.get(block) or blocks.read(block)`.
    """

    __slots__ = ("_lists", "_make", "_reader", "cached")

    def __init__(self, max_list_bytes: int, table_bytes: int, make: Callable[..., H]) -> None:
        """Start with an empty table.

        Args:
            max_list_bytes: more than twice that is not even decoded.
            table_bytes: the dynamic table's bound, once the other side has been told.
            make: `Headers`, or `AnswerHeaders` of a server.
        """
        self._make = make
        # The other side may use 4096 until it has seen our SETTINGS.
        allowed = max(table_bytes, HeaderTable.DEFAULT_SIZE)
        self._reader = FieldReader(2 * max_list_bytes, allowed)
        self._lists: dict[tuple[tuple[bytes, bytes], ...], H] = {}
        self.cached: dict[bytes, H] = {}

    def restrict(self, table_bytes: int) -> None:
        """The other side has acknowledged this bound of the table."""
        self._reader.max_table_bytes = table_bytes

    def read(self, block: bytes, *, are_trailers: bool = False) -> H:
        """The fields of a block, well formed or not (`Headers.fault`).

        Raises:
            ConnectionFault: it is no HPACK, or too much; the table is lost.
        """
        reader = self._reader
        reader.has_changed = False
        try:
            fields = reader.read(block)
        except (HPACKError, IndexError) as error:
            raise ConnectionFault(Code.COMPRESSION_ERROR, "bad header block") from error
        if reader.has_changed:
            self.cached.clear()
        if are_trailers:
            return self._make(fields, are_trailers=True)
        headers = self._lists.get(fields)
        if headers is None:
            headers = self._make(fields)
            if headers.size_bytes <= _MOST_CACHED_BYTES:
                if len(self._lists) >= _KNOWN_LISTS:
                    self._lists.clear()
                self._lists[fields] = headers
        if not reader.has_changed and headers.size_bytes <= _MOST_CACHED_BYTES:
            if len(self.cached) >= _CACHED_BLOCKS:
                self.cached.clear()
            self.cached[block] = headers
        return headers


def encode_block(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A header block that needs no dynamic table, and so means the same on every connection.

    Args:
        fields: names, lower case, and values; `:status` first. Line breaks in values become
            spaces.
    """
    parts = bytearray()
    for name, value in fields:
        index, values = HeaderTable.STATIC_TABLE_MAPPING.get(name, (0, {}))
        if value in values:
            whole = encode_integer(values[value], 7)
            whole[0] |= 0x80
            parts += whole
            continue
        parts += encode_integer(index, 4)
        if not index:
            parts += encode_integer(len(name), 7)
            parts += name
        clean = _CONTROLS.sub(b" ", value).strip(b" \t")
        parts += encode_integer(len(clean), 7)
        parts += clean
    return bytes(parts)


_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

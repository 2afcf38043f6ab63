"""Answers of a peer over HTTP/1.1: bytes in, and what they mean out. No I/O.

llhttp reads them. What a peer may send is bounded: its head, and how much of a body is kept before
somebody takes it.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final, TypeAlias

import httptools

from salver.peers.http1_fields import answer_fields

__all__ = ["Answer", "AnswerHead", "AnswerReader", "KnownHeads", "Malformed"]

_MOST_HEAD_BYTES: Final = 64 << 10
_MOST_FIELDS: Final = 256
_NO_BODY: Final = frozenset((204, 304))
_END: Final = b"\r\n\r\n"  # of a head
_MOST_KNOWN: Final = 256
_LONGEST_KNOWN: Final = 2048
_INTERIM: Final = 200  # what is below is no answer yet


class Malformed(Exception):
    """What came is no answer."""


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """What the head of an answer says. Shared by all answers with the same one.

    Attributes:
        status: of HTTP.
        content_type: None for none.
        headers: the other fields that go on to the client.
        length: of the body in bytes; None where only its end tells.
        keeps_alive: whether the connection goes on after the answer.
    """

    status: int
    content_type: str | None
    headers: tuple[tuple[str, str], ...]
    length: int | None
    keeps_alive: bool


class Answer:
    """One answer, as far as it has come.

    Attributes:
        head: see there.
        parts: of the body that nobody has taken.
        unread: their size in bytes.
        is_complete: nothing more comes.
    """

    __slots__ = ("head", "is_complete", "parts", "unread")

    def __init__(self, head: AnswerHead) -> None:
        self.head = head
        self.parts: deque[bytes] = deque()
        self.unread = 0
        self.is_complete = False

    def take(self) -> bytes:
        """All of the body that is there."""
        parts, self.unread = self.parts, 0
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return body


KnownHeads: TypeAlias = dict[bytes, AnswerHead]
"""Heads by their bytes: most answers of a peer within a second have one that was read already. To
look one up takes 1 µs, to have llhttp read it 25."""


class AnswerReader:
    """Reads answers one behind the other.

    Attributes:
        answer: that is being read, from the end of its head on; None before.
        has_begun: whether a byte of it has come.
    """

    def __init__(self, known: "KnownHeads | None" = None) -> None:
        """Nothing has come.

        Args:
            known: to be shared by the connections of one loop.
        """
        self._known: KnownHeads = {} if known is None else known
        self.answer: Answer | None = None
        self.has_begun = False
        self._is_interim = False  # what came first
        self._fields: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take what has come.

        Raises:
            Malformed: it is no answer, or too much of one. Nothing more can be read.
        """
        raw = b""
        if not self.has_begun:
            self.has_begun = True
            raw = data[: data.find(_END) + len(_END)]
            head = self._known.get(raw)
            if head is not None and len(data) - len(raw) == head.length:
                self.answer = answer = Answer(head)
                if head.length:
                    answer.parts.append(data[len(raw) :])
                    answer.unread = head.length
                answer.is_complete = True
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise Malformed("it speaks another protocol") from None
        except httptools.HttpParserCallbackError as error:
            raise Malformed(str(error.__context__ or error)) from None
        except httptools.HttpParserError as error:
            raise Malformed(f"it is no HTTP: {error}") from None
        if self.answer is None:
            self._head_bytes += len(data)
            if self._head_bytes > 2 * _MOST_HEAD_BYTES:
                raise Malformed("its head is too long")
        elif len(_END) < len(raw) <= _LONGEST_KNOWN and not self._is_interim:
            self._remember(raw, self.answer.head)

    def _remember(self, raw: bytes, head: AnswerHead) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[raw] = head

    def next(self) -> None:
        """Read another answer, now that this one is complete."""
        self.answer = None
        self.has_begun = False
        self._is_interim = False
        self._fields = []
        self._head_bytes = 0

    # What llhttp says.

    def on_message_begin(self) -> None:
        if self.answer is not None:
            raise Malformed("it has answered twice")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.answer is not None:
            return  # behind the last chunk: nobody waits for it
        self._head_bytes += len(name) + len(value)
        if len(self._fields) >= _MOST_FIELDS or self._head_bytes > _MOST_HEAD_BYTES:
            raise Malformed("its head is too long")
        self._fields.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < _INTERIM:
            return
        if status > 599:
            raise Malformed(f"it has a status that is none: {status}")
        kind, headers = answer_fields(self._fields)
        length = _length_of(status, self._fields)
        keeps_alive = bool(self._parser.should_keep_alive())
        self.answer = Answer(AnswerHead(status, kind, headers, length, keeps_alive))

    def on_body(self, data: bytes) -> None:
        answer = self.answer
        if answer is not None:
            answer.parts.append(data)
            answer.unread += len(data)

    def on_message_complete(self) -> None:
        if self.answer is None:
            self._is_interim = True
            self._fields = []
            self._head_bytes = 0
        else:
            self.answer.is_complete = True


def _length_of(status: int, fields: "list[tuple[bytes, bytes]]") -> int | None:
    """The length of a body; None for one in chunks.

    Raises:
        Malformed: the end of the connection would be that of the body, and nobody could tell
            whether that is all.
    """
    if status in _NO_BODY:
        return 0
    for name, value in fields:
        lower = name.lower()
        if lower == b"content-length":
            return int(value)  # llhttp has checked its digits
        if lower == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise Malformed("its coding is not known")
            return None
    raise Malformed("it does not say how long it is")

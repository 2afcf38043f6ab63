"""The reader of bodies of numbers that are too large to be read in one step.

It cuts the value between its lists into pieces of about a MiB, each of which simdjson reads as a
list of its own, and answers for no body whose pieces are not all of one shape: so it does not
matter how a cut was found, and it is found by nothing but the brackets in a row that must be there.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import simdjson

from salver.codecs.json.arrays import MAX_RANK
from salver.codecs.json.flat import find_margins, flat_tensor
from salver.codecs.json.reading import UNWANTED, PredictInputs, Source
from salver.errors import Cancelled
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import TensorSpec

__all__ = ["PiecedBody", "read_pieces"]

_PIECE_BYTES = 1 << 20
_BLANKS = re.compile(rb"[ \t\r\n]*")
_SIGNATURE_NAME = re.compile(rb'"signature_name"[ \t\r\n]*:[ \t\r\n]*"([^"]*)"')


class _Spans(list["tuple[int, int] | _Spans"]):
    """Where the pieces of a list lie; an element that is larger than a piece has a list of them."""


def read_pieces(source: Source) -> "PiecedBody | None":
    """Take a body that is one large tensor of numbers.

    Raises:
        Cancelled: it is not wanted any more.
    """
    body = source.body
    margins = find_margins(body)
    if margins is None:
        return None
    head, end = margins
    start = head.start(2)
    rank = body.count(b"[", start, head.end())
    spans = _Spans()
    if head[3] is not None or rank > MAX_RANK or _cut(body, start, rank, spans) != end:
        return None
    found = _SIGNATURE_NAME.search(body[:start] + body[end:])
    try:
        signature_name = found[1].decode() if found else ""
        parser = simdjson.Parser()
        for span in _flat(spans):
            _check(source.is_active)
            if not _parsed(parser, body, *span):
                return None
    except (ValueError, RuntimeError):
        return None
    return PiecedBody(source, spans, rank, signature_name, is_row=head[1] == b"instances")


class PiecedBody:
    """See `Reading`."""

    __slots__ = ("_body", "_is_active", "_is_row", "_rank", "_spans", "signature_name")

    def __init__(
        self, source: Source, spans: _Spans, rank: int, signature_name: str, *, is_row: bool
    ) -> None:
        self._body = source.body
        self._is_active = source.is_active
        self._spans = spans
        self._rank = rank
        self.signature_name = signature_name
        self._is_row = is_row

    def inputs(self, specs: Mapping[str, TensorSpec]) -> PredictInputs | None:
        """See `Reading`."""
        if len(specs) > 1:
            return None
        (spec,) = specs.values()
        array = self._tensor(simdjson.Parser(), self._spans, self._rank, spec.dtype)
        return None if array is None else PredictInputs([array], self._is_row)

    def _tensor(
        self, parser: simdjson.Parser, spans: _Spans, rank: int, dtype: DataType
    ) -> Array | None:
        """The array of a list; None if it is not regular."""
        parts: list[Array] = []
        for span in spans:
            part: Array | None
            if isinstance(span, _Spans):
                inner = self._tensor(parser, span, rank - 1, dtype)
                part = None if inner is None else inner[np.newaxis]
            else:
                _check(self._is_active)
                text = b"[%b]" % self._body[slice(*span)]
                value: Any = parser.parse(text)
                part = flat_tensor(text, value, dtype, 0, len(text))
                del value  # or the parser is not free for the next
            if (
                part is None
                or part.ndim != rank
                or part.shape[1:] != (parts or [part])[0].shape[1:]
            ):
                return None
            parts.append(part)
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _check(is_active: Callable[[], bool]) -> None:
    if not is_active():
        raise Cancelled(UNWANTED)


def _parsed(parser: simdjson.Parser, body: bytes, start: int, end: int) -> bool:
    found: Any = parser.parse(b"[%b]" % body[start:end])
    return len(found) > 0


def _flat(spans: _Spans) -> Iterator[tuple[int, int]]:
    for span in spans:
        if isinstance(span, _Spans):
            yield from _flat(span)
        else:
            yield span


def _cut(body: bytes, start: int, rank: int, spans: _Spans) -> int:
    """Cut the list that opens at an offset.

    Args:
        body: of the request.
        start: where the list begins.
        rank: how deep lists are nested in it.
        spans: takes its pieces.

    Returns:
        Where the list ends; -1 where it could not be cut.
    """
    closing = b"]" * (rank - 1)  # of an element
    at = start + 1
    while True:
        stop = at + _PIECE_BYTES
        end = body.find(closing + b"]", at, stop)
        comma = body.rfind(closing + b",", at, stop) if end < 0 else end
        if comma >= 0:
            comma += len(closing)
            spans.append((at, comma))
        elif rank == 1:
            return -1
        else:  # an element that is larger than a piece
            at = _end(_BLANKS, body, at)
            if body[at : at + 1] != b"[":
                return -1
            inner = _Spans()
            comma = _cut(body, at, rank - 1, inner)
            spans.append(inner)
        follower = body[comma : comma + 1] if comma >= 0 else b""
        if follower == b"]":
            return comma + 1
        if follower != b",":
            return -1
        at = comma + 1


def _end(pattern: "re.Pattern[bytes]", body: bytes, at: int) -> int:
    found = pattern.match(body, at)
    return found.end() if found else at

"""Documents that would be many times their size as Python values: read a part at a time.

The text has been found to be JSON already (`scan`), so that numpy can tell where the
elements of a container begin and end. What is small is read at once; what is long is cut into
parts. Some rows of a long list become arrays as if they were a request of their own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from salver.codecs.json.exact import ExactBody
from salver.codecs.json.flat import read_flat
from salver.codecs.json.reading import UNWANTED, Source
from salver.codecs.json.scan import ARRAY, OBJECT, Reader, find_cuts, scan, stretch_of
from salver.codecs.json.syntax import read_tree
from salver.codecs.json.tree import LongList, Pairs
from salver.codecs.json.values import read_tree_values, read_values
from salver.errors import Cancelled
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import TensorSpec

__all__ = ["long_tree", "read_long"]

_PART_BYTES = 128 << 10
_SPACES = b" \n\r\t"
_IsActive = Callable[[], bool]


def read_long(source: Source) -> ExactBody:
    """Take a body that is not to be read in one step.

    Raises:
        InvalidArgument: it is no JSON, no object, or its `signature_name` is no string.
        Cancelled: it is not wanted any more.
    """
    return ExactBody(long_tree(source.body, source.is_active))


def long_tree(body: bytes, is_active: _IsActive) -> Any:
    """The first value of a document, as `tree` describes it."""
    start = scan(body, is_active)
    if body[start] not in (ARRAY, OBJECT):
        return Reader(body, start).scalar()
    kind = _LongArray if body[start] == ARRAY else _LongObject
    return kind(_Spans(body, is_active, start + 1))


class _Span(NamedTuple):
    """Some elements or members next to each other, as many as `size` says.

    Of one that is long, nothing is known but where it begins.
    """

    start: int
    end: int
    size: int
    is_long: bool = False


class _Spans:
    """What stands between two brackets, which can be gone through any number of times."""

    __slots__ = ("_found", "_to_come", "body", "is_active")

    def __init__(self, body: bytes, is_active: _IsActive, start: int) -> None:
        """Begin behind the opening bracket."""
        self.body = body
        self.is_active = is_active
        self._found: list[_Span] = []  # each is found when it is first asked for
        self._to_come = _cut(body, is_active, start)

    def __iter__(self) -> Iterator[_Span]:
        index = 0
        while True:
            if index == len(self._found):
                span = next(self._to_come, None)
                if span is None:
                    return
                self._found.append(span)
            yield self._found[index]
            index += 1

    def tree(self, form: bytes, span: _Span) -> Any:
        """What some elements that are not long are, put in brackets."""
        _check(self.is_active)
        return read_tree(form % self.body[span.start : span.end])

    def value(self, token: int, reader: Reader) -> Any:
        """The long value that begins with a byte."""
        if token not in (ARRAY, OBJECT):
            return reader.scalar()
        spans = _Spans(self.body, self.is_active, reader.pos + 1)
        if token == ARRAY:
            return _LongArray(spans)
        return reader.only_scalar() or _LongObject(spans)  # it may be a `{"b64": …}`


class _LongObject(Pairs):
    """An object that is too large to be read at once."""

    __slots__ = ("_spans",)

    def __init__(self, spans: _Spans) -> None:
        self._spans = spans

    def items(self) -> Iterator[tuple[str, Any]]:
        """See `Pairs`."""
        spans = self._spans
        for span in spans:
            if span.is_long:
                reader = Reader(spans.body, span.start)
                name = reader.name()
                yield name, spans.value(reader.value(), reader)
            else:
                yield from spans.tree(b"{%b}", span).items()

    def get(self, key: str, default: Any) -> Any:
        """See `Pairs`."""
        return next((value for name, value in self.items() if name == key), default)


class _LongArray(LongList):
    """See `LongList`."""

    __slots__ = ("_spans",)

    def __init__(self, spans: _Spans) -> None:
        self._spans = spans

    def parts(self) -> "Iterator[_Part]":
        return (_Part(self._spans, span) for span in self._spans)

    def __len__(self) -> int:
        return sum(span.size for span in self._spans)

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(part.values() for part in self.parts())


class _Part:
    """Some elements of an array; see `tree.Part`. It is also a body of its own; see `Source`."""

    __slots__ = ("_span", "_spans", "body", "count", "is_active", "tree")

    def __init__(self, spans: _Spans, span: _Span) -> None:
        self._spans = spans
        self._span = span
        self.count = span.size
        self.is_active = spans.is_active
        self.body = b""
        self.tree: Any = None

    def arrays(self, specs: Mapping[str, TensorSpec], *, is_named: bool) -> list[Array] | None:
        """See `tree.Part`."""
        span = self._span
        if span.is_long:
            return None
        _check(self.is_active)
        self.body = b'{"instances":[%b]}' % self._spans.body[span.start : span.end]
        for read in (read_flat, read_values, read_tree_values):
            reading = read(self)
            if reading is not None and reading.is_named == is_named:
                found = reading.inputs(specs)
                if found is not None:
                    return found.arrays
        return None

    def values(self) -> Iterable[Any]:
        """See `tree.Part`."""
        span, spans = self._span, self._spans
        if span.is_long:
            reader = Reader(spans.body, span.start)
            return [spans.value(reader.value(), reader)]
        tree = self.tree or spans.tree(b'{"instances":[%b]}', span)
        return tree["instances"]  # type: ignore[no-any-return]


def _check(is_active: _IsActive) -> None:
    if not is_active():
        raise Cancelled(UNWANTED)


def _cut(body: bytes, is_active: _IsActive, start: int) -> Iterator[_Span]:
    """Cut a container, at the commas between its elements, into spans of about equal size.

    Args:
        body: of the request.
        is_active: see `Source`.
        start: offset behind the container's opening bracket.
    """
    position = start  # of the stretch that is looked at; from `start` to here there is no cut
    depth, is_in_string = 0, False
    is_first, is_long = True, False  # of the element at `start`
    while True:
        _check(is_active)
        stretch = stretch_of(body, position, _PART_BYTES)
        cuts = find_cuts(stretch, depth, is_in_string)
        commas = cuts.commas
        if len(commas) and is_long:
            start = position + int(commas[0]) + 1
            commas = commas[1:]
            is_first = is_long = False
        if len(commas):
            end = position + int(commas[-1])
            yield _Span(start, end, len(commas))
            start = end + 1
            is_first = False
        if cuts.end >= 0:
            end = position + cuts.end
            is_empty = is_first and not body[start:end].strip(_SPACES)
            if not is_long and not is_empty:
                yield _Span(start, end, 1)
            return
        position += len(stretch)
        if not is_long and position - start > _PART_BYTES:
            is_long = True
            yield _Span(start, start, 1, is_long=True)
        depth, is_in_string = cuts.depth, cuts.is_in_string

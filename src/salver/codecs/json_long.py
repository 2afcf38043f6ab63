"""Documents that would be many times their size as Python values: read a part at a time.

The text has been found to be JSON already (`json_scan`), so that numpy can tell where the elements
of a container begin and end. What is small is read at once; what is long is cut into parts.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from salver.codecs.json_cuts import find_cuts, stretch_of
from salver.codecs.json_reader import ARRAY, OBJECT, Reader
from salver.codecs.json_scan import scan
from salver.codecs.json_tree import read_tree
from salver.codecs.json_value import LongList, Pairs, members

__all__ = ["LARGEST_WHOLE_BYTES", "is_long", "long_tree"]

LARGEST_WHOLE_BYTES: Final = 16 << 20
"""Whatever is larger is read a part at a time. Who goes through a body in one step, be it to count
its commas, has the GIL for so long: 16 MiB take some 20 ms, memory for as much more included."""

_LARGE_BODY_BYTES = 256 << 10
# So many values make some 5 MB of Python objects, and keep orjson for some 3 ms.
_MOST_VALUES = 50_000
_PART_BYTES = 128 << 10
_SPACES = b" \n\r\t"


def is_long(body: bytes) -> bool:
    """Whether a body is better read a part at a time: if it is large, and of many small values."""
    if len(body) < _LARGE_BODY_BYTES:
        return False
    if len(body) > LARGEST_WHOLE_BYTES:
        return True
    return body.count(b",") + body.count(b"[") + body.count(b"{") > _MOST_VALUES


def long_tree(body: bytes, check: Callable[[], None]) -> Any:
    """The first value of a document, as `json_value` describes it.

    Args:
        body: of the request.
        check: called now and then, also while the value is gone through; what it raises ends that.

    Raises:
        InvalidArgument: it is no JSON.
    """
    scan(body, check)
    reader = Reader(body)
    token = reader.root()
    if token not in (ARRAY, OBJECT):
        return reader.scalar(token)
    return _container(_Text(body, check), reader.pos)


class _Text(NamedTuple):
    body: bytes
    check: Callable[[], None]

    def reader(self, start: int) -> Reader:
        """A reader at an offset."""
        reader = Reader(self.body)
        reader.pos = start
        return reader


class _Span(NamedTuple):
    """Some elements or members next to each other, as many as `size` says.

    Of one that is long, nothing is known but where it begins.
    """

    start: int
    end: int
    size: int
    is_long: bool = False


def _container(text: _Text, start: int) -> "LongList | Pairs | dict[str, Any]":
    """The array or object that opens at an offset."""
    spans = _Spans(text, start + 1)
    if text.body[start] == ARRAY:
        return LongList(_Parts(text, spans))
    pairs = _Members(text, spans)
    return dict(pairs) if _is_one_scalar(text, start + 1) else Pairs(pairs)


def _is_one_scalar(text: _Text, start: int) -> bool:
    """Whether an object has one member, and that is no container; it may be a `{"b64": …}`."""
    reader = text.reader(start)
    if reader.closes(OBJECT):
        return False
    reader.skip_name()
    token = reader.value()
    if token in (ARRAY, OBJECT):
        return False
    reader.skip_scalar(token)
    return reader.ends(OBJECT)


def _value(text: _Text, reader: Reader) -> Any:
    """The long value that is due."""
    token = reader.value()
    return _container(text, reader.pos) if token in (ARRAY, OBJECT) else reader.scalar(token)


class _Elements:
    """Some elements of an array; see `json_value.Part`."""

    __slots__ = ("_span", "_text", "count", "is_long")

    def __init__(self, text: _Text, span: _Span) -> None:
        self._text = text
        self._span = span
        self.count = span.size
        self.is_long = span.is_long

    def text(self) -> bytes:
        return self._text.body[self._span.start : self._span.end]

    def values(self) -> Iterable[Any]:
        self._text.check()
        if self.is_long:
            return [_value(self._text, self._text.reader(self._span.start))]
        return read_tree(b'{"":[%b]}' % self.text())[""]  # type: ignore[no-any-return]


class _Parts:
    """The elements of an array, which can be gone through any number of times."""

    __slots__ = ("_spans", "_text")

    def __init__(self, text: _Text, spans: "_Spans") -> None:
        self._text = text
        self._spans = spans

    def __iter__(self) -> Iterator[_Elements]:
        return (_Elements(self._text, span) for span in self._spans)


class _Members:
    """The members of an object, which can be gone through any number of times."""

    __slots__ = ("_spans", "_text")

    def __init__(self, text: _Text, spans: "_Spans") -> None:
        self._text = text
        self._spans = spans

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        text = self._text
        for span in self._spans:
            text.check()
            if span.is_long:
                reader = text.reader(span.start)
                yield reader.name(), _value(text, reader)
            else:
                yield from members(read_tree(b"{%b}" % text.body[span.start : span.end]))


class _Spans:
    """The spans of a container: each is found when it is first asked for."""

    __slots__ = ("_found", "_to_come")

    def __init__(self, text: _Text, start: int) -> None:
        self._found: list[_Span] = []
        self._to_come = _cut(text, start)

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


def _cut(text: _Text, start: int) -> Iterator[_Span]:
    """Cut a container, at the commas between its elements, into spans of about equal size.

    Args:
        text: of the document.
        start: offset behind the container's opening bracket.
    """
    position = start  # of the stretch that is looked at; from `start` to here there is no cut
    depth, is_in_string = 0, False
    is_first, is_long = True, False  # of the element at `start`
    while True:
        text.check()
        stretch = stretch_of(text.body, position, _PART_BYTES)
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
            is_empty = is_first and not text.body[start:end].strip(_SPACES)
            if not is_long and not is_empty:
                yield _Span(start, end, 1)
            return
        position += len(stretch)
        if not is_long and position - start > _PART_BYTES:
            is_long = True
            yield _Span(start, start, 1, is_long=True)
        depth, is_in_string = cuts.depth, cuts.is_in_string

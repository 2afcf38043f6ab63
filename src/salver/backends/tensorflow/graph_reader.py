"""Reading the nodes of a SavedModel's graph and functions, a few at a time.

Files may have hundreds of megabytes of constants and tens of thousands of nodes. They are read with
`pread`, some hundred nodes at once are parsed by protobuf, whose rules then decide what fields mean
that come twice or in an odd order, and of a large node only what says how large it is: its numbers
are stepped over. So little memory is taken, and the GIL is never held for long.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

from google.protobuf.message import DecodeError

from salver._pb import message_class
from salver.codecs.protobuf.wire import length_delimited, read_varint

__all__ = ["FunctionPart", "GraphPart", "GraphReader", "Parts", "TooLarge"]

_BLOCK_BYTES: Final = 1 << 18
_BATCH_BYTES: Final = 1 << 14  # parsed in 0.1 ms
_LARGE_BYTES: Final = 1 << 15  # nodes beyond are read field by field
_LONGEST_HEAD: Final = 16  # bytes of a tag and a length

_NODE: Final = 1 << 3 | 2
_LIBRARY: Final = 2 << 3 | 2
_FUNCTION: Final = 1 << 3 | 2
_FUNCTION_NODE: Final = 3 << 3 | 2
_SIGNATURE: Final = 1 << 3 | 2
_ATTRIBUTE: Final = 5 << 3 | 2
_ATTRIBUTE_VALUE: Final = 2 << 3 | 2
_VALUE_LIST: Final = 1 << 3 | 2
_VALUE_TENSOR: Final = 8 << 3 | 2
_LIST_FUNCTION: Final = 9 << 3 | 2
_TENSOR_DTYPE: Final = 1 << 3
_TENSOR_SHAPE: Final = 2 << 3 | 2
_TENSOR_VARIANT: Final = 15 << 3 | 2
_FIXED_SIZES: Final = {1: 8, 5: 4}
_VARINT_KIND: Final = 0
_LENGTH_KIND: Final = 2

_MOST_KEPT_BYTES: Final = 1 << 24

# How a large message is made small: which fields are made small in turn, with their place in this
# list, and which are kept whole; None keeps all that are small.
_SLIMMING: Final[list[tuple[dict[int, int], frozenset[int] | None]]] = [
    ({_ATTRIBUTE: 1}, None),  # a node
    ({_ATTRIBUTE_VALUE: 2}, None),  # an attribute of it
    ({_VALUE_TENSOR: 3, _VALUE_LIST: 4}, None),  # its value
    ({}, frozenset({_TENSOR_DTYPE, _TENSOR_SHAPE, _TENSOR_VARIANT})),
    ({_VALUE_TENSOR: 3}, frozenset({_VALUE_TENSOR, _LIST_FUNCTION})),
]


class TooLarge(Exception):
    """Something in the graph has a size that nothing can have."""


class GraphPart(NamedTuple):
    """Some nodes of the graph itself.

    Attributes:
        nodes: each a `salver.graph.Node`.
        unread_bytes: of the file that belong to these nodes, one large one mostly.
    """

    nodes: Sequence[Any]
    unread_bytes: int = 0


class FunctionPart(NamedTuple):
    """Some of the nodes of a function, and perhaps its name.

    Attributes:
        nodes: as in a `GraphPart`.
        name: of the function, where it is said here.
        is_first: whether another function begins here.
        unread_bytes: as in a `GraphPart`.
    """

    nodes: Sequence[Any]
    name: str
    is_first: bool
    unread_bytes: int = 0


Parts = Iterator[GraphPart | FunctionPart]


_Field = tuple[int, int, int, int]
"""Of a serialized message: its tag, and where in the file it starts with that, begins without, and
ends. A plain tuple, since one is made for each node: that takes half the time."""


class GraphReader:
    """Reads the graphs in one file. Belongs to one thread."""

    def __init__(self, file: BinaryIO, breathe: Callable[[], None]) -> None:
        """Read nothing yet.

        Args:
            file: stays open meanwhile; its place does not matter.
            breathe: called again and again; see `Breather`.
        """
        self._descriptor = file.fileno()
        self._breathe = breathe
        self._block = b""
        self._base = 0  # where the block begins in the file

    def parts(self, begin: int, end: int) -> Parts:
        """What stands in a serialized `tensorflow.GraphDef`.

        Args:
            begin: its place in the file.
            end: where it ends there.

        Raises:
            TooLarge: see there.
            DecodeError: it is none.
            OSError: it cannot be read.
        """
        parse = message_class("salver.graph.Graph").FromString
        for field, data in self._pieces(begin, end, node=_NODE, other=_LIBRARY):
            if data is not None:
                yield GraphPart(parse(data).node, field[3] - field[1] - len(data))
            else:
                yield from self._functions(field)

    def _functions(self, library: _Field) -> Parts:
        parse = message_class("salver.graph.Function").FromString
        for tag, _, begin, end in self._fields(library[2], library[3]):
            if tag != _FUNCTION:
                continue
            if end - begin <= _LARGE_BYTES:
                function = parse(self._read(begin, end))
                yield FunctionPart(function.node_def, function.signature.name, True)
                self._breathe()
                continue
            yield FunctionPart((), "", True)
            pieces = self._pieces(begin, end, node=_FUNCTION_NODE, other=_SIGNATURE)
            for (_, start, _, stop), data in pieces:
                if data is not None:
                    unread_bytes = stop - start - len(data)
                    yield FunctionPart(parse(data).node_def, "", False, unread_bytes)
                elif stop - start > _MOST_KEPT_BYTES:
                    raise TooLarge("a function with more arguments than any can have")
                else:
                    function = parse(self._read(start, stop))
                    yield FunctionPart((), function.signature.name, False)

    def _pieces(
        self, begin: int, end: int, *, node: int, other: int
    ) -> Iterator[tuple[_Field, bytes | None]]:
        """The fields of a message with one of two tags, in their order.

        Nodes come with their bytes, some hundred at once; those of a large node are the ones that
        are needed.
        """
        first: int | None = None  # where the nodes begin that are to be read together
        last = begin
        for field in self._fields(begin, end):
            tag, start, _, stop = field
            if tag == node and stop - start <= _LARGE_BYTES:
                if first is None:
                    first = start
                last = stop
                if last - first >= _BATCH_BYTES:
                    yield (node, first, first, last), self._read(first, last)
                    first = None
                    self._breathe()
                continue
            if first is not None:  # what stands between is read with them: protobuf passes over it
                if stop - first <= _LARGE_BYTES and tag != other:
                    continue
                yield (node, first, first, last), self._read(first, last)
                first = None
            if tag == node:
                yield field, length_delimited(node >> 3, self._slim(field, 0))
            elif tag == other:
                yield field, None
        if first is not None:
            yield (node, first, first, last), self._read(first, last)

    def _slim(self, message: _Field, depth: int) -> bytes:
        """A large node, or what is large in it, without all that need not be known."""
        ways, kept_tags = _SLIMMING[depth]
        kept: list[bytes] = []
        size = 0
        for field in self._fields(message[2], message[3]):
            self._breathe()
            tag, start, _, stop = field
            is_small = stop - start <= _LARGE_BYTES
            if tag in ways and not is_small:
                kept.append(length_delimited(tag >> 3, self._slim(field, ways[tag])))
            elif is_small if kept_tags is None else tag in kept_tags:
                if not is_small:  # such as a shape of 10,000 dimensions
                    raise TooLarge("a constant whose description is longer than any can be")
                kept.append(self._read(start, stop))
            else:
                continue
            size += len(kept[-1])
            if size > _MOST_KEPT_BYTES:
                raise TooLarge("a node with more attributes than any can have")
        return b"".join(kept)

    # -- bytes -----------------------------------------------------------------------------------

    def _fields(self, at: int, end: int) -> Iterator[_Field]:
        """The fields between two places, in their order."""
        while at < end:
            place = at - self._base
            if not 0 <= place <= len(self._block) - _LONGEST_HEAD:
                self._load(at)
                place = 0
            block = self._block
            try:
                tag, size, begin = block[place], block[place + 1], place + 2
                if tag > 0x7F or tag & 7 != 2 or size > 0x7F:
                    tag, size, begin = _head(block, place)
            except IndexError as error:
                raise DecodeError("not a field") from error
            begin += self._base
            stop = begin + size
            if stop > end:
                raise DecodeError("a field ends behind its message")
            yield tag, at, begin, stop
            at = stop

    def _read(self, start: int, end: int) -> bytes:
        place = start - self._base
        if not 0 <= place <= len(self._block) - (end - start):
            self._load(start, end - start)
            place = 0
        return self._block[place : place + end - start]

    def _load(self, at: int, size: int = 0) -> None:
        self._block = os.pread(self._descriptor, max(_BLOCK_BYTES, size), at)
        self._base = at


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """The tag of a field, how long it is, and where it begins.

    Raises:
        IndexError: there is no field.
    """
    tag, at = read_varint(data, at)
    kind = tag & 7
    if kind == _LENGTH_KIND:
        return tag, *read_varint(data, at)
    if kind == _VARINT_KIND:
        return tag, read_varint(data, at)[1] - at, at
    if kind not in _FIXED_SIZES:
        raise IndexError("a group, or no kind at all")
    return tag, _FIXED_SIZES[kind], at

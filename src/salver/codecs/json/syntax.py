"""JSON documents as Python values, exactly as the reference reads them.

`read_tree` has the standard library do it, being quick and taking NaN, where it is known to give
what the reference gives. `parse` knows everything; it is iterative, so that no nesting exhausts the
stack.

Source: RapidJSON 1.1.0 `reader.h`, IterativeParse with kParseNanAndInfFlag and
kParseStopWhenDoneFlag over an EncodedInputStream<UTF8<>, MemoryStream>.
"""

import json
import re
from typing import Any

import orjson

from salver.codecs.json.scan import ARRAY, BOM, OBJECT, Reader, scan
from salver.codecs.json.tree import OBJECT_TYPES, Pairs

__all__ = ["object_of", "parse", "read_tree"]

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# Every digit as 0 and every exponent as e0…: what may be too big for a double shows as a run.
_SHAPE_OF_NUMBERS = bytes.maketrans(b"123456789E", b"000000000e")
_MANY_DIGITS = b"0" * 100
_BIG_EXPONENT = b"e000"


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Pairs:
    """The object with these members."""
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else Pairs(pairs)


_decoder = json.JSONDecoder(object_pairs_hook=object_of)

# Numbers of which every parser makes the same, up to the last comma: 20 times faster in bulk. In so
# many at a time, because each takes memory while the match goes on.
_NUMBERS = re.compile(
    rb"(?:-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,17})?(?:[eE][+-]?[0-9]{1,2})?[ \n\r\t]*,[ \n\r\t]*)"
    rb"{1,1024}"
)


def read_tree(body: bytes) -> Any:
    """The first value of a document, as `tree` describes it.

    Raises:
        InvalidArgument: it is no JSON.
    """
    shape = body.translate(_SHAPE_OF_NUMBERS, b"+")
    # The standard library does not report a number that overflows a double.
    may_be_too_big = _BIG_EXPONENT in shape or _MANY_DIGITS in shape
    if not may_be_too_big and not _SURROGATE.search(body):
        try:
            text = body.removeprefix(BOM).decode()
            value = _decoder.raw_decode(text, len(text) - len(text.lstrip(" \t\n\r")))[0]
            if isinstance(value, OBJECT_TYPES):  # of `1.x` it would make 1, and leave the rest
                return value
        except (ValueError, RecursionError):
            pass  # no UTF-8, no JSON to it, or nested too deeply
    scan(body, lambda: True)  # refuses much sooner
    return parse(body)


def parse(body: bytes) -> Any:
    """The first value of a document; what follows it is ignored.

    Returns:
        A value as `tree` describes it.

    Raises:
        InvalidArgument: it is no JSON; the text names the fault and its offset in bytes.
    """
    reader = Reader(body)
    token = reader.root()
    opened: list[_Container] = []
    while True:
        if token in (ARRAY, OBJECT):
            reader.pos += 1
            container = _Container(token)
            if not reader.closes(token):
                opened.append(container)
                token = container.next(reader)
                continue
            value = container.close()
        else:
            value = reader.scalar()
        while opened:
            opened[-1].items.append(value)
            if not reader.ends(opened[-1].kind):
                token = opened[-1].next(reader)
                break
            value = opened.pop().close()
        else:
            return value


class _Container:
    """An array or object that is still being read."""

    __slots__ = ("items", "kind", "names")

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.items: list[Any] = []
        self.names: list[str] = []

    def next(self, reader: Reader) -> int:
        """Read up to the next value; give the first byte of it."""
        if self.kind == OBJECT:
            self.names.append(reader.name())
        else:
            while run := _NUMBERS.match(reader.body, reader.pos):
                reader.pos = run.end()
                self.items += orjson.loads(b"[%s]" % run[0].rstrip(b", \n\r\t"))
        return reader.value()

    def close(self) -> Any:
        """The finished value."""
        if self.kind == ARRAY:
            return self.items
        return object_of(list(zip(self.names, self.items, strict=True)))

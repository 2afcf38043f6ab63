"""Documents as text: what is due at a position, and whether all of it is JSON.

`scan` makes no value: its memory is a byte a level, its time that of simdjson and numpy, which skip
stretches of a container that they can vouch for. It is iterative, so that no nesting exhausts the
stack. What is due at a position a `Reader` says; its scalars are those of `scalars`.

Source: RapidJSON 1.1.0 `reader.h`, IterativeParse with kParseNanAndInfFlag and
kParseStopWhenDoneFlag over an EncodedInputStream<UTF8<>, MemoryStream>; `error/en.h`.
"""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import simdjson
from numpy.typing import NDArray

from salver.codecs.json.reading import UNWANTED
from salver.codecs.json.scalars import INVALID_VALUE, fault, read_scalar
from salver.codecs.json.syntax_hints import EMPTY
from salver.errors import Cancelled, InvalidArgument

__all__ = [
    "ARRAY",
    "BOM",
    "MAX_DEPTH",
    "OBJECT",
    "Cuts",
    "Reader",
    "find_cuts",
    "scan",
    "stretch_of",
]

ARRAY, OBJECT = b"[{"
"""The kinds of containers, by the byte that opens them."""

MAX_DEPTH: Final = 1 << 20
"""The reference has no bound but its memory; a million levels are more than anybody means."""

_MISSING_COMMA = {
    ARRAY: "Missing a comma or ']' after an array element.",
    OBJECT: "Missing a comma or '}' after an object member.",
}
_CLOSERS = {ARRAY: b"]"[0], OBJECT: b"}"[0]}
_QUOTE, _COMMA, _COLON = b'",:'
_NO_VALUE = frozenset(b"]},:\x00")
BOM = b"\xef\xbb\xbf"
_SPACE = re.compile(rb"[ \n\r\t]*")
_STEP_BYTES = 1 << 20  # of blanks, after which others get the GIL
# Brackets that open or close, with simple names between them, in pieces that take as little memory.
_RUN_BYTES = 64 << 10
_CLOSING_RUN_BYTES = 4 << 10
_OPENING = re.compile(
    rb"\[[\[ \n\r\t]*(?:NAME[\[ \n\r\t]*){0,1024}|(?:NAME[\[ \n\r\t]*){1,1024}".replace(
        b"NAME", rb'\{[ \n\r\t]*"[^"\\\x00-\x1f\[\]{}]*"[ \n\r\t]*:'
    )
)
_CLOSING = re.compile(rb"[\]} \n\r\t]*")
_SPACES = b" \n\r\t"
_NO_OPENERS = bytes(sorted(set(range(256)) - set(b"[{")))
_MIRROR = bytes.maketrans(b"[{", b"]}")
_STEPS = bytearray(256)
for _byte in b"[{":
    _STEPS[_byte] = 1
for _byte in b"]}":
    _STEPS[_byte] = 255  # -1
_STEPS_TABLE = bytes(_STEPS)
_ESCAPE = re.compile(rb"\\.", re.DOTALL)

_SMALLEST_STRETCH_BYTES = 4 << 10
_LARGEST_STRETCH_BYTES = 128 << 10
# How much may be looked at in vain: bytes for each byte that was read, and some to begin with.
_VAIN_RATE = 8
_VAIN_BYTES = 256 << 10
# Elements of lists in lists, each with the brackets around it. Its numbers are never too big. A
# pattern's repetitions take memory while it matches, hence so many at most.
_ELEMENTS = re.compile(
    rb"(?:[\[ \n\r\t]*"
    rb"(?:-?(?:0|[1-9][0-9]{0,200})(?:\.[0-9]{1,200})?(?:[eE][+-]?[0-9]{1,2})?"
    rb'|-?(?:NaN|Inf(?:inity)?)|true|false|null|"[^"\\\x00-\x1f\[\]]{0,200}"|\[[ \n\r\t]*\])'
    rb"[\] \n\r\t]*,){1,1024}"
)
_SPECIAL = (b"-NaN", b"NaN", b"-Infinity", b"Infinity", b"-Inf", b"Inf")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]")))
# Which byte of a string it is that is no ASCII does not matter, and elsewhere none is JSON.
_HIGH_AS_LETTER = bytes(range(128)) + b"x" * 128


class Reader:
    """A position in a document. A zero byte ends it, as it does for the reference.

    Every method that reads raises InvalidArgument for what is no JSON.
    """

    __slots__ = ("body", "pos")

    def __init__(self, body: bytes, start: int = 0) -> None:
        """Begin at an offset; at the start of a body behind its byte order mark."""
        if not body:
            raise InvalidArgument("JSON Parse error: The document is empty", hint=EMPTY)
        self.body = body
        self.pos = start
        if not start:
            for part in BOM:  # each byte of the mark is optional
                self.pos += body[self.pos : self.pos + 1] == bytes((part,))

    def root(self) -> int:
        """Read up to the document's value; give the first byte of the value."""
        return self.value("The document is empty.")

    def value(self, said: str = INVALID_VALUE) -> int:
        """The first byte of the value that is due."""
        token = self._peek()
        if token in _NO_VALUE:
            raise fault(self.body, said, self.pos)
        return token

    def scalar(self, *, is_kept: bool = True) -> Any:
        """Read the value at the position, which is no container."""
        value, self.pos = read_scalar(self.body, self.pos, is_kept=is_kept)
        return value

    def name(self, *, is_kept: bool = True) -> str:
        """Read the name of a member, up to its value."""
        if self._peek() != _QUOTE:
            raise fault(self.body, "Missing a name for object member.", self.pos)
        name: str = self.scalar(is_kept=is_kept)
        if self._peek() != _COLON:
            said = "Missing a colon after a name of object member."
            raise fault(self.body, said, self.pos)
        self.pos += 1
        return name

    def only_scalar(self) -> dict[str, Any] | None:
        """Read the object that is due, if it has just one member, and that is no container."""
        self.pos += 1
        if self.closes(OBJECT):
            return None
        name = self.name()
        if self.value() in (ARRAY, OBJECT):
            return None
        value = self.scalar()
        return {name: value} if self.ends(OBJECT) else None

    def closes(self, kind: int) -> bool:
        """Whether a container that was just opened is empty; then read its end."""
        is_empty = self._peek() == _CLOSERS[kind]
        self.pos += is_empty
        return is_empty

    def ends(self, kind: int) -> bool:
        """Whether a container ends after a value in it, rather than going on after a comma."""
        token = self._peek()
        if token not in (_COMMA, _CLOSERS[kind]):
            raise fault(self.body, _MISSING_COMMA[kind], self.pos)
        self.pos += 1
        if token == _COMMA:
            self._peek()
        return token != _COMMA

    def _peek(self) -> int:
        """The first byte that is no white space, zero at the end; the position moves to it."""
        body, at = self.body, self.pos
        while found := _SPACE.match(body, at, at + _STEP_BYTES):
            at = found.end()
            if at - found.start() < _STEP_BYTES:  # more than that leaves the GIL to others first
                break
        self.pos = at
        return body[at] if at < len(body) else 0


def scan(body: bytes, is_active: Callable[[], bool]) -> int:
    """Read a document's first value, and make nothing of it.

    Args:
        body: of the request.
        is_active: asked now and then whether to go on.

    Returns:
        Where the value begins.

    Raises:
        InvalidArgument: it is no JSON, or nested more than `MAX_DEPTH` deep.
        Cancelled: it is not wanted any more.
    """
    scanner = _Scanner(body, is_active)
    token: int | None = scanner.root()
    start = scanner.pos
    while token is not None or scanner.stack:
        if token is None:
            token = scanner.after_value()
        elif token in (ARRAY, OBJECT):
            token = scanner.open(token)
        else:
            scanner.scalar(is_kept=False)
            token = None
    return start


class _Scanner(Reader):
    """One scan. What reads on gives the first byte of the next value; None where there is none.

    Attributes:
        stack: the kinds of the containers that are open, outermost first.
    """

    __slots__ = ("_is_active", "_looked_at", "_parser", "_stretch_bytes", "stack")

    def __init__(self, body: bytes, is_active: Callable[[], bool]) -> None:
        super().__init__(body)
        self._is_active = is_active
        self._parser = simdjson.Parser()
        self._stretch_bytes = _SMALLEST_STRETCH_BYTES
        self._looked_at = 0
        self.stack = bytearray()

    def open(self, kind: int) -> int | None:
        """Read into a container, and those it begins with, up to a value in it."""
        found = _OPENING.match(self.body, self.pos, self.pos + _RUN_BYTES)
        if found is None:  # an object that does not begin with a simple name
            self.stack += b"{"
            self.pos += 1
        else:
            run = found[0].rstrip(_SPACES)
            self.stack += run.translate(None, _NO_OPENERS)
            self.pos = found.end()
        if len(self.stack) > MAX_DEPTH:
            raise InvalidArgument(
                f"JSON Parse error: Nested more than {MAX_DEPTH} levels deep",
                hint="Are the brackets balanced?",
            )
        if found is not None:
            if run.endswith(b":"):
                return self.value()
            kind = ARRAY
        if self.closes(kind):
            self.stack.pop()
            return None
        return self._next()

    def after_value(self) -> int | None:
        """Read what follows a value in a container, up to the next value."""
        stack = self.stack
        found = _CLOSING.match(self.body, self.pos, self.pos + _CLOSING_RUN_BYTES)
        closers = found[0].translate(None, _SPACES) if found else b""
        count = len(closers)
        if 1 < count < len(stack) and stack[: -count - 1 : -1].translate(_MIRROR) == closers:
            del stack[-count:]
            self.pos += len(found[0]) if found else 0
            return None
        if self.ends(stack[-1]):
            stack.pop()
            return None
        return self._next()

    def _next(self) -> int | None:
        """Read up to the next value in the innermost container; an element of it is due."""
        kind, start = self.stack[-1], -1
        while self.pos > start:
            if not self._is_active():
                raise Cancelled(UNWANTED)
            start = self.pos
            if self._skip_stretch(kind):
                return self.after_value()
            if self.pos == start and kind == ARRAY:
                self._skip_run()
                kind = self.stack[-1]
        if kind == OBJECT:
            self.name(is_kept=False)
        return self.value()

    def _skip_stretch(self, kind: int) -> bool:
        """Skip elements that simdjson vouches for; whether the container ends behind them."""
        start = self.pos
        if self._looked_at > _VAIN_RATE * start + _VAIN_BYTES:
            return False
        text = stretch_of(self.body, start, self._stretch_bytes)
        self._looked_at += len(text)
        cuts = find_cuts(text)
        is_end = cuts.end >= 0
        stop = cuts.end if is_end else int(cuts.commas[-1]) if len(cuts.commas) else 0
        if stop <= 0 or not self._are_elements(text[:stop], kind):
            self._stretch_bytes = _SMALLEST_STRETCH_BYTES
            return False
        if is_end or 2 * stop >= len(text):
            self._stretch_bytes = min(4 * self._stretch_bytes, _LARGEST_STRETCH_BYTES)
        self.pos = start + stop if is_end else start + stop + 1
        return is_end

    def _are_elements(self, text: bytes, kind: int) -> bool:
        """Whether simdjson takes a text for elements of a container."""
        if not text.isascii():
            text = text.translate(_HIGH_AS_LETTER)
        if b"NaN" in text or b"Inf" in text:
            for special in _SPECIAL:
                text = text.replace(special, b"[]")  # stands wherever, and only where, values do
        if b"\\u" in text and _SURROGATE.search(text):
            return False
        try:
            form = b"[%b]" if kind == ARRAY else b"{%b}"
            found: Any = self._parser.parse(form % text)
            return len(found) > 0
        except (ValueError, RuntimeError):
            return False

    def _skip_run(self) -> None:
        """Skip elements of lists by a pattern; these may open and close lists."""
        found = _ELEMENTS.match(self.body, self.pos, self.pos + _RUN_BYTES)
        if found is None:
            return
        stack = self.stack
        brackets = found[0].translate(None, _NO_BRACKETS)
        depths = np.cumsum(b"\\"[0] - np.frombuffer(brackets, np.uint8).astype(np.int8))
        if len(depths):
            closed = max(0, -int(depths.min()))
            # The comma behind the outermost one closed stands in a list, too.
            is_sound = stack.endswith(b"[" * (closed + 1))
            if not is_sound or len(stack) + int(depths.max()) > MAX_DEPTH:
                return
            kept = len(stack) - closed
            del stack[kept:]
            stack += b"[" * (int(depths[-1]) + closed)
        self.pos = found.end()


class Cuts(NamedTuple):
    """What a stretch of the text between a container's brackets holds.

    Attributes:
        commas: offsets of those between the container's own elements.
        end: offset of the bracket that ends the container; -1 when it does not end here.
        depth: of the containers within it that are open behind the stretch.
        is_in_string: whether the stretch ends within a string.
    """

    commas: "NDArray[np.intp]"
    end: int
    depth: int
    is_in_string: bool


def find_cuts(text: bytes, depth: int = 0, is_in_string: bool = False) -> Cuts:
    """Find them, in 2 ns a byte. Right if the text is JSON; otherwise they are a guess.

    Args:
        text: does not begin or end within an escape.
        depth: as the stretch before left it.
        is_in_string: the same.
    """
    has_strings = is_in_string or b'"' in text
    if has_strings and b"\\" in text:
        text = _ESCAPE.sub(b"__", text)
    codes = np.frombuffer(text, np.uint8)
    steps = np.frombuffer(text.translate(_STEPS_TABLE), np.int8)
    is_cut = codes == _COMMA
    if has_strings:
        quotes = np.cumsum(codes == _QUOTE, dtype=np.int32)
        is_outside = (quotes & 1) == (1 if is_in_string else 0)
        is_in_string = not is_outside[-1] if len(text) else is_in_string
        steps = steps * is_outside
        is_cut &= is_outside
    depths = np.cumsum(steps, dtype=np.int32)
    depths += depth
    end = -1
    if len(text) and depths.min() < 0:
        end = int(np.argmax(depths < 0))
        depths, is_cut = depths[:end], is_cut[:end]
    elif len(text):
        depth = int(depths[-1])
    is_cut &= depths == 0
    return Cuts(np.flatnonzero(is_cut), end, depth, is_in_string)


def stretch_of(body: bytes, start: int, size: int) -> bytes:
    """So many bytes of a body from an offset on, or one more, rather than end within an escape."""
    text = body[start : start + size]
    backslashes = len(text) - len(text.rstrip(b"\\"))
    return body[start : start + size + 1] if backslashes % 2 else text

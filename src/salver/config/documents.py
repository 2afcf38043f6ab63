"""A YAML or JSON document as a tree in which everything knows its place.

Only mappings, lists and scalars: no anchors, no tags, no key twice, and neither deep nor large
without end, so that a file can do no more here than be wrong.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from salver.config.text_format import Misplaced

__all__ = ["Node", "Scalar", "read_json", "read_yaml"]

Scalar = str | int | float | bool | None

_MOST_DEPTH: Final = 32  # the message has 8
_MOST_VALUES: Final = 1_000_000
_LONGEST_NUMBER: Final = 40

# As the YAML specification has them.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BLANKS = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS: Final = {"true": True, "false": False, "null": None}

# Plain scalars by the core schema of YAML 1.2, in which `yes`, `1:30` and dates are text.
_YAML_WORDS: Final = {
    spelled: value
    for word, value in _WORDS.items()
    for spelled in (word, word.capitalize(), word.upper())
} | {"~": None, "": None}
_YAML_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_YAML_REAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(slots=True)
class Node:
    """A value and its place.

    Attributes:
        value: a scalar, a list, or a mapping: key → where the key is, and its value.
        text: a scalar as it was written, without quotes.
    """

    line: int
    column: int
    value: "Scalar | list[Node] | dict[str, tuple[Node, Node]]"
    text: str = ""

    def wrong(self, text: str) -> Misplaced:
        """The error that this value is wrong."""
        return Misplaced(self.line, self.column, text)


@dataclass(slots=True)
class _Builder:
    """Puts a tree together from its parts, in their order."""

    breathe: Callable[[], object]
    root: Node | None = None
    _open: list[Node] = field(default_factory=list)
    _key: list[Node | None] = field(default_factory=list)  # of each open mapping; else None
    _count: int = 0

    def open(self, node: Node) -> None:
        self.add(node)
        if len(self._open) == _MOST_DEPTH:
            raise node.wrong(f"more than {_MOST_DEPTH} levels of nesting")
        self._open.append(node)
        self._key.append(None)

    def close(self) -> None:
        self._open.pop()
        self._key.pop()

    def add(self, node: Node) -> None:
        self.breathe()
        self._count += 1
        if self._count > _MOST_VALUES:
            raise node.wrong(f"more than {_MOST_VALUES} values")
        if not self._open:
            self.root = node
            return
        parent = self._open[-1].value
        if isinstance(parent, list):
            parent.append(node)
            return
        assert isinstance(parent, dict)
        key = self._key[-1]
        if key is not None:
            parent[key.text] = (key, node)
            self._key[-1] = None
            return
        if isinstance(node.value, (list, dict)):
            raise node.wrong("a key must be a scalar")
        if node.text in parent:
            raise node.wrong(f'the key "{node.text}" is there twice')
        self._key[-1] = node


# -- YAML ----------------------------------------------------------------------------------------


def read_yaml(text: str, breathe: Callable[[], object]) -> Node | None:
    """The one document in a text; None where there is none.

    Args:
        text: YAML 1.2, as far as PyYAML reads it.
        breathe: called for each value.

    Raises:
        Misplaced: it is no such document, or has what is not taken here.
    """
    import yaml  # only where somebody has such a file

    if (found := _UNPRINTABLE.search(text)) is not None:
        raise Misplaced(*_place(text, found.start()), f"a character {found[0]!r} is not allowed")
    builder = _Builder(breathe)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, Loader=loader):
            _take_event(builder, event, yaml)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise Misplaced(line, column, error.problem or error.context or "no YAML") from None
    return builder.root


def _take_event(builder: _Builder, event: Any, yaml: Any) -> None:
    line, column = event.start_mark.line + 1, event.start_mark.column + 1
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise Misplaced(line, column, "anchors and aliases are not taken here")
    if getattr(event, "tag", None) is not None:
        raise Misplaced(line, column, f"tags are not taken here: {event.tag}")
    match event:
        case yaml.DocumentStartEvent() if builder.root is not None:
            raise Misplaced(line, column, "there is more than one document")
        case yaml.MappingStartEvent():
            builder.open(Node(line, column, {}))
        case yaml.SequenceStartEvent():
            builder.open(Node(line, column, []))
        case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
            builder.close()
        case yaml.ScalarEvent():
            is_plain = event.style is None or event.style == ""
            value = _plain(event.value) if is_plain else event.value
            builder.add(Node(line, column, value, event.value))
        case _:
            pass  # begins and ends


def _plain(text: str) -> Scalar:
    if text in _YAML_WORDS:
        return _YAML_WORDS[text]
    if len(text) <= _LONGEST_NUMBER:
        if _YAML_INTEGER.fullmatch(text):
            return int(text, 10 if text[:2] not in ("0o", "0x") else 0)
        if _YAML_REAL.fullmatch(text):
            return float(text)
    return text


# -- JSON ----------------------------------------------------------------------------------------


def read_json(text: str, breathe: Callable[[], object]) -> Node:
    """The document in a text.

    Args:
        text: JSON, without extensions.
        breathe: called for each value.

    Raises:
        Misplaced: it is no such document.
    """
    reader = _JsonReader(text, _Builder(breathe))
    reader.value()
    if reader.next() != "":
        raise reader.wrong("something follows the document")
    assert reader.builder.root is not None
    return reader.builder.root


class _JsonReader:
    def __init__(self, text: str, builder: _Builder) -> None:
        from json import decoder  # only where somebody has such a file

        self._error = decoder.JSONDecodeError
        self._scan = vars(decoder)["scanstring"]  # not in its stubs
        self.builder = builder
        self._text = text
        self._at = 0
        self._line = 1
        self._line_start = 0
        self._seen = 0  # up to where lines are counted

    def wrong(self, text: str) -> Misplaced:
        return Misplaced(*self._here(), text)

    def next(self) -> str:
        """The character after any blanks; empty at the end."""
        found = _BLANKS.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return self._text[self._at : self._at + 1]

    def value(self) -> None:
        match self.next():
            case "{":
                self._container("}", {})
            case "[":
                self._container("]", [])
            case '"':
                self._string()
            case _:
                self._plain()

    def _container(self, end: str, value: "list[Node] | dict[str, tuple[Node, Node]]") -> None:
        self.builder.open(Node(*self._here(), value))
        self._at += 1
        is_first = True
        while self.next() != end:
            if not is_first:
                self._expect(",", f'"," or "{end}"')
            is_first = False
            if end == "}":
                if self.next() != '"':
                    raise self.wrong("a key in quotes is missing")
                self._string()
                self._expect(":", '":"')
            self.value()
        self._at += 1
        self.builder.close()

    def _expect(self, char: str, what: str) -> None:
        if self.next() != char:
            raise self.wrong(f"{what} is missing")
        self._at += 1

    def _string(self) -> None:
        here = self._here()
        try:
            text, self._at = self._scan(self._text, self._at + 1, True)
        except self._error as error:
            raise Misplaced(*_place(self._text, error.pos), error.msg) from None
        self.builder.add(Node(*here, text, text))

    def _plain(self) -> None:
        here = self._here()
        for word, value in _WORDS.items():
            if self._text.startswith(word, self._at):
                self._at += len(word)
                self.builder.add(Node(*here, value, word))
                return
        found = _NUMBER.match(self._text, self._at)
        if found is None or found.end() - found.start() > _LONGEST_NUMBER:
            raise self.wrong("a value is missing" if found is None else "a number is too long")
        self._at = found.end()
        number = float(found[0]) if found[1] or found[2] else int(found[0])
        self.builder.add(Node(*here, number, found[0]))

    def _here(self) -> tuple[int, int]:
        count = self._text.count("\n", self._seen, self._at)
        if count:
            self._line += count
            self._line_start = self._text.rindex("\n", self._seen, self._at) + 1
        self._seen = self._at
        return self._line, self._at - self._line_start + 1


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)

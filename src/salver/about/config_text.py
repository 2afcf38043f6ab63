"""Protocol buffers in text form, read without knowing the message: field → its values.

(The library for protocol buffers must know all that is in a text: it cannot skip a list of
messages, and a `config.pbtxt` has whatever Triton's next release knows.)

Source: protobuf.dev, "Text Format Language Specification".
"""

import re
from typing import Any, Final

__all__ = ["Malformed", "parse"]

_TOKEN: Final = re.compile(
    r"""\s*(?:\#[^\n]*\s*)*
    (?: (?P<name>[A-Za-z_][\w./]*)
      | (?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)[fF]?)
      | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<mark>[-{}<>\[\]:,;])
      | (?P<end>\Z))""",
    re.VERBOSE,
)
_DEEPEST: Final = 50
_CLOSING: Final = {"{": "}", "<": ">"}


class Malformed(Exception):
    """The text is none of a message; it says where."""


def parse(text: str) -> dict[str, list[Any]]:
    """Field → its values, in their order: messages as dicts, texts, numbers, and names as `str`.

    Raises:
        Malformed: it is no message.
    """
    return _Reader(text).message("", 0)


class _Reader:
    """Reads a text from its start to its end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.kind = self.word = ""
        self._next()

    def message(self, closing: str, depth: int) -> dict[str, list[Any]]:
        if depth > _DEEPEST:
            raise self._malformed("it is too deep")
        fields: dict[str, list[Any]] = {}
        while self.word != closing:
            if self.kind != "name":
                raise self._malformed("the name of a field was expected")
            name = self.word
            self._next()
            has_colon = self._taken(":")
            values = fields.setdefault(name, [])
            if self._taken("["):
                values += self._list(depth)
            elif has_colon or self.word in _CLOSING:
                values.append(self._value(depth))
            else:
                raise self._malformed("':' was expected")
            _ = self._taken(",") or self._taken(";")
        return fields

    def _list(self, depth: int) -> list[Any]:
        values: list[Any] = []
        while not self._taken("]"):
            if values and not self._taken(","):
                raise self._malformed("',' was expected")
            values.append(self._value(depth))
        return values

    def _value(self, depth: int) -> Any:
        kind, word = self.kind, self.word
        self._next()
        if word in _CLOSING:
            made = self.message(_CLOSING[word], depth + 1)
            self._next()
            return made
        if kind == "text":
            parts = [word]
            while self.kind == "text":
                parts.append(self.word)
                self._next()
            return "".join(_unquoted(part) for part in parts)
        if kind == "number":
            return _number(word)
        if kind == "name":
            return word
        if word == "-" and self.kind == "name":  # -inf
            return f"-{self._take()}"
        raise self._malformed("a value was expected")

    def _take(self) -> str:
        token = self.word
        self._next()
        return token

    def _taken(self, mark: str) -> bool:
        if self.kind == "mark" and self.word == mark:
            self._next()
            return True
        return False

    def _next(self) -> None:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise self._malformed("no word of the language")
        self._at = found.end()
        self.kind = found.lastgroup or ""
        self.word = found[self.kind]

    def _malformed(self, what: str) -> Malformed:
        line = self._text.count("\n", 0, self._at) + 1
        shown = f" at {self.word!r:.40}" if self.word else ""
        return Malformed(f"line {line}: {what}{shown}")


def _number(token: str) -> float | int:
    if token.lstrip("+-")[:2] in ("0x", "0X"):
        return int(token, 16)
    try:
        return int(token)
    except ValueError:
        return float(token.rstrip("fF"))


_ESCAPE: Final = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_PLAIN: Final = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def _unquoted(token: str) -> str:
    def meant(found: re.Match[str]) -> str:
        octal, hexadecimal, other = found.groups()
        if octal:
            return chr(int(octal, 8))
        if hexadecimal:
            return chr(int(hexadecimal, 16))
        return _PLAIN.get(other, other)

    return _ESCAPE.sub(meant, token[1:-1])

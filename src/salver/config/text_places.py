"""Where each value of a text protobuf stands, for messages about what is wrong with it."""

from collections import Counter
from typing import Any, Final

from google.protobuf import text_encoding, text_format

from salver.config.structured import Path, Places, is_map, is_repeated

__all__ = ["text_places"]

_CLOSING: Final = {"{": "}", "<": ">"}


def text_places(text: str, descriptor: Any) -> Places:
    """The places of all values.

    Args:
        text: that the library has read without an error.
        descriptor: of its message.
    """
    reader = _Reader(text)
    reader.fields(descriptor, (), "")
    return reader.places


class _Reader:
    def __init__(self, text: str) -> None:
        self.places: Places = {(): (1, 1)}
        self._tokens: Any = text_format.Tokenizer(text.split("\n"))

    def fields(self, descriptor: Any, path: Path, end: str) -> None:
        """Read fields up to a token, and that too."""
        counts: Counter[str] = Counter()
        while not self._tokens.AtEnd() and not self._is_at(end):
            here = self._here()
            name = self._name()
            found = None if descriptor is None else descriptor.fields_by_name.get(name)
            where = (*path, name)
            self.places.setdefault(where, here)
            self._skip(":")
            if found is None or not is_repeated(found):
                self._value(found, where, here)
                continue
            in_list = self._skip("[")
            while not (in_list and self._is_at("]")):
                self._value(found, (*where, counts[name]), here)
                counts[name] += 1
                if not in_list:
                    break
                here = self._here()
            if in_list:
                self._skip("]")
            self._skip(",", ";")
        self._skip(end)

    def _value(self, found: Any, where: Path, here: tuple[int, int]) -> None:
        """Read a value: a message from its field's name on, or a scalar."""
        closing = _CLOSING.get(self._tokens.token)
        if closing is None:
            self.places[where] = self._here()
            self._next()
            while self._tokens.token.startswith(("'", '"')):
                self._next()  # texts in a row are one
        else:
            self.places[where] = here
            self._next()
            kind = None if found is None else found.message_type
            if found is not None and is_map(found):
                where = (*where[:-1], self._map_key())
                self.places[where] = here
            self.fields(kind, where, closing)
        self._skip(",", ";")

    def _map_key(self) -> str:
        """The key of an entry, which stands first, as everybody writes it."""
        if not self._is_at("key"):
            return ""
        self._next()
        self._skip(":")
        text = self._tokens.token
        self._next()
        self._skip(",", ";")
        return text_encoding.CUnescape(text[1:-1]).decode() if text[0] in "'\"" else text

    def _name(self) -> str:
        name: str = self._tokens.token
        self._next()
        if name == "[":  # the type of an Any
            while not self._skip("]"):
                self._next()
        return name

    def _skip(self, *tokens: str) -> bool:
        is_there = self._is_at(*tokens)
        if is_there:
            self._next()
        return is_there

    def _is_at(self, *tokens: str) -> bool:
        return bool(self._tokens.token) and self._tokens.token in tokens

    def _next(self) -> None:
        self._tokens.NextToken()

    def _here(self) -> tuple[int, int]:
        place = self._tokens.ParseError("")  # which alone tells it
        return place.GetLine() or 1, place.GetColumn() or 1

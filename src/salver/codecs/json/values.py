"""Readers of any JSON that becomes arrays all at once, when no exception to the rule is in it.

orjson keeps the last of repeated keys, where the reference takes the first, so it is also proven
from the text that nothing was lost. In a tree as `syntax` reads it repeated keys show; it also has
NaN in it, and all else that orjson refuses.
"""

import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

import orjson

from salver.codecs.json.arrays import array_of, strings_of
from salver.codecs.json.reading import PredictInputs, Source
from salver.codecs.json.syntax import read_tree
from salver.codecs.json.text import base64_text
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import TensorSpec

__all__ = ["Values", "read_tree_values", "read_values"]

# A printable ASCII character, or the slash, written as an escape: a key may hide behind it.
_HIDDEN_KEY = re.compile(rb"\\u00[2-7]|\\/")


def read_values(source: Source) -> "Values | None":
    """Take what orjson reads without losing anything that matters."""
    try:
        document = orjson.loads(source.body)
    except ValueError:
        return None
    return _values(source.body, document, is_complete=False)


def read_tree_values(source: Source) -> "Values | None":
    """Take what the exact parsers read.

    Raises:
        InvalidArgument: it is no JSON.
    """
    source.tree = read_tree(source.body)
    return _values(source.body, source.tree, is_complete=True)


def _values(body: bytes, document: Any, *, is_complete: bool) -> "Values | None":
    if type(document) is not dict:
        return None
    name = document.get("signature_name", "")
    if type(name) is not str:
        return None
    if not (is_complete or "signature_name" not in document or _occur(body, {"signature_name": 1})):
        return None
    return Values(body, document, name, is_complete=is_complete)


class Values:
    """See `Reading`."""

    __slots__ = ("_body", "_document", "_is_complete", "_may_hold_text", "signature_name")

    def __init__(
        self, body: bytes, document: dict[str, Any], signature_name: str, *, is_complete: bool
    ) -> None:
        """Keep what a parser made of a body.

        Args:
            body: of the request.
            document: its values.
            signature_name: in it.
            is_complete: whether repeated keys would show, as `Pairs`.
        """
        self._body = body
        self._document = document
        self._is_complete = is_complete
        self.signature_name = signature_name
        self._may_hold_text = True

    @property
    def is_named(self) -> bool:
        """Whether the rows are objects of named inputs; there is at least one row."""
        return _is_named(self._document["instances"][0])

    def inputs(self, specs: Mapping[str, TensorSpec]) -> PredictInputs | None:
        """See `Reading`."""
        document, body = self._document, self._body
        is_row = "instances" in document
        if is_row == ("inputs" in document):
            return None
        key = "instances" if is_row else "inputs"
        found = _columns(document[key], specs, is_row=is_row)
        if found is None:
            return None
        columns, rows = found
        named_quotes = 2 * rows * len(specs)
        other_quotes = 6 if "signature_name" in document else 2
        self._may_hold_text = body.count(b'"') != other_quotes + named_quotes
        occurrences = {key: 1}
        arrays = []
        for name, spec in specs.items():
            array, objects = self._array(columns[name], spec.dtype)
            if array is None:
                return None
            arrays.append(array)
            if rows:
                occurrences[name] = occurrences.get(name, 0) + rows
            if objects:
                occurrences["b64"] = occurrences.get("b64", 0) + objects
        if self._is_complete or _occur(body, occurrences):
            return PredictInputs(arrays, is_row)
        return None

    def _array(self, value: Any, dtype: DataType) -> tuple[Array | None, int]:
        """The array of a value, and how many `{"b64": …}` are in it."""
        if dtype is DataType.STRING:
            return strings_of(value) or (None, 0)
        if dtype is not DataType.BOOL and (b"true" in self._body or b"false" in self._body):
            return None, 0  # numpy would take them for numbers
        if self._may_hold_text and _holds_text(value):
            return None, 0
        return array_of(value, dtype), 0


def _columns(
    value: Any, specs: Mapping[str, TensorSpec], *, is_row: bool
) -> tuple[Mapping[str, Any], int] | None:
    """The value of each input, and how often each name is written; None if one is missing."""
    if is_row and not (type(value) is list and value):
        return None
    first = value[0] if is_row else value
    if not _is_named(first):
        return (dict.fromkeys(specs, value), 0) if len(specs) == 1 else None
    if not is_row:
        return (value, 1) if specs.keys() <= value.keys() else None
    if set(map(type, value)) != {dict} or set(map(len, value)) != {len(specs)} or "b64" in specs:
        return None
    try:
        return {name: [row[name] for row in value] for name in specs}, len(value)
    except KeyError:
        return None


def _is_named(value: Any) -> bool:
    return type(value) is dict and base64_text(value) is None


def _holds_text(value: Any) -> bool:
    """Whether a string or an object stands among nested lists.

    numpy would give all of them the room that the longest takes: of a list of numbers and one
    string of 10 MB it makes gigabytes.
    """
    level = [value]
    while True:
        kinds = set(map(type, level))
        if str in kinds or dict in kinds:
            return True
        if list not in kinds:
            return False
        level = list(chain.from_iterable(each for each in level if type(each) is list))


def _occur(body: bytes, occurrences: Mapping[str, int]) -> bool:
    """Whether keys stand in the text, quoted, just so often.

    False also when an escape may hide one from being counted.
    """
    if b"\\" in body and (_HIDDEN_KEY.search(body) or not "".join(occurrences).isascii()):
        return False
    return all(body.count(b'"%s"' % key.encode()) == times for key, times in occurrences.items())

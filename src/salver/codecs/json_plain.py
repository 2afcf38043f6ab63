"""Predict requests that orjson has parsed → arrays, when no exception to the rule is in them.

orjson keeps the last of repeated keys, where the reference takes the first, so these functions
also prove from the text that nothing was lost. They answer None for whatever they cannot vouch
for, and never accept what `json_predict` refuses.
"""

import re
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
import orjson

from salver.codecs.json_arrays import PredictInputs, array_of, strings_of
from salver.codecs.json_value import base64_text
from salver.dtypes import DataType
from salver.requests import Array
from salver.signature import Signature, TensorSpec

__all__ = ["is_said_once", "number_array", "number_rows", "plain_inputs", "tree_inputs"]

# Deleting these from a body of nothing but numbers leaves the key and no doubt: a string, word,
# object, second key or exponent would leave something more. 0.06 µs for a small body.
_NUMBERS_AND_LISTS = b"0123456789+-., \t\r\n[]"
_NOTHING_BUT_ROWS = b'{"instances":}'
_NOTHING_BUT_NUMBERS = {"instances": _NOTHING_BUT_ROWS, "inputs": b'{"inputs":}'}
# Without an exponent, it takes 39 digits to overflow a float32: for a body too short for that,
# numpy need not be told not to warn, which takes 0.7 µs.
_OVERFLOWING_BODY_BYTES = len(b'{"inputs":}') + 39
# A printable ASCII character, or the slash, written as an escape: a key may hide behind it.
_HIDDEN_KEY = re.compile(rb"\\u00[2-7]|\\/")


def number_rows(body: bytes) -> list[Any] | None:
    """The rows of a body that holds `instances`, numbers and lists, and nothing else at all.

    The quickest way there is, for the requests there are most of. `number_array` makes the array of
    them; None: the body is to be read in some other way.
    """
    if body.translate(None, _NUMBERS_AND_LISTS) != _NOTHING_BUT_ROWS:
        return None
    try:
        rows = orjson.loads(body)["instances"]
    except (ValueError, TypeError, KeyError):  # no JSON, a list around it, `"inst4nces"`
        return None
    return rows if type(rows) is list and rows else None


def plain_inputs(
    body: bytes, document: dict[str, Any], signature: Signature
) -> PredictInputs | None:
    """The inputs of a document that orjson read from `body`."""
    if len(document) == 1 and len(signature.inputs) == 1:
        ((key, value),) = document.items()
        rest = _NOTHING_BUT_NUMBERS.get(key)
        if rest is not None and body.translate(None, _NUMBERS_AND_LISTS) == rest:
            is_row = key == "instances"
            if is_row and not (type(value) is list and value):
                return None
            (spec,) = signature.inputs.values()
            found = number_array(value, spec.dtype, len(body))
            return None if found is None else PredictInputs([found], is_row)
    return _Reading(body).inputs(document, signature.inputs)


def tree_inputs(
    body: bytes, document: dict[str, Any], signature: Signature
) -> PredictInputs | None:
    """The same for what `json_tree` read, where repeated keys show as `Pairs`."""
    reading = _Reading(body)
    reading.has_lost_nothing = True
    return reading.inputs(document, signature.inputs)


def is_said_once(body: bytes, key: str) -> bool:
    """Whether a key that orjson found occurs once in the text; False when in doubt."""
    return _occur(body, Counter({key: 1}))


def number_array(value: Any, dtype: DataType, body_bytes: int) -> Array | None:
    """The array of nested lists known to hold nothing but numbers without exponents.

    Args:
        value: the lists.
        dtype: of the input.
        body_bytes: how long the body is that they stood in.

    Returns:
        None unless they are regular and every number is one that `dtype` takes.
    """
    if dtype is not DataType.FLOAT:
        return array_of(value, dtype)
    try:
        if body_bytes < _OVERFLOWING_BODY_BYTES:
            return np.array(value, np.float32)
        with np.errstate(over="ignore"):
            return np.array(value, np.float32)
    except (ValueError, TypeError):  # ragged
        return None


class _Reading:
    """One attempt on one document; counts what must occur in the text if nothing was lost."""

    __slots__ = ("body", "has_lost_nothing", "may_hold_text", "occurrences", "quotes")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.quotes = 0  # of what stands beside the values
        self.may_hold_text = True
        self.occurrences: Counter[str] = Counter()
        self.has_lost_nothing = False

    def inputs(
        self, document: dict[str, Any], specs: Mapping[str, TensorSpec]
    ) -> PredictInputs | None:
        is_row = "instances" in document
        if is_row == ("inputs" in document):
            return None
        self.occurrences["instances" if is_row else "inputs"] = 1
        self.quotes = 6 if "signature_name" in document else 2
        value = document["instances" if is_row else "inputs"]
        arrays = self._rows(value, specs) if is_row else self._columns(value, specs)
        if arrays is None or not (self.has_lost_nothing or _occur(self.body, self.occurrences)):
            return None
        return PredictInputs(arrays, is_row)

    def _rows(self, rows: Any, specs: Mapping[str, TensorSpec]) -> list[Array] | None:
        if type(rows) is not list or not rows:
            return None
        if type(rows[0]) is not dict or base64_text(rows[0]) is not None:
            return self._one(rows, specs)
        if set(map(type, rows)) != {dict} or set(map(len, rows)) != {len(specs)} or "b64" in specs:
            return None
        try:
            columns = {name: [row[name] for row in rows] for name in specs}
        except KeyError:
            return None
        return self._each(columns, specs, len(rows))

    def _columns(self, value: Any, specs: Mapping[str, TensorSpec]) -> list[Array] | None:
        if type(value) is not dict or base64_text(value) is not None:
            return self._one(value, specs)
        if not specs.keys() <= value.keys():
            return None
        return self._each(value, specs, 1)

    def _one(self, value: Any, specs: Mapping[str, TensorSpec]) -> list[Array] | None:
        if len(specs) > 1:
            return None
        (spec,) = specs.values()
        self.may_hold_text = self.body.count(b'"') != self.quotes
        found = self._array(value, spec.dtype)
        return None if found is None else [found]

    def _each(
        self, values: Mapping[str, Any], specs: Mapping[str, TensorSpec], times: int
    ) -> list[Array] | None:
        arrays = []
        self.may_hold_text = self.body.count(b'"') != self.quotes + 2 * times * len(specs)
        for name, spec in specs.items():
            self.occurrences[name] += times
            found = self._array(values[name], spec.dtype)
            if found is None:
                return None
            arrays.append(found)
        return arrays

    def _array(self, value: Any, dtype: DataType) -> Array | None:
        if dtype is not DataType.STRING:
            if dtype is not DataType.BOOL and (b"true" in self.body or b"false" in self.body):
                return None  # numpy would take them for numbers
            if self.may_hold_text and _holds_text(value):
                return None
            return array_of(value, dtype)
        found = strings_of(value)
        if found is not None and type(_first_scalar(value)) is dict:
            self.occurrences["b64"] += found.size
        return found


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


def _first_scalar(value: Any) -> Any:
    while type(value) is list and value:
        value = value[0]
    return value


def _occur(body: bytes, occurrences: Mapping[str, int]) -> bool:
    """Whether keys stand in the text, quoted, just so often.

    False also when an escape may hide one from being counted.
    """
    if b"\\" in body and (_HIDDEN_KEY.search(body) or not "".join(occurrences).isascii()):
        return False
    return all(body.count(b'"%s"' % key.encode()) == times for key, times in occurrences.items())

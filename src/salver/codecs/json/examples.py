"""Classify and regress requests in JSON → serialized `tensorflow.Example` messages.

Source: TensorFlow Serving `util/json_tensor.cc`, FillClassifyRegressRequestFromJson.
"""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from salver._pb import message_class
from salver.codecs.json import hints
from salver.codecs.json.debug_text import debug_text
from salver.codecs.json.text import base64_text, bytes_of, decode_base64
from salver.codecs.json.tree import ARRAY_TYPES, MISSING, OBJECT_TYPES, is_integer, type_name
from salver.codecs.protobuf.room import check_context
from salver.errors import InvalidArgument

__all__ = ["example_messages"]

_Kind = Literal["bytes", "float", "int64"]


def example_messages(document: Any, method: Literal["classify", "regress"]) -> list[bytes]:
    """The examples of a request, each after the context they share.

    Serialized messages put end to end merge, and of a repeated feature the last counts: so the
    reference itself combines them.

    Args:
        document: an object as `tree` describes it.
        method: of the request; only for the hint, as the reference says `classify` for both.

    Raises:
        InvalidArgument: in the reference's words.
    """
    context = document.get("context", MISSING)
    shared = b"" if context is MISSING else _example(context)
    examples = document.get("examples", MISSING)
    if examples is MISSING:
        text = "When method is classify, key 'examples' is expected and was not found"
    elif not isinstance(examples, ARRAY_TYPES):
        text = "Expecting 'examples' value to be an list/array"
    elif not len(examples):
        text = "'examples' value is an empty array"
    else:
        check_context(len(shared), len(examples), 0)
        return [shared + _example(example) for example in examples]
    raise InvalidArgument(
        f"JSON Value: {debug_text(document)} {text}",
        hint=f"This is a {method} request. {hints.EXAMPLES}",
    )


def _example(value: Any) -> bytes:
    if not isinstance(value, OBJECT_TYPES):
        raise InvalidArgument(
            f"Example must be JSON object but got JSON {type_name(value)}",
            hint=hints.EXAMPLES,
        )
    message = message_class("tensorflow.Example")()
    for name, content in value.items():
        kind, values = _feature(name, content if isinstance(content, ARRAY_TYPES) else [content])
        try:
            feature = message.features.feature[name]
        except UnicodeError:
            raise InvalidArgument(f"Feature: {name} has a name that is not UTF-8") from None
        feature.Clear()  # of a repeated name, the last counts
        if kind == "bytes":
            feature.bytes_list.value.extend(values)
        elif kind == "float":
            feature.float_list.value.extend(values)
        elif kind == "int64":
            feature.int64_list.value.extend(values)
    return bytes(message.SerializeToString())


def _feature(name: str, items: Iterable[Any]) -> tuple[_Kind | None, list[Any]]:
    """The kind its first element gives a feature (None without elements), and the values."""
    kind: _Kind | None = None
    values: list[Any] = []
    for item in items:
        item_kind = _kind(item)
        if item_kind is None:
            raise InvalidArgument(
                f"Feature: {name} has element with unexpected JSON type: {type_name(item)}",
                hint="A feature is a value or a flat list of values; null is accepted nowhere.",
            )
        kind = kind or item_kind
        if item_kind != kind:
            raise InvalidArgument(
                f"Unexpected element type in feature: {name} expecting type: {kind}",
                hint="All values of a feature must be of one kind: write 1.0, not 1, among floats.",
            )
        values.append(_value(name, item))
    if kind == "float":
        with np.errstate(over="ignore"):
            return kind, np.array(values, np.float64).astype(np.float32).tolist()
    return kind, values


def _kind(item: Any) -> _Kind | None:
    if isinstance(item, bool):
        return "int64"
    if isinstance(item, str) or base64_text(item) is not None:
        return "bytes"
    if isinstance(item, (int, float)):
        return "int64" if is_integer(item) else "float"
    return None


def _value(name: str, item: Any) -> bytes | int | float:
    if isinstance(item, str):
        return bytes_of(item)
    text = base64_text(item)
    if text is not None:
        return decode_base64(text)
    if is_integer(item) and item >= 2**63:
        raise InvalidArgument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    return float(item) if type(item) is not bool and not is_integer(item) else int(item)

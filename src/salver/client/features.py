"""Examples: what classify and regress take, as dicts of features or as serialized messages."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from salver._pb import message_class
from salver.codecs.protobuf.wire import parse_message
from salver.errors import InvalidArgument
from salver.vocabulary.requests import Array

__all__ = ["Example", "Examples", "json_example", "serialized_example"]

Example = Mapping[str, Any] | bytes
"""Feature name → a number, a string, bytes, or a list or array of one kind; or a serialized
`tensorflow.Example`."""

Examples = Sequence[Any] | Mapping[str, Any] | Array
"""A list of examples; by the Open Inference Protocol inputs as `predict` takes them, too."""

_EXAMPLE: Final = "tensorflow.Example"
_FIELD_OF_KIND: Final = {
    "f": "float_list",
    "i": "int64_list",
    "u": "int64_list",
    "b": "int64_list",
    "S": "bytes_list",
}


def serialized_example(example: Example) -> bytes:
    """As a `tensorflow.Example`.

    Raises:
        InvalidArgument: a feature holds what no feature can.
    """
    if isinstance(example, bytes):
        return example
    if not isinstance(example, Mapping):
        raise InvalidArgument(
            f"An example is a dict of features, or bytes, not {type(example).__name__}",
            hint="Examples come in a list, also a single one.",
        )
    message = message_class(_EXAMPLE)()
    for name, value in example.items():
        field, values = _feature(name, value)
        getattr(message.features.feature[name], field).value.extend(values)
    return bytes(message.SerializeToString())


def json_example(example: Example) -> str:
    """As the REST API takes it.

    Raises:
        InvalidArgument: a feature holds what no feature can.
        Internal: the bytes are no `tensorflow.Example`.
    """
    message = parse_message(_EXAMPLE, serialized_example(example))
    members = []
    for name, feature in message.features.feature.items():
        kind = feature.WhichOneof("kind")
        if kind is None:
            members.append(f"{json.dumps(name)}: []")
            continue
        values = list(getattr(feature, kind).value)
        if kind == "bytes_list":
            values = [{"b64": base64.b64encode(value).decode()} for value in values]
        members.append(f"{json.dumps(name)}: {json.dumps(values)}")
    return "{%s}" % ", ".join(members)  # noqa: UP031 - braces


def _feature(name: str, value: Any) -> tuple[str, Sequence[Any]]:
    """Field of `tensorflow.Feature`, and the values."""
    if isinstance(value, (bytes, str)):
        value = [value]
    if isinstance(value, (list, tuple)) and any(isinstance(of, (bytes, str)) for of in value):
        if all(isinstance(of, (bytes, str)) for of in value):
            return "bytes_list", [of.encode() if isinstance(of, str) else of for of in value]
        raise _wrong(name)
    try:
        array = np.asarray(value).reshape(-1)
    except ValueError:
        raise _wrong(name) from None
    if array.dtype.kind in "OU":
        return _feature(name, array.tolist()) if array.dtype.kind == "U" else _objects(name, array)
    field = _FIELD_OF_KIND.get(array.dtype.kind)
    if field is None:
        raise _wrong(name)
    values = (array.astype(np.int8) if array.dtype.kind == "b" else array).tolist()
    if field == "int64_list" and values and max(values) >= 2**63:
        raise _wrong(name)
    return field, values


def _objects(name: str, array: "np.ndarray[Any, Any]") -> tuple[str, Sequence[Any]]:
    values = array.tolist()
    if not values or not all(isinstance(of, (bytes, str)) for of in values):
        raise _wrong(name)
    return _feature(name, values)


def _wrong(name: str) -> InvalidArgument:
    return InvalidArgument(
        f"Feature {name!r} is no list of one kind of values",
        hint="A feature holds floats, 64-bit integers, or strings and bytes.",
    )

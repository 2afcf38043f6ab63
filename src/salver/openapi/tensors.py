"""Tensors as JSON Schema: what their dtype, their shape and the model's own words say of them.

A signature guides; the server checks no shapes against it (`vocabulary.signature`). So a schema
says what the model was made for, not all that it would take.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

from salver.about.document import InputAbout, InputKind, OutputAbout
from salver.openapi.description import Object
from salver.openapi.parts import BYTES, ref
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import TensorSpec

__all__ = [
    "element_schema",
    "has_rows",
    "input_schema",
    "output_schema",
    "row_of",
    "rows_of",
    "sample",
    "shape_text",
]

_INTEGERS: Final = {
    f"{sign}int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if not sign else (0, 2**bits - 1)
    for sign in ("", "u")
    for bits in (2, 4, 8, 16, 32, 64)
}
_FLOATS: Final = {"float16": None, "bfloat16": None, "float32": "float", "float64": "double"}
_GREATEST: Final = {"float16": 65504.0, "bfloat16": 3.38e38, "float32": 3.4e38, "float64": 1.79e308}
"""What is greater becomes Infinity, which JSON has no number for."""
_MOST_CHOICES: Final = 256  # are listed; a person looks through no more
_MOST_NAMES: Final = 64
_MOST_DEPTH: Final = 32
_MOST_SAMPLE: Final = 256  # elements of an example that is made up
_MANY: Final = 2**31  # what a schema may say of the length of a list


def shape_text(spec: TensorSpec) -> str:
    """Dtype and shape for people: `float32 [?, 28, 28]`."""
    if spec.shape is None:
        return f"{spec.dtype.name} of any shape"
    return f"{spec.dtype.name} [{', '.join('?' if n < 0 else str(n) for n in spec.shape)}]"


def has_rows(spec: TensorSpec) -> bool:
    """Whether a tensor can be given row by row. A shape nobody told is taken to have rows."""
    return spec.shape is None or (len(spec.shape) > 0 and spec.shape[0] in (-1, 1))


def row_of(spec: TensorSpec) -> TensorSpec:
    """What one row of a tensor is."""
    return TensorSpec(spec.dtype, None if spec.shape is None else spec.shape[1:], spec.is_dense)


def rows_of(value: Any, spec: TensorSpec) -> list[Any] | None:
    """The rows of an example's value, which is one row or a list of them; None for neither.

    A scalar is the only one of its own.
    """
    if spec.shape is None:
        return value if isinstance(value, list) else [value]
    depth, inner = 0, value
    while isinstance(inner, list):
        depth, inner = depth + 1, inner[0] if inner else None
    if depth == len(spec.shape):
        return value if isinstance(value, list) else [value]
    return [value] if depth == len(spec.shape) - 1 else None


def element_schema(dtype: DataType, about: InputAbout | None, *, has_bytes: bool = True) -> Object:
    """What to send for one element of an input; `has_bytes`: a text may be `{"b64": …}`."""
    return _leaf(dtype, about or InputAbout(), has_bytes=has_bytes)


def input_schema(
    spec: TensorSpec, about: InputAbout | None, *, has_bytes: bool = True
) -> dict[str, Any]:
    """What to send for an input, or for a row of it; see `element_schema`."""
    about = about or InputAbout()
    leaf = _leaf(spec.dtype, about, has_bytes=has_bytes)
    schema = _nested(spec, leaf, _columns(spec, about, leaf), fewest=1)
    more = [about.description]
    if about.kind is InputKind.IMAGE:
        more.append(f"A picture{f', {about.layout.value}' if about.layout else ''}.")
    elif about.kind is InputKind.AUDIO:
        more.append("Sound.")
    if about.unit:
        more.append(f"In {about.unit}.")
    if len(about.choices) > _MOST_CHOICES:
        more.append(f"One of {len(about.choices)} choices.")
    return _described(schema, spec, about.title, " ".join(filter(None, more)))


def output_schema(spec: TensorSpec, about: OutputAbout | None) -> dict[str, Any]:
    """What an output, or a row of it, comes back as."""
    schema = _nested(spec, _element(spec.dtype))
    if about is None:
        return _described(schema, spec, "", "")
    more = [about.description]
    if about.unit:
        more.append(f"In {about.unit}.")
    if about.labels:
        shown = ", ".join(about.labels[:_MOST_NAMES])
        more.append(f"Classes: {shown}{', …' if len(about.labels) > _MOST_NAMES else ''}.")
    if about.threshold is not None:
        more.append(f"Counts from {about.threshold:g} on.")
    return _described(schema, spec, about.title, " ".join(filter(None, more)))


def sample(spec: TensorSpec, about: InputAbout | None) -> Any:
    """A value that the input could have; None where it would be long, or nobody can tell one."""
    shape = [abs(size) for size in spec.shape or ()]
    if math.prod(shape) > _MOST_SAMPLE or len(shape) > _MOST_DEPTH:
        return None
    value = _sample_of(spec.dtype, about or InputAbout())
    for size in reversed(shape):
        value = [value] * size
    return value


# -- elements --------------------------------------------------------------------------------------


def _leaf(dtype: DataType, about: InputAbout, *, has_bytes: bool) -> dict[str, Any]:
    schema = _element(dtype, has_bytes=has_bytes)
    if dtype.name in _GREATEST:
        most = _GREATEST[dtype.name]
        schema.update(minimum=-most, maximum=most)
    if about.choices and len(about.choices) <= _MOST_CHOICES:
        return _chosen(dtype, about.choices)
    if about.range is not None and schema.get("type") in ("integer", "number"):
        least, most = about.range
        if schema["type"] == "integer":
            least, most = math.ceil(least), math.floor(most)
        schema["minimum"] = max(least, schema.get("minimum", least))
        schema["maximum"] = min(most, schema.get("maximum", most))
    return schema


def _element(dtype: DataType, *, has_bytes: bool = True) -> dict[str, Any]:
    name = dtype.name
    if name in _FLOATS:
        width = _FLOATS[name]
        return {"type": "number"} if width is None else {"type": "number", "format": width}
    if name in _INTEGERS:
        least, most = _INTEGERS[name]
        schema: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
        return {**schema, "format": name} if name in ("int32", "int64") else schema
    if name == "bool":
        return {"type": "boolean"}
    if name == "string":
        text = {"type": "string"}
        return {"anyOf": [text, ref(BYTES)]} if has_bytes else text
    return {}  # which JSON has no words for


def _chosen(dtype: DataType, choices: Sequence[Any]) -> dict[str, Any]:
    """The only values of an input. Of texts for a dtype that is none the number is sent."""
    if dtype is DataType.STRING or not all(isinstance(each, str) for each in choices):
        return {"enum": list(choices)}
    values: list[Any] = list(range(len(choices)))
    if dtype is DataType.BOOL:
        values = [False, True]
    return {
        "oneOf": [
            {"const": value, "title": title} for value, title in zip(values, choices, strict=False)
        ]
    }


def _columns(
    spec: TensorSpec, about: InputAbout, leaf: dict[str, Any]
) -> list[dict[str, Any]] | None:
    """A schema for each place on the last axis, where they have names."""
    names = about.names
    if not spec.shape or len(names) > _MOST_NAMES or spec.shape[-1] != len(names):
        return None
    units = about.units or ("",) * len(names)
    return [
        {**leaf, "title": name, **({"description": f"In {unit}."} if unit else {})}
        for name, unit in zip(names, units, strict=True)
    ]


def _sample_of(dtype: DataType, about: InputAbout) -> Any:
    name = dtype.name
    if about.choices:
        is_numbered = dtype is not DataType.STRING and isinstance(about.choices[0], str)
        first = 0 if is_numbered else about.choices[0]
        return bool(first) if name == "bool" else first
    if name == "bool":
        return True
    if name == "string":
        return "text"
    least, most = about.range or (0.0, 2.0)
    if name in _FLOATS:
        return (least + most) / 2
    return round((least + most) / 2)


# -- shapes ----------------------------------------------------------------------------------------


def _nested(
    spec: TensorSpec,
    leaf: dict[str, Any],
    columns: list[dict[str, Any]] | None = None,
    *,
    fewest: int = 0,
) -> dict[str, Any]:
    """Lists in lists, an axis each, the first one outermost; `fewest`: on axes of any size."""
    if spec.shape is None or len(spec.shape) > _MOST_DEPTH:
        return {}
    schema = leaf
    for axis, size in enumerate(reversed(spec.shape)):
        schema = {"type": "array", "items": schema}
        if axis == 0 and columns is not None:
            schema = {"type": "array", "prefixItems": columns, "items": False}
        if 0 <= size < _MANY:
            schema.update(minItems=size, maxItems=size)
        elif fewest:
            schema["minItems"] = fewest
    return schema


def _described(
    schema: dict[str, Any], spec: TensorSpec, title: str, description: str
) -> dict[str, Any]:
    head = {"title": title} if title else {}
    end = "" if description.endswith((".", "!", "?", "。")) else "."
    words = f"{description}{end} {shape_text(spec)}" if description else shape_text(spec)
    return {**head, "description": words, **schema}

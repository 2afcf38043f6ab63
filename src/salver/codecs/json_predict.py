"""Predict requests → arrays, element by element: the reference's rules in the reference's order.

Slow and exact. The quick ways (`json_flat`, `json_plain`) hand over whatever they doubt.

Source: TensorFlow Serving `util/json_tensor.cc`, FillPredictRequestFromJson and what it calls.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from salver.codecs import json_hints
from salver.codecs.json_arrays import FLOATS, INTEGERS, PredictInputs, narrow
from salver.codecs.json_text import bytes_of
from salver.codecs.json_value import (
    MISSING,
    base64_text,
    debug_text,
    decode_base64,
    find,
    is_object,
    members,
    type_name,
)
from salver.dtypes import DTYPES, DataType, numpy_dtype
from salver.errors import InvalidArgument, ServingError, Unimplemented
from salver.requests import Array
from salver.signature import Signature, TensorSpec

__all__ = ["exact_inputs"]

_FED_BY_JSON = FLOATS | INTEGERS.keys() | {DataType.BOOL, DataType.STRING}
_MAX_RANK = 64  # numpy's own limit since 2.0


def exact_inputs(document: Any, signature: Signature) -> PredictInputs:
    """The inputs of a predict request.

    Args:
        document: an object as `json_tree` reads it.
        signature: has at least one input.

    Raises:
        InvalidArgument: in the reference's words.
        Unimplemented: JSON cannot feed the dtype of an input.
    """
    instances = find(document, "instances")
    inputs = find(document, "inputs")
    if instances is MISSING and inputs is MISSING:
        raise InvalidArgument(
            "Missing 'inputs' or 'instances' key", hint=json_hints.missing_key(document)
        )
    if instances is not MISSING and inputs is not MISSING:
        _refuse(
            document,
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        )
    if inputs is not MISSING:
        return PredictInputs(_columns(inputs, signature), is_row=False)
    if type(instances) is not list:
        _refuse(document, "Expecting 'instances' to be an list/array", json_hints.ROWS)
    if not instances:
        _refuse(document, "No values in 'instances' array", json_hints.ROWS)
    return PredictInputs(_rows(instances, signature), is_row=True)


def _refuse(value: Any, text: str, hint: str | None = None) -> NoReturn:
    raise InvalidArgument(f"JSON Value: {debug_text(value)} {text}", hint=hint)


def _rows(rows: list[Any], signature: Signature) -> list[Array]:
    specs = signature.inputs
    if len(specs) > 1 and (not is_object(rows[0]) or base64_text(rows[0]) is not None):
        raise InvalidArgument(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map",
            hint=json_hints.input_names(specs),
        )
    columns = {name: _Column(name, spec) for name, spec in specs.items()}
    if _is_named_row(rows[0]):
        for index, row in enumerate(rows):
            _add_named_row(columns, index, row)
    else:
        (column,) = columns.values()
        for index, row in enumerate(rows):
            _add_row(column, index, row)
    return [column.stack(len(rows)) for column in columns.values()]


def _is_named_row(row: Any) -> bool:
    return is_object(row) and base64_text(row) is None


def _add_row(column: "_Column", index: int, row: Any) -> None:
    if _is_named_row(row):
        raise InvalidArgument(
            f"Expecting value/list but got object at item {index} of input list",
            hint=json_hints.MIXED_ROWS,
        )
    try:
        column.add(row)
    except ServingError as error:
        raise InvalidArgument(
            f"Failed to process element: {index} of 'instances' list. Error: {error.status}",
            hint=error.hint,
        ) from None


def _add_named_row(columns: "Mapping[str, _Column]", index: int, row: Any) -> None:
    if not _is_named_row(row):
        raise InvalidArgument(
            f"Expecting object but got list at item {index} of input list",
            hint=json_hints.MIXED_ROWS,
        )
    seen: set[str] = set()
    for name, value in members(row):
        try:
            if name not in columns:
                raise InvalidArgument(
                    f"JSON object: does not have named input: {name}",
                    hint=json_hints.input_names({key: col.spec for key, col in columns.items()}),
                )
            columns[name].add(value, is_repeated=name in seen)
        except ServingError as error:
            raise InvalidArgument(
                f"Failed to process element: {index} key: {name} of 'instances' list. "
                f"Error: {error.status}",
                hint=error.hint,
            ) from None
        seen.add(name)
    if len(seen) < len(columns):
        raise InvalidArgument(
            f"Failed to process element: {index} of 'instances' list. "
            f"JSON object: {debug_text(row)} keys must be equal to: {','.join(sorted(columns))}",
            hint=json_hints.input_names({key: col.spec for key, col in columns.items()}),
        )


def _columns(value: Any, signature: Signature) -> list[Array]:
    specs = signature.inputs
    if not is_object(value) or base64_text(value) is not None:
        if len(specs) > 1:
            raise InvalidArgument(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map",
                hint=json_hints.input_names(specs),
            )
        ((name, spec),) = specs.items()
        return [_tensor(name, spec, value)]
    arrays = []
    for name, spec in specs.items():
        found = find(value, name)
        if found is MISSING:
            raise InvalidArgument(
                f"Missing named input: {name} in 'inputs' object.",
                hint=json_hints.input_names(specs),
            )
        arrays.append(_tensor(name, spec, found))
    return arrays


def _tensor(name: str, spec: TensorSpec, value: Any) -> Array:
    shape = _shape(value)
    values = _Filler(name, spec, shape, is_row=False).values_of(value)
    return _array(values, shape, name, spec.dtype)


class _Column:
    """One input of a request in row format, as it grows row by row."""

    __slots__ = ("name", "row_shape", "row_size", "spec", "values")

    def __init__(self, name: str, spec: TensorSpec) -> None:
        self.name = name
        self.spec = spec
        self.row_shape: list[int] | None = None
        self.row_size = 0
        self.values: list[Any] = []

    def add(self, row: Any, *, is_repeated: bool = False) -> None:
        """Add a row; check one that repeats a key of its object, and drop it."""
        shape = _shape(row)
        values = _Filler(self.name, self.spec, shape, is_row=True).values_of(row)
        if self.row_shape is None:
            self.row_shape, self.row_size = shape, len(values)
        elif len(values) != self.row_size:
            self._refuse(f"Expecting tensor size: {self.row_size} but got: {len(values)}", shape)
        elif shape != self.row_shape:
            self._refuse(
                f"Expecting shape {_shape_text(self.row_shape)} but got: {_shape_text(shape)}",
                shape,
            )
        if not is_repeated:
            self.values += values

    def _refuse(self, text: str, shape: list[int]) -> NoReturn:
        hint = json_hints.nesting(self.name, self.spec, shape, is_row=True)
        raise InvalidArgument(text, hint=hint)

    def stack(self, rows: int) -> Array:
        """The rows as one array, shape (rows, ...)."""
        return _array(self.values, [rows, *(self.row_shape or ())], self.name, self.spec.dtype)


def _shape(value: Any) -> list[int]:
    """The lengths along the first elements."""
    shape = []
    while type(value) is list:
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _shape_text(shape: list[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


class _Filler:
    """Collects the scalars of a value whose shape is known from its first elements."""

    __slots__ = ("is_row", "name", "shape", "spec", "values")

    def __init__(self, name: str, spec: TensorSpec, shape: list[int], *, is_row: bool) -> None:
        if len(shape) > _MAX_RANK:  # before the recursion below, which goes as deep
            raise _too_deep(name, len(shape))
        self.name = name
        self.spec = spec
        self.shape = shape
        self.is_row = is_row
        self.values: list[Any] = []

    def values_of(self, value: Any) -> list[Any]:
        """The scalars in order.

        Raises:
            InvalidArgument: a list or scalar where the shape has none, or a scalar of a wrong type.
            Unimplemented: no JSON scalar is of this dtype.
        """
        self._fill(value, 0)
        return self.values

    def _fill(self, value: Any, level: int) -> None:
        rank = len(self.shape)
        if type(value) is not list:
            if level != rank:
                self._refuse(
                    f"JSON Value: {debug_text(value)} found at incorrect level: {level + 1} "
                    f"in the JSON DOM. Expected at level: {rank}"
                )
            self.values.append(_scalar(value, self.name, self.spec))
            return
        if level >= rank:
            self._refuse(f"Encountered list at unexpected level: {level} expected < {rank}")
        if len(value) != self.shape[level]:
            self._refuse(
                f"Encountered list at unexpected size: {len(value)} at level: {level} "
                f"expected size: {self.shape[level]}"
            )
        for item in value:
            self._fill(item, level + 1)

    def _refuse(self, text: str) -> NoReturn:
        hint = json_hints.nesting(self.name, self.spec, self.shape, is_row=self.is_row)
        raise InvalidArgument(text, hint=hint)


def _scalar(value: Any, name: str, spec: TensorSpec) -> Any:
    """A scalar of a tensor: float, int, bool or bytes."""
    dtype = spec.dtype
    if dtype is DataType.STRING and is_object(value):
        return _decoded(value)
    if dtype not in _FED_BY_JSON and not is_object(value):
        raise Unimplemented(
            f"Conversion of JSON Value: {debug_text(value)} to type: {DTYPES[dtype].text}"
        )
    scalar = _accepted(value, dtype)
    if scalar is None:
        raise InvalidArgument(
            f"JSON Value: {debug_text(value)} Type: {type_name(value)} "
            f"is not of expected type: {DTYPES[dtype].text}",
            hint=json_hints.wrong_type(name, spec, value),
        )
    return scalar


def _accepted(value: Any, dtype: DataType) -> Any:
    """The scalar a value is, as this dtype; None where it is of another kind or range."""
    if dtype in FLOATS:
        return float(value) if type(value) is float or type(value) is int else None
    if dtype in INTEGERS:
        low, high = INTEGERS[dtype]
        return value if type(value) is int and low <= value <= high else None
    if dtype is DataType.BOOL:
        return value if type(value) is bool else None
    return bytes_of(value) if type(value) is str else None


def _decoded(value: Any) -> bytes:
    text = base64_text(value)
    if text is None:
        _refuse(value, "not formatted correctly for base64 data", json_hints.BASE64)
    return decode_base64(text)


def _array(values: list[Any], shape: list[int], name: str, dtype: DataType) -> Array:
    try:
        if dtype is DataType.STRING:
            flat = np.empty(len(values), dtype=object)
            flat[:] = values
        elif dtype in FLOATS:
            flat = narrow(np.array(values, np.float64), dtype)
        elif dtype in INTEGERS:
            widest = np.uint64 if dtype is DataType.UINT64 else np.int64
            flat = np.array(values, widest).astype(numpy_dtype(dtype))
        else:  # bool, and types of which there can be only none
            flat = np.array(values, numpy_dtype(dtype))
        return flat.reshape(shape)
    except TypeError:
        raise Unimplemented(f"Conversion of JSON Value: [] to type: {DTYPES[dtype].text}") from None
    except ValueError:
        raise _too_deep(name, len(shape)) from None


def _too_deep(name: str, rank: int) -> InvalidArgument:
    return InvalidArgument(f"Tensor name: {name} has {rank} dimensions, more than are supported")

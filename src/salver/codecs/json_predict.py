"""Predict requests → arrays, element by element: the reference's rules in the reference's order.

Slow and exact. The quick ways (`json_flat`, `json_plain`) hand over whatever they doubt; of what is
long they still do the parts that they do not.

Source: TensorFlow Serving `util/json_tensor.cc`, FillPredictRequestFromJson and what it calls.
"""

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any, NoReturn

import numpy as np

from salver.codecs import json_hints
from salver.codecs.json_arrays import FLOATS, INTEGERS, PredictInputs, narrow
from salver.codecs.json_parts import part_arrays
from salver.codecs.json_text import bytes_of
from salver.codecs.json_value import (
    MISSING,
    LongList,
    base64_text,
    debug_text,
    decode_base64,
    find,
    is_array,
    is_object,
    members,
    type_name,
)
from salver.dtypes import DTYPES, DataType, numpy_dtype
from salver.errors import InvalidArgument, ServingError, Unimplemented
from salver.hints import inputs_hint
from salver.requests import Array
from salver.signature import Signature, TensorSpec

__all__ = ["exact_inputs"]

_FED_BY_JSON = FLOATS | INTEGERS.keys() | {DataType.BOOL, DataType.STRING}
_MAX_RANK = 64  # numpy's own limit since 2.0
_SCALARS_AT_ONCE = 1 << 16


def exact_inputs(document: Any, signature: Signature) -> PredictInputs:
    """The inputs of a predict request.

    Args:
        document: an object as `json_tree` or `json_long` reads it.
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
    if not is_array(instances):
        _refuse(document, "Expecting 'instances' to be an list/array", json_hints.ROWS)
    if not len(instances):
        _refuse(document, "No values in 'instances' array", json_hints.ROWS)
    return PredictInputs(_rows(instances, signature), is_row=True)


def _refuse(value: Any, text: str, hint: str | None = None) -> NoReturn:
    raise InvalidArgument(f"JSON Value: {debug_text(value)} {text}", hint=hint)


def _rows(rows: list[Any] | LongList, signature: Signature) -> list[Array]:
    specs = signature.inputs
    first = next(iter(rows))
    is_named = _is_named_row(first)
    if len(specs) > 1 and not is_named:
        raise InvalidArgument(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map",
            hint=inputs_hint(specs),
        )
    columns = {name: _Column(name, spec) for name, spec in specs.items()}
    if isinstance(rows, LongList):
        _add_parts(columns, rows, signature, is_named)
    else:
        _add_rows(columns, 0, rows, is_named)
    return [column.stack(len(rows)) for column in columns.values()]


def _add_parts(
    columns: "Mapping[str, _Column]", rows: LongList, signature: Signature, is_named: bool
) -> None:
    index = 0
    for part in rows.parts:
        arrays = part_arrays(part, signature, is_named=is_named)
        if arrays is not None and all(map(_Column.takes, columns.values(), arrays)):
            for column, array in zip(columns.values(), arrays, strict=True):
                column.extend(array)
        else:
            _add_rows(columns, index, part.values(), is_named)
        index += part.count


def _add_rows(
    columns: "Mapping[str, _Column]", start: int, rows: Iterable[Any], is_named: bool
) -> None:
    if is_named:
        for index, row in enumerate(rows, start):
            _add_named_row(columns, index, row)
    else:
        (column,) = columns.values()
        for index, row in enumerate(rows, start):
            _add_row(column, index, row)


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
                    hint=inputs_hint({key: col.spec for key, col in columns.items()}),
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
            hint=inputs_hint({key: col.spec for key, col in columns.items()}),
        )


def _columns(value: Any, signature: Signature) -> list[Array]:
    specs = signature.inputs
    if not is_object(value) or base64_text(value) is not None:
        if len(specs) > 1:
            raise InvalidArgument(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map",
                hint=inputs_hint(specs),
            )
        ((name, spec),) = specs.items()
        return [_tensor(name, spec, value)]
    arrays = []
    for name, spec in specs.items():
        found = find(value, name)
        if found is MISSING:
            raise InvalidArgument(
                f"Missing named input: {name} in 'inputs' object.",
                hint=inputs_hint(specs),
            )
        arrays.append(_tensor(name, spec, found))
    return arrays


def _tensor(name: str, spec: TensorSpec, value: Any) -> Array:
    shape = _shape(value)
    values = _Filler(name, spec, shape, is_row=False).values_of(value)
    return values.array(shape, name)


class _Values:
    """The scalars of a tensor, in order; long runs of them as arrays."""

    __slots__ = ("_arrays", "_dtype", "scalars", "size")

    def __init__(self, dtype: DataType) -> None:
        self._dtype = dtype
        self._arrays: list[Array] = []
        self.scalars: list[Any] = []  # those behind the arrays
        self.size = 0

    def extend(self, array: Array) -> None:
        """Add all elements of an array of the tensor's dtype."""
        self._flush()
        self._arrays.append(array.ravel())
        self.size += array.size

    def add(self, others: "_Values") -> None:
        """Add the values of another collection, which is not used any more."""
        if others._arrays:
            self._flush()
            self._arrays += others._arrays
        self.scalars += others.scalars
        self.size += others.size
        if len(self.scalars) > _SCALARS_AT_ONCE:
            self._flush()

    def add_scalar(self, scalar: Any) -> None:
        self.scalars.append(scalar)
        self.size += 1
        if len(self.scalars) > _SCALARS_AT_ONCE:
            self._flush()

    def array(self, shape: list[int], name: str) -> Array:
        """All of them as an array.

        Raises:
            InvalidArgument: it has too many dimensions.
            Unimplemented: no array is of this dtype.
        """
        try:
            if self._arrays:
                self._flush()
                return np.concatenate(self._arrays).reshape(shape)
            return _flat(self.scalars, self._dtype).reshape(shape)
        except TypeError:
            raise Unimplemented(
                f"Conversion of JSON Value: [] to type: {DTYPES[self._dtype].text}"
            ) from None
        except ValueError:
            raise _too_deep(name, len(shape)) from None

    def _flush(self) -> None:
        if self.scalars:
            self._arrays.append(_flat(self.scalars, self._dtype))
            self.scalars = []


class _Column:
    """One input of a request in row format, as it grows row by row."""

    __slots__ = ("_values", "name", "row_shape", "row_size", "spec")

    def __init__(self, name: str, spec: TensorSpec) -> None:
        self.name = name
        self.spec = spec
        self.row_shape: list[int] | None = None
        self.row_size = 0
        self._values = _Values(spec.dtype)

    def add(self, row: Any, *, is_repeated: bool = False) -> None:
        """Add a row; check one that repeats a key of its object, and drop it."""
        shape = _shape(row)
        values = _Filler(self.name, self.spec, shape, is_row=True).values_of(row)
        if self.row_shape is None:
            self.row_shape, self.row_size = shape, values.size
        elif values.size != self.row_size:
            self._refuse(f"Expecting tensor size: {self.row_size} but got: {values.size}", shape)
        elif shape != self.row_shape:
            self._refuse(
                f"Expecting shape {_shape_text(self.row_shape)} but got: {_shape_text(shape)}",
                shape,
            )
        if not is_repeated:
            self._values.add(values)

    def takes(self, rows: Array) -> bool:
        """Whether rows that are an array already, shape (n, ...), are like those before them."""
        return self.row_shape is None or list(rows.shape[1:]) == self.row_shape

    def extend(self, rows: Array) -> None:
        """Add such rows."""
        self.row_shape = list(rows.shape[1:])
        self.row_size = prod(self.row_shape)
        self._values.extend(rows)

    def _refuse(self, text: str, shape: list[int]) -> NoReturn:
        hint = json_hints.nesting(self.name, self.spec, shape, is_row=True)
        raise InvalidArgument(text, hint=hint)

    def stack(self, rows: int) -> Array:
        """The rows as one array, shape (rows, ...)."""
        return self._values.array([rows, *(self.row_shape or ())], self.name)


def _shape(value: Any) -> list[int]:
    """The lengths along the first elements; no more of them than show that they are too many."""
    shape: list[int] = []
    while is_array(value) and len(shape) <= _MAX_RANK:
        shape.append(len(value))
        if not shape[-1]:
            break
        value = next(iter(value))
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
        self.values = _Values(spec.dtype)

    def values_of(self, value: Any) -> _Values:
        """The scalars in order.

        Raises:
            InvalidArgument: a list or scalar where the shape has none, or a scalar of a wrong type.
            Unimplemented: no JSON scalar is of this dtype.
        """
        self._fill(value, 0)
        return self.values

    def _fill(self, value: Any, level: int) -> None:
        rank = len(self.shape)
        if not is_array(value):
            if level != rank:
                self._refuse(
                    f"JSON Value: {debug_text(value)} found at incorrect level: {level + 1} "
                    f"in the JSON DOM. Expected at level: {rank}"
                )
            self.values.add_scalar(_scalar(value, self.name, self.spec))
            return
        if level >= rank:
            self._refuse(f"Encountered list at unexpected level: {level} expected < {rank}")
        if len(value) != self.shape[level]:
            self._refuse(
                f"Encountered list at unexpected size: {len(value)} at level: {level} "
                f"expected size: {self.shape[level]}"
            )
        if isinstance(value, LongList):
            self._fill_long(value, level)
            return
        for item in value:
            self._fill(item, level + 1)

    def _fill_long(self, value: LongList, level: int) -> None:
        signature = Signature({self.name: self.spec}, {})
        for part in value.parts:
            arrays = part_arrays(part, signature, is_named=False)
            if arrays is not None and list(arrays[0].shape[1:]) == self.shape[level + 1 :]:
                self.values.extend(arrays[0])
                continue
            for item in part.values():
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


def _flat(values: list[Any], dtype: DataType) -> Array:
    """Scalars as an array of one dimension."""
    if dtype is DataType.STRING:
        flat = np.empty(len(values), dtype=object)
        flat[:] = values
        return flat
    if dtype in FLOATS:
        return narrow(np.array(values, np.float64), dtype)
    if dtype in INTEGERS:
        widest = np.uint64 if dtype is DataType.UINT64 else np.int64
        return np.array(values, widest).astype(numpy_dtype(dtype))
    return np.array(values, numpy_dtype(dtype))  # bool, and types of which there can be only none


def _too_deep(name: str, rank: int) -> InvalidArgument:
    said = f"{rank}" if rank <= _MAX_RANK else f"more than {_MAX_RANK}"
    return InvalidArgument(f"Tensor name: {name} has {said} dimensions, more than are supported")

"""The last reader: takes every body, element by element, or refuses it in the reference's words.

The rules are the reference's, in the reference's order. Of a body that is long it has the parts
converted at once that can be.

Source: TensorFlow Serving `util/json_tensor.cc`, FillPredictRequestFromJson and what it calls.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Any, NoReturn

import numpy as np

from salver.codecs.json import hints
from salver.codecs.json.arrays import FLOATS, INTEGERS, JSON_TYPES, MAX_RANK, narrow
from salver.codecs.json.debug_text import debug_text
from salver.codecs.json.reading import PredictInputs, Source
from salver.codecs.json.syntax import read_tree
from salver.codecs.json.text import base64_text, bytes_of, decode_base64
from salver.codecs.json.tree import ARRAY_TYPES, MISSING, OBJECT_TYPES, LongList, type_name
from salver.errors import InvalidArgument, ServingError, Unimplemented
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.hints import inputs_hint
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import TensorSpec
from salver.vocabulary.tensorflow_types import short_text

__all__ = ["ExactBody", "read_exactly"]

_SCALARS_AT_ONCE = 1 << 16


def read_exactly(source: Source) -> "ExactBody":
    """Take a body.

    Raises:
        InvalidArgument: it is no JSON, no object, or its `signature_name` is no string.
    """
    if source.tree is None:
        source.tree = read_tree(source.body)
    return ExactBody(source.tree)


class ExactBody:
    """See `Reading`.

    Attributes:
        document: an object as `tree` describes it.
    """

    __slots__ = ("_rows", "_value", "document", "signature_name")

    def __init__(self, document: Any) -> None:
        if not isinstance(document, OBJECT_TYPES):
            _refuse(document, "Is not object", hints.no_object(document))
        self.document = document
        self.signature_name = document.get("signature_name", "")
        if type(self.signature_name) is not str:
            said = "not formatted correctly. 'signature_name' key must be a string value."
            _refuse(document, said)
        self._rows = document.get("instances", MISSING)
        self._value = document.get("inputs", MISSING)

    @property
    def has_columns(self) -> bool:
        """Whether it is `inputs`, an object of named inputs."""
        return self._value is not MISSING and _is_named(self._value)

    @property
    def names(self) -> frozenset[str]:
        """Which inputs it names, be it in its first row; empty where it names none."""
        rows = self._rows
        is_rows = isinstance(rows, ARRAY_TYPES) and len(rows)
        first = next(iter(rows)) if is_rows else self._value
        if first is MISSING or not _is_named(first):
            return frozenset()
        return frozenset(name for name, _ in first.items())

    def inputs(self, specs: Mapping[str, TensorSpec]) -> PredictInputs:
        """See `Reading`; never None.

        Raises:
            InvalidArgument: in the reference's words.
            Unimplemented: JSON cannot feed the dtype of an input.
        """
        document, rows, value = self.document, self._rows, self._value
        if rows is MISSING and value is MISSING:
            raise InvalidArgument(
                "Missing 'inputs' or 'instances' key", hint=hints.missing_key(document)
            )
        if rows is not MISSING and value is not MISSING:
            _refuse(
                document,
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
                "to exist ",
            )
        if value is not MISSING:
            return PredictInputs(_columns(value, specs), is_row=False)
        if not isinstance(rows, ARRAY_TYPES):
            _refuse(document, "Expecting 'instances' to be an list/array", hints.ROWS)
        first = next(iter(rows), MISSING)
        if first is MISSING:
            _refuse(document, "No values in 'instances' array", hints.ROWS)
        return PredictInputs(_rows(rows, specs, is_named=_is_named(first)), is_row=True)


def _refuse(value: Any, text: str, hint: str | None = None) -> NoReturn:
    raise InvalidArgument(f"JSON Value: {debug_text(value)} {text}", hint=hint)


# -- rows and columns ------------------------------------------------------------------------------


def _rows(
    rows: list[Any] | LongList, specs: Mapping[str, TensorSpec], *, is_named: bool
) -> list[Array]:
    if len(specs) > 1 and not is_named:
        raise InvalidArgument(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map",
            hint=inputs_hint(specs),
        )
    inputs = {name: _Input(name, spec, is_row=True) for name, spec in specs.items()}
    count = 0
    for part in rows.parts() if isinstance(rows, LongList) else ():
        arrays = part.arrays(specs, is_named=is_named)
        if arrays is not None and all(map(_Input.takes, inputs.values(), arrays)):
            for each, array in zip(inputs.values(), arrays, strict=True):
                each.add_rows(array)
        else:
            _add_rows(inputs, count, part.values(), is_named)
        count += part.count
    if not isinstance(rows, LongList):
        _add_rows(inputs, 0, rows, is_named)
        count = len(rows)
    return [each.array([count, *(each.row_shape or ())]) for each in inputs.values()]


def _add_rows(
    inputs: "Mapping[str, _Input]", start: int, rows: Iterable[Any], is_named: bool
) -> None:
    (only, *_) = inputs.values()
    for index, row in enumerate(rows, start):
        if _is_named(row) != is_named:
            found = "object but got list" if is_named else "value/list but got object"
            raise InvalidArgument(
                f"Expecting {found} at item {index} of input list", hint=hints.MIXED_ROWS
            )
        if is_named:
            _add_named_row(inputs, index, row)
            continue
        try:
            only.add_row(row)
        except ServingError as error:
            raise InvalidArgument(
                f"Failed to process element: {index} of 'instances' list. Error: {error.status}",
                hint=error.hint,
            ) from None


def _is_named(row: Any) -> bool:
    return isinstance(row, OBJECT_TYPES) and base64_text(row) is None


def _add_named_row(inputs: "Mapping[str, _Input]", index: int, row: Any) -> None:
    seen: set[str] = set()
    for name, value in row.items():
        try:
            if name not in inputs:
                raise InvalidArgument(
                    f"JSON object: does not have named input: {name}", hint=_inputs_hint(inputs)
                )
            inputs[name].add_row(value, is_repeated=name in seen)
        except ServingError as error:
            raise InvalidArgument(
                f"Failed to process element: {index} key: {name} of 'instances' list. "
                f"Error: {error.status}",
                hint=error.hint,
            ) from None
        seen.add(name)
    if len(seen) < len(inputs):
        raise InvalidArgument(
            f"Failed to process element: {index} of 'instances' list. "
            f"JSON object: {debug_text(row)} keys must be equal to: {','.join(sorted(inputs))}",
            hint=_inputs_hint(inputs),
        )


def _inputs_hint(inputs: "Mapping[str, _Input]") -> str:
    return inputs_hint({name: each.spec for name, each in inputs.items()})


def _columns(value: Any, specs: Mapping[str, TensorSpec]) -> list[Array]:
    if not _is_named(value):
        if len(specs) > 1:
            raise InvalidArgument(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map",
                hint=inputs_hint(specs),
            )
        return [_Input(name, spec, is_row=False).tensor(value) for name, spec in specs.items()]
    arrays = []
    for name, spec in specs.items():
        found = value.get(name, MISSING)
        if found is MISSING:
            raise InvalidArgument(
                f"Missing named input: {name} in 'inputs' object.", hint=inputs_hint(specs)
            )
        arrays.append(_Input(name, spec, is_row=False).tensor(found))
    return arrays


# -- one input -------------------------------------------------------------------------------------


class _Input:
    """The values of one input, as they are added: scalars in order, and long runs as arrays."""

    def __init__(self, name: str, spec: TensorSpec, *, is_row: bool) -> None:
        self.name = name
        self.spec = spec
        self.row_shape: list[int] | None = None
        self._row_size = 0
        self._is_row = is_row
        self._arrays: list[Array] = []
        self._scalars: list[Any] = []  # those behind the arrays
        self._size = 0

    def tensor(self, value: Any) -> Array:
        """A value that is the whole input.

        Raises:
            InvalidArgument: a list or scalar where the shape has none, or a scalar of a wrong type.
            Unimplemented: no JSON scalar is of this dtype.
        """
        shape = self._shape(value)
        self._fill(value, shape, 0)
        return self.array(shape)

    def add_row(self, row: Any, *, is_repeated: bool = False) -> None:
        """Add a row. One that repeats a key of its object is checked and dropped. See `tensor`."""
        if is_repeated:
            self._flush()
        before, arrays = self._size, len(self._arrays)
        shape = self._shape(row)
        self._fill(row, shape, 0)
        size = self._size - before
        if self.row_shape is None:
            self.row_shape, self._row_size = shape, size
        elif size != self._row_size:
            self._refuse(f"Expecting tensor size: {self._row_size} but got: {size}", shape)
        elif shape != self.row_shape:
            expected = f"Expecting shape {_shape_text(self.row_shape)}"
            self._refuse(f"{expected} but got: {_shape_text(shape)}", shape)
        if is_repeated:
            self._size = before
            self._scalars.clear()
            del self._arrays[arrays:]

    def takes(self, rows: Array) -> bool:
        """Whether rows that are an array already, shape (n, ...), are like those before them."""
        return self.row_shape is None or list(rows.shape[1:]) == self.row_shape

    def add_rows(self, rows: Array) -> None:
        """Add such rows."""
        self.row_shape = list(rows.shape[1:])
        self._row_size = prod(self.row_shape)
        self._add_array(rows)

    def array(self, shape: list[int]) -> Array:
        """All of it.

        Raises:
            InvalidArgument: it has too many dimensions.
            Unimplemented: no array is of this dtype.
        """
        try:
            if not self._arrays:
                return _flat(self._scalars, self.spec.dtype).reshape(shape)
            self._flush()
            return np.concatenate(self._arrays).reshape(shape)
        except TypeError:
            raise Unimplemented(
                f"Conversion of JSON Value: [] to type: {short_text(self.spec.dtype)}"
            ) from None
        except ValueError:
            raise self._too_deep(len(shape)) from None

    def _shape(self, value: Any) -> list[int]:
        """The lengths along the first elements."""
        shape: list[int] = []
        while isinstance(value, ARRAY_TYPES):
            if len(shape) == MAX_RANK:  # and the recursion of `_fill` would go as deep
                raise self._too_deep(len(shape) + 1)
            shape.append(len(value))
            if not shape[-1]:
                break
            value = next(iter(value))
        return shape

    def _fill(self, value: Any, shape: list[int], level: int) -> None:
        rank = len(shape)
        if not isinstance(value, ARRAY_TYPES):
            if level != rank:
                self._refuse(
                    f"JSON Value: {debug_text(value)} found at incorrect level: {level + 1} "
                    f"in the JSON DOM. Expected at level: {rank}",
                    shape,
                )
            self._scalars.append(_scalar(value, self.name, self.spec))
            self._size += 1
            if len(self._scalars) > _SCALARS_AT_ONCE:
                self._flush()
            return
        if level >= rank:
            self._refuse(f"Encountered list at unexpected level: {level} expected < {rank}", shape)
        if len(value) != shape[level]:
            self._refuse(
                f"Encountered list at unexpected size: {len(value)} at level: {level} "
                f"expected size: {shape[level]}",
                shape,
            )
        for items in self._taken(value, shape[level + 1 :]):
            for item in items:
                self._fill(item, shape, level + 1)

    def _taken(self, value: list[Any] | LongList, shape: list[int]) -> Iterator[Iterable[Any]]:
        """Add what of a list can be added at once, its elements being of a shape; give the rest."""
        if not isinstance(value, LongList):
            yield value
            return
        for part in value.parts():
            arrays = part.arrays({self.name: self.spec}, is_named=False)
            if arrays is not None and list(arrays[0].shape[1:]) == shape:
                self._add_array(arrays[0])
            else:
                yield part.values()

    def _add_array(self, array: Array) -> None:
        self._flush()
        self._arrays.append(array.ravel())
        self._size += array.size

    def _flush(self) -> None:
        if self._scalars:
            self._arrays.append(_flat(self._scalars, self.spec.dtype))
            self._scalars = []

    def _refuse(self, text: str, shape: list[int]) -> NoReturn:
        hint = hints.nesting(self.name, self.spec, shape, is_row=self._is_row)
        raise InvalidArgument(text, hint=hint)

    def _too_deep(self, rank: int) -> InvalidArgument:
        said = f"{rank}" if rank <= MAX_RANK else f"more than {MAX_RANK}"
        return InvalidArgument(
            f"Tensor name: {self.name} has {said} dimensions, more than are supported"
        )


def _shape_text(shape: list[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


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


# -- scalars ---------------------------------------------------------------------------------------


def _scalar(value: Any, name: str, spec: TensorSpec) -> Any:
    """A scalar of a tensor: float, int, bool or bytes."""
    dtype = spec.dtype
    is_object = isinstance(value, OBJECT_TYPES)
    if dtype is DataType.STRING and is_object:
        text = base64_text(value)
        if text is None:
            _refuse(value, "not formatted correctly for base64 data", hints.BASE64)
        return decode_base64(text)
    if dtype not in JSON_TYPES and not is_object:
        raise Unimplemented(
            f"Conversion of JSON Value: {debug_text(value)} to type: {short_text(dtype)}"
        )
    scalar = _accepted(value, dtype)
    if scalar is None:
        _refuse(
            value,
            f"Type: {type_name(value)} is not of expected type: {short_text(dtype)}",
            hints.wrong_type(name, spec, value),
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

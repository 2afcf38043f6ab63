"""The features of an ensemble: the inputs that take them, and the matrix that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import TensorSpec

__all__ = ["MATRIX", "Feature", "Features"]

MATRIX: Final = "x"
"""The input that takes all features at once."""

_SHOWN: Final = 10
_NO_CATEGORIES: Final[Mapping[bytes | float, float]] = {}


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the matrix.

    Attributes:
        name: as the file has it.
        categories: of a categorical one whose categories the file has: value → its number in the
            matrix. Texts are bytes.
    """

    name: str
    categories: Mapping[bytes | float, float] = field(default_factory=dict)

    @property
    def is_text(self) -> bool:
        """Whether its categories are texts."""
        return any(isinstance(value, bytes) for value in self.categories)


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """All features of a model, in their order.

    Attributes:
        dtype: of the matrix, and of columns of numbers.
        count: how many there are.
        named: the features; empty where the file has no names.
        refuses_unknown: a category that is not known is an error; else it counts as missing.
    """

    dtype: DataType
    count: int
    named: tuple[Feature, ...] = ()
    refuses_unknown: bool = False

    def matrix_spec(self) -> dict[str, TensorSpec]:
        """The one input of a signature that takes a matrix."""
        return {MATRIX: TensorSpec(self.dtype, (-1, self.count))}

    def column_specs(self) -> dict[str, TensorSpec]:
        """An input for each feature, sorted by name."""
        return {of.name: TensorSpec(self.dtype_of(of), (-1,)) for of in self.sorted()}

    def dtype_of(self, feature: Feature) -> DataType:
        """The element type of a column."""
        return DataType.STRING if feature.is_text else self.dtype

    def sorted(self) -> list[Feature]:
        """The features as a signature has them."""
        return sorted(self.named, key=lambda each: each.name)

    def matrix_of(self, feeds: Sequence[Array]) -> Array:
        """What was fed as a matrix, looked at.

        Raises:
            InvalidArgument: the shape or the element type is wrong.
        """
        matrix = feeds[0]
        if matrix.ndim != 2 or matrix.shape[1] != self.count:
            raise InvalidArgument(
                f"Input {MATRIX} must have shape [-1, {self.count}], not {list(matrix.shape)}",
                hint=f"The model has {self.count} features{self._listed()}.",
            )
        self._check_dtype(MATRIX, matrix, self.dtype)
        # What lies in a message of gRPC begins anywhere; libraries read whole numbers at a time.
        return matrix if matrix.flags.aligned else matrix.copy()

    def matrix_of_columns(self, feeds: Sequence[Array]) -> Array:
        """The matrix of columns that were fed in the order of `column_specs`.

        Raises:
            InvalidArgument: their shapes or element types are wrong.
        """
        given = dict(zip((each.name for each in self.sorted()), feeds, strict=True))
        rows = self._rows(given)
        matrix = np.empty((rows, self.count), numpy_dtype(self.dtype))
        for at, feature in enumerate(self.named):
            column = given[feature.name]
            self._check_dtype(feature.name, column, self.dtype_of(feature))
            matrix[:, at] = self.numbers(feature, column) if feature.categories else column
        return matrix

    def numbers(self, feature: Feature, column: Array) -> list[float]:
        """What stands in the matrix for the values of a categorical column.

        Raises:
            InvalidArgument: a category is not known, and this is refused.
        """
        known = feature.categories
        numbers = [known.get(value, np.nan) for value in column.tolist()]
        if self.refuses_unknown:
            for value, number in zip(column.tolist(), numbers, strict=True):
                if number != number and value != b"" and value == value:
                    raise InvalidArgument(
                        f"{_text(value)} is no category of {feature.name}",
                        hint=f"It was trained with {_listed(map(_text, known))}.",
                    )
        return numbers

    def _rows(self, given: Mapping[str, Array]) -> int:
        rows = -1
        for name, column in given.items():
            if column.ndim != 1:
                raise InvalidArgument(
                    f"Input {name} must have shape [-1], not {list(column.shape)}"
                )
            if rows not in (-1, len(column)):
                first = next(iter(given))
                raise InvalidArgument(
                    f"Inputs must have as many rows as each other: {first} has {rows}, "
                    f"{name} has {len(column)}"
                )
            rows = len(column)
        return rows

    def _check_dtype(self, name: str, array: Array, wanted: DataType) -> None:
        if array.dtype != numpy_dtype(wanted):
            given = dtype_of_array(array.dtype)
            raise InvalidArgument(f"Input {name} must be {wanted.name}, not {given.name}")

    def _listed(self) -> str:
        names = [each.name for each in self.named]
        return f": {_listed(names)}" if names else ""


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else f"{value:g}"


def _listed(names: Any) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

"""The inputs of a fitted estimator: one matrix, texts, or a column for each name it was fitted on.

What a column holds is not kept by an estimator. It is known by the encoders that were fitted on it,
whose categories are texts or numbers; `assets/salver.json` may say otherwise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from salver.about.document import InputAbout, InputKind
from salver.backends.sklearn.library import load_library
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import TensorSpec

__all__ = ["Columns", "columns_of"]

_MATRIX: Final = "x"
_TEXTS: Final = frozenset((InputKind.TEXT,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What an estimator takes.

    Attributes:
        names: of its columns, in its order; empty where it takes one matrix, or texts.
        width: of the matrix; -1 where that is open, None for texts.
        texts: columns that hold texts.
        missing: columns of texts for which an empty text is a missing value.
    """

    names: tuple[str, ...] = ()
    width: int | None = -1
    texts: frozenset[str] = field(default_factory=frozenset)
    missing: frozenset[str] = field(default_factory=frozenset)

    def specs(self) -> dict[str, TensorSpec]:
        """The inputs, sorted by name."""
        if self.names:
            return {name: TensorSpec(self._dtype(name), (-1,)) for name in sorted(self.names)}
        if self.width is None:
            return {_MATRIX: TensorSpec(DataType.STRING, (-1,))}
        return {_MATRIX: TensorSpec(DataType.FLOAT64, (-1, self.width))}

    def table(self, feeds: Sequence[Array]) -> Any:
        """What the estimator is called with.

        Args:
            feeds: in the order of `specs`.

        Raises:
            InvalidArgument: their shapes or element types are wrong.
        """
        if self.names:
            return self._frame(dict(zip(sorted(self.names), feeds, strict=True)))
        given = feeds[0]
        if self.width is None:
            _check(_MATRIX, given, DataType.STRING, 1)
            return [text.decode(errors="replace") for text in given.tolist()]
        _check(_MATRIX, given, DataType.FLOAT64, 2)
        if self.width not in (-1, given.shape[1]):
            raise InvalidArgument(
                f"Input x must have shape [-1, {self.width}], not {list(given.shape)}"
            )
        return given

    def example(self) -> list[Array]:
        """A row of nothing, to see what comes of it."""
        if self.names or self.width is None:
            return [
                np.zeros(1) if spec.dtype is DataType.FLOAT64 else np.array([b""], object)
                for spec in self.specs().values()
            ]
        return [np.zeros((1, max(self.width, 1)))]

    def _dtype(self, name: str) -> DataType:
        return DataType.STRING if name in self.texts else DataType.FLOAT64

    def _frame(self, given: Mapping[str, Array]) -> Any:
        rows = None
        for name, column in given.items():
            _check(name, column, self._dtype(name), 1)
            if rows not in (None, len(column)):
                first = next(iter(given))
                raise InvalidArgument(
                    f"Inputs must have as many rows as each other: {first} has {rows}, "
                    f"{name} has {len(column)}"
                )
            rows = len(column)
        pandas = load_library("pandas")
        return pandas.DataFrame({name: self._column(name, given[name]) for name in self.names})

    def _column(self, name: str, column: Array) -> Array:
        if name not in self.texts:
            return column
        texts = np.empty(len(column), object)
        blank = np.nan if name in self.missing else ""
        texts[:] = [text.decode(errors="replace") or blank for text in column.tolist()]
        return texts


def _check(name: str, array: Array, dtype: DataType, axes: int) -> None:
    if array.ndim != axes:
        wanted = "[-1]" if axes == 1 else "[-1, -1]"
        raise InvalidArgument(f"Input {name} must have shape {wanted}, not {list(array.shape)}")
    if array.dtype != numpy_dtype(dtype):
        given = dtype_of_array(array.dtype)
        raise InvalidArgument(f"Input {name} must be {dtype.name}, not {given.name}")


# -- what an estimator takes -----------------------------------------------------------------------


def columns_of(estimator: Any, told: Mapping[str, InputAbout]) -> Columns:
    """What a fitted estimator takes.

    Args:
        estimator: fitted.
        told: what a person wrote of its inputs.
    """
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        width = getattr(estimator, "n_features_in_", None)
        if width is None and _takes_texts(estimator):
            return Columns(width=None)
        return Columns(width=-1 if width is None else int(width))
    known = [str(name) for name in names]
    categories: dict[str, list[Any]] = {name: [] for name in known}
    for name, values in _categories(estimator, known):
        categories[name].extend(values)  # of an imputer, and of the encoder behind it
    texts = {name for name, each in categories.items() if _are_texts(each)}
    for name, about in told.items():
        is_text = _told_text(about)
        if is_text is not None and name in known:
            texts = texts | {name} if is_text else texts - {name}
    missing = {name for name in texts if _has_missing(categories[name])}
    return Columns(names=tuple(known), texts=frozenset(texts), missing=frozenset(missing))


def _told_text(about: InputAbout) -> bool | None:
    if about.kind in _TEXTS:
        return True
    if about.kind is InputKind.NUMBER:
        return False
    if about.choices:
        return all(isinstance(choice, str) for choice in about.choices)
    return None


def _steps(estimator: Any) -> list[Any]:
    """The estimators that see the data one after the other."""
    steps = getattr(estimator, "steps", None)
    return [step for _, step in steps] if isinstance(steps, list) else [estimator]


def _takes_texts(estimator: Any) -> bool:
    """Whether it begins with what cuts texts into words."""
    return hasattr(_steps(estimator)[0], "build_analyzer")


def _categories(estimator: Any, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Columns, with what is known of their values."""
    for step in _steps(estimator):
        if hasattr(step, "transformers_"):
            for _, transformer, columns in step.transformers_:
                if not isinstance(transformer, str):
                    yield from _categories(transformer, _chosen(columns, names))
            return
        if hasattr(step, "build_analyzer"):
            yield from ((name, [""]) for name in names)
            return
        found = getattr(step, "categories_", None)
        if isinstance(found, list) and len(found) == len(names):
            yield from zip(names, found, strict=True)
            return
        if not hasattr(step, "statistics_"):  # an imputer leaves columns where they are
            return
        yield from _imputed(step, names)


def _imputed(step: Any, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    values = list(step.statistics_)
    if len(values) == len(names):
        for name, value in zip(names, values, strict=True):
            if isinstance(value, str):
                yield name, [value, np.nan]


def _chosen(columns: Any, names: Sequence[str]) -> list[str]:
    """The names of columns that a ColumnTransformer was given."""
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, slice):
        return list(names[columns])
    chosen = list(columns)
    if chosen and all(isinstance(each, (bool, np.bool_)) for each in chosen):
        return [name for name, is_chosen in zip(names, chosen, strict=True) if is_chosen]
    return [each if isinstance(each, str) else names[int(each)] for each in chosen]


def _are_texts(categories: Any) -> bool:
    return any(isinstance(each, str) for each in categories)


def _has_missing(categories: Any) -> bool:
    values = list(categories)
    has_missing = any(each is None or each != each for each in values)
    return has_missing and "" not in values

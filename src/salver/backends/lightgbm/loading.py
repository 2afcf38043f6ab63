"""LightGBM files: what they say of themselves, and loading them."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from salver.backends.lightgbm.booster import LightGBMBooster
from salver.backends.lightgbm.library import load_library
from salver.backends.lightgbm.model_file import Head, check_trees, read_head
from salver.backends.lightgbm.options import LightGBMOptions
from salver.backends.trees.features import Feature, Features
from salver.backends.trees.meaning import read_meaning
from salver.backends.trees.model import PREDICTION, Ensemble, TreeModel, signatures_of
from salver.backends.trees.probe import probe
from salver.backends.trees.tasks import Task, two_classes
from salver.errors import DataLoss
from salver.instruments.files import error_of_os, read_regular
from salver.vocabulary.dtypes import DataType, data_type, numpy_dtype
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import Array

__all__ = ["inspect", "load_model"]

_TRIAL: Final = "salver.backends.lightgbm.trial"
_BINARY: Final = "binary"
_MULTICLASS: Final = frozenset(("multiclass", "multiclassova"))


def inspect(path: Path, options: LightGBMOptions) -> ModelInfo:
    """What a file says of itself, without LightGBM.

    Raises:
        DataLoss: it is malformed.
        ServingError: it cannot be read.
    """
    data = _read(path)
    ensemble = _ensemble(path, _head(path, data), options)
    return ModelInfo(signatures_of(ensemble), footprint_bytes=len(data))


def load_model(path: Path, options: LightGBMOptions) -> TreeModel:
    """Load a file, which is checked first, and tried in a child process if it is of a strange kind.

    Raises:
        DataLoss: it is malformed.
        ServingError: it cannot be read, or LightGBM refuses it.
    """
    data = _read(path)
    head = _head(path, data)
    try:
        is_familiar = check_trees(data, head)
    except DataLoss as error:
        raise _named(path, error) from None
    library = load_library()
    if not is_familiar:
        probe(_TRIAL, data, str(path))
    ensemble = _ensemble(path, head, options)
    booster = LightGBMBooster(
        library,
        data,
        features=ensemble.features.count,
        outputs=head.outputs,
        dtype=numpy_dtype(ensemble.features.dtype),
        num_threads=options.num_threads,
    )
    return TreeModel(ensemble, booster)


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise error_of_os(str(path), error) from error


def _head(path: Path, data: bytes) -> Head:
    try:
        return read_head(data)
    except DataLoss as error:
        raise _named(path, error) from None


def _named(path: Path, error: DataLoss) -> DataLoss:
    return DataLoss(
        f"{path} is no LightGBM model, or only a part of one: {error.message}. "
        "Copy it again, or save the model again"
    )


def _ensemble(path: Path, head: Head, options: LightGBMOptions) -> Ensemble:
    meaning = read_meaning(path.parent, PREDICTION)
    named = _features(head)
    takes_columns = meaning.asks_for_columns(head.names)
    # Columns come from tables, as they did when it was trained: with all their digits.
    dtype = DataType.FLOAT64 if takes_columns else data_type(options.input_dtype)
    features = Features(dtype=dtype, count=len(named), named=named)
    return Ensemble(features, _task(head), meaning)


def _features(head: Head) -> tuple[Feature, ...]:
    """The features; with categories where it is sure which have them."""
    categorical = [name for name, info in zip(head.names, head.infos, strict=True)
                   if info != "none" and not info.startswith("[")]  # fmt: skip
    known: dict[str, dict[Any, float]] = {}
    if len(categorical) == len(head.pandas):
        known = {
            name: {_value(each): float(at) for at, each in enumerate(values)}
            for name, values in zip(categorical, head.pandas, strict=True)
        }
    return tuple(Feature(name, known.get(name, {})) for name in head.names)


def _value(category: Any) -> bytes | float:
    """A category as a column has it: with one that is text, all of its column are."""
    return float(category) if isinstance(category, (int, float)) else str(category).encode()


def _task(head: Head) -> Task:
    dtype = DataType.FLOAT64
    if head.objective == _BINARY:
        return Task(dtype=dtype, classes=2, scores=two_classes)
    if head.objective in _MULTICLASS:
        return Task(dtype=dtype, width=head.outputs, classes=head.outputs, scores=_as_scores)
    return Task(dtype=dtype, width=None if head.outputs == 1 else head.outputs)


def _as_scores(y: Array) -> Array:
    return y.astype(np.float32)

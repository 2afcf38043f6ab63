"""XGBoost files: what they say of themselves, and loading them."""

from pathlib import Path
from typing import Final

import numpy as np

from salver.backends.trees.features import Feature, Features
from salver.backends.trees.meaning import read_meaning
from salver.backends.trees.model import PREDICTION, Ensemble, TreeModel, signatures_of
from salver.backends.trees.probe import probe
from salver.backends.trees.tasks import Task, softmax, two_classes
from salver.backends.xgboost.booster import XGBoostBooster
from salver.backends.xgboost.library import Library, load_library
from salver.backends.xgboost.model_file import (
    Document,
    Facts,
    check_model,
    read_document,
    read_facts,
)
from salver.backends.xgboost.options import XGBoostOptions
from salver.errors import DataLoss
from salver.instruments.files import error_of_os, read_regular
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import Array

__all__ = ["booster_of", "inspect", "load_model", "task_of"]

_TRIAL: Final = "salver.backends.xgboost.trial"
_BINARY: Final = frozenset(("binary:logistic", "binary:hinge"))
_RAW_BINARY: Final = "binary:logitraw"
_CLASS: Final = "multi:softmax"
_PROBABILITIES: Final = "multi:softprob"


def inspect(path: Path, _options: XGBoostOptions) -> ModelInfo:
    """What a file says of itself, without XGBoost.

    Raises:
        DataLoss: it is malformed.
        ServingError: it cannot be read.
    """
    data = _read(path)
    facts, _ = _facts(path, data)
    return ModelInfo(signatures_of(_ensemble(path, facts)), footprint_bytes=len(data))


def load_model(path: Path, options: XGBoostOptions) -> TreeModel:
    """Load a file, which is checked first, and tried in a child process if it is of a strange kind.

    Raises:
        DataLoss: it is malformed, or XGBoost refuses it.
        ServingError: it cannot be read.
    """
    data = _read(path)
    facts, document = _facts(path, data)
    try:
        is_familiar = check_model(document, facts)
    except DataLoss as error:
        raise _named(path, error) from None
    del document
    library = load_library()
    if not is_familiar:
        probe(_TRIAL, data, str(path))
    ensemble = _ensemble(path, facts)
    try:
        booster = booster_of(library, data, facts, options.num_threads)
    except DataLoss as error:
        raise _named(path, error) from None
    return TreeModel(ensemble, booster)


def booster_of(library: Library, data: bytes, facts: Facts, num_threads: int) -> XGBoostBooster:
    """Load a file that was checked.

    Raises:
        DataLoss: XGBoost refuses it.
        Internal: XGBoost reads something else from it.
    """
    return XGBoostBooster(
        library,
        data,
        features=facts.features,
        best_iteration=facts.best_iteration,
        num_threads=num_threads,
        width=task_of(facts).width,
        margin_width=facts.outputs,
        is_linear=facts.booster == "gblinear",
    )


def task_of(facts: Facts) -> Task:
    """What the predictions are, by the objective."""
    dtype = DataType.FLOAT32
    if facts.objective in _BINARY:
        return Task(dtype=dtype, classes=2, scores=two_classes)
    if facts.objective == _RAW_BINARY:
        return Task(dtype=dtype, classes=2, scores=_of_logits)
    if facts.objective == _PROBABILITIES:
        return Task(dtype=dtype, width=facts.classes, classes=facts.classes, scores=lambda y: y)
    if facts.objective == _CLASS:
        return Task(dtype=dtype, classes=facts.classes, scores=softmax, scores_of_margins=True)
    return Task(dtype=dtype, width=None if facts.outputs == 1 else facts.outputs)


def _of_logits(y: Array) -> Array:
    return two_classes(1 / (1 + np.exp(-y)))


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise error_of_os(str(path), error) from error


def _facts(path: Path, data: bytes) -> tuple[Facts, Document]:
    try:
        document = read_document(data)
        return read_facts(document), document
    except DataLoss as error:
        raise _named(path, error) from None


def _named(path: Path, error: DataLoss) -> DataLoss:
    return DataLoss(
        f"{path} is no XGBoost model, or only a part of one: {error.message}. Copy it "
        "again, or save the model again: model.save_model('model.ubj')"
    )


def _ensemble(path: Path, facts: Facts) -> Ensemble:
    named = tuple(
        Feature(name, {of: float(number) for number, of in enumerate(facts.categories.get(at, ()))})
        for at, name in enumerate(facts.names)
    )
    features = Features(
        dtype=DataType.FLOAT32, count=facts.features, named=named, refuses_unknown=True
    )
    return Ensemble(features, task_of(facts), read_meaning(path.parent, PREDICTION))

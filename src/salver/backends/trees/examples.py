"""tf.Examples → the matrix of an ensemble: how Classify and Regress bring its features.

A feature of an example is a column by its name, or all of them at once under `x`. What is left out
is missing, which trees know how to take; so an example without features is one of missing values,
and one that has others only is an error.

Source: TensorFlow Serving, `apis/input.proto`; `tensorflow/core/example/feature.proto`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from salver._pb import message_class
from salver.backends.trees.features import MATRIX, Feature, Features
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import numpy_dtype
from salver.vocabulary.requests import Array

__all__ = ["matrix_of_examples"]

_MESSAGE: Final = "tensorflow.Example"


def matrix_of_examples(features: Features, examples: Array) -> Array:
    """The matrix that examples mean.

    Args:
        features: of the model.
        examples: serialized `tensorflow.Example` messages, shape (examples,).

    Raises:
        InvalidArgument: one is malformed, or brings none of the features, or what does not fit.
    """
    if examples.ndim != 1 or not examples.dtype.hasobject:
        raise InvalidArgument("Input inputs must be serialized tf.Examples, of shape [-1]")
    matrix = np.full((len(examples), features.count), np.nan, numpy_dtype(features.dtype))
    at_of = {feature.name: at for at, feature in enumerate(features.named)}
    parse = message_class(_MESSAGE).FromString
    for row, example in zip(matrix, examples.tolist(), strict=True):
        try:
            given = parse(example).features.feature
        except (DecodeError, UnicodeDecodeError) as error:
            raise InvalidArgument("Could not parse example input: no tensorflow.Example") from error
        _fill(row, given, features, at_of)
    return matrix


def _fill(row: Array, given: Any, features: Features, at_of: Mapping[str, int]) -> None:
    found = at_of.keys() & given.keys()
    if not found and MATRIX in given:
        values = _values(MATRIX, given[MATRIX])
        if len(values) != features.count or any(isinstance(each, bytes) for each in values):
            raise InvalidArgument(
                f"Feature {MATRIX} of an example must have {features.count} numbers"
            )
        row[:] = values
        return
    if not found and len(given):
        named = ", ".join(list(at_of)[:10]) or MATRIX
        raise InvalidArgument(
            "An example has none of the features of this model",
            hint=f"It takes {named}{'' if len(at_of) <= 10 else ', …'}.",
        )
    for name in found:
        at = at_of[name]
        row[at] = _number(features, features.named[at], _values(name, given[name]))


def _number(features: Features, feature: Feature, values: Sequence[Any]) -> float:
    if not values:
        return float("nan")
    if len(values) > 1:
        raise InvalidArgument(f"Feature {feature.name} of an example must have one value")
    value = values[0]
    if feature.categories:
        column = np.empty(1, object)
        column[0] = value
        return features.numbers(feature, column)[0]
    if isinstance(value, bytes):
        raise InvalidArgument(f"Feature {feature.name} of an example must be a number")
    return float(value)


def _values(name: str, feature: Any) -> Sequence[Any]:
    kind = feature.WhichOneof("kind")
    return () if kind is None else list(getattr(feature, kind).value)

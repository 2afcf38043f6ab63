"""`classify` and `regress`: `tf.Example`s in, whose features are the inputs of the graph."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from salver._pb import message_class
from salver.backends.onnxruntime.program import OnnxProgram
from salver.backends.onnxruntime.value_types import Value
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import CLASSIFY_OUTPUT_CLASSES, REGRESS_OUTPUTS

__all__ = ["ExamplesProgram"]

_FLOATS: Final = frozenset({DataType.FLOAT32, DataType.FLOAT64})
_KINDS: Final[Mapping[str, str]] = {
    "bytes_list": "string",
    "float_list": "float",
    "int64_list": "int64",
}


class ExamplesProgram:
    """Feeds the features of examples, and gives classes with their scores, or values."""

    def __init__(
        self,
        program: OnnxProgram,
        inputs: Sequence[Value],
        labels: Sequence[bytes],
        outputs: Sequence[str],
    ) -> None:
        """Put a program behind.

        Args:
            program: of the one output that is the answer.
            inputs: of it, each of one or two dimensions.
            labels: of the classes.
            outputs: what is wanted of the signature.
        """
        self.can_loop = program.can_loop
        self._program = program
        self._inputs = inputs
        self._outputs = outputs
        self._labels = np.empty(len(labels), dtype=object)
        self._labels[:] = list(labels)

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """See `Program.run`."""
        return self._answer(self._program.run(self._features(feeds)))

    def run_in_caller(self, feeds: Sequence[Array]) -> list[Array]:
        """See `Program.run_in_caller`."""
        return self._answer(self._program.run_in_caller(self._features(feeds)))

    def run_inline(self, feeds: Sequence[Array]) -> list[Array]:
        """See `Program.run_inline`."""
        return self._answer(self._program.run_inline(self._features(feeds)))

    def _answer(self, outputs: Sequence[Array]) -> list[Array]:
        (scores,) = outputs
        answers = []
        for name in self._outputs:
            if name == CLASSIFY_OUTPUT_CLASSES:
                answers.append(self._classes(scores))
            elif name == REGRESS_OUTPUTS:
                answers.append(scores.reshape(len(scores), -1))
            else:
                answers.append(scores)
        return answers

    def _classes(self, scores: Array) -> Array:
        if scores.shape[1:] != self._labels.shape:
            raise InvalidArgument(
                f"The model gave scores of shape {scores.shape} for {len(self._labels)} classes"
            )
        return np.broadcast_to(self._labels, scores.shape).copy()

    def _features(self, feeds: Sequence[Array]) -> list[Array]:
        (examples,) = feeds
        if examples.ndim != 1:
            raise InvalidArgument(f"Examples have a shape of {examples.ndim} dimensions, not 1")
        made = message_class("tensorflow.Example")
        try:
            parsed = [made.FromString(each).features.feature for each in examples.tolist()]
        except DecodeError as error:
            raise InvalidArgument("Could not parse example input") from error
        return [_column(value, parsed) for value in self._inputs]


def _column(value: Value, examples: Sequence[Any]) -> Array:
    rows = [_values(value, example) for example in examples]
    shape = value.shape or (-1,)
    width = len(rows[0]) if rows else 0
    if len(shape) == 1:
        width = 1
    elif shape[1] >= 0:
        width = shape[1]
    for row in rows:
        if len(row) != width:
            raise InvalidArgument(
                f"Key: {value.name}.  Number of values: {len(row)}, and {width} are expected"
            )
    dtype = numpy_dtype(value.dtype)
    column = np.empty(len(rows) * width, dtype)
    if column.size:
        column[:] = [each for row in rows for each in row]
    full = (len(rows),) if len(shape) == 1 else (len(rows), width)
    assert prod(full) == column.size
    return column.reshape(full)


def _values(value: Value, example: Any) -> Sequence[Any]:
    if value.name not in example:
        raise InvalidArgument(
            f"Feature: {value.name} (data type: {value.dtype.name}) is required but could not be "
            "found."
        )
    feature = example[value.name]
    kind: str | None = feature.WhichOneof("kind")
    if value.dtype in _FLOATS:
        fits = kind in ("float_list", "int64_list")
    elif value.dtype is DataType.STRING:
        fits = kind == "bytes_list"
    else:
        fits = kind == "int64_list"
    if kind is None or not fits:
        raise InvalidArgument(
            f"Key: {value.name}.  Data types don't match. Expected type: {value.dtype.name} but "
            f"the example has {_KINDS.get(kind or '', 'nothing')}"
        )
    values: Sequence[Any] = getattr(feature, kind).value
    return values

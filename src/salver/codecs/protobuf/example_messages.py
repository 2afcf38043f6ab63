"""Messages of Classify, Regress and MultiInference.

Requests are parsed by protobuf: 0.5 µs an example, and one that is no `tensorflow.Example` is
refused here, as in the reference. Responses are written by hand, without an object per class.

Source: TensorFlow Serving, `apis/{classification,regression,inference,input}.proto` and
`servables/tensorflow/util.cc` (InputToSerializedExampleTensor).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from salver.codecs.protobuf.model_spec import ModelSpec, encode_model_spec, model_spec_of
from salver.codecs.protobuf.room import Room, check_context
from salver.codecs.protobuf.wire import length_delimited, parse_message, varint
from salver.vocabulary.requests import Array, ClassifyResult, RegressResult

__all__ = [
    "ExamplesRequest",
    "InferenceTask",
    "MultiInferenceRequest",
    "decode_classification_request",
    "decode_multi_inference_request",
    "decode_regression_request",
    "encode_classification_response",
    "encode_multi_inference_response",
    "encode_regression_response",
]

_EXAMPLE_COST_BYTES: Final = 64  # time and memory of an example, as if in bytes


@dataclass(frozen=True, slots=True)
class ExamplesRequest:
    """A ClassificationRequest or RegressionRequest.

    Attributes:
        spec: None where the request has none.
        examples: serialized `tensorflow.Example` messages, each with the context put before it
            where there is one, so that what the example says itself wins.
    """

    spec: ModelSpec | None
    examples: list[bytes]


@dataclass(frozen=True, slots=True)
class InferenceTask:
    """One of the questions of a MultiInferenceRequest.

    Attributes:
        spec: None where the task has none.
        method_name: says what kind of question it is.
    """

    spec: ModelSpec | None
    method_name: str


@dataclass(frozen=True, slots=True)
class MultiInferenceRequest:
    """Several questions about the same examples; see `ExamplesRequest`."""

    tasks: tuple[InferenceTask, ...]
    examples: list[bytes]


def decode_classification_request(data: bytes, room: Room | None = None) -> ExamplesRequest:
    """Read a `ClassificationRequest`.

    Raises:
        Internal: it is malformed.
        InvalidArgument: its context is too large for so many examples.
        TakesLong: see `Room`.
    """
    return _examples_request("tensorflow.serving.ClassificationRequest", data, room)


def decode_regression_request(data: bytes, room: Room | None = None) -> ExamplesRequest:
    """Read a `RegressionRequest`; raises as `decode_classification_request`."""
    return _examples_request("tensorflow.serving.RegressionRequest", data, room)


def decode_multi_inference_request(data: bytes, room: Room | None = None) -> MultiInferenceRequest:
    """Read a `MultiInferenceRequest`; raises as `decode_classification_request`."""
    message = parse_message("tensorflow.serving.MultiInferenceRequest", data)
    tasks = tuple([InferenceTask(_spec_in(task), task.method_name) for task in message.tasks])
    return MultiInferenceRequest(tasks, _examples(message.input, len(data), room))


def _examples_request(full_name: str, data: bytes, room: Room | None) -> ExamplesRequest:
    message = parse_message(full_name, data)
    return ExamplesRequest(_spec_in(message), _examples(message.input, len(data), room))


def _spec_in(message: Any) -> ModelSpec | None:
    return model_spec_of(message.model_spec) if message.HasField("model_spec") else None


def _examples(message: Any, message_bytes: int, room: Room | None) -> list[bytes]:
    context = b""
    examples = message.example_list.examples
    if message.WhichOneof("kind") == "example_list_with_context":
        context = message.example_list_with_context.context.SerializeToString()
        examples = message.example_list_with_context.examples
        check_context(len(context), len(examples), message_bytes)
    if room is not None:
        room.make(len(examples) * (len(context) + _EXAMPLE_COST_BYTES))
    return [context + example.SerializeToString() for example in examples]


def encode_classification_response(spec: ModelSpec, result: ClassifyResult) -> bytes:
    """Serialize a `ClassificationResponse`; labels are written as they are, UTF-8 or not."""
    return length_delimited(1, _classification_result(result)) + _spec_field(2, spec)


def encode_regression_response(spec: ModelSpec, result: RegressResult) -> bytes:
    """Serialize a `RegressionResponse`."""
    return length_delimited(1, _regression_result(result)) + _spec_field(2, spec)


def encode_multi_inference_response(
    results: Sequence[tuple[ModelSpec, ClassifyResult | RegressResult]],
) -> bytes:
    """Serialize a `MultiInferenceResponse`, its results in the order given."""
    return b"".join([length_delimited(1, _inference_result(*result)) for result in results])


def _inference_result(spec: ModelSpec, result: ClassifyResult | RegressResult) -> bytes:
    if isinstance(result, ClassifyResult):
        return _spec_field(1, spec) + length_delimited(2, _classification_result(result))
    return _spec_field(1, spec) + length_delimited(3, _regression_result(result))


def _spec_field(number: int, spec: ModelSpec) -> bytes:
    return length_delimited(number, encode_model_spec(spec))


_SCORE: Final = struct.Struct("<Bf")  # Class.score (2), with its tag
_SCORE_TAG: Final = 0x15


def _classification_result(result: ClassifyResult) -> bytes:
    """A `ClassificationResult`: Classifications (1) of classes (1)."""
    scores = None if result.scores is None else result.scores.tolist()
    if result.labels is None:
        assert scores is not None  # a classification has labels, scores or both
        rows = [[_class(b"", score) for score in row] for row in scores]
    elif scores is None:
        rows = [[length_delimited(1, _label(label)) for label in row] for row in result.labels]
    else:
        rows = [
            [_class(_label(label), score) for label, score in zip(*pair, strict=True)]
            for pair in zip(result.labels, scores, strict=True)
        ]
    return b"".join([length_delimited(1, b"".join(row)) for row in rows])


def _label(label: bytes) -> bytes:
    return b"\x0a" + varint(len(label)) + label if label else b""


def _class(label: bytes, score: float) -> bytes:
    return length_delimited(1, label + _SCORE.pack(_SCORE_TAG, score))


# Regression (1) of 5 bytes: its value (1), a float.
_REGRESSION: Final = np.dtype([("head", "V3"), ("value", "<f4")])
_REGRESSION_HEAD: Final = b"\x0a\x05\x0d"


def _regression_result(result: RegressResult) -> bytes:
    """A `RegressionResult`."""
    records: Array = np.empty(len(result.values), _REGRESSION)
    records["head"] = np.void(_REGRESSION_HEAD)
    records["value"] = result.values
    return records.tobytes()

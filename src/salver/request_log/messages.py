"""Calls as records: `tensorflow.serving.PredictionLog`."""

from typing import Final

from salver.codecs.protobuf.example_messages import (
    encode_classification_response,
    encode_regression_response,
)
from salver.codecs.protobuf.model_spec import ModelSpec, encode_model_spec
from salver.codecs.protobuf.predict_message import encode_predict_response
from salver.codecs.protobuf.prediction_log import LogKind, encode_prediction_log
from salver.codecs.protobuf.request_messages import encode_examples_request, encode_predict_request
from salver.codecs.protobuf.wire import length_delimited, varint
from salver.errors import Unimplemented
from salver.inference.examples import classify_result, regress_result
from salver.inference.logged import Bodies, Examples, LoggedCall, Messages, Tensors
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = ["messages_of", "record_of"]

_ORIGIN: Final = 6  # LogMetadata.request_origin
_TIMESTAMP_TAG: Final = b"\x20"  # LogMetadata.timestamp_secs (4), a varint


def record_of(call: LoggedCall, time_s: float, metadata: bytes) -> bytes:
    """A call as a serialized `tensorflow.serving.PredictionLog`.

    Args:
        call: with messages or arrays.
        time_s: when it was answered.
        metadata: what the metadata of all calls of this log have in common.

    Raises:
        ServingError: no message has what is in it.
    """
    kind = LogKind[call.method.upper()]
    answered = ModelSpec(
        call.servable.name, call.version, None, call.signature_name or DEFAULT_SIGNATURE
    )
    request, response = messages_of(call, answered)
    if call.principal is not None:
        metadata += length_delimited(_ORIGIN, call.principal.encode(errors="replace"))
    return encode_prediction_log(kind, request, response, _metadata(answered, time_s, metadata))


def _metadata(spec: ModelSpec, time_s: float, rest: bytes) -> bytes:
    """A serialized `LogMetadata`: what answered, when, and `rest`, its other fields."""
    stamp = _TIMESTAMP_TAG + varint(int(time_s))
    return length_delimited(1, encode_model_spec(spec)) + rest + stamp


def _asked_spec(call: LoggedCall) -> ModelSpec:
    """Which servable and signature the request named."""
    asked = call.servable
    return ModelSpec(asked.name, asked.version, asked.label, call.signature_name)


def messages_of(call: LoggedCall, answered: ModelSpec) -> tuple[bytes, bytes]:
    """A call as the messages of its request and its answer; `answered` is what answered it.

    Raises:
        ServingError: no message has what is in it.
    """
    content = call.content
    match content:
        case Messages():
            return content.request, content.response
        case Tensors():
            outputs = list(content.outputs.items())
            request = encode_predict_request(_asked_spec(call), content.inputs)
            wanted = [length_delimited(3, name.encode()) for name in content.output_filter]
            return (
                b"".join([request, *wanted]),
                encode_predict_response(answered, outputs, as_content=True),
            )
        case Examples():
            request = encode_examples_request(_asked_spec(call), content.examples)
            return request, _examples_response(call, content, answered)
        case Bodies():  # pragma: no branch - the last one there is
            raise Unimplemented("JSON bodies have no form in a PredictionLog")


def _examples_response(call: LoggedCall, content: Examples, answered: ModelSpec) -> bytes:
    count = len(content.examples)
    if call.method == "classify":
        return encode_classification_response(answered, classify_result(content.outputs, count))
    return encode_regression_response(answered, regress_result(content.outputs, count))

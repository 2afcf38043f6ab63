"""Messages of gRPC as REST would write them.

Predict is written by columns (`inputs`, `outputs`). MultiInference and SessionRun, for which there
is no REST, are written as protobuf's own JSON.

Source: TensorFlow Serving, `g3doc/api_rest.md`; https://protobuf.dev/programming-guides/json/
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from google.protobuf import json_format

from salver._pb import message_class
from salver.codecs.json.response import encode_classify, encode_predict, encode_regress
from salver.codecs.json.text import bytes_of, quote
from salver.codecs.protobuf.predict_message import decode_predict_request
from salver.codecs.protobuf.prediction_log import LogKind
from salver.codecs.protobuf.tensor_proto import decode_tensor
from salver.codecs.protobuf.wire import parse_message
from salver.errors import DataLoss, Unimplemented
from salver.vocabulary.requests import Array, ClassifyResult, RegressResult

__all__ = [
    "MESSAGE_NAMES",
    "classification_of",
    "message_from_json",
    "outputs_of",
    "regression_of",
    "request_json",
    "response_json",
]

MESSAGE_NAMES: Final[Mapping[LogKind, tuple[str, str]]] = {
    LogKind.PREDICT: ("tensorflow.serving.PredictRequest", "tensorflow.serving.PredictResponse"),
    LogKind.CLASSIFY: (
        "tensorflow.serving.ClassificationRequest",
        "tensorflow.serving.ClassificationResponse",
    ),
    LogKind.REGRESS: (
        "tensorflow.serving.RegressionRequest",
        "tensorflow.serving.RegressionResponse",
    ),
    LogKind.MULTI_INFERENCE: (
        "tensorflow.serving.MultiInferenceRequest",
        "tensorflow.serving.MultiInferenceResponse",
    ),
    LogKind.SESSION_RUN: (
        "tensorflow.serving.SessionRunRequest",
        "tensorflow.serving.SessionRunResponse",
    ),
}
"""Full names of the request and the response of a method."""

_SUFFIX: Final = "_bytes"  # makes `encode_predict` write base64


def request_json(kind: LogKind, data: bytes) -> bytes:
    """The body REST would have had for a request, on one line.

    Raises:
        Internal: it is malformed.
        ServingError: JSON has no form for what is in it.
    """
    match kind:
        case LogKind.PREDICT:
            message = decode_predict_request(data)
            arrays = {alias: decode_tensor(tensor) for alias, tensor in message.inputs.items()}
            name = message.spec.signature_name if message.spec is not None else ""
            texts = [_member(alias, _tensor_text(array)) for alias, array in arrays.items()]
            return _object([*_signature(name), _member("inputs", _object(texts))])
        case LogKind.CLASSIFY | LogKind.REGRESS:
            return _examples_json(parse_message(MESSAGE_NAMES[kind][0], data))
        case _:
            return _proto_json(kind, 0, data)


def response_json(kind: LogKind, data: bytes) -> bytes:
    """The body REST would have answered with, on one line; raises as `request_json`."""
    match kind:
        case LogKind.PREDICT:
            outputs = outputs_of(parse_message(MESSAGE_NAMES[kind][1], data).outputs)
            if len(outputs) == 1:
                (text,) = map(_tensor_text, outputs.values())
            else:
                texts = [_member(alias, _tensor_text(outputs[alias])) for alias in sorted(outputs)]
                text = _object(texts)
            return _object([_member("outputs", text)])
        case LogKind.CLASSIFY:
            result = parse_message(MESSAGE_NAMES[kind][1], data).result
            return _on_one_line(encode_classify(classification_of(result)))
        case LogKind.REGRESS:
            result = parse_message(MESSAGE_NAMES[kind][1], data).result
            return _on_one_line(encode_regress(regression_of(result)))
        case _:
            return _proto_json(kind, 1, data)


def message_from_json(kind: LogKind, value: Any, *, part: Literal[0, 1]) -> bytes:
    """Undo protobuf's own JSON.

    Args:
        kind: of the call.
        value: the JSON.
        part: 0 for the request, 1 for the response.

    Raises:
        DataLoss: this is no such message.
    """
    name = MESSAGE_NAMES[kind][part]
    message = message_class(name)()
    try:
        json_format.ParseDict(value, message)
    except json_format.ParseError as error:
        raise DataLoss(f"This is no {name}: {error}") from error
    return bytes(message.SerializeToString())


def outputs_of(tensors: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays of a map of `TensorProto` messages."""
    return {alias: decode_tensor(tensor.SerializeToString()) for alias, tensor in tensors.items()}


def classification_of(result: Any) -> ClassifyResult:
    """What a `ClassificationResult` says.

    Raises:
        DataLoss: its examples have different numbers of classes, as no tensor does.
    """
    rows = [row.classes for row in result.classifications]
    widths = {len(row) for row in rows} or {0}
    if len(widths) > 1:
        raise DataLoss("The examples of a classification have different numbers of classes")
    labels = [[bytes_of(entry.label) for entry in row] for row in rows]
    scores = np.array([[entry.score for entry in row] for row in rows], np.float32)
    return ClassifyResult(labels, scores.reshape(len(rows), widths.pop()))


def regression_of(result: Any) -> RegressResult:
    """What a `RegressionResult` says."""
    return RegressResult(np.array([entry.value for entry in result.regressions], np.float32))


def _tensor_text(array: Array) -> bytes:
    """A tensor as nested lists; in base64 where one of its strings is no text."""
    name = _SUFFIX if array.dtype.hasobject and not all(map(_is_text, array.flat)) else ""
    text = encode_predict([(name, array)], is_row=False)
    return text[text.index(b":") + 2 : text.rindex(b"\n")]


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _examples_json(message: Any) -> bytes:
    members = _signature(message.model_spec.signature_name)
    examples = message.input.example_list.examples
    if message.input.WhichOneof("kind") == "example_list_with_context":
        examples = message.input.example_list_with_context.examples
        context = message.input.example_list_with_context.context
        members.append(_member("context", _example_json(context)))
    texts = b",".join([_example_json(example) for example in examples])
    return _object([*members, _member("examples", b"[%s]" % texts)])


def _example_json(example: Any) -> bytes:
    features = example.features.feature
    return _object([_member(name, _feature_json(features[name])) for name in sorted(features)])


def _feature_json(feature: Any) -> bytes:
    kind = feature.WhichOneof("kind")
    if kind is None:
        return b"[]"
    values = list(getattr(feature, kind).value)
    if kind == "bytes_list":
        strings = np.empty(len(values), object)
        strings[:] = values
        return _tensor_text(strings)
    return _tensor_text(np.array(values, np.float32 if kind == "float_list" else np.int64))


def _proto_json(kind: LogKind, index: int, data: bytes) -> bytes:
    if kind not in MESSAGE_NAMES:
        raise Unimplemented(f"A call of the kind {kind.name} has no form in JSON")
    message = parse_message(MESSAGE_NAMES[kind][index], data)
    text: str = json_format.MessageToJson(
        message, preserving_proto_field_name=True, indent=None, ensure_ascii=False
    )
    return text.encode()


def _signature(name: str) -> list[bytes]:
    return [_member("signature_name", quote(name.encode()))] if name else []


def _member(name: str, value: bytes) -> bytes:
    return quote(name.encode()) + b":" + value


def _object(members: Sequence[bytes]) -> bytes:
    return b"{%s}" % b",".join(members)


def _on_one_line(text: bytes) -> bytes:
    return text.replace(b"\n", b"")

"""Sends calls of a log over gRPC, whatever form they were logged in."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import grpc

from salver.codecs.json.document import Document
from salver.codecs.protobuf.model_spec import ModelSpec, encode_model_spec
from salver.codecs.protobuf.prediction_log import LogKind
from salver.codecs.protobuf.request_messages import encode_examples_request, encode_predict_request
from salver.codecs.protobuf.signature_def import signatures_of
from salver.codecs.protobuf.wire import length_delimited, parse_message
from salver.errors import FailedPrecondition, error_of
from salver.request_log.answers import Answer, answer_of_message
from salver.request_log.json_forms import MESSAGE_NAMES, message_from_json
from salver.request_log.reading import LoggedRecord
from salver.request_log.sending import Redirection
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature

__all__ = ["GrpcSender"]

_SERVICE: Final = "/tensorflow.serving.PredictionService"
_METHODS: Final = {
    LogKind.PREDICT: f"{_SERVICE}/Predict",
    LogKind.CLASSIFY: f"{_SERVICE}/Classify",
    LogKind.REGRESS: f"{_SERVICE}/Regress",
    LogKind.MULTI_INFERENCE: f"{_SERVICE}/MultiInference",
    LogKind.SESSION_RUN: "/tensorflow.serving.SessionService/SessionRun",
}
_METADATA: Final = f"{_SERVICE}/GetModelMetadata"
_HAS_REST: Final = (LogKind.PREDICT, LogKind.CLASSIFY, LogKind.REGRESS)
_UNLIMITED: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class GrpcSender:
    """Asks over gRPC, with one channel."""

    def __init__(
        self,
        target: str,
        redirection: Redirection,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Connect to nobody yet; `headers` are the metadata of each call."""
        self._metadata = tuple((headers or {}).items()) or None
        self._redirection = redirection
        self._timeout_s = timeout_s
        self._channel = grpc.insecure_channel(target, options=_UNLIMITED)
        self._calls: dict[str, Callable[..., bytes]] = {
            path: self._channel.unary_unary(path) for path in (*_METHODS.values(), _METADATA)
        }
        self._signatures: dict[ModelSpec, dict[str, Signature]] = {}

    def __call__(self, record: LoggedRecord) -> Answer:
        """See `Sender`."""
        spec = self._redirection.of(record.spec)
        if isinstance(record.request, bytes):
            request = record.request
        else:
            request = self._message(record.kind, spec, record.request)
            wanted = [length_delimited(3, name.encode()) for name in record.output_filter]
            request = b"".join([request, *wanted])
        if spec != record.spec:
            request = _redirected(record.kind, request, spec, self._redirection.signature)
        return answer_of_message(record.kind, self._ask(_METHODS[record.kind], request))

    def close(self) -> None:
        """See `Sender`."""
        self._channel.close()

    def _ask(self, path: str, request: bytes) -> bytes:
        try:
            return self._calls[path](request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_of(error.code().value[0], error.details() or "") from error

    def _message(self, kind: LogKind, spec: ModelSpec, body: dict[str, Any]) -> bytes:
        if kind not in _HAS_REST:
            return message_from_json(kind, body, part=0)
        document = Document(json.dumps(body).encode())
        if kind is not LogKind.PREDICT:
            method: Literal["classify", "regress"]
            method = "classify" if kind is LogKind.CLASSIFY else "regress"
            return encode_examples_request(spec, document.examples(method))
        name = spec.signature_name or DEFAULT_SIGNATURE
        signature = self._signatures_of(spec).get(name)
        if signature is None:
            raise FailedPrecondition(f'Serving signature key "{name}" not found.')
        arrays = document.predict_inputs(name, signature).arrays
        inputs = dict(zip(signature.inputs, arrays, strict=True))
        return encode_predict_request(spec, inputs)

    def _signatures_of(self, spec: ModelSpec) -> dict[str, Signature]:
        """What the model takes: JSON does not say the dtypes."""
        key = ModelSpec(spec.name, spec.version, spec.label)
        found = self._signatures.get(key)
        if found is None:
            request = length_delimited(1, encode_model_spec(key)) + length_delimited(
                2, b"signature_def"
            )
            found = _signatures_in(self._ask(_METADATA, request))
            self._signatures[key] = found
        return found


def _signatures_in(data: bytes) -> dict[str, Signature]:
    response = parse_message("tensorflow.serving.GetModelMetadataResponse", data)
    packed = response.metadata["signature_def"].value
    return signatures_of(parse_message("tensorflow.serving.SignatureDefMap", packed).signature_def)


def _redirected(kind: LogKind, data: bytes, spec: ModelSpec, signature: str | None) -> bytes:
    """The request for another servable; of several tasks each keeps its own signature."""
    message = parse_message(MESSAGE_NAMES[kind][0], data)
    if kind is LogKind.MULTI_INFERENCE:
        for task in message.tasks:
            kept = task.model_spec.signature_name if signature is None else signature
            asked = ModelSpec(spec.name, spec.version, spec.label, kept)
            _set(task.model_spec, asked)
    else:
        _set(message.model_spec, spec)
    return bytes(message.SerializeToString())


def _set(target: Any, spec: ModelSpec) -> None:
    target.Clear()
    target.MergeFromString(encode_model_spec(spec))

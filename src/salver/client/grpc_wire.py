"""Calls over gRPC: messages as bytes, for any library that carries them.

Source: TensorFlow Serving, `apis/{prediction_service,model_service}.proto`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from salver.client.answers import (
    ListedModel,
    ModelMetadata,
    ModelStatus,
    ScoredClass,
    VersionStatus,
)
from salver.client.exchange import Exchange, Reply, Which
from salver.client.features import Example, serialized_example
from salver.client.wire import SIGNATURE_DEF_MAP, Predicted
from salver.codecs.protobuf.model_spec import ModelSpec, encode_model_spec
from salver.codecs.protobuf.request_messages import encode_examples_request
from salver.codecs.protobuf.signature_def import signatures_of
from salver.codecs.protobuf.tensor_proto import decode_tensor, encode_tensor
from salver.codecs.protobuf.wire import Bytes, length_delimited, parse_message, read_length, varint
from salver.errors import (
    Internal,
    InvalidArgument,
    ServingError,
    Unavailable,
    Unimplemented,
    error_of,
)
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature

__all__ = ["GrpcWire"]

_PREDICTION: Final = "/tensorflow.serving.PredictionService"
_MODEL: Final = "/tensorflow.serving.ModelService"
_HEALTH: Final = "/grpc.health.v1.Health/Check"
_SERVING: Final = 1
_OUTPUTS_TAG: Final = 0x0A
_SPEC_TAG: Final = 0x12
_KEY_TAG: Final = 0x0A
_VALUE_TAG: Final = 0x12


class GrpcWire:
    """Writes and reads protocol buffers; a `Wire`."""

    needs_signature = False
    is_of_tensors = False

    def predict(
        self, which: Which, signature: str, feeds: Mapping[str, Array], outputs: Sequence[str]
    ) -> Exchange[Predicted]:
        """See `Wire`.

        Raises:
            InvalidArgument: no tensor has the elements of an input.
        """
        parts: list[Bytes] = [length_delimited(1, encode_model_spec(_spec(which, signature)))]
        for alias, array in feeds.items():
            parts += _input(alias, array)
        parts += [length_delimited(3, output.encode()) for output in outputs]
        return Exchange(f"{_PREDICTION}/Predict", b"".join(parts), _read_predicted)

    def classify(
        self, which: Which, signature: str, examples: Sequence[Example]
    ) -> Exchange[list[list[ScoredClass]]]:
        """See `Wire`."""
        body = _examples_request(which, signature, examples)
        return Exchange(f"{_PREDICTION}/Classify", body, _read_classes)

    def regress(self, which: Which, signature: str, examples: Sequence[Example]) -> Exchange[Array]:
        """See `Wire`."""
        body = _examples_request(which, signature, examples)
        return Exchange(f"{_PREDICTION}/Regress", body, _read_values)

    def status(self, which: Which) -> Exchange[ModelStatus]:
        """See `Wire`."""
        body = length_delimited(1, encode_model_spec(_spec(which, "")))
        return Exchange(f"{_MODEL}/GetModelStatus", body, _reading_status(which.name))

    def is_up(self, which: Which) -> Exchange[ModelStatus]:
        """See `Wire`."""
        return self.status(which)

    def metadata(self, which: Which) -> Exchange[ModelMetadata]:
        """See `Wire`."""
        body = length_delimited(1, encode_model_spec(_spec(which, "")))
        body += length_delimited(2, b"signature_def")
        return Exchange(f"{_PREDICTION}/GetModelMetadata", body, _read_metadata)

    def models(self) -> Exchange[tuple[ListedModel, ...]]:
        """Always refused: the API has no such method.

        Raises:
            Unimplemented: always.
        """
        raise Unimplemented(
            "The gRPC API does not list models", hint="The REST API does: give its URL."
        )

    def ready(self) -> Exchange[bool]:
        """See `Wire`. A server without the health service has at least answered."""

        def read(reply: Reply) -> bool:
            said = parse_message("grpc.health.v1.HealthCheckResponse", reply.body)
            if said.status != _SERVING:
                raise Unavailable("The server says that it is not serving")
            return True

        return Exchange(_HEALTH, b"", read)


# -- requests --------------------------------------------------------------------------------------


def _spec(which: Which, signature: str) -> ModelSpec:
    return ModelSpec(which.name, which.version, which.label, signature)


def _input(alias: str, array: Array) -> list[Bytes]:
    """An entry of `inputs`, in parts that are joined once."""
    try:
        tensor = encode_tensor(array, as_content=True)
    except Internal as error:
        raise InvalidArgument(f"Input {alias!r}: {error.message}") from None
    key = length_delimited(1, alias.encode()) + b"\x12" + varint(len(tensor))
    return [b"\x12" + varint(len(key) + len(tensor)) + key, tensor]


def _examples_request(which: Which, signature: str, examples: Sequence[Example]) -> bytes:
    serialized = [serialized_example(example) for example in examples]
    return encode_examples_request(_spec(which, signature), serialized)


# -- replies ---------------------------------------------------------------------------------------


def _read_predicted(reply: Reply) -> Predicted:
    try:
        outputs, version = _scanned(reply.body)
    except (IndexError, UnicodeDecodeError):
        message = parse_message("tensorflow.serving.PredictResponse", reply.body)
        outputs = {alias: of.SerializeToString() for alias, of in message.outputs.items()}
        version = _version(message.model_spec)

    def arrays(_signature: Signature) -> Mapping[str, Array]:
        try:
            return {alias: _own(decode_tensor(data)) for alias, data in outputs.items()}
        except InvalidArgument as error:
            raise Internal(f"The answer is no tensor: {error.message}") from error

    return Predicted(version, arrays)


def _own(array: Array) -> Array:
    return array if array.flags.writeable else array.copy()


def _version(spec: Any) -> int | None:
    value: int | None = spec.version.value if spec.HasField("version") else None
    return value


def _scanned(body: bytes) -> tuple[dict[str, Bytes], int | None]:
    """Alias → serialized tensor, and the version, of the usual response.

    Raises:
        IndexError: it is another.
    """
    view = memoryview(body)
    outputs: dict[str, Bytes] = {}
    version = None
    at = 0
    while at < len(body):
        tag = body[at]
        size, begin = read_length(body, at + 1)
        at = begin + size
        if at > len(body):
            raise IndexError("a field ends behind the message")
        if tag == _OUTPUTS_TAG:
            alias, tensor = _entry(view[begin:at])
            outputs[alias] = tensor
        elif tag == _SPEC_TAG:
            version = _version(parse_message("tensorflow.serving.ModelSpec", body[begin:at]))
        else:
            raise IndexError("another field")
    return outputs, version


def _entry(entry: memoryview) -> tuple[str, memoryview]:
    size, begin = read_length(entry, 1)
    value = begin + size
    if entry[0] != _KEY_TAG or entry[value] != _VALUE_TAG:
        raise IndexError("another order of fields")
    size, tensor = read_length(entry, value + 1)
    if tensor + size != len(entry):
        raise IndexError("another field")
    return bytes(entry[begin:value]).decode(), entry[tensor:]


def _read_classes(reply: Reply) -> list[list[ScoredClass]]:
    said = parse_message("tensorflow.serving.ClassificationResponse", reply.body)
    return [
        [ScoredClass(of.label, of.score) for of in example.classes]
        for example in said.result.classifications
    ]


def _read_values(reply: Reply) -> Array:
    said = parse_message("tensorflow.serving.RegressionResponse", reply.body)
    return np.array([of.value for of in said.result.regressions], np.float32)


def _reading_status(name: str) -> Callable[[Reply], ModelStatus]:
    def read(reply: Reply) -> ModelStatus:
        said = parse_message("tensorflow.serving.GetModelStatusResponse", reply.body)
        return ModelStatus(name, tuple([_version_status(of) for of in said.model_version_status]))

    return read


def _version_status(said: Any) -> VersionStatus:
    state = said.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number.get(said.state)
    error: ServingError | None = None
    if said.status.error_code:
        error = error_of(said.status.error_code, said.status.error_message)
    return VersionStatus(said.version, "UNKNOWN" if state is None else state.name, error)


def _read_metadata(reply: Reply) -> ModelMetadata:
    said = parse_message("tensorflow.serving.GetModelMetadataResponse", reply.body)
    packed = said.metadata["signature_def"].value
    signatures = signatures_of(parse_message(SIGNATURE_DEF_MAP, packed).signature_def)
    return ModelMetadata(said.model_spec.name, said.model_spec.version.value, signatures)

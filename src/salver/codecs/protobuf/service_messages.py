"""Messages of GetModelMetadata, of the ModelService and of the SessionService.

None of them is on a hot path, so requests are parsed by protobuf; responses that carry large parts
are written around them by hand.

Source: TensorFlow Serving, `apis/{get_model_metadata,get_model_status,model_management,
session_service}.proto`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from salver._pb import message_class
from salver.codecs.protobuf.model_spec import ModelSpec, encode_model_spec, model_spec_of
from salver.codecs.protobuf.tensor_proto import encode_tensor
from salver.codecs.protobuf.wire import length_delimited, parse_message
from salver.vocabulary.requests import Array

__all__ = [
    "MetadataRequest",
    "ReloadRequest",
    "SessionRunRequest",
    "VersionReport",
    "decode_metadata_request",
    "decode_reload_request",
    "decode_session_run_request",
    "decode_status_request",
    "encode_metadata_response",
    "encode_reload_response",
    "encode_session_run_response",
    "encode_status_response",
]

_SIGNATURE_DEF: Final = b"signature_def"
_SIGNATURE_DEF_MAP_URL: Final = b"type.googleapis.com/tensorflow.serving.SignatureDefMap"


@dataclass(frozen=True, slots=True)
class MetadataRequest:
    """A GetModelMetadataRequest.

    Attributes:
        spec: None where the request has none.
        fields: what is asked for, in order.
    """

    spec: ModelSpec | None
    fields: tuple[str, ...]


def decode_metadata_request(data: bytes) -> MetadataRequest:
    """Read a `GetModelMetadataRequest`.

    Raises:
        Internal: it is malformed.
    """
    message = parse_message("tensorflow.serving.GetModelMetadataRequest", data)
    return MetadataRequest(_spec_in(message), tuple(message.metadata_field))


def encode_metadata_response(spec: ModelSpec, definitions: bytes) -> bytes:
    """Serialize a `GetModelMetadataResponse` with the signatures.

    Args:
        spec: what answered.
        definitions: a serialized `tensorflow.serving.SignatureDefMap`.
    """
    packed = length_delimited(1, _SIGNATURE_DEF_MAP_URL) + length_delimited(2, definitions)
    entry = length_delimited(1, _SIGNATURE_DEF) + length_delimited(2, packed)
    return length_delimited(1, encode_model_spec(spec)) + length_delimited(2, entry)


def decode_status_request(data: bytes) -> ModelSpec | None:
    """Read a `GetModelStatusRequest`; None where it has no model_spec.

    Raises:
        Internal: it is malformed.
    """
    return _spec_in(parse_message("tensorflow.serving.GetModelStatusRequest", data))


@dataclass(frozen=True, slots=True)
class VersionReport:
    """Where one version stands.

    Attributes:
        version: its number.
        state: wire value of `ModelVersionStatus.State`.
        error_code: canonical code; 0 where nothing failed.
        error_message: empty where nothing failed.
    """

    version: int
    state: int
    error_code: int = 0
    error_message: str = ""


def encode_status_response(reports: Iterable[VersionReport]) -> bytes:
    """Serialize a `GetModelStatusResponse`, its versions in the order given."""
    message = message_class("tensorflow.serving.GetModelStatusResponse")()
    for report in reports:
        entry = message.model_version_status.add(version=report.version, state=report.state)
        _set_status(entry.status, report.error_code, report.error_message)
    return _serialized(message)


@dataclass(frozen=True, slots=True)
class ReloadRequest:
    """A ReloadConfigRequest.

    Attributes:
        config: a `tensorflow.serving.ModelServerConfig` with what to serve from now on; None where
            the request says it in another way than by a `model_config_list`, or not at all.
        metric_names: of the counters whose growth is asked for.
    """

    config: Any | None
    metric_names: tuple[str, ...]


def decode_reload_request(data: bytes) -> ReloadRequest:
    """Read a `ReloadConfigRequest`.

    Raises:
        Internal: it is malformed.
    """
    message = parse_message("tensorflow.serving.ReloadConfigRequest", data)
    is_list = message.config.WhichOneof("config") == "model_config_list"
    return ReloadRequest(message.config if is_list else None, tuple(message.metric_names))


def encode_reload_response(increases: Iterable[tuple[str, int]]) -> bytes:
    """Serialize a `ReloadConfigResponse` that says OK.

    Args:
        increases: name and growth of each counter asked for.
    """
    message = message_class("tensorflow.serving.ReloadConfigResponse")()
    _set_status(message.status, 0, "")
    for name, increase in increases:
        message.metric.add(name=name, int64_value_increase=increase)
    return _serialized(message)


@dataclass(frozen=True, slots=True)
class SessionRunRequest:
    """A request to run part of a graph.

    Attributes:
        spec: None where the request has none.
        feeds: name and serialized `tensorflow.TensorProto` of each tensor fed, in order.
        fetches: names of the tensors asked for, in order.
        targets: names of operations to run for their effects.
        is_alias: the names are those of signatures, not of the graph (`tensor_name_is_alias`).
        options: a serialized `tensorflow.RunOptions`; the reference's own words: "Currently
            ignored".
    """

    spec: ModelSpec | None
    feeds: tuple[tuple[str, bytes], ...]
    fetches: tuple[str, ...]
    targets: tuple[str, ...]
    is_alias: bool
    options: bytes


def decode_session_run_request(data: bytes) -> SessionRunRequest:
    """Read a `SessionRunRequest`; its tensors are not looked into.

    Raises:
        Internal: it is malformed.
    """
    message = parse_message("tensorflow.serving.SessionRunRequest", data)
    return SessionRunRequest(
        _spec_in(message),
        tuple([(feed.name, feed.tensor.SerializeToString()) for feed in message.feed]),
        tuple(message.fetch),
        tuple(message.target),
        message.tensor_name_is_alias,
        message.options.SerializeToString(),
    )


def encode_session_run_response(
    spec: ModelSpec, tensors: Sequence[tuple[str, Array]], *, as_content: bool
) -> bytes:
    """Serialize a `SessionRunResponse`, its tensors in the order given.

    Args:
        spec: what answered.
        tensors: name and array of each tensor fetched.
        as_content: see `encode_tensor`.

    Raises:
        Internal: no tensor has the elements of an array.
    """
    parts = []
    for name, array in tensors:
        tensor = encode_tensor(array, as_content=as_content)
        named = length_delimited(1, name.encode()) + length_delimited(2, tensor)
        parts.append(length_delimited(1, named))
    parts.append(length_delimited(3, encode_model_spec(spec)))
    return b"".join(parts)


def _spec_in(message: Any) -> ModelSpec | None:
    return model_spec_of(message.model_spec) if message.HasField("model_spec") else None


def _set_status(status: Any, code: int, text: str) -> None:
    status.SetInParent()  # there even when it says OK, as in the reference
    status.error_code = code
    # A text from the operating system may hold what UTF-8 has no form for.
    status.error_message = text.encode(errors="replace").decode()


def _serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data

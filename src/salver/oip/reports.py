"""What a server says of itself and of a model: plain dicts, of which REST and gRPC write theirs."""

from collections.abc import Mapping
from typing import Any, Final

from salver import __version__
from salver.codecs.oip.dtypes import datatype_name
from salver.errors import InvalidArgument, NotFound, ServingError
from salver.inference.serving import Serving, info_of
from salver.lifecycle.monitor import VersionState
from salver.oip.asking import default_signature
from salver.oip.serving import unknown_model
from salver.vocabulary.hints import signatures_hint
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId
from salver.vocabulary.signature import Signature, TensorSpec

__all__ = [
    "EXTENSIONS",
    "available_versions",
    "model_metadata",
    "platform_name",
    "server_metadata",
    "unready_model",
]

EXTENSIONS: Final = (
    "classification",
    "model_repository",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)
"""Triton's names of the extensions that are served."""

_PLATFORMS: Final[Mapping[str, str]] = {
    "tensorflow": "tensorflow_savedmodel",
    "onnxruntime": "onnxruntime_onnx",
    "pytorch": "pytorch_libtorch",
}


def server_metadata() -> dict[str, Any]:
    """`name`, `version` and `extensions`."""
    return {"name": "salver", "version": __version__, "extensions": list(EXTENSIONS)}


def model_metadata(serving: Serving, request: ServableRequest) -> tuple[dict[str, Any], ServableId]:
    """`name`, `versions`, `platform`, `inputs` and `outputs`, and which version said it.

    The tensors are those of the signature that a request without `signature_name` means; each is a
    dict of `name`, `datatype` and `shape`, -1 where any size will do. A shape whose rank is not
    known is `[-1]`.

    Raises:
        ServingError: the version is not available.
    """
    id, info = info_of(serving, request)
    signature = _default_of(info)
    return {
        "name": id.name,
        "versions": [str(version) for version in available_versions(serving, id.name)],
        "platform": platform_name(info.backend),
        "inputs": [_tensor(name, spec) for name, spec in signature.inputs.items()],
        "outputs": [_tensor(name, spec) for name, spec in signature.outputs.items()],
    }, id


def available_versions(serving: Serving, name: str) -> list[int]:
    """The versions of a model that answer, lowest first."""
    try:
        statuses = serving.statuses(name)
    except NotFound:
        return []
    return sorted(of.id.version for of in statuses if of.state is VersionState.AVAILABLE)


def unready_model(serving: Serving, request: ServableRequest) -> ServingError | None:
    """Why a model, or a version of it, does not answer; None where it does. Loads nothing."""
    version = request.version
    if request.label is not None:
        version = serving.labels(request.name).get(request.label)
        if version is None:
            return unknown_model(serving, request)
    try:
        statuses = serving.statuses(request.name, version)
    except NotFound:
        return unknown_model(serving, ServableRequest(request.name, version))
    if any(of.state is VersionState.AVAILABLE for of in statuses):
        return None
    return unknown_model(serving, ServableRequest(request.name, version))


def platform_name(backend: str) -> str:
    """What the protocol calls a backend."""
    return _PLATFORMS.get(backend, backend)


def _default_of(info: ModelInfo) -> Signature:
    name = default_signature(info.signatures)
    signature = info.signatures.get(name)
    if signature is None:
        raise InvalidArgument(
            f'Serving signature name: "{name}" not found in signature def',
            hint=signatures_hint(info.signatures),
        )
    return signature


def _tensor(name: str, spec: TensorSpec) -> dict[str, Any]:
    shape = [-1] if spec.shape is None else list(spec.shape)
    return {"name": name, "datatype": datatype_name(spec.dtype), "shape": shape}

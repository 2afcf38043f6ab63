"""The configuration of a model as Triton has it, made of what is served.

What `config.pbtxt` beside the model says is taken over where it is in effect or harmless; names,
dtypes and shapes are those of the signature that a request means by default.

Source: Triton's `docs/protocol/extension_model_configuration.md` and `model_config.proto`.
"""

import os
from collections.abc import Mapping
from typing import Any, Final

from salver.about.config_file import ConfigFile, config_beside, policy_in
from salver.codecs.oip.dtypes import config_name
from salver.config.models import ModelConfig
from salver.errors import InvalidArgument, ServingError
from salver.instruments.files import local_path, scheme_of
from salver.oip.asking import default_signature
from salver.vocabulary.hints import signatures_hint
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.servable import All, Latest, Specific, VersionPolicy
from salver.vocabulary.signature import TensorSpec

__all__ = ["config_of_files", "model_config"]


_BACKENDS: Final = {"tensorflow_savedmodel": "tensorflow"}  # by their names in Triton


def config_of_files(base_path: str | None, version: int) -> ConfigFile | None:
    """The `config.pbtxt` beside a version; None where none can be read.

    Reads files: not for the loop.

    Args:
        base_path: see `base_path_of`.
        version: of the model.
    """
    if base_path is None:
        return None
    try:
        base = local_path(base_path)
        directory = os.path.join(base, str(version))
        return config_beside(directory if os.path.isdir(directory) else base)
    except (ServingError, OSError):
        return None


def model_config(
    model: ModelConfig, info: ModelInfo, platform: str, config: ConfigFile | None = None
) -> dict[str, Any]:
    """A `ModelConfig` of Triton's, by the names of its fields; what is not there has no member.

    Reads a file in the base path: not for the loop.

    Args:
        model: as the server's configuration has it.
        info: of the version that answers.
        platform: what the protocol calls its backend.
        config: see `config_of_files`.

    Raises:
        InvalidArgument: the model has no signature that a request could mean by default.
    """
    signature = info.signatures.get(name := default_signature(info.signatures))
    if signature is None:
        raise InvalidArgument(
            f'Serving signature name: "{name}" not found in signature def',
            hint=signatures_hint(info.signatures),
        )
    given: Mapping[str, Any] = {} if config is None else config.given
    rows = _max_batch_size(info, config)
    labels = {each["name"]: each["label_filename"] for each in given.get("output", ())}
    said: dict[str, Any] = {
        "name": model.name,
        "platform": platform,
        "backend": _BACKENDS.get(info.backend, info.backend),
        "version_policy": _policy(_version_policy(model, config)),
        "max_batch_size": rows,
        "input": [_input(name, spec, rows) for name, spec in signature.inputs.items()],
        "output": [
            _tensor(name, spec, rows) | {"label_filename": labels.get(name, "")}
            for name, spec in signature.outputs.items()
        ],
        "instance_group": [_instances(model, config)],
        "default_model_filename": "" if config is None else given["default_model_filename"],
        "parameters": given.get("parameters", {}),
    }
    if info.merging is not None:
        said["dynamic_batching"] = {
            "preferred_batch_size": list(info.merging.preferred_batch_sizes),
            "max_queue_delay_microseconds": info.merging.delay_micros,
        }
    if "model_transaction_policy" in given:
        said["model_transaction_policy"] = given["model_transaction_policy"]
    return said


def _max_batch_size(info: ModelInfo, config: ConfigFile | None) -> int:
    """Rows that a request may have; 0 where axis 0 is like the others."""
    if info.merging is not None:
        return info.merging.max_batch_size
    return 0 if config is None else config.max_batch_size


def _version_policy(model: ModelConfig, config: ConfigFile | None) -> VersionPolicy:
    own = model.version_policy
    if model.names_versions or own != Latest():
        return own
    if scheme_of(model.base_path):
        return (config and config.version_policy) or own
    try:
        return policy_in(local_path(model.base_path)) or own
    except ServingError:
        return own


def _policy(policy: VersionPolicy) -> dict[str, Any]:
    match policy:
        case All():
            return {"all": {}}
        case Specific(versions):
            return {"specific": {"versions": list(versions)}}
        case Latest(count):
            return {"latest": {"num_versions": count}}


def _instances(model: ModelConfig, config: ConfigFile | None) -> dict[str, Any]:
    count = model.options.instances or (0 if config is None else config.instances) or 1
    return {"name": f"{model.name}_0", "kind": "KIND_CPU", "count": count}


def _input(name: str, spec: TensorSpec, rows: int) -> dict[str, Any]:
    return _tensor(name, spec, rows) | {"format": "FORMAT_NONE", "optional": False}


def _tensor(name: str, spec: TensorSpec, rows: int) -> dict[str, Any]:
    """One input or output; `dims` are without the rows where the model has such."""
    shape = [-1] if spec.shape is None else list(spec.shape)
    is_with_rows = rows > 0 and spec.shape is not None
    dims = shape[1:] if is_with_rows else shape
    return {"name": name, "data_type": config_name(spec.dtype), "dims": dims}

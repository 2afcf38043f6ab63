"""Which models to serve: from flags or a ModelServerConfig to frozen dataclasses.

Reading keeps everything as it was written; each rule about it is a function of its own, because
the reference applies them at different moments (before and after it takes over a configuration).

Source: TensorFlow Serving `model_servers/server_core.cc` and `server.cc`.
"""

import logging
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from salver.config.text_format import parse_text, read_file_once
from salver.errors import InvalidArgument, Unimplemented

__all__ = [
    "TENSORFLOW_PLATFORM",
    "All",
    "Latest",
    "ModelConfig",
    "Specific",
    "VersionPolicy",
    "check_models",
    "check_platforms_supported",
    "check_platforms_unchanged",
    "from_flags",
    "from_message",
    "parse_model_config",
    "platform_of",
    "read_model_config_file",
]

_log = logging.getLogger(__name__)

TENSORFLOW_PLATFORM = "tensorflow"
_MESSAGE = "tensorflow.serving.ModelServerConfig"

# The scheme of a URI as TensorFlow's ParseURI reads it.
_SCHEME = re.compile(r"[a-zA-Z][0-9a-zA-Z.]*://")


@dataclass(frozen=True, slots=True)
class Latest:
    """Serve the versions with the highest numbers."""

    num_versions: int = 1

    def __post_init__(self) -> None:
        if self.num_versions < 1:
            raise ValueError(f"num_versions must be positive, not {self.num_versions}")


@dataclass(frozen=True, slots=True)
class All:
    """Serve every version found."""


@dataclass(frozen=True, slots=True)
class Specific:
    """Serve these versions, where they are found."""

    versions: tuple[int, ...]


VersionPolicy = Latest | All | Specific


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One model of a configuration.

    Attributes:
        base_path: the directory (or URI) that holds the numbered versions.
        model_platform: as written; see `platform_of`.
        model_type: the deprecated way to say the platform; 0 where it is not used.
        version_labels: label → version.
        logging_config: a serialized `tensorflow.serving.LoggingConfig`; None where there is none.
    """

    name: str
    base_path: str
    model_platform: str = ""
    model_type: int = 0
    version_policy: VersionPolicy = field(default_factory=Latest)
    version_labels: Mapping[str, int] = field(default_factory=dict)
    logging_config: bytes | None = None


def from_flags(model_name: str, model_base_path: str) -> tuple[ModelConfig, ...]:
    """The configuration of a server that was given one model by flags.

    A relative path is taken from the current directory (the reference refuses it).
    """
    _log.info(
        "Building single TensorFlow model file config:  model_name: %s model_base_path: %s",
        model_name,
        model_base_path,
    )
    model = ModelConfig(
        name=model_name, base_path=model_base_path, model_platform=TENSORFLOW_PLATFORM
    )
    return _absolute((model,), os.getcwd())


def read_model_config_file(path: str) -> tuple[ModelConfig, ...] | None:
    """Read `--model_config_file`; relative base paths are taken from its directory.

    Returns:
        See `from_message`.

    Raises:
        ServingError: the file cannot be read, or is no ModelServerConfig.
    """
    return parse_model_config(read_file_once(path), path)


def parse_model_config(
    content: bytes, path: str, breathe: Callable[[], object] = lambda: None
) -> tuple[ModelConfig, ...] | None:
    """The same for what was read from that file; `breathe` is called now and then meanwhile."""
    models = from_message(parse_text(content, _MESSAGE, path, breathe))
    if models is None:
        return None
    return _absolute(models, os.path.dirname(os.path.abspath(path)))


def from_message(message: Any) -> tuple[ModelConfig, ...] | None:
    """The models of a `tensorflow.serving.ModelServerConfig`, in its order.

    Returns:
        None for an empty configuration, which asks for nothing (not for no models).

    Raises:
        Unimplemented: it is of the custom kind, which ends the reference's process.
    """
    kind = message.WhichOneof("config")
    if kind is None:
        return None
    if kind != "model_config_list":
        raise Unimplemented("ModelServer does not yet support custom model config.")
    return tuple(_model(entry) for entry in message.model_config_list.config)


def _model(entry: Any) -> ModelConfig:
    logging_config = None
    if entry.HasField("logging_config"):  # the same bytes for equal messages
        logging_config = entry.logging_config.SerializeToString(deterministic=True)
    return ModelConfig(
        name=entry.name,
        base_path=entry.base_path,
        model_platform=entry.model_platform,
        model_type=entry.model_type,
        version_policy=_policy(entry.model_version_policy),
        version_labels=dict(sorted(entry.version_labels.items())),
        logging_config=logging_config,
    )


def _policy(message: Any) -> VersionPolicy:
    match message.WhichOneof("policy_choice"):
        case "all":
            return All()
        case "specific":
            return Specific(tuple(message.specific.versions))
        case _:
            return Latest(max(1, message.latest.num_versions))


def _absolute(models: Iterable[ModelConfig], root: str) -> tuple[ModelConfig, ...]:
    """The models with relative base paths taken from `root`; an empty path stays empty."""
    return tuple(
        replace(model, base_path=os.path.normpath(os.path.join(root, model.base_path)))
        if model.base_path and _is_relative(model.base_path)
        else model
        for model in models
    )


def _is_relative(base_path: str) -> bool:
    return not base_path.startswith("/") and _SCHEME.match(base_path) is None


def check_models(models: Iterable[ModelConfig]) -> None:
    """Refuse a list that can never be served.

    Raises:
        InvalidArgument: a name is listed twice, or a base path is missing or still relative.

    Source: `server_core.cc`, ValidateModelConfigList.
    """
    names: set[str] = set()
    listed = tuple(models)
    for model in listed:
        if model.name in names:
            raise InvalidArgument(
                f"Illegal to list model {model.name} multiple times in config list"
            )
        names.add(model.name)
    for model in listed:
        if _is_relative(model.base_path):
            raise InvalidArgument(
                f"Expected model {model.name} to have an absolute path or URI; "
                f"got base_path()={model.base_path}"
            )


def check_platforms_unchanged(old: Iterable[ModelConfig], new: Iterable[ModelConfig]) -> None:
    """Refuse a new configuration that moves a model it keeps to another platform.

    Raises:
        InvalidArgument: it does; or a model does not say its platform properly.

    Source: `server_core.cc`, ValidateNoModelsChangePlatforms.
    """
    platforms = {model.name: platform_of(model) for model in old}
    for model in new:
        before = platforms.get(model.name)
        if before is not None and (requested := platform_of(model)) != before:
            raise InvalidArgument(
                f"Illegal to change a model's platform. For model {model.name} platform was "
                f"{before} and new platform requested is {requested}"
            )


def check_platforms_supported(models: Iterable[ModelConfig], platforms: Collection[str]) -> None:
    """Refuse a model whose platform no backend serves; names are case-sensitive.

    Raises:
        InvalidArgument: there is one; or a model does not say its platform properly.

    Source: `server_core.cc`, CreateStoragePathRoutes.
    """
    for model in models:
        platform = platform_of(model)
        if platform not in platforms:
            raise InvalidArgument(
                f"Model {model.name} requests unsupported platform {platform}",
                hint=f"Platforms served here: {', '.join(sorted(platforms))}.",
            )


def platform_of(model: ModelConfig) -> str:
    """The platform a model asks for, by the field for it or by the deprecated one.

    Raises:
        InvalidArgument: it asks by none, by both, or for a type that never was.

    Source: `server_core.cc`, GetPlatform.
    """
    if model.model_type == 0:
        if not model.model_platform:
            raise InvalidArgument(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) "
                f"nor ModelServerConfig::model_platform, model name is {model.name}",
                hint=f'Add: model_platform: "{TENSORFLOW_PLATFORM}"',
            )
        return model.model_platform
    _log.warning(
        "Deprecated ModelServerConfig::model_type field used. "
        "Prefer ModelServerConfig::model_platform."
    )
    if model.model_platform:
        raise InvalidArgument(
            "Illegal setting both ModelServerConfig::model_type (deprecated) "
            f"and ModelServerConfig::model_platform, model name is {model.name}"
        )
    if model.model_type != 1:
        raise InvalidArgument(
            f"ModelServerConfig::model_type choice {model.model_type} not supported."
        )
    return TENSORFLOW_PLATFORM

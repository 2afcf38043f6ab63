"""Which models to serve: from flags or a ModelServerConfig to frozen dataclasses.

Reading keeps everything as it was written; each rule about it is a function of its own, because
the reference applies them at different moments (before and after it takes over a configuration).

Source: TensorFlow Serving `model_servers/server_core.cc` and `server.cc`.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from salver.config import model_options
from salver.config.model_options import LoadSettings, ModelOptions
from salver.config.text_format import ending_of, parse_text
from salver.errors import InvalidArgument, ServingError, Unimplemented
from salver.instruments.files import is_uri
from salver.vocabulary.servable import All, Latest, Specific, VersionPolicy

__all__ = [
    "TENSORFLOW_PLATFORM",
    "ModelConfig",
    "Problem",
    "absolute",
    "check_models",
    "check_platforms_supported",
    "check_platforms_unchanged",
    "from_flags",
    "from_message",
    "load_settings",
    "parse_model_config",
    "platform_of",
    "platform_problem",
    "problems_of",
]

_log = logging.getLogger(__name__)

TENSORFLOW_PLATFORM = "tensorflow"
_MESSAGE = "tensorflow.serving.ModelServerConfig"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One model of a configuration.

    Attributes:
        base_path: the directory (or URI) that holds the numbered versions.
        model_platform: as written; see `platform_of`.
        model_type: the deprecated way to say the platform; 0 where it is not used.
        names_versions: the policy was written; else it is the usual one, and may be another's.
        version_labels: label → version.
        logging_config: a serialized `tensorflow.serving.LoggingConfig`; None where there is none.
        options: what Salver takes beside that.
    """

    name: str
    base_path: str
    model_platform: str = ""
    model_type: int = 0
    version_policy: VersionPolicy = field(default_factory=Latest)
    names_versions: bool = False
    version_labels: Mapping[str, int] = field(default_factory=dict)
    logging_config: bytes | None = None
    options: ModelOptions = field(default_factory=ModelOptions)


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
    return absolute((model,), "flags")


def parse_model_config(
    content: bytes, path: str, breathe: Callable[[], object] = lambda: None
) -> tuple[ModelConfig, ...] | None:
    """What `--model_config_file` says; relative base paths are taken from its directory.

    Args:
        content: of the file.
        path: of it.
        breathe: called now and then meanwhile.

    Returns:
        See `from_message`.

    Raises:
        ServingError: it is no ModelServerConfig.
    """
    if ending_of(path):
        from salver.config import model_files  # which brings what most servers need not

        message = model_files.parse(content, path, breathe)
    else:
        message = parse_text(content, _MESSAGE, path, breathe)
    models = from_message(message)
    if models is None:
        return None
    return absolute(models, path)


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
        names_versions=entry.model_version_policy.WhichOneof("policy_choice") is not None,
        version_labels=dict(sorted(entry.version_labels.items())),
        logging_config=logging_config,
        options=model_options.from_message(entry.salver),
    )


def _policy(message: Any) -> VersionPolicy:
    match message.WhichOneof("policy_choice"):
        case "all":
            return All()
        case "specific":
            return Specific(tuple(message.specific.versions))
        case _:
            return Latest(max(1, message.latest.num_versions))


def absolute(models: Iterable[ModelConfig], path: str) -> tuple[ModelConfig, ...]:
    """The models with relative base paths taken from the directory of a file.

    An empty base path stays empty.
    """
    root = os.path.dirname(os.path.abspath(path))
    return tuple(
        replace(model, base_path=os.path.normpath(os.path.join(root, model.base_path)))
        if model.base_path and _is_relative(model.base_path)
        else model
        for model in models
    )


def _is_relative(base_path: str) -> bool:
    return not base_path.startswith("/") and not is_uri(base_path)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one model of a list.

    Attributes:
        index: of the model.
        field: where in its `ModelConfig`, with dots.
    """

    index: int
    field: str
    error: ServingError


def check_models(models: Iterable[ModelConfig]) -> None:
    """Refuse a list that can never be served.

    Raises:
        InvalidArgument: a name is listed twice, or a base path is missing or still relative, or an
            option of a model has a value it cannot have.
        Unimplemented: an option asks for what this server cannot do.
    """
    for problem in problems_of(tuple(models)):
        raise problem.error


def problems_of(models: Sequence[ModelConfig]) -> Iterator[Problem]:
    """What is wrong with a list of models, whatever the server's platforms are.

    Source: `server_core.cc`, ValidateModelConfigList.
    """
    names: set[str] = set()
    for index, model in enumerate(models):
        if model.name in names:
            text = f"Illegal to list model {model.name} multiple times in config list"
            yield Problem(index, "name", InvalidArgument(text))
        names.add(model.name)
    for index, model in enumerate(models):
        if _is_relative(model.base_path):
            text = (
                f"Expected model {model.name} to have an absolute path or URI; "
                f"got base_path()={model.base_path}"
            )
            yield Problem(index, "base_path", InvalidArgument(text))
    for index, model in enumerate(models):
        for name, error in model_options.problems_of(model.name, model.options):
            yield Problem(index, f"salver.{name}", error)


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
        if (error := platform_problem(model, platforms)) is not None:
            raise error


def platform_problem(model: ModelConfig, platforms: Collection[str]) -> ServingError | None:
    """Why no backend serves a model, if that is so; see `check_platforms_supported`."""
    try:
        platform = platform_of(model)
    except InvalidArgument as error:
        return error
    if platform in platforms:
        return None
    return InvalidArgument(
        f"Model {model.name} requests unsupported platform {platform}",
        hint=f"Platforms served here: {', '.join(sorted(platforms))}.",
    )


def load_settings(model: ModelConfig) -> LoadSettings:
    """How the versions of a model are loaded.

    Raises:
        InvalidArgument: see `platform_of`.
    """
    own = model.options
    return LoadSettings(
        platform_of(model),
        own.options,
        own.isolation,
        own.instances,
        own.cpus,
        own.python_executable,
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

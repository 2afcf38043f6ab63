"""A model of a configuration as a message, as plain values, and back; and the tags of both.

A tag says which content it is: equal models have equal tags, in every process.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from salver._pb import message_class
from salver.config import batching, model_files
from salver.config.documents import Node
from salver.config.model_options import ModelOptions
from salver.config.models import TENSORFLOW_PLATFORM, ModelConfig, from_message
from salver.config.structured import fill, plain, read_document
from salver.config.text_format import Misplaced
from salver.errors import InvalidArgument
from salver.instruments.threads import Breather
from salver.vocabulary.servable import Latest, Specific, VersionPolicy

__all__ = [
    "config_document",
    "message_of",
    "model_document",
    "model_of",
    "read_config",
    "read_model",
    "read_parameters",
    "tag_and_size_of",
    "tag_of",
    "tag_of_all",
]

_MODEL = "tensorflow.serving.ModelConfig"
_PARAMETERS = "tensorflow.serving.BatchingParameters"
_WRAPPER = "config"  # what an answer has this in, beside what cannot be written


def message_of(model: ModelConfig) -> Any:
    """The `tensorflow.serving.ModelConfig` of a model; back from `config.models`."""
    message = message_class(_MODEL)(
        name=model.name,
        base_path=model.base_path,
        model_platform=model.model_platform,
        model_type=model.model_type,
        version_labels=dict(model.version_labels),
    )
    if model.names_versions:
        _set_policy(message.model_version_policy, model.version_policy)
    if model.logging_config is not None:
        message.logging_config.SetInParent()
        message.logging_config.MergeFromString(model.logging_config)
    _set_options(message, model.options)
    return message


def _set_policy(message: Any, policy: VersionPolicy) -> None:
    match policy:
        case Latest(count):
            message.latest.num_versions = count
        case Specific(versions):
            message.specific.SetInParent()
            message.specific.versions.extend(versions)
        case _:
            message.all.SetInParent()


def _set_options(message: Any, options: ModelOptions) -> None:
    if options == ModelOptions():
        return
    own = message.salver
    for name in ("isolation", "instances", "max_resident_bytes", "cpus", "python_executable"):
        setattr(own, name, getattr(options, name))
    own.on_timeout = options.on_timeout
    for name in ("max_concurrent_runs", "max_queued_runs"):
        if (value := getattr(options, name)) is not None:
            setattr(own, name, value)
    own.options.update(options.options)
    replicas = options.replicas
    if replicas != ModelOptions().replicas:
        own.replicas.min, own.replicas.max = replicas.min, replicas.max
        own.replicas.pinned = replicas.is_pinned
    if options.batching is not None:
        own.batching.CopyFrom(batching.message_of(options.batching))


def model_document(model: ModelConfig) -> dict[str, Any]:
    """A model as JSON has it, by the names of the fields of its message."""
    return plain(message_of(model))


def config_document(models: Iterable[ModelConfig]) -> dict[str, Any]:
    """Models as JSON has them, in the form of a model config file."""
    return {"schema": 1, "models": [model_document(model) for model in models]}


def tag_of(model: ModelConfig) -> str:
    """Which content a model has: 32 digits."""
    return tag_and_size_of(model)[0]


def tag_and_size_of(model: ModelConfig) -> tuple[str, int]:
    """The same, and how many bytes its message has."""
    content = message_of(model).SerializeToString(deterministic=True)
    return _digest(content), len(content)


def tag_of_all(tags: Sequence[str]) -> str:
    """Which content a configuration has, of the tags of its models in their order."""
    return _digest("".join(tags).encode())


def _digest(content: bytes) -> str:
    import hashlib  # here: compiled code, which starts need not wait for

    return hashlib.sha256(content).hexdigest()[:32]


# -- from a document -----------------------------------------------------------------------------


def read_config(content: bytes, ending: str) -> tuple[ModelConfig, ...]:
    """The models of a document that somebody has sent.

    Args:
        content: a model config file, or an answer that has one as its `config`.
        ending: by which it is read: `.json` or `.yaml`.

    Raises:
        InvalidArgument: it is none; the text says where.
    """
    try:
        node = _unwrapped(_document(content, ending))
        models = from_message(model_files.of_document(node))
    except Misplaced as error:
        raise _wrong(error) from None
    if models is None:
        raise InvalidArgument("The configuration has no list of models", hint='Write "models".')
    return models


def read_model(content: bytes, ending: str, name: str) -> ModelConfig:
    """The model of a document that somebody has sent; see `read_config`.

    Args:
        content: the fields of a ModelConfig, or an answer that has them as its `config`.
        ending: by which it is read.
        name: of the model; the document may leave it out.
    """
    message = message_class(_MODEL)()
    try:
        fill(message, _unwrapped(_document(content, ending)))
    except Misplaced as error:
        raise _wrong(error) from None
    return model_of(message, name)


def model_of(message: Any, name: str) -> ModelConfig:
    """The model of a message that somebody has sent; it may leave its name and platform out.

    Raises:
        InvalidArgument: it has another name.
    """
    if message.name not in ("", name):
        raise InvalidArgument(f"The model is called {message.name} here, and {name} in the request")
    config = message_class(model_files.MESSAGE)()
    added = config.model_config_list.config.add()
    added.CopyFrom(message)
    added.name = name
    if not added.model_platform and not added.model_type:
        added.model_platform = TENSORFLOW_PLATFORM
    models = from_message(config)
    assert models is not None
    return models[0]


def read_parameters(content: bytes, ending: str) -> batching.BatchingParameters:
    """The batching parameters of a document that somebody has sent; see `read_config`."""
    message = message_class(_PARAMETERS)()
    try:
        fill(message, _unwrapped(_document(content, ending)))
    except Misplaced as error:
        raise _wrong(error) from None
    return batching.from_message(message)


def _document(content: bytes, ending: str) -> Node:
    node = read_document(content, ending, Breather())
    if node is None:
        raise Misplaced(1, 1, "the document is empty")
    return node


def _unwrapped(node: Node) -> Node:
    if isinstance(node.value, dict) and _WRAPPER in node.value:
        return node.value[_WRAPPER][1]
    return node


def _wrong(error: Misplaced) -> InvalidArgument:
    return InvalidArgument(f"{error.line}:{error.column}: {error}")

"""Every setting that a server has, and what it comes from."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

from salver.config.checking import read
from salver.config.flags import COMMAND_LINE
from salver.config.model_documents import model_document
from salver.config.models import ModelConfig
from salver.config.options import FLAGS, ServerOptions
from salver.config.structured import Path as Place
from salver.config.structured import Places
from salver.config.text_format import Misplaced, read_file
from salver.errors import ServingError
from salver.vocabulary.servable import Latest, Specific, VersionPolicy

__all__ = [
    "COMMAND_LINE",
    "DEFAULT",
    "MEMORY",
    "Begun",
    "Compared",
    "Setting",
    "flag_settings",
    "model_settings",
    "plain",
]

DEFAULT: Final = "default"
MEMORY: Final = "memory"
"""The source of what a request has changed."""

_OF_PROCESSES: Final = (
    "isolation", "instances", "max_resident_bytes", "cpus", "python_executable", "on_timeout",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: of a flag, or of a field of a model with dots.
        source: what it comes from.
    """

    name: str
    value: str | int | float | bool
    source: str


def flag_settings(options: ServerOptions) -> list[Setting]:
    """The flags of a server that runs."""
    sources, plain = dict(options.sources), ServerOptions()
    settings = []
    for flag in FLAGS:
        value = getattr(options, flag.name)
        is_plain = value == getattr(plain, flag.name)
        source = DEFAULT if is_plain else f"{DEFAULT} of the command"
        settings.append(Setting(flag.name, value, sources.get(flag.name, source)))
    for name, text in options.backend_flags:
        settings.append(Setting(name, text, sources.get(name, COMMAND_LINE)))
    return settings


def model_settings(
    model: ModelConfig,
    options: ServerOptions,
    flags: Mapping[str, str],
    *,
    index: int = 0,
    file: str = "",
    places: Places | None = None,
) -> Iterator[Setting]:
    """What a model has, as a file or the command line says it.

    Args:
        model: that one.
        options: the flags, for what the model does not say.
        flags: the sources of those.
        index: of the model in the file.
        file: that it is of; empty for the command line.
        places: of what the file says.
    """
    known = places or {}

    def source(*field: str | int, default: str = DEFAULT) -> str:
        where: Place = ("model_config_list", "config", index, *field)
        if where in known:
            return f"{file}:{known[where][0]}:{known[where][1]}"
        if file or field[0] not in ("name", "base_path"):
            return default
        of_flag = flags.get("model_base_path", COMMAND_LINE)
        return COMMAND_LINE if of_flag == DEFAULT or of_flag.endswith("not used") else of_flag

    yield Setting("base_path", model.base_path, source("base_path"))
    yield Setting("model_platform", model.model_platform, source("model_platform"))
    yield Setting(
        "model_version_policy", _policy(model.version_policy), source("model_version_policy")
    )
    for label, version in model.version_labels.items():
        yield Setting(f"version_labels.{label}", version, source("version_labels", label))
    if model.logging_config is not None:
        yield Setting("logging_config", "yes", source("logging_config"))
    own = model.options
    for name in ("max_concurrent_runs", "max_queued_runs"):
        flag, value = f"{name}_per_model", getattr(own, name)
        servers = f"--{flag}: {flags.get(flag, DEFAULT)}"
        yield Setting(
            f"salver.{name}",
            getattr(options, flag) if value is None else value,
            source("salver", name, default=servers if value is None else DEFAULT),
        )
    yield from _rest(model, source)


def _rest(model: ModelConfig, source: Callable[..., str]) -> Iterator[Setting]:
    """What a model has only where something says it."""
    own = model.options
    for name in _OF_PROCESSES:
        if value := getattr(own, name):
            yield Setting(f"salver.{name}", value, source("salver", name))
    for name, text in own.options.items():
        yield Setting(f"salver.options.{name}", text, source("salver", "options", name))
    if own.batching is not None:
        for name, value in model_document(model)["salver"]["batching"].items():
            shown = " ".join(map(str, value)) if isinstance(value, list) else value
            yield Setting(f"salver.batching.{name}", shown, source("salver", "batching", name))


def _policy(policy: VersionPolicy) -> str:
    match policy:
        case Latest(count):
            return f"latest {count}"
        case Specific(versions):
            return f"specific {' '.join(map(str, versions))}"
        case _:
            return "all"


class Begun:
    """What the flags and the file of a server say of its models, to compare it with what is so.

    The file is read when somebody asks.
    """

    def __init__(self, options: ServerOptions, models: Sequence[ModelConfig]) -> None:
        """Take down what there was at the start.

        Args:
            options: the flags.
            models: that the server began with.
        """
        self._options = options
        self._flags = dict(options.sources)
        self._models = tuple(models)
        self._last: tuple[bytes, Compared] | None = None  # content, and what it says
        self.file = options.model_config_file

    def read(self) -> "Compared":
        """Read the file; without one, what the server began with counts. From any thread."""
        if not self.file:
            return self._compared(self._models, {})
        last = self._last
        try:
            content = read_file(self.file)
            if last is None or last[0] != content:
                last = content, self._compared(*read(content, self.file))
                self._last = last
        except (ServingError, Misplaced) as error:
            return self._compared(self._models, {}, str(error))
        return last[1]

    def _compared(
        self, models: Sequence[ModelConfig], places: Places, problem: str = ""
    ) -> "Compared":
        return Compared(self._options, self._flags, self.file, models, places, problem)


@dataclass(frozen=True, slots=True)
class Compared:
    """What a file says now.

    Attributes:
        models: in its order.
        places: see there.
        problem: why it cannot be read; empty where it can.
    """

    options: ServerOptions
    flags: Mapping[str, str]
    file: str
    models: Sequence[ModelConfig]
    places: Places
    problem: str

    def settings(self, models: Iterable[ModelConfig]) -> Iterator[tuple[str, list[Setting]]]:
        """Name and settings of each model; the source of what the file does not say is memory."""
        begun = {model.name: (index, model) for index, model in enumerate(self.models)}
        for model in models:
            of_file: dict[str, Setting] = {}
            if model.name in begun:
                index, other = begun[model.name]
                of_file = {each.name: each for each in self._of(other, index)}
            yield model.name, [self._sourced(each, of_file) for each in self._of(model, -1)]

    def _of(self, model: ModelConfig, index: int) -> Iterator[Setting]:
        return model_settings(
            model, self.options, self.flags, index=index, file=self.file, places=self.places
        )

    def _sourced(self, setting: Setting, of_file: Mapping[str, Setting]) -> Setting:
        known = of_file.get(setting.name)
        if known is not None and known.value == setting.value:
            return known
        # What says nothing is the server's, unless the file says something.
        is_servers = known is None and setting.source.startswith("--")
        return setting if is_servers else replace(setting, source=MEMORY)


def plain(setting: Setting) -> dict[str, str | int | float | bool]:
    """A setting as JSON has it."""
    return asdict(setting)

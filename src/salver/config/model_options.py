"""What Salver takes for one model beside what TensorFlow Serving knows: `ModelConfig.salver`."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from salver.errors import InvalidArgument, ServingError, Unimplemented

if TYPE_CHECKING:  # so that --help needs no protocol buffers
    from salver.config.batching import BatchingParameters

__all__ = ["LoadSettings", "ModelOptions", "Replicas", "from_message", "problems_of", "run_here"]

_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "isolation": ("none", "process"),
    "on_timeout": ("cooperative", "kill"),
}
_MOST_INSTANCES: Final = 256
_COUNTS: Final = (
    "instances", "max_resident_bytes", "cpus", "max_concurrent_runs", "max_queued_runs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Replicas:
    """On how many machines a model is; 0 where nobody says."""

    min: int = 0
    max: int = 0
    is_pinned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Field 1000 of a `tensorflow.serving.ModelConfig`; 0 and "" where it says nothing.

    Attributes:
        isolation: as `--isolation`, which counts where it is empty.
        instances: processes per worker; 0 is 1.
        max_resident_bytes: a process that has more memory is ended; 0 for any amount.
        cpus: for each process; 0 for all.
        python_executable: that runs the processes; empty for the server's.
        on_timeout: what becomes of a run that nobody waits for; empty is `cooperative`.
        max_concurrent_runs: as `--max_concurrent_runs_per_model`, which counts where it is None.
        max_queued_runs: as `--max_queued_runs_per_model`, which counts where it is None.
        options: fields of the backend's own options → their values, as text.
        batching: how its requests are merged, in place of the server's parameters, where the server
            merges requests; None where it says nothing.
    """

    isolation: str = ""
    instances: int = 0
    max_resident_bytes: int = 0
    cpus: int = 0
    max_concurrent_runs: int | None = None
    max_queued_runs: int | None = None
    python_executable: str = ""
    on_timeout: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    replicas: Replicas = Replicas()
    batching: "BatchingParameters | None" = None


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """How a version is loaded: when this changes, it is loaded again.

    Attributes:
        platform: the platform its model asks for.
        options: see `ModelOptions`, like the rest.
        origin: the URI that the very version was fetched from, or the directory that it was copied
            from; empty for one that is loaded where it stands. Not compared.
    """

    platform: str
    options: Mapping[str, str] = field(default_factory=dict)
    isolation: str = ""
    instances: int = 0
    cpus: int = 0
    python_executable: str = ""
    origin: str = field(default="", compare=False)


_ONE_MACHINE: Final = tuple(Replicas(least, most) for least in (0, 1) for most in (0, 1))


class _HasOptions(Protocol):
    @property
    def options(self) -> ModelOptions: ...


M = TypeVar("M", bound=_HasOptions)


def run_here(models: Iterable[M], isolation: str) -> list[M]:
    """Those of some models that are not to run in processes of their own.

    Args:
        models: some.
        isolation: of those that do not say.
    """
    return [model for model in models if (model.options.isolation or isolation) != "process"]


def from_message(message: Any) -> ModelOptions:
    """The fields of a `salver.ModelOptions`."""
    limits = ("max_concurrent_runs", "max_queued_runs")
    replicas = message.replicas
    return ModelOptions(
        isolation=message.isolation,
        instances=message.instances,
        max_resident_bytes=message.max_resident_bytes,
        cpus=message.cpus,
        python_executable=message.python_executable,
        on_timeout=message.on_timeout,
        options=dict(sorted(message.options.items())),
        replicas=Replicas(replicas.min, replicas.max, replicas.pinned),
        batching=_batching(message.batching) if message.HasField("batching") else None,
        **{name: getattr(message, name) for name in limits if message.HasField(name)},
    )


def _batching(message: Any) -> "BatchingParameters":
    from salver.config.batching import from_message as parameters_of

    return parameters_of(message)


def problems_of(model: str, options: ModelOptions) -> Iterator[tuple[str, ServingError]]:
    """What is wrong with the options of a model: a field, and why."""
    for name, choices in _CHOICES.items():
        if (chosen := getattr(options, name)) not in ("", *choices):
            text = f"salver.{name} of model {model} must be {' or '.join(choices)}, not {chosen!r}"
            yield name, InvalidArgument(text)
            return
    for name in _COUNTS:
        if (getattr(options, name) or 0) < 0:
            text = f"salver.{name} of model {model} must be from 0 up, not {getattr(options, name)}"
            yield name, InvalidArgument(text)
            return
    if options.instances > _MOST_INSTANCES:
        text = f"salver.instances of model {model} must be at most {_MOST_INSTANCES}"
        yield "instances", InvalidArgument(f"{text}, not {options.instances}")
    python = options.python_executable
    if python and not os.path.isabs(python):
        text = f"salver.python_executable of model {model} must be an absolute path, not {python!r}"
        yield "python_executable", InvalidArgument(text)
    if (own := options.batching) is not None:
        yield from _problems_of_batching(model, own)
    if options.replicas not in _ONE_MACHINE:
        yield (
            "replicas",
            Unimplemented(
                f"Model {model} sets salver.replicas, which this server cannot do",
                hint="Take replicas out of the salver part of the model's configuration.",
            ),
        )


def _problems_of_batching(
    model: str, parameters: "BatchingParameters"
) -> Iterator[tuple[str, ServingError]]:
    for name in ("num_batch_threads", "thread_pool_name"):
        if getattr(parameters, name) is not None:
            yield (
                "batching",
                InvalidArgument(
                    f"salver.batching of model {model} cannot set {name}: all models share the "
                    "threads",
                    hint="Set it in the file of --batching_parameters_file.",
                ),
            )

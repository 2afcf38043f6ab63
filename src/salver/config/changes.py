"""Changes of a configuration that an administrator requests, and what makes one of another.

A change may have a condition: the tag of the configuration, or of the one model that it is about,
as who requests it has seen it. So of many who change the same thing none undoes what it has not
seen.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from salver.config.batching import BatchingParameters
from salver.config.kept_options import with_options_kept
from salver.config.model_documents import model_document, tag_and_size_of, tag_of_all
from salver.config.models import ModelConfig
from salver.errors import Aborted, InvalidArgument, NotFound, PermissionDenied

__all__ = [
    "ANY_TAG",
    "Change",
    "Condition",
    "DeleteLabel",
    "DeleteModel",
    "Difference",
    "PutBatching",
    "PutConfig",
    "PutLabel",
    "PutModel",
    "Stale",
    "Tags",
    "differences",
    "find",
    "made",
]

Models = tuple[ModelConfig, ...]

ANY_TAG: Final = "*"
_MOST_DIFFERENCES: Final = 100  # of one change that are told
_OF_ALL: Final = ("base_path", "logging_config")
_OPTIONS_OF_ALL: Final = ("isolation", "instances", "max_resident_bytes", "cpus", "on_timeout")
_LIMITS: Final = ("max_concurrent_runs", "max_queued_runs")


class Stale(Aborted):
    """The condition of a change does not hold: what it is about has another tag by now."""


@dataclass(frozen=True, slots=True)
class PutConfig:
    """Have these models, and no others."""

    models: Models


@dataclass(frozen=True, slots=True)
class PutModel:
    """Add a model, or have it like this.

    Attributes:
        model: how.
        is_of_one: who requests it administers some models, and not the server: what a model costs
            others, or can tell of them, stays as it is.
    """

    model: ModelConfig
    is_of_one: bool = False


@dataclass(frozen=True, slots=True)
class DeleteModel:
    """Remove a model."""

    name: str


@dataclass(frozen=True, slots=True)
class PutLabel:
    """Have a label of a model name a version."""

    name: str
    label: str
    version: int


@dataclass(frozen=True, slots=True)
class DeleteLabel:
    """Have a model without a label."""

    name: str
    label: str


@dataclass(frozen=True, slots=True)
class PutBatching:
    """Have requests of a model merged like this; None: as the server says."""

    name: str
    parameters: BatchingParameters | None


Change = PutConfig | PutModel | DeleteModel | PutLabel | DeleteLabel | PutBatching


@dataclass(frozen=True, slots=True)
class Condition:
    """What has to be so for a change to be made.

    Attributes:
        tags: one of these is the present tag of the model, or of the configuration; `*` is that of
            whatever there is. Empty: it may be any.
        is_new: there is no such model.
    """

    tags: tuple[str, ...] = ()
    is_new: bool = False

    def check(self, tags: "Tags", models: Models, name: str | None) -> None:
        """Compare it with what there is.

        Args:
            tags: see there.
            models: the configuration.
            name: of the one model that the change is about.

        Raises:
            Stale: it does not hold.
        """
        model = None if name is None else next((m for m in models if m.name == name), None)
        if self.is_new and (name is None or model is not None):
            what = "The configuration" if name is None else f"Model {name}"
            raise Stale(f"{what} is there already", hint="If-None-Match: * is for what is new.")
        if not self.tags or (ANY_TAG in self.tags and (name is None or model is not None)):
            return
        if model is not None and tags.of(model) in self.tags:
            return
        if tags.of_all(models) in self.tags:
            return
        what = "The configuration" if name is None else f"Model {name}"
        raise Stale(
            f"{what} has been changed or removed since",
            hint="Read it again, and change what it is now.",
        )


class Tags:
    """Tags of models, remembered, so that a change of one makes one. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # guards what follows
        self._of: dict[str, tuple[ModelConfig, str, int]] = {}
        self._all: tuple[Models, str] | None = None

    def of(self, model: ModelConfig) -> str:
        """The tag of a model of the configuration."""
        with self._lock:
            return self._known(model)[1]

    def size_of_all(self, models: Models) -> int:
        """Bytes of the messages of models."""
        with self._lock:
            return sum(self._known(model)[2] for model in models)

    def _known(self, model: ModelConfig) -> tuple[ModelConfig, str, int]:
        known = self._of.get(model.name)
        if known is None or known[0] is not model:
            self._of[model.name] = known = model, *tag_and_size_of(model)
        return known

    def of_all(self, models: Models) -> str:
        """The tag of the configuration."""
        with self._lock:
            if self._all is None or self._all[0] is not models:
                self._all = models, tag_of_all([self._known(model)[1] for model in models])
                if len(self._of) > 2 * len(models):
                    self._of = {model.name: self._of[model.name] for model in models}
            return self._all[1]


def find(models: Iterable[ModelConfig], name: str) -> ModelConfig:
    """A model of a configuration.

    Raises:
        NotFound: it has none of that name.
    """
    for model in models:
        if model.name == name:
            return model
    raise NotFound(f"Model {name} is not configured")


def made(models: Models, change: Change, named: Models = ()) -> Models:
    """What a change makes of a configuration. Whether that can be served is for others to say.

    Args:
        models: the configuration.
        change: see there.
        named: see `with_options_kept`.

    Raises:
        NotFound: there is no such model, or label.
        InvalidArgument: there can be none like that.
        PermissionDenied: see `with_options_kept`; or it is for who administers all models.
    """
    match change:
        case PutConfig(new):
            return with_options_kept(new, models, named)
        case PutModel(model, is_of_one):
            model = with_options_kept((model,), models, named)[0]
            return _put(models, _of_one(model, models) if is_of_one else model)
        case DeleteModel(name):
            gone = find(models, name)
            return tuple(model for model in models if model is not gone)
        case PutLabel(name, label, version):
            if not label:
                raise InvalidArgument("A label must have a name")
            model = find(models, name)
            labels = {**model.version_labels, label: version}
            return _put(models, replace(model, version_labels=dict(sorted(labels.items()))))
        case DeleteLabel(name, label):
            model = find(models, name)
            if label not in model.version_labels:
                raise NotFound(f"Model {name} has no label {label}")
            labels = {key: n for key, n in model.version_labels.items() if key != label}
            return _put(models, replace(model, version_labels=labels))
        case PutBatching(name, parameters):
            model = find(models, name)
            return _put(models, replace(model, options=replace(model.options, batching=parameters)))


def _of_one(model: ModelConfig, models: Models) -> ModelConfig:
    """The model, with the limits that it has already where it says nothing of them.

    What concerns others than a model is refused: files of any tenant, memory, processes, threads.

    Raises:
        PermissionDenied: the model is new, or has something of this otherwise; or a higher limit.
    """
    before = next((each for each in models if each.name == model.name), None)
    if before is None:
        raise PermissionDenied(f"To add model {model.name} takes a role of all models")
    wrong = [name for name in _OF_ALL if getattr(model, name) != getattr(before, name)]
    own, new = before.options, model.options
    unsaid = [name for name in _LIMITS if getattr(new, name) is None]
    new = replace(new, **{name: getattr(own, name) for name in unsaid})
    wrong += [name for name in _OPTIONS_OF_ALL if getattr(new, name) != getattr(own, name)]
    wrong += [name for name in _LIMITS if not _is_lowered(getattr(new, name), getattr(own, name))]
    if wrong:
        raise PermissionDenied(
            f"To change {', '.join(wrong)} of model {model.name} takes a role of all models"
        )
    return replace(model, options=new)


def _is_lowered(limit: int | None, before: int | None) -> bool:
    """Whether a limit stays or is lower; to none (None) and to what may be any (0) is neither."""
    return limit == before or 0 < (limit or 0) < (before or 0)


def _put(models: Models, model: ModelConfig) -> Models:
    if all(other.name != model.name for other in models):
        return (*models, model)
    return tuple(model if other.name == model.name else other for other in models)


# -- what a change is about ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that two configurations have differently.

    Attributes:
        model: its name.
        field: with dots; empty where the whole model has come or gone.
        before: plain value; None for none.
        after: likewise.
    """

    model: str
    field: str
    before: Any
    after: Any


def differences(
    before: Sequence[ModelConfig], after: Sequence[ModelConfig], most: int = _MOST_DIFFERENCES
) -> tuple[tuple[Difference, ...], int]:
    """What is different, up to so many; and how many there are beyond that."""
    found: list[Difference] = []
    count = 0
    for each in _differences(before, after):
        count += 1
        if count <= most:
            found.append(each)
    return tuple(found), count - len(found)


def _differences(
    before: Sequence[ModelConfig], after: Sequence[ModelConfig]
) -> Iterator[Difference]:
    old = {model.name: model for model in before}
    new = {model.name: model for model in after}
    for name, model in old.items():
        if name not in new:
            yield Difference(name, "", model_document(model), None)
    for name, model in new.items():
        was = old.get(name)
        if was is None:
            yield Difference(name, "", None, model_document(model))
        elif was is not model and was != model:
            yield from _of_fields(name, model_document(was), model_document(model))


def _of_fields(name: str, before: Any, after: Any, path: str = "") -> Iterator[Difference]:
    if not isinstance(before, dict) or not isinstance(after, dict):
        if before != after:
            yield Difference(name, path, before, after)
        return
    for key in dict.fromkeys((*before, *after)):
        inner = f"{path}.{key}" if path else key
        yield from _of_fields(name, before.get(key), after.get(key), inner)

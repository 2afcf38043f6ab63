"""What of a model a request cannot say, and what stays where it says nothing.

The options of some backends run code or read files, and so does a Python of one's own: whoever may
change what is served may not set them, nor have a model run in the server that has processes of its
own, be it by another name. And most clients have never heard of all this: what they do not say
stays.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn

from salver.config.model_options import ModelOptions
from salver.config.models import ModelConfig
from salver.config.request_log import parse_logging_config
from salver.errors import PermissionDenied
from salver.instruments.files import scheme_of
from salver.instruments.uris import canonical_uri

__all__ = ["check_log_files", "deny", "with_options_kept"]

_FILE: Final = "file://"

_KEPT: Final = (
    "options", "instances", "max_resident_bytes", "cpus", "python_executable", "on_timeout",
    "batching",
)  # fmt: skip


def with_options_kept(
    models: Sequence[ModelConfig],
    before: Iterable[ModelConfig],
    named: Iterable[ModelConfig] = (),
) -> tuple[ModelConfig, ...]:
    """The models, with what they have already of what a request does not say, or cannot.

    Args:
        models: of the request.
        before: the present configuration.
        named: the last one that came from flags or a file: what a request has removed of it comes
            back with no fewer processes.

    Raises:
        PermissionDenied: the request has others.
    """
    known = {model.name: model for model in before}
    gone = {model.name: model for model in named if model.name not in known}
    neighbours = _Neighbours((*known.values(), *gone.values()))
    kept = []
    for model in models:
        given, was = model.options, known.get(model.name)
        own = ModelOptions() if was is None else was.options
        if given.options and given.options != own.options:
            deny(f"the options of model {model.name} for its backend")
        if given.python_executable not in ("", own.python_executable):
            deny(f"the python_executable of model {model.name}")
        others = neighbours.isolations(model, was)
        stays: dict[str, Any] = {name: getattr(given, name) or getattr(own, name) for name in _KEPT}
        stays["isolation"] = _isolation(model, own.isolation, others)
        kept.append(replace(model, options=replace(given, **stays)))
    return tuple(kept)


def check_log_files(models: Iterable[ModelConfig], before: Iterable[ModelConfig]) -> None:
    """Refuse request logs to other files than those that there may be already.

    They are made with the rights of the server, and who requests something shapes what is in them.

    Args:
        models: of the request.
        before: those whose files may be named, for any model.

    Raises:
        PermissionDenied: the request names others.
    """
    known = {_log_files(model) for model in before}
    for model in models:
        files = _log_files(model)
        if files and files not in known:
            deny(f"the files of the request log of model {model.name}")


def _log_files(model: ModelConfig) -> str:
    """What their names begin with; empty for no log."""
    data = model.logging_config
    return "" if data is None else parse_logging_config(data).filename_prefix


def deny(what: str) -> NoReturn:
    """Refuse what no request can say.

    Raises:
        PermissionDenied: always.
    """
    raise PermissionDenied(
        f"A request cannot set {what}",
        hint="It is taken from the file that --model_config_file names.",
    )


def _isolation(model: ModelConfig, own: str, others: frozenset[str]) -> str:
    """`none` is for a model that has it, at a place that no other model has without it."""
    given = model.options.isolation
    if given == "none" and (own != "none" or others - {"none"}):
        deny(f"the isolation of model {model.name}")
    if given:
        return given
    if "process" in (own, *others):
        return "process"
    return "" if "" in others else own


_Place = tuple[str, ...]


class _Neighbours:
    """Models by their places: those at the same, and, as a version is one too, just around it."""

    def __init__(self, models: Sequence[ModelConfig]) -> None:
        self._by_place: dict[_Place, list[ModelConfig]] = {}
        if not any(model.options.isolation for model in models):
            return  # then it makes no difference, and nobody waits for a file system
        for model in models:
            place = _place(model.base_path)
            for each in (place, (*place[:-1], "*")):
                self._by_place.setdefault(each, []).append(model)

    def isolations(self, model: ModelConfig, was: ModelConfig | None) -> frozenset[str]:
        """What the others say of their isolation."""
        if not self._by_place:
            return frozenset()
        return frozenset(each.options.isolation for each in self._of(model) if each is not was)

    def _of(self, model: ModelConfig) -> Iterator[ModelConfig]:
        place = _place(model.base_path)
        for each in (place, place[:-1], (*place, "*")):
            yield from self._by_place.get(each, ())


def _place(base_path: str) -> _Place:
    """The components of a base path: of the real one on this machine, or of a canonical URI."""
    if scheme_of(base_path) not in ("", "file"):
        uri = canonical_uri(base_path)
        return uri.scheme, *uri.parts
    path = base_path[len(_FILE) :] if base_path.lower().startswith(_FILE) else base_path
    return "", *filter(None, os.path.realpath(path.replace("\0", "")).split("/"))

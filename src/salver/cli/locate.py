"""What a person means by a path given to `salver serve` or `salver show`.

A *SavedModel* is a directory that holds `saved_model.pb` (or `.pbtxt`); here also one that holds
`model.tflite`, or one Keras file (`.keras`, `.h5`) and no versions. A *model directory* holds
SavedModels in directories named by version numbers. `salver serve` takes, in this order:

- a `.tflite` or Keras file: version 1 of a model with the file's name;
- a SavedModel whose own name is a number: that version of the model directory above it;
- any other SavedModel: version 1 of a model with the directory's name;
- a model directory: the model, newest version first;
- a directory of the two kinds above: every one of them.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from salver.backends.by_format import holds_saved_model, holds_tflite
from salver.backends.foreign_formats import advice_on, foreign_files
from salver.backends.keras.files import holds_keras, is_keras_file, keras_files
from salver.config.models import (
    TENSORFLOW_PLATFORM,
    Latest,
    ModelConfig,
    Specific,
    VersionPolicy,
)
from salver.config.text_format import file_error
from salver.errors import InvalidArgument, NotFound, ServingError

__all__ = [
    "Located",
    "NotServed",
    "given_path",
    "is_tflite_file",
    "locate_models",
    "locate_saved_model",
]

_TFLITE = ".tflite"
# What may stand beside a file, as in a version directory.
_BESIDE = ("assets", "assets.extra", "batching_params.pbtxt")
_URI = re.compile(r"[a-zA-Z][0-9a-zA-Z.]*://")
_SHOWN = 8  # names of what was found instead
_MOST_ADVICE = 3  # files of which a line tells what to do with them

_KERAS_ADVICE = "serve the file itself, or give it a directory: MODEL/1/model.keras"
# Suffix → what to do with such a file.
_ADVICE = {
    ".keras": _KERAS_ADVICE,
    ".h5": _KERAS_ADVICE,
    ".hdf5": _KERAS_ADVICE,
    _TFLITE: "serve the file itself, or call it model.tflite: MODEL/1/model.tflite",
}

Warn = Callable[[ServingError], None]
"""Told of a model that is left out, since nothing here runs it."""


class NotServed(NotFound):
    """There is a model, of a format that nothing here runs; the text says what to do with it."""


@dataclass(frozen=True, slots=True)
class Located:
    """A SavedModel, and the version it is when its directory is named so."""

    path: Path
    version: int | None


def _ignore(_error: ServingError) -> None:
    """Leave a model out without a word."""


def locate_models(
    arguments: Sequence[str], scratch: Callable[[], Path], warn: Warn = _ignore
) -> tuple[ModelConfig, ...]:
    """The models that `PATH` and `NAME=PATH` arguments name, in their order.

    Args:
        arguments: relative paths are taken from the current directory.
        scratch: makes a new empty directory that lives as long as the server; a SavedModel that
            stands in no version directory gets one there, as a symbolic link.
        warn: told of models of formats that nothing here runs, where there are others.

    Raises:
        NotFound: there is no such path, or nothing under it can be served.
        NotServed: all models are of such formats.
        ServingError: a directory cannot be read.
        InvalidArgument: a name cannot stand in a URL.
    """
    models: list[ModelConfig] = []
    refused: list[NotServed] = []
    for argument in arguments:
        try:
            models += _models(argument, scratch, refused.append)
        except NotServed as error:  # noqa: PERF203 - a person gives a few
            refused.append(error)
    last = refused.pop() if refused and not models else None
    for each in refused:
        warn(each)
    if last is not None:
        raise last
    return tuple(models)


def locate_saved_model(path: Path) -> Located:
    """The SavedModel at `path`, or the newest version of the model directory there.

    Raises:
        NotFound: there is neither.
        ServingError: the directory cannot be read.
    """
    _must_be_directory(path)
    if _is_saved_model(path):
        return Located(path, _version(path.name))
    versions = _versions(path)
    if not versions:
        raise _nothing_in(path)
    newest = max(versions)
    return Located(versions[newest], newest)


def is_tflite_file(path: Path) -> bool:
    """Whether a path is, by its name, a TFLite file."""
    return path.suffix == _TFLITE and path.is_file()


def given_path(made: Path) -> Path:
    """The file or SavedModel that was named, for which `locate_models` has filled a directory.

    Args:
        made: what `scratch` had returned.
    """
    version = made / "1"
    if version.is_symlink():
        return version.readlink()
    return next(path.readlink() for path in version.iterdir() if path.name not in _BESIDE)


def _models(
    argument: str, scratch: Callable[[], Path], refuse: Callable[[NotServed], None]
) -> list[ModelConfig]:
    name, text = _split(argument)
    if _URI.match(text):
        return [
            _model(text.rstrip("/").rpartition("/")[2] if name is None else name, text, Latest())
        ]
    path = Path(os.path.abspath(text))  # not resolved: a link may point elsewhere tomorrow
    if is_tflite_file(path):
        return [_one_file(name, path, scratch, as_name="model.tflite")]
    if is_keras_file(path):
        return [_one_file(name, path, scratch, as_name=path.name)]
    _must_be_directory(path)
    found = _one(name, path, scratch)
    if found is None and name is None:
        children = [child for child in _children(path) if child.is_dir()]
        several = [_one(None, child, scratch) for child in children]
        if models := [model for model in several if model is not None]:
            for child, model in zip(children, several, strict=True):
                if model is None and _foreign(child):
                    refuse(_not_served(child, _foreign(child)))
            return models
    if found is None:
        raise _nothing_in(path)
    return [found]


def _split(argument: str) -> tuple[str | None, str]:
    """`NAME=PATH`, unless the whole is a path that exists."""
    name, equals, path = argument.partition("=")
    if not equals or "/" in name or Path(argument).exists():
        return None, argument
    return name, path


def _one(name: str | None, path: Path, scratch: Callable[[], Path]) -> ModelConfig | None:
    """The single model at `path`, if that is what stands there."""
    if _is_saved_model(path):
        version = _version(path.name)
        if version is not None and path.parent.name:
            return _model(
                path.parent.name if name is None else name, str(path.parent), Specific((version,))
            )
        base = scratch()
        (base / "1").symlink_to(path, target_is_directory=True)
        return _model(path.name if name is None else name, str(base), Latest())
    if _versions(path):
        return _model(path.name if name is None else name, str(path), Latest())
    return None


def _one_file(
    name: str | None, path: Path, scratch: Callable[[], Path], *, as_name: str
) -> ModelConfig:
    base = scratch()
    version = base / "1"
    version.mkdir()
    (version / as_name).symlink_to(path)
    for beside in _BESIDE:
        if (path.parent / beside).exists():
            (version / beside).symlink_to(path.parent / beside)
    return _model(path.stem if name is None else name, str(base), Latest())


def _model(name: str, base_path: str, policy: VersionPolicy) -> ModelConfig:
    if not name or "/" in name or ":" in name:
        raise InvalidArgument(
            f"{name!r} cannot be the name of a model.",
            hint="A name is not empty and has no '/' and no ':'. Give one with NAME=PATH.",
        )
    return ModelConfig(
        name=name,
        base_path=base_path,
        model_platform=TENSORFLOW_PLATFORM,
        version_policy=policy,
    )


def _is_saved_model(path: Path) -> bool:
    if holds_saved_model(path) or holds_tflite(path):
        return True
    return len(keras_files(path)) == 1 and not _versions(path)


def _is_version(path: Path) -> bool:
    return holds_saved_model(path) or holds_tflite(path) or holds_keras(path)


def _version(name: str) -> int | None:
    return int(name) if name.isascii() and name.isdigit() and len(name) < 20 else None


def _versions(path: Path) -> dict[int, Path]:
    """The versions directly under `path` that hold a SavedModel."""
    return {
        version: child
        for child in _children(path)
        if (version := _version(child.name)) is not None and _is_version(child)
    }


def _children(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir())
    except OSError as error:
        raise file_error(str(path), error) from error


def _foreign(path: Path) -> list[Path]:
    """The files in a directory, or in its versions, of formats that nothing here runs."""
    versions = [child for child in _children(path) if _version(child.name) is not None]
    return [where / name for where in (path, *versions) for name in foreign_files(where)]


def _not_served(path: Path, files: Sequence[Path]) -> NotServed:
    advice = list(dict.fromkeys(filter(None, map(advice_on, files))))[:_MOST_ADVICE]
    return NotServed(f"{path} holds no model that is served here: {' '.join(advice)}")


def _must_be_directory(path: Path) -> None:
    if path.is_dir():
        return
    if path.is_file():
        if (foreign := advice_on(path)) is not None:
            raise NotServed(f"{path} cannot be served: {foreign}")
        advice = _ADVICE.get(path.suffix)
        raise NotFound(
            f"{path} is a file, not a directory with a SavedModel.",
            hint=f"{path.name}: {advice}." if advice else f"Perhaps {path.parent} is meant.",
        )
    raise NotFound(f"There is no directory {path}.")


def _nothing_in(path: Path) -> NotFound:
    """The error for a directory without anything to serve: says what is there instead."""
    if foreign := _foreign(path):
        return _not_served(path, foreign)
    names = [child.name + "/" * child.is_dir() for child in _children(path)]
    if not names:
        return NotFound(f"{path} is empty.")
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    advice = [f"{name}: {_ADVICE[end]}" for name in names if (end := Path(name).suffix) in _ADVICE]
    return NotFound(
        f"{path} holds no SavedModel, only: {shown}.",
        hint="; ".join(advice)
        or "A SavedModel is a directory with a saved_model.pb; its versions stand in directories "
        "named by numbers, such as MODEL/1/saved_model.pb.",
    )

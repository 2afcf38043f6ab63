"""What a person means by a path given to `salver serve` or `salver show`.

A *model* is what some backend serves: a file, or a directory with such files and no versions. A
*model directory* holds models in directories named by version numbers. `salver serve` takes, in
this order:

- a file that is a model: version 1 of a model with the file's name, without its ending;
- a model whose own name is a number: that version of the model directory above it;
- any other model: version 1 of a model with the directory's name;
- a model directory: the model, newest version first;
- a directory of several of these: every one of them. Where a file and a directory have one name,
  the directory is served.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from salver.backends.foreign_formats import advice_on, foreign_files
from salver.backends.model_files import ModelFile, file_model, models_in
from salver.backends.selection import Selected, Selector
from salver.config.models import TENSORFLOW_PLATFORM, ModelConfig
from salver.errors import InvalidArgument, NotFound, ServingError
from salver.instruments.files import OsErrorsOf, is_uri, scheme_of
from salver.vocabulary.servable import Latest, Specific, VersionPolicy

__all__ = [
    "Located",
    "NotServed",
    "given_path",
    "local_paths",
    "locate_models",
    "locate_version",
    "model_at",
    "models_at",
    "models_under",
]

# What may stand beside a file, as in a version directory.
_BESIDE = ("assets", "assets.extra", "batching_params.pbtxt")
# Files that make a directory one model, whatever else it holds.
_WHOLE = ("saved_model.pb", "saved_model.pbtxt", "model.py")
_SHOWN = 8  # names of what was found instead
_ARCHIVES = (".tar.gz", ".tgz")
# Of files that are models by themselves, by which a URI names one as a path does.
_FILES = (
    *(".onnx", ".tflite", ".keras", ".h5", ".hdf5", ".pt2", ".pt", ".skops", ".joblib", ".pkl"),
    *(".ubj", ".bst"),
)
_MOST_ADVICE = 3  # files of which a line tells what to do with them

Warn = Callable[[ServingError], None]
"""Told of a model that is left out, since nothing here runs it."""


class NotServed(NotFound):
    """There is a model, of a format that nothing here runs; the text says what to do with it."""


@dataclass(frozen=True, slots=True)
class Located:
    """A model, and the version it is when its directory is named so.

    Attributes:
        found: what could be served of it, the first being what is.
        file: the file, where the path is of one.
    """

    path: Path
    version: int | None
    found: tuple[Selected, ...] = field(default=(), compare=False)
    file: ModelFile | None = field(default=None, compare=False)

    @contextmanager
    def to_read(self) -> Iterator[tuple[Selected, ...]]:
        """The same as `found`, for backends to look into: a file in a directory of its own."""
        if self.file is None:
            yield self.found
            return
        with TemporaryDirectory(prefix="salver-look-") as made:
            _link(self.file, Path(made), beside=())
            name = next(iter(self.file.files))
            try:
                yield tuple(replace(each, path=Path(made)) for each in self.found)
            except ServingError as error:
                error.message = error.message.replace(f"{made}/{name}", str(self.path))
                raise


def _ignore(_error: ServingError) -> None:
    """Leave a model out without a word."""


Below = Callable[[str], Mapping[str, str]]
"""The models directly below a URI: name → base path. None where it is a model itself."""


def _nothing_below(_uri: str) -> Mapping[str, str]:
    return {}


def locate_models(
    arguments: Sequence[str],
    scratch: Callable[[], Path],
    warn: Warn = _ignore,
    below: Below = _nothing_below,
) -> tuple[ModelConfig, ...]:
    """The models that `PATH` and `NAME=PATH` arguments name, in their order.

    Args:
        arguments: relative paths are taken from the current directory.
        scratch: makes a new empty directory that lives as long as the server; a SavedModel that
            stands in no version directory gets one there, as a symbolic link.
        warn: told of models of formats that nothing here runs, where there are others.
        below: see there.

    Raises:
        NotFound: there is no such path, or nothing under it can be served.
        NotServed: all models are of such formats.
        ServingError: a directory cannot be read.
        InvalidArgument: a name cannot stand in a URL.
    """
    select = Selector()
    models: list[ModelConfig] = []
    refused: list[NotServed] = []
    for argument in arguments:
        try:
            models += _models(argument, scratch, refused.append, select, below)
        except NotServed as error:  # noqa: PERF203 - a person gives a few
            refused.append(error)
    _check_names(models)
    last = refused.pop() if refused and not models else None
    for each in refused:
        warn(each)
    if last is not None:
        raise last
    return tuple(models)


def local_paths(arguments: Sequence[str]) -> list[str]:
    """The paths of this machine that such arguments name: who types them trusts what is there."""
    texts = [_split(argument)[1] for argument in arguments]
    return [os.path.abspath(text) for text in texts if not is_uri(text)]


def locate_version(path: Path, select: Selector | None = None) -> Located:
    """The model at `path`, or the newest version of the model directory there.

    Args:
        path: of a directory, or of a file.
        select: knows the backends.

    Raises:
        NotFound: there is neither.
        ServingError: the directory cannot be read.
    """
    select = select or Selector()
    if path.is_file() and (file := file_model(path, select)) is not None:
        return Located(path, None, (file.selected,), file)
    _must_be_directory(path)
    if _is_model(path, select):
        return _located(path, _version(path.name), select)
    versions = _versions(path, select)
    if not versions:
        raise _nothing_in(path, select)
    newest = max(versions)
    return _located(versions[newest], newest, select)


def _located(path: Path, version: int | None, select: Selector) -> Located:
    first = select(path)
    return Located(path, version, (first, *first.others))


def given_path(made: Path) -> Path:
    """The file or directory that was named, for which `locate_models` has filled a directory.

    Args:
        made: what `scratch` had returned.
    """
    version = made / "1"
    if version.is_symlink():
        return version.readlink()
    links = [path for path in version.iterdir() if path.name not in _BESIDE]
    return min(links, key=lambda path: (path.suffix == ".bin", len(path.name))).readlink()


def _models(
    argument: str,
    scratch: Callable[[], Path],
    refuse: Callable[[NotServed], None],
    select: Selector,
    below: Below,
) -> list[ModelConfig]:
    name, text = _split(argument)
    if is_uri(text):
        return models_at(name, text, below)
    path = Path(os.path.abspath(text))  # not resolved: a link may point elsewhere tomorrow
    if path.is_file() and (file := file_model(path, select)) is not None:
        return [_one_file(name, file, scratch, beside=_BESIDE)]
    _must_be_directory(path)
    if name is None and (models := _several(path, scratch, refuse, select)):
        return models
    found = _one(name, path, scratch, select)
    if found is None:
        raise _nothing_in(path, select)
    return [found]


def models_at(name: str | None, uri: str, below: Below) -> list[ModelConfig]:
    """The models at a URI: the one with a name, or each of those below it.

    Raises:
        InvalidArgument: see `model_at`.
    """
    found = below(uri) if name is None else {}
    several = [_model(each, base_path, Latest()) for each, base_path in found.items()]
    return several or [model_at(name, uri)]


def model_at(name: str | None, uri: str) -> ModelConfig:
    """The model at a URI, or the version of it where the last of its names is a number.

    Args:
        name: of the model; None for one that its URI has.
        uri: of a base path, or of a version.

    Raises:
        InvalidArgument: its name cannot stand in a URL.
    """
    parts = uri.split("?")[0].rstrip("/").split("/")
    version = _version(parts[-1])
    is_object = scheme_of(uri) not in ("http", "https", "hf")  # whose URIs are whole versions
    if is_object and version is not None and len(parts) > 4:
        base_path, policy = "/".join(parts[:-1]), Specific((version,))
        return _model(parts[-2] if name is None else name, base_path, policy)
    return _model(_name_at(parts) if name is None else name, uri, Latest())


def _name_at(parts: Sequence[str]) -> str:
    """What a model is called: by the last of the names in its URI that is not its version's."""
    last = parts[-1]
    for ending in _ARCHIVES:
        if last.endswith(ending):
            last = last.removesuffix(ending)
            return parts[-2] if _version(last) is not None and len(parts) > 4 else last
    if parts[0] in ("s3:", "gs:", "az:", "abfs:") and len(parts) > 3:
        last = next((last.removesuffix(each) for each in _FILES if last.endswith(each)), last)
    return last.partition("@")[0]


def _several(
    path: Path,
    scratch: Callable[[], Path],
    refuse: Callable[[NotServed], None],
    select: Selector,
) -> list[ModelConfig]:
    """The models in a directory that is no model itself; none where it is one."""
    directories, files = _held(path, select)
    names = {child.name for child in directories}
    models = [_one(None, child, scratch, select) for child in directories]
    models += [
        _one_file(None, file, scratch, beside=()) for file in files if file.name not in names
    ]
    if models:
        for child in _children(path):
            if child.is_dir() and child not in directories and _foreign(child):
                refuse(_not_served(child, _foreign(child)))
    return [model for model in models if model is not None]


def models_under(path: Path, select: Selector) -> list[Path]:
    """The directories and files that are models in a directory which is none; empty where it is.

    Raises:
        InvalidArgument: two of them would have one name.
    """
    if not path.is_dir():
        return []
    directories, files = _held(path, select)
    names = {child.name for child in directories}
    return [*directories, *(file.path for file in files if file.name not in names)]


def _held(path: Path, select: Selector) -> tuple[list[Path], list[ModelFile]]:
    """The models in a directory that is no model itself: directories, and files."""
    if any((path / name).exists() for name in _WHOLE) or _versions(path, select):
        return [], []
    directories = [child for child in _children(path) if child.is_dir()]
    directories = [child for child in directories if _holds_one(child, select)]
    files = models_in(path, select)
    if len(files) + len(directories) == len(files) < 2:  # a file makes its directory a model
        return [], []
    return directories, files


def _check_names(models: Sequence[ModelConfig]) -> None:
    """Refuse two models of one name, in the words for a configuration.

    Raises:
        InvalidArgument: there are.
    """
    names = [model.name for model in models]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidArgument(
            f"Illegal to list model {twice} multiple times in config list",
            hint="Give one of them another name: NAME=PATH.",
        )


def _split(argument: str) -> tuple[str | None, str]:
    """`NAME=PATH`, unless the whole is a path that exists."""
    name, equals, path = argument.partition("=")
    if not equals or "/" in name or Path(argument).exists():
        return None, argument
    return name, path


def _one(
    name: str | None, path: Path, scratch: Callable[[], Path], select: Selector
) -> ModelConfig | None:
    """The single model at `path`, if that is what stands there."""
    if _is_model(path, select):
        version = _version(path.name)
        if version is not None and path.parent.name:
            return _model(
                path.parent.name if name is None else name, str(path.parent), Specific((version,))
            )
        base = scratch()
        (base / "1").symlink_to(path, target_is_directory=True)
        return _model(path.name if name is None else name, str(base), Latest())
    if _versions(path, select):
        return _model(path.name if name is None else name, str(path), Latest())
    return None


def _one_file(
    name: str | None, file: ModelFile, scratch: Callable[[], Path], *, beside: Sequence[str]
) -> ModelConfig:
    base = scratch()
    version = base / "1"
    version.mkdir()
    _link(file, version, beside)
    return _model(file.name if name is None else name, str(base), Latest())


def _link(file: ModelFile, version: Path, beside: Sequence[str]) -> None:
    """Fill a version directory with the files of a model, and what stands beside it."""
    for name, path in file.files.items():
        (version / name).symlink_to(path.absolute())
    for each in beside:
        if (file.path.parent / each).exists():
            (version / each).symlink_to(file.path.parent / each)


def _holds_one(path: Path, select: Selector) -> bool:
    return _is_model(path, select) or bool(_versions(path, select))


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


def _is_model(path: Path, select: Selector) -> bool:
    """Whether a directory is one version of a model, and no directory of versions."""
    found = select.found(path)
    is_usable = any(each.match is not None and not each.match.problem for each in found)
    return is_usable and not _versions(path, select)


def _version(name: str) -> int | None:
    return int(name) if name.isascii() and name.isdigit() and len(name) < 20 else None


def _versions(path: Path, select: Selector) -> dict[int, Path]:
    """The versions directly under `path` that hold a model."""
    return {
        version: child
        for child in _children(path)
        if (version := _version(child.name)) is not None and select.found(child)
    }


def _children(path: Path) -> list[Path]:
    with OsErrorsOf(path):
        return sorted(path.iterdir())


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
        raise NotFound(
            f"{path} is a file, not a directory with a SavedModel.",
            hint=f"Perhaps {path.parent} is meant.",
        )
    raise NotFound(f"There is no directory {path}.")


def _nothing_in(path: Path, select: Selector) -> NotFound:
    """The error for a directory without anything to serve: says what is there instead."""
    if foreign := _foreign(path):
        return _not_served(path, foreign)
    children = _children(path)
    names = [child.name + "/" * child.is_dir() for child in children]
    if not names:
        return NotFound(f"{path} is empty.")
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    files = [file_model(child, select) for child in children if child.is_file()]
    advice = [_advice(file) for file in files if file is not None]
    return NotFound(
        f"{path} holds no model, only: {shown}.",
        hint="; ".join(advice)
        or "A model is a file, such as net.onnx, or a directory whose versions stand in "
        "directories named by numbers, such as MODEL/1/saved_model.pb.",
    )


def _advice(file: ModelFile) -> str:
    """What to do with a file that is a model, but stands in no version directory alone."""
    name = next(iter(file.files))
    if name == file.path.name:
        name = f"model{file.path.suffix}"
    return f"{file.path.name}: serve the file itself, or give it a directory: MODEL/1/{name}"

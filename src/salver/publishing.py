"""`salver.publish`: the next version of a model, put in place whole.

A version is made in a hidden directory beside the others, checked there by a server of its own, and
renamed: a server that watches the directory sees all of it or nothing.
"""

import errno
import fcntl
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any, Final

import numpy as np

from salver.about.checks import misfits
from salver.about.reading import NAME as ABOUT_FILE
from salver.about.writing import write_about
from salver.backends.by_format import holds_saved_model, holds_tflite, is_tflite
from salver.backends.tensorflow.saved_model import meta_graph_with_tags, read_meta_graphs
from salver.backends.tflite.model_file import FILE_NAME, read
from salver.backends.tflite.signatures import read_signatures
from salver.client.feeds import as_feeds
from salver.codecs.model_spec import ModelSpec
from salver.codecs.prediction_log import LogKind, encode_prediction_log
from salver.codecs.request_messages import encode_predict_request
from salver.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServingError,
    hints_in_text,
)
from salver.exporting import export, is_live
from salver.files import error_of_os
from salver.serving_process import check_version
from salver.signature import DEFAULT_SIGNATURE
from salver.sources.versions import parse_version
from salver.warmup.making import Target, default_records, record_of_body
from salver.warmup.replay import REQUESTS_FILE
from salver.warmup.storing import write_file

__all__ = ["Published", "newest_version", "publish", "versions_in"]

_LABELS: Final = Path("assets", "labels.txt")
_STAGING: Final = ".publishing-"
_MODEL_FILES: Final = (".keras", ".h5", ".hdf5")
_TFLITE: Final = ".tflite"
_TAKEN: Final = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})


@dataclass(frozen=True, slots=True)
class Published:
    """A version that a server can find.

    Attributes:
        version: its number.
        path: of its directory.
    """

    version: int
    path: Path


@hints_in_text
def publish(
    model: Any,
    base_path: str | os.PathLike[str],
    *,
    version: int | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    about: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    warmup: "bool | Sequence[Any]" = False,
    check: bool = True,
) -> Published:
    """Put a version of a model beside the others in a model directory.

    It is seen whole or not at all, also by a server that watches, and also when several processes
    publish at once. Where it fails, nothing is left.

    Args:
        model: a Keras model; a `tf.Module` with a `tf.function` that has an input signature; or
            the path of a SavedModel, of a model directory (for its newest version), or of a
            `.tflite`, `.keras` or `.h5` file.
        base_path: the model directory; made where there is none.
        version: its number; None for the one after the highest that is there.
        labels: names of the classes, in their order, or a file of them: they become
            `assets/labels.txt`, which the playground shows.
        about: what the model says of itself, `{"title": …, "signatures": …}`, or a JSON file with
            that: it becomes `assets/salver.json`. A `Path` in it is a file that is copied.
        warmup: requests that a server makes before the version serves anybody: inputs as
            `Client.predict` takes them, or bodies of REST requests as `str` or `bytes`. True for
            one request per signature, of zeros.
        check: load it, in a child process, before it is seen.

    Returns:
        What was published.

    Raises:
        InvalidArgument: it is no model, or cannot be exported, or does not take a warmup request;
            or `about` is wrong, or of another model.
        NotFound: there is nothing at the path, or a file that `about` names is not there.
        AlreadyExists: the version is there already.
        ServingError: it cannot be written, or does not load: in the server's words.

    Example:
        >>> salver.publish(model, "models/digits", labels=[str(digit) for digit in range(10)])
        Published(version=1, path=PosixPath('models/digits/1'))
    """
    if version is not None:
        version = _checked_version(version)
    base = Path(os.path.abspath(base_path))
    source = None if is_live(model) else _source(model)
    with _staged(base) as staging:
        if version in versions_in(base):
            raise AlreadyExists(f"{base} has a version {version} already")
        number = version or newest_version(base) + 1
        staged = staging / str(number)
        if source is None:
            export(model, staged)
        else:
            _copy(source, staged)
        if labels is not None:
            _write_labels(staged / _LABELS, labels)
        if about is not None:
            for warning in _describe(staged, about):
                warnings.warn(warning, stacklevel=2)
        if warmup:
            _write_warmup(staged, base.name, warmup)
        if check:
            check_version(staging, number)
        return _put_in_place(staged, base, number, is_free=version is None)


def _checked_version(version: Any) -> int:
    """A number that a server takes for one: `True` and numbers of 65 bits would be no version."""
    try:
        number = 0 if isinstance(version, bool) else index(version)
    except TypeError:
        number = 0
    if not 1 <= number < 2**63:
        raise InvalidArgument(f"A version is a number from 1, not {version!r}")
    return number


def versions_in(base: Path) -> set[int]:
    """The versions that a model directory has; none where there is no directory."""
    try:
        names = os.listdir(base)
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise error_of_os(str(base), error) from error
    return {version for name in names if (version := parse_version(name)) is not None}


def newest_version(base: Path) -> int:
    """The highest version that a model directory has; 0 for none."""
    return max(versions_in(base), default=0)


# -- what is published -----------------------------------------------------------------------------


def _source(model: Any) -> Path:
    """The version directory, or the file, that a path names.

    Raises:
        InvalidArgument: it is no path.
        NotFound: there is nothing that can be served.
    """
    try:
        path = Path(model)
    except TypeError:
        raise InvalidArgument(
            f"A {type(model).__name__} is no model",
            hint="Give a Keras model, a tf.Module, or the path of a SavedModel.",
        ) from None
    if path.is_file() and path.suffix in (*_MODEL_FILES, _TFLITE):
        return path
    if not path.is_dir():
        raise NotFound(f"There is no directory {path}.")
    if _is_version(path):
        return path
    numbered = [
        (number, child)
        for child in path.iterdir()
        if (number := parse_version(child.name)) is not None and _is_version(child)
    ]
    if not numbered:
        raise NotFound(f"{path} holds no SavedModel.")
    return max(numbered)[1]


def _is_version(directory: Path) -> bool:
    if holds_saved_model(directory) or holds_tflite(directory):
        return True
    return directory.is_dir() and any(of.suffix in _MODEL_FILES for of in directory.iterdir())


def _copy(source: Path, staged: Path) -> None:
    try:
        if source.is_dir():
            shutil.copytree(source, staged)
            _make_writable(staged)
            return
        staged.mkdir()
        shutil.copyfile(source, staged / (FILE_NAME if source.suffix == _TFLITE else source.name))
    except (OSError, shutil.Error) as error:
        raise FailedPrecondition(f"{source} cannot be copied: {error}") from error


def _make_writable(root: Path) -> None:
    """What is read-only can neither be renamed into place nor removed."""
    for directory, _, names in os.walk(root):
        for path in (Path(directory), *[Path(directory, name) for name in names]):
            path.chmod(path.stat().st_mode | (0o700 if path.is_dir() else 0o600))


def _labels_data(labels: Sequence[str] | str | os.PathLike[str]) -> bytes:
    if isinstance(labels, (str, os.PathLike)):
        try:
            return Path(labels).read_bytes()
        except OSError as error:
            raise error_of_os(str(labels), error) from error
    try:
        lines = [str(label) for label in labels]
        data = "".join([f"{line}\n" for line in lines]).encode()
    except (TypeError, UnicodeEncodeError) as error:
        raise InvalidArgument(f"Labels are a list of names, or a file: {error}") from None
    wrong = next((line for line in lines if len(line.splitlines()) > 1), None)
    if wrong is not None:
        raise InvalidArgument(f"A label is one line, which {wrong!r} is not")
    return data


def _write_labels(path: Path, labels: Sequence[str] | str | os.PathLike[str]) -> None:
    data = _labels_data(labels)
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise error_of_os(str(path), error) from error


def _describe(staged: Path, about: "Mapping[str, Any] | str | os.PathLike[str]") -> tuple[str, ...]:
    """Write what the model says of itself; returns warnings.

    Raises:
        InvalidArgument: it is wrong, or speaks of what the model has not.
    """
    document = write_about(staged, about)
    try:
        signatures = _target(staged, "").signatures
    except ServingError:  # a Keras file, or what only the check can tell
        pass
    else:
        if wrong := misfits(document, signatures):
            raise InvalidArgument(f"{ABOUT_FILE}: {wrong[0]}", hint="\n".join(wrong[1:]) or None)
    return tuple(f"{ABOUT_FILE}: {warning}" for warning in document.warnings)


# -- warmup ----------------------------------------------------------------------------------------


def _write_warmup(staged: Path, name: str, warmup: "bool | Sequence[Any]") -> None:
    if warmup is not True and (
        isinstance(warmup, (str, bytes, Mapping, bool, np.ndarray))
        or not isinstance(warmup, Iterable)
    ):
        raise InvalidArgument("warmup is a list of requests, or True")
    target = _target(staged, name)
    if warmup is True:
        made = [made.record for _, made in default_records(target)]
    else:
        made = [_record(request, target) for request in warmup]
    records = [record for record in made if record is not None]
    if not records:
        raise InvalidArgument("No warmup request can be made of the signatures of the model")
    write_file(staged / REQUESTS_FILE, records, is_forced=True)


def _record(request: Any, target: Target) -> bytes | None:
    if isinstance(request, (str, bytes)):
        body = request.encode() if isinstance(request, str) else request
        return record_of_body(body, target).record
    signature = target.signatures.get(DEFAULT_SIGNATURE)
    if signature is None:
        raise InvalidArgument(
            f"The model has no signature {DEFAULT_SIGNATURE}",
            hint='Give bodies of REST requests, which name one: {"signature_name": …}',
        )
    feeds = as_feeds(request, DEFAULT_SIGNATURE, signature)
    spec = ModelSpec(target.model_name, signature_name=DEFAULT_SIGNATURE)
    return encode_prediction_log(LogKind.PREDICT, encode_predict_request(spec, feeds))


def _target(version: Path, name: str) -> Target:
    if is_tflite(version, prefer_tflite=False):
        lite = read_signatures(read(version / FILE_NAME))
        return Target(name, lite.signatures, lite.signature_def_map)
    if not holds_saved_model(version):
        raise InvalidArgument(
            "Warmup requests can be made for a SavedModel or a TFLite model only",
            hint="Publish the loaded Keras model instead of its file.",
        )
    graphs = read_meta_graphs(version)
    if not graphs:
        raise InvalidArgument(f"{version} holds no graph that could be warmed up")
    graph = graphs[0]
    if len(graphs) > 1:
        graph = meta_graph_with_tags(graphs, ("serve",), str(version))
    return Target(name, graph.signatures, graph.signature_def_map)


# -- in place --------------------------------------------------------------------------------------


@contextmanager
def _staged(base: Path) -> Iterator[Path]:
    """A hidden directory in the model directory; what is left of it goes at the end."""
    made = [directory for directory in (base, *base.parents) if not directory.exists()]
    try:
        base.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=base))
    except OSError as error:
        raise error_of_os(str(base), error) from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for directory in made:
            with suppress(OSError):  # it has versions, and stays
                directory.rmdir()


def _put_in_place(staged: Path, base: Path, version: int, *, is_free: bool) -> Published:
    """Rename to the version, or, where another publisher was quicker, to the next that is free.

    Raises:
        AlreadyExists: that very version is wanted, and is there.
    """
    try:
        _sync_tree(staged)
        with _publishing(base):
            while version in versions_in(base) or not _renamed(staged, base / str(version)):
                if not is_free:
                    raise AlreadyExists(f"{base} has a version {version} already")
                version += 1
            _sync(base)
    except OSError as error:
        raise error_of_os(str(base), error) from error
    return Published(version, base / str(version))


def _renamed(staged: Path, path: Path) -> bool:
    """Whether the name was free: a directory that holds something is never replaced."""
    try:
        staged.rename(path)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


@contextmanager
def _publishing(base: Path) -> Iterator[None]:
    """One publisher at a time looks for a free number; file systems without locks do without."""
    directory = os.open(base, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _sync_tree(root: Path) -> None:
    for directory, _, names in os.walk(root):
        for name in names:
            _sync(Path(directory, name))
        _sync(Path(directory))


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

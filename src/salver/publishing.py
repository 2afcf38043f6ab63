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
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from salver.about.checks import misfits
from salver.about.reading import NAME as ABOUT_FILE
from salver.about.writing import write_about
from salver.backends.model_files import file_model
from salver.backends.selection import Selector
from salver.client.feeds import as_feeds
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.prediction_log import LogKind, encode_prediction_log
from salver.codecs.protobuf.request_messages import encode_predict_request
from salver.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServingError,
    hints_in_text,
)
from salver.exporting import (
    NO_MODEL_HINT,
    NOTHING_ASKED,
    NOTHING_MADE,
    Asked,
    Made,
    export,
    is_live,
)
from salver.instruments.files import error_of_os, local_path, scheme_of
from salver.instruments.manifest import (
    MANIFEST,
    SIGNATURE,
    check_files,
    make_manifest,
    parse_manifest,
    read_manifest,
)
from salver.instruments.signatures import sign
from salver.serving_process import check_version
from salver.sources.versions import parse_version
from salver.vocabulary.signature import DEFAULT_SIGNATURE
from salver.warmup.making import Target, default_records, record_of_body
from salver.warmup.replay import REQUESTS_FILE
from salver.warmup.storing import write_file
from salver.warmup.targets import target_of

__all__ = ["Published", "newest_version", "publish", "versions_in"]

_LABELS: Final = Path("assets", "labels.txt")
_STAGING: Final = ".publishing-"
_TAKEN: Final = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})


@dataclass(frozen=True, slots=True)
class Published:
    """A version that a server can find.

    Attributes:
        version: its number.
        path: of its directory; in a store, below the bucket.
        uri: in a store; empty of a directory.
    """

    version: int
    path: Path
    uri: str = field(default="", repr=False)


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
    inputs: Any = None,
    outputs: Mapping[str, Any] | None = None,
    manifest: bool = False,
    sign_key: str | os.PathLike[str] | None = None,
    remote_config_file: str = "",
) -> Published:
    """Put a version of a model beside the others in a model directory.

    It is seen whole or not at all, also by a server that watches, and also when several processes
    publish at once. Where it fails, nothing is left.

    Args:
        model: a Keras model; a `tf.Module` with a `tf.function` that has an input signature; a
            fitted estimator of scikit-learn, XGBoost or LightGBM, or a `Booster`; a
            `torch.nn.Module` with `inputs`, or a `torch.export.ExportedProgram`; an ONNX
            `ModelProto`; a function whose types are declared, or the class of a Python model,
            which are published by their source; or the path of a model that a server takes: a
            directory such as a SavedModel, a file, or a model directory (for its newest version).
        base_path: the model directory; made where there is none. A URI such as `s3://bucket/digits`
            is one in a store, to which the version is uploaded with its checksums, these last.
        version: its number; None for the one after the highest that is there.
        labels: names of the classes, in their order, or a file of them: they become
            `assets/labels.txt`, which the playground shows.
        about: what the model says of itself, `{"title": …, "signatures": …}`, or a JSON file with
            that: it becomes `assets/salver.json`. A `Path` in it is a file that is copied.
        warmup: requests that a server makes before the version serves anybody: inputs as
            `Client.predict` takes them, or bodies of REST requests as `str` or `bytes`. True for
            one request per signature, of zeros.
        check: load it, in a child process, before it is seen.
        inputs: of a PyTorch module an example, by the names of the arguments of `forward` or in
            their order: arrays or tensors, whose axis 0 is rows (any number of them, where the
            module allows it). Of a function the types of its parameters, name →
            `("float32", [-1, 4])`, where it is not annotated with them.
        outputs: of a function the types of what it returns, likewise: one value, a tuple in this
            order, or a dict.
        manifest: write `SHA256SUMS`, the sums of all files, by which a server sees that they are
            whole. What is published from a path that has one gets one in any case.
        sign_key: a file of an Ed25519 private key in PEM or OpenSSH's form, by which the sums are
            signed too (`SHA256SUMS.sig`); needs the extra `signing`.
        remote_config_file: says how stores are reached; see the flag of that name.

    Returns:
        What was published.

    Raises:
        InvalidArgument: it is no model, is not fitted, or cannot be exported, or does not take a
            warmup request; or `about` is wrong, or of another model.
        NotInstalled: a package is missing that writes the file of this kind of model.
        NotFound: there is nothing at the path, or a file that `about` names is not there.
        AlreadyExists: the version is there already.
        DataLoss: the files at the path are not those whose sums it has.
        ServingError: it cannot be written, or does not load: in the server's words.

    Example:
        >>> salver.publish(model, "models/digits", labels=[str(digit) for digit in range(10)])
        Published(version=1, path=PosixPath('models/digits/1'))
    """
    if version is not None:
        version = _checked_version(version)
    asked = Asked(inputs, outputs)
    if sign_key is not None:
        sign(b"", sign_key)  # what is wrong with it is told before an export that may take long
    source = None if is_live(model) else _source(model)
    if source is not None and asked != NOTHING_ASKED:
        raise InvalidArgument("inputs and outputs are not to be said of a path")
    shelf = _shelf(base_path, remote_config_file)
    with shelf.staged() as staging:
        taken = shelf.versions()
        if version in taken:
            raise AlreadyExists(f"{shelf.base} has a version {version} already")
        number = version or max(taken, default=0) + 1
        staged = staging / str(number)
        made = NOTHING_MADE
        if source is None:
            made = export(model, staged, asked)
        else:
            _copy(source, staged)
            _check_sums(staged)
        _make_known(staged, labels, about, made)
        if warmup:
            _write_warmup(staged, shelf.name, warmup)
        _write_sums(staged, sign_key, is_wanted=manifest)
        if check:
            check_version(staging, number)
        return shelf.put(staged, number, is_free=version is None)


class _Shelf(Protocol):
    """Where versions are put: a directory, or a place in a store."""

    @property
    def base(self) -> "Path | str": ...
    @property
    def name(self) -> str: ...
    def staged(self) -> AbstractContextManager[Path]: ...
    def versions(self) -> set[int]: ...
    def put(self, staged: Path, version: int, *, is_free: bool) -> Published: ...


def _shelf(base_path: str | os.PathLike[str], remote_config_file: str) -> _Shelf:
    text = os.fspath(base_path)
    if scheme_of(text):
        return _Store(text.rstrip("/"), remote_config_file)
    return _Directory(Path(os.path.abspath(local_path(text))))


@dataclass(frozen=True, slots=True)
class _Directory:
    base: Path

    @property
    def name(self) -> str:
        return self.base.name

    def staged(self) -> AbstractContextManager[Path]:
        return _staged(self.base)

    def versions(self) -> set[int]:
        return versions_in(self.base)

    def put(self, staged: Path, version: int, *, is_free: bool) -> Published:
        return _put_in_place(staged, self.base, version, is_free=is_free)


@dataclass(frozen=True, slots=True)
class _Store:
    base: str
    config_file: str

    @property
    def name(self) -> str:
        return self.base.rpartition("/")[2]

    @contextmanager
    def staged(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix=_STAGING) as staging:
            yield Path(staging)

    def versions(self) -> set[int]:
        from salver.remote.uploading import uploaded_versions  # here: only for stores

        return uploaded_versions(self.base, self.config_file)

    def put(self, staged: Path, version: int, *, is_free: bool) -> Published:
        from salver.remote.uploading import upload

        while True:
            uri = f"{self.base}/{version}"
            try:
                upload(staged, uri, config_file=self.config_file)
            except AlreadyExists:
                if not is_free:
                    raise
                version += 1  # another publisher was quicker
            else:
                return Published(version, Path(uri.split("/", 3)[-1]), uri)


def _make_known(staged: Path, labels: Any, about: Any, made: Made) -> None:
    """Write what the caller says of a model, or else what the model says of itself."""
    told = list(made.warnings)
    if labels is None:
        labels = made.labels or None
    if labels is not None:
        _write_labels(staged / _LABELS, labels)
    if about is None:
        about = made.about
    if about is not None:
        told += _describe(staged, about)
    for each in told:
        warnings.warn(each, stacklevel=4)  # past `hints_in_text`, at the call of `publish`


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


def _source(model: Any) -> "Path | Mapping[str, Path]":
    """The version directory that a path names; of a file, name in a version directory → file.

    Raises:
        InvalidArgument: it is no path.
        NotFound: there is nothing that can be served.
    """
    try:
        path = Path(model)
    except TypeError:
        raise InvalidArgument(f"A {type(model).__name__} is no model", hint=NO_MODEL_HINT) from None
    select = Selector()
    if path.is_file() and (file := file_model(path, select)) is not None:
        return file.files
    if not path.is_dir():
        raise NotFound(f"There is no directory {path}.")
    if select.found(path):
        return path
    numbered = [
        (number, child)
        for child in path.iterdir()
        if (number := parse_version(child.name)) is not None and select.found(child)
    ]
    if not numbered:
        raise NotFound(f"{path} holds no SavedModel.")
    return max(numbered)[1]


def _copy(source: "Path | Mapping[str, Path]", staged: Path) -> None:
    try:
        if isinstance(source, Path):
            shutil.copytree(source, staged)
            _make_writable(staged)
            return
        staged.mkdir()
        for name, file in source.items():
            shutil.copyfile(file, staged / name)
    except (OSError, shutil.Error) as error:
        shown = source if isinstance(source, Path) else next(iter(source.values()))
        raise FailedPrecondition(f"{shown} cannot be copied: {error}") from error


def _check_sums(staged: Path) -> None:
    """Refuse a copy that is damaged, or was made of what is: its sums would hide that.

    Raises:
        DataLoss: it is.
    """
    content = read_manifest(staged)
    if content is not None:
        check_files(staged, parse_manifest(content))


def _write_sums(staged: Path, sign_key: str | os.PathLike[str] | None, *, is_wanted: bool) -> None:
    """Write the sums of all files where they are wanted, or what was copied has some.

    Those that came with it stay as they are, and as they were signed, unless files were added.
    """
    before = read_manifest(staged)
    if before is None and not is_wanted and sign_key is None:
        return
    content = make_manifest(staged)
    try:
        if before is None or parse_manifest(before) != parse_manifest(content):
            (staged / MANIFEST).write_bytes(content)
            (staged / SIGNATURE).unlink(missing_ok=True)  # which was of others
        if sign_key is not None:
            signed = sign((staged / MANIFEST).read_bytes(), sign_key)
            (staged / SIGNATURE).write_bytes(signed)
    except OSError as error:
        raise error_of_os(str(error.filename or staged), error) from error


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
    return target_of(Selector()(version), name, may_convert=False)


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

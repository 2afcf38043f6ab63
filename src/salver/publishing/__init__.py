"""`salver.publish`: the next version of a model, put in place whole.

A version is made in a hidden directory beside the others, checked there by a server of its own, and
renamed: a server that watches the directory sees all of it or nothing.
"""

import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from operator import index
from pathlib import Path
from typing import Any, Final

from salver.backends.model_files import file_model
from salver.backends.selection import Selector
from salver.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
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
from salver.instruments.manifest import check_files, parse_manifest, read_manifest
from salver.instruments.signatures import sign
from salver.publishing.contents import describe, write_labels, write_sums, write_warmup
from salver.publishing.places import Published, place_of
from salver.serving_process import check_version
from salver.sources.versions import parse_version

__all__ = ["ONLY_WITH", "publish"]

ONLY_WITH: Final = "Servers load this version only with"
"""How the warning begins that names flags."""


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
    place = place_of(base_path, remote_config_file)
    with place.staged() as staging:
        taken = place.versions()
        if version in taken:
            raise AlreadyExists(f"{place.base} has a version {version} already")
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
            write_warmup(staged, place.name, warmup)
        write_sums(staged, sign_key, is_wanted=manifest)
        if check:
            check_version(staging, number, made.flags)
        return place.put(staged, number, is_free=version is None)


def _make_known(staged: Path, labels: Any, about: Any, made: Made) -> None:
    """Write what the caller says of a model, or else what the model says of itself."""
    told = [*made.warnings, *(f"{ONLY_WITH} --{name}={of}" for name, of in made.flags.items())]
    if labels is None:
        labels = made.labels or None
    if labels is not None:
        write_labels(staged, labels)
    if about is None:
        about = made.about
    if about is not None:
        told += describe(staged, about)
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


def _make_writable(root: Path) -> None:
    """What is read-only can neither be renamed into place nor removed."""
    for directory, _, names in os.walk(root):
        for path in (Path(directory), *[Path(directory, name) for name in names]):
            path.chmod(path.stat().st_mode | (0o700 if path.is_dir() else 0o600))

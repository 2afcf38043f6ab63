"""What a version that is published has beside its model: labels, a description, warmup, sums."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from salver.about.checks import misfits
from salver.about.reading import NAME as ABOUT_FILE
from salver.about.writing import write_about
from salver.backends.selection import Selector
from salver.client.feeds import as_feeds
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.prediction_log import LogKind, encode_prediction_log
from salver.codecs.protobuf.request_messages import encode_predict_request
from salver.errors import InvalidArgument, ServingError
from salver.instruments.files import error_of_os
from salver.instruments.manifest import (
    MANIFEST,
    SIGNATURE,
    make_manifest,
    parse_manifest,
    read_manifest,
)
from salver.instruments.signatures import sign
from salver.vocabulary.signature import DEFAULT_SIGNATURE
from salver.warmup.making import Target, default_records, record_of_body
from salver.warmup.replay import REQUESTS_FILE
from salver.warmup.storing import write_file
from salver.warmup.targets import target_of

__all__ = ["describe", "write_labels", "write_sums", "write_warmup"]

_LABELS: Final = Path("assets", "labels.txt")


def write_sums(staged: Path, sign_key: str | os.PathLike[str] | None, *, is_wanted: bool) -> None:
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


def write_labels(staged: Path, labels: Sequence[str] | str | os.PathLike[str]) -> None:
    """Write the names of the classes.

    Args:
        staged: the version.
        labels: the names, or a file of them.

    Raises:
        InvalidArgument: they are no such names.
        ServingError: the file cannot be read, or theirs not be written.
    """
    data, path = _labels_data(labels), staged / _LABELS
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise error_of_os(str(path), error) from error


def describe(staged: Path, about: "Mapping[str, Any] | str | os.PathLike[str]") -> tuple[str, ...]:
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


def write_warmup(staged: Path, name: str, warmup: "bool | Sequence[Any]") -> None:
    """Write the requests that a server makes before the version serves anybody.

    Args:
        staged: the version.
        name: of its model.
        warmup: the requests; True for one per signature.

    Raises:
        InvalidArgument: they are none, or the model does not take one.
    """
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

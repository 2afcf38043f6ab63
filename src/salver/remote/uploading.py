"""Uploads a version, so that no server sees half of it.

First comes `SHA256SUMS.part`, by which a server knows that more comes, then the files, then
`SHA256SUMS`; and the first goes last.

Of two publishers of one version the first to write `SHA256SUMS.part` has it. A store that writes an
object only if there is none decides that; most do. Of others the one has it whose object is still
there after a while, and at the end: the last of those who began together.
"""

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from salver.config.remote import read_remote_config, store_for
from salver.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServingError,
    Unavailable,
)
from salver.instruments.files import OsErrorsOf, read_regular, scheme_of
from salver.instruments.manifest import (
    MANIFEST,
    MAX_BYTES,
    PART,
    SIGNATURE,
    format_manifest,
    sum_of,
)
from salver.remote.backing_off import Backoff
from salver.remote.errors import StoreBusy, is_transient
from salver.remote.parts import check_names
from salver.remote.places import joined, place_of
from salver.remote.stores import Bucket, Meta, open_bucket
from salver.sources.settings import SourceSettings
from salver.sources.versions import parse_version

__all__ = ["Claim", "Outdone", "is_writable", "upload", "uploaded_versions"]

_SCHEMES: Final = ("s3", "gs", "az", "abfs")
_CHUNK_BYTES: Final = 1 << 20
_TRIES: Final = 4
_TOGETHER_S: Final = 1.0
_BACKOFF: Final = Backoff(0.5, 10.0)
_ENDS: Final = (PART, MANIFEST)
_LAST: Final = (SIGNATURE, MANIFEST)

T = TypeVar("T")

Progress = Callable[[int, int], object]
"""Told how many bytes of how many are there."""


def is_writable(uri: str) -> bool:
    """Whether versions can be uploaded below a URI: to object stores they can."""
    return scheme_of(uri) in _SCHEMES


def uploaded_versions(base_uri: str, config_file: str = "") -> set[int]:
    """The versions below a base path, those that are being uploaded too.

    Args:
        base_uri: of the model.
        config_file: says how stores are reached; empty for none.

    Raises:
        ServingError: they cannot be listed.
    """
    bucket, path = _opened(base_uri, config_file)
    numbers = map(parse_version, bucket.level(path).directories)
    return {number for number in numbers if number is not None}


def upload(
    directory: Path,
    uri: str,
    *,
    config_file: str = "",
    progress: Progress = lambda _done, _total: None,
) -> None:
    """Upload the files of a version. Where it fails, what was uploaded is removed again.

    A `SHA256SUMS` in the directory is uploaded as it is, with its signature; else one is made.

    Args:
        directory: of the version.
        uri: of the version: `s3://bucket/models/digits/3`.
        config_file: says how stores are reached; empty for none.
        progress: see there.

    Raises:
        AlreadyExists: there is something.
        InvalidArgument: nothing can be uploaded there, or a file cannot be.
        ServingError: the files cannot be read, or not be uploaded.
    """
    bucket, path = _opened(uri, config_file)
    files = _files(directory)
    if any(page for page in bucket.pages(path)):
        raise AlreadyExists(f"{uri} is there already")
    sums = _sums(directory, files)
    claim = Claim(bucket, path, uri)
    begun: list[str] = []
    try:
        claim.take()
        _put_files(bucket, path, directory, files, begun, progress)
        claim.check()
        begun.append(MANIFEST)
        _again(partial(bucket.put, joined(path, MANIFEST), sums))
    except Outdone:  # what is there is another's, unless they have given up as well
        if not any(_again(partial(bucket.head, joined(path, name))) for name in _ENDS):
            _remove(bucket, path, begun)
        raise
    except BaseException:
        _remove(bucket, path, begun)
        claim.give_up()
        raise
    bucket.delete([joined(path, PART)])


def _remove(bucket: Bucket, path: str, names: Sequence[str]) -> None:
    """Remove what was uploaded, the last of it first."""
    with suppress(ServingError):
        bucket.delete(joined(path, name) for name in reversed(names))


class Outdone(AlreadyExists):
    """Somebody else uploads the same version."""


class Claim:
    """The right to upload one version. To be used once."""

    def __init__(
        self, bucket: Bucket, path: str, uri: str, wait: Callable[[float], object] = time.sleep
    ) -> None:
        """Take nothing yet.

        Args:
            bucket: where it is to be.
            path: of the version.
            uri: the same, for errors.
            wait: lets seconds pass.
        """
        self._bucket = bucket
        self._part = joined(path, PART)
        self._uri = uri
        self._wait = wait
        self._own = f"{secrets.token_hex(16)}\n".encode()
        self._is_exclusive = False

    def take(self) -> None:
        """Begin.

        Raises:
            Outdone: somebody else uploads it.
            AlreadyExists: somebody has uploaded it.
            ServingError: the store cannot be asked.
        """
        self._put_new(is_first=True)
        try:
            self._put_new(is_first=False)
        except AlreadyExists:
            self._is_exclusive = True
        else:  # it looks at no conditions: who has begun together with this has written by then
            self._wait(_TOGETHER_S)
            self.check()
        if any(meta["path"] != self._part for page in self._pages() for meta in page):
            raise AlreadyExists(f"{self._uri} is there already")  # since it was looked for

    def _put_new(self, *, is_first: bool) -> None:
        try:
            _again(partial(self._bucket.put_new, self._part, self._own))
        except AlreadyExists:
            # An answer may have been lost: then it is what this one has written.
            if not is_first:
                raise
            self._compare()

    def check(self) -> None:
        """See whether it is this one's still.

        Raises:
            Outdone: it is not.
            ServingError: the store cannot be asked.
        """
        if not self._is_exclusive:
            self._compare()

    def give_up(self) -> None:
        """Let others have it. Goes last: what is left beside it is never complete."""
        with suppress(ServingError):
            self._compare()
            self._bucket.delete([self._part])

    def _pages(self) -> Iterator[Sequence[Meta]]:
        return self._bucket.pages(self._part.removesuffix(f"/{PART}"))

    def _compare(self) -> None:
        try:
            found = _again(partial(self._bucket.read_small, self._part, MAX_BYTES))
        except NotFound:  # who had it is through, or has given up
            found = b""
        if found != self._own:
            raise Outdone(f"{self._uri} is being uploaded by somebody else")


def _opened(uri: str, config_file: str) -> tuple[Bucket, str]:
    if not is_writable(uri):
        raise InvalidArgument(
            f"Nothing can be uploaded to {uri}",
            hint="To object stores it can: s3://, gs://, az://, abfs://.",
        )
    stores = read_remote_config(config_file) if config_file else ()
    place = place_of(uri)
    return open_bucket(place, store_for(stores, uri), SourceSettings()), place.path


def _files(directory: Path) -> list[str]:
    """The files of a version, those last that say that it is complete."""
    names = []
    with OsErrorsOf(directory):
        for where, _, found in os.walk(directory, onerror=_raise):
            names += [os.path.relpath(os.path.join(where, name), directory) for name in found]
    names = sorted(name.replace(os.sep, "/") for name in names)
    if not names:
        raise FailedPrecondition(f"{directory} is empty")
    check_names(names, directory)
    kept = [name for name in names if name not in (MANIFEST, PART)]
    return sorted(kept, key=lambda name: name == SIGNATURE)


def _raise(error: OSError) -> None:
    raise error


def _sums(directory: Path, names: Sequence[str]) -> bytes:
    """The manifest of the directory, or one of what is in it."""
    given = directory / MANIFEST
    if given.is_file():
        with OsErrorsOf(given):
            return read_regular(given, MAX_BYTES)
    sums = {name: sum_of(directory / name) for name in names if name not in _LAST}
    return format_manifest(sums)


def _put_files(
    bucket: Bucket,
    path: str,
    directory: Path,
    names: Sequence[str],
    begun: list[str],
    progress: Progress,
) -> None:
    with OsErrorsOf(directory):
        sizes = {name: (directory / name).stat().st_size for name in names}
    done, total = 0, sum(sizes.values())
    for name in names:
        progress(done, total)
        begun.append(name)
        file = directory / name
        with OsErrorsOf(file):
            content = read_regular(file) if sizes[name] < _CHUNK_BYTES else file
            _again(partial(bucket.put, joined(path, name), content))
        done += sizes[name]
    progress(done, total)


def _again(ask: Callable[[], T]) -> T:
    """What a request answers, after a few tries where the store is busy or away."""
    for failures in range(1, _TRIES + 1):
        try:
            return ask()
        except ServingError as error:  # noqa: PERF203 - this is what the loop is for
            if failures == _TRIES or not is_transient(error):
                raise
            asked_s = error.retry_after_s if isinstance(error, StoreBusy) else 0.0
            threading.Event().wait(_BACKOFF.wait_s(failures, asked_s))
    raise Unavailable("no try was made")

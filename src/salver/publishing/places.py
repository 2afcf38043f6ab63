"""Where versions are published: a directory, or a place in a store.

A version is made in a hidden directory and put in place whole, also when several processes publish
at once.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from salver.errors import AlreadyExists
from salver.instruments.files import error_of_os, local_path, scheme_of
from salver.sources.versions import parse_version

__all__ = ["Place", "Published", "newest_version", "place_of", "versions_in"]

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


class Place(Protocol):
    """Where versions are put: a directory, or a place in a store."""

    @property
    def base(self) -> "Path | str":
        """The model directory."""
        ...

    @property
    def name(self) -> str:
        """Its last component."""
        ...

    def staged(self) -> AbstractContextManager[Path]:
        """A directory for a version to be made in; what is left of it goes at the end."""
        ...

    def versions(self) -> set[int]:
        """Those that are there."""
        ...

    def put(self, staged: Path, version: int, *, is_free: bool) -> Published:
        """Have a version be seen, whole.

        Args:
            staged: its directory.
            version: its number.
            is_free: whether to take the next number that is free, where this is taken meanwhile.

        Raises:
            AlreadyExists: that very version is wanted, and is there.
            ServingError: it cannot be written.
        """
        ...


def place_of(base_path: str | os.PathLike[str], remote_config_file: str) -> Place:
    """The place of a path, or of a URI.

    Args:
        base_path: of the model.
        remote_config_file: says how stores are reached.
    """
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

"""A directory of things made once and used by several servers: whole or absent, and bounded.

An entry is a directory, and beside it a lock that processes hold: shared while they use the entry,
alone while they make or remove it.
"""

import fcntl
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from salver.errors import FailedPrecondition, Unavailable
from salver.files import error_of_os

__all__ = ["Cache", "default_directory"]

_log = logging.getLogger(__name__)

_POLL_S: Final = 0.05
_ENTRY: Final = ".entry"
_LOCK: Final = ".lock"
_PARTIAL: Final = ".partial"


def default_directory() -> Path:
    """Where the user's caches are kept: `$XDG_CACHE_HOME/salver`, or `~/.cache/salver`.

    Raises:
        FailedPrecondition: the user has no home.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):  # its specification: a relative one is to be ignored
        return Path(named, "salver")
    try:
        return Path.home() / ".cache" / "salver"
    except RuntimeError as error:
        raise FailedPrecondition(
            "There is no home directory to keep converted models in. Name a directory: "
            "--conversion_cache=PATH"
        ) from error


class Cache:
    """Entries under one directory. Safe to use from any thread, and from several processes."""

    def __init__(
        self, directory: Path, *, max_bytes: int, stopping: threading.Event | None = None
    ) -> None:
        """Touch nothing yet.

        Args:
            directory: made, for this user alone, with the first entry.
            max_bytes: what was used longest ago is removed when all is larger; 0 for any size.
            stopping: ends waits when it is set.
        """
        self._directory = directory
        self._max_bytes = max_bytes
        self._stopping = stopping or threading.Event()

    @contextmanager
    def entry(self, key: str, make: Callable[[Path], None]) -> Iterator[Path]:
        """The directory of an entry, made if it is not there; it stays while the block runs.

        Args:
            key: a file name.
            make: makes a directory at a path; called while no other process does so for this key.

        Raises:
            Unavailable: `stopping` was set during a wait for others.
            ServingError: the cache cannot be written; and whatever `make` raises.
        """
        path = self._directory / f"{key}{_ENTRY}"
        if path.is_dir() and not os.access(self._directory, os.W_OK):
            yield path  # filled by others, in an image perhaps: nobody can remove it either
            return
        while True:
            with self._locked(key, fcntl.LOCK_SH):
                if path.is_dir():
                    self._touch(path)
                    yield path
                    return
            with self._locked(key, fcntl.LOCK_EX):
                if not path.is_dir():
                    self._make(path, make)
            self._evict(keep=path)

    def _make(self, path: Path, make: Callable[[Path], None]) -> None:
        for left in self._directory.glob(f"{path.name}.*{_PARTIAL}"):
            shutil.rmtree(left, ignore_errors=True)  # of a process that was killed
        with self._saying_what_to_do():
            partial = Path(
                tempfile.mkdtemp(prefix=f"{path.name}.", suffix=_PARTIAL, dir=self._directory)
            )
        try:
            made = partial / "made"
            make(made)
            with self._saying_what_to_do():
                made.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _evict(self, keep: Path) -> None:
        """Remove what was used longest ago until the rest fits; what is in use stays."""
        if not self._max_bytes:
            return
        entries = []
        for path in self._directory.glob(f"*{_ENTRY}"):
            with suppress(FileNotFoundError):  # another process makes room too
                # Its own time is that of its last use.
                entries.append((path.stat().st_mtime_ns, _size_bytes(path), path))
        entries.sort()
        total_bytes = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total_bytes <= self._max_bytes:
                return
            if path != keep and _remove(path):
                total_bytes -= size
                _log.info("Removed %s from the cache of conversions, which is full", path)

    @contextmanager
    def _locked(self, key: str, how: int) -> Iterator[None]:
        lock = self._directory / f"{key}{_LOCK}"
        while True:
            with self._saying_what_to_do():
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                while not _try_lock(file, how):
                    if self._stopping.wait(_POLL_S):
                        raise Unavailable("The server is stopping")
                if _is_at(file, lock):
                    yield
                    return
                # Somebody removed the entry, and this file with it, just before.
            finally:
                os.close(file)

    @contextmanager
    def _saying_what_to_do(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            shown = error_of_os(str(self._directory), error)
            raise type(shown)(
                f"Converted models cannot be kept: {shown.message}. Name a directory that can be "
                "written: --conversion_cache=PATH"
            ) from error

    @staticmethod
    def _touch(path: Path) -> None:
        with suppress(OSError):  # a cache that others filled may be read-only
            os.utime(path)


def _remove(path: Path) -> bool:
    """Remove an entry and its lock; False when it is in use, or cannot be removed."""
    lock = path.with_suffix(_LOCK)
    try:
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # of another user
        return False
    try:
        if not _try_lock(file, fcntl.LOCK_EX) or not _is_at(file, lock):
            return False
        shutil.rmtree(path, ignore_errors=True)
        lock.unlink()
        return not path.exists()
    finally:
        os.close(file)


def _try_lock(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _size_bytes(path: Path) -> int:
    size = 0
    for where, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(where, name)).st_size
    return size

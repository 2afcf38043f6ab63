"""One directory of things made once and used by several servers: whole or absent, and bounded.

Fetched versions and converted Keras files are kept here, under one limit. An entry is a directory,
and beside it a lock that processes hold: shared while they use the entry, alone while they make or
remove it. What is being made stands in a directory of its own and is renamed into place.
"""

import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from salver.errors import FailedPrecondition, ResourceExhausted
from salver.instruments.files import OsErrorsOf, error_of_os

__all__ = ["Cache", "Entry", "Held", "NoRoomBeside", "default_directory"]

_log = logging.getLogger(__name__)

_POLL_S: Final = 0.05
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_ENTRY: Final = ".entry"
_LOCK: Final = ".lock"
_PARTIAL: Final = ".partial"
_MADE: Final = "made"
_EXPECTED: Final = "expected"  # how large a partial entry will be
_RESUMABLE: Final = "resumable"  # which start of this machine a partial entry is of
_NOTES: Final = (_EXPECTED, _RESUMABLE)
_KEPT_S: Final = 24 * 3600.0  # that nobody resumed a partial entry
_ADVICE: Final = "Name a directory that can be written: --model_cache=PATH"

Make = Callable[[Path], object]
"""Makes a directory at a path. Called while nobody else does so for this key."""

Check = Callable[[], object]
"""Raises once the caller is to wait no more."""


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
            "There is no home directory to keep models in. Name a directory: --model_cache=PATH"
        ) from error


class NoRoomBeside(ResourceExhausted):
    """An entry would fit, but not beside those that are in use."""


class Held:
    """An entry in use, which nobody removes. To be closed once.

    Attributes:
        path: its directory.
    """

    def __init__(self, path: Path, lock: int | None) -> None:
        """Only a cache makes them."""
        self.path = path
        self._lock = lock

    def close(self, *, is_used: bool = True) -> None:
        """Use it no more.

        Args:
            is_used: whether it counts as used now; else it was only looked at.
        """
        lock, self._lock = self._lock, None
        if lock is not None:
            if is_used:
                _touch(self.path)
            os.close(lock)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a look at the cache has found.

    Attributes:
        key: of the entry.
        path: its directory.
        size_bytes: what it takes.
        used_s: when it was used last, in seconds since 1970.
        is_whole: whether it is complete; else it is being made, or was left by half.
        is_in_use: whether a process uses or makes it now.
    """

    key: str
    path: Path
    size_bytes: int
    used_s: float
    is_whole: bool
    is_in_use: bool


class Cache:
    """Entries under one directory. Safe to use from any thread, and from several processes.

    Attributes:
        directory: that one.
    """

    def __init__(
        self,
        directory: str | Path = "",
        *,
        max_bytes: int = 0,
        now: Callable[[], float] = time.time,  # noqa: TID251 - the clock that is injected
    ) -> None:
        """Touch nothing yet.

        Args:
            directory: made, for this user alone, with the first entry; empty for the user's own.
            max_bytes: what was used longest ago is removed when all is larger; 0 for any size.
            now: seconds since 1970.

        Raises:
            FailedPrecondition: none is named, and the user has no home.
        """
        self.directory: Final = Path(directory) if directory else default_directory()
        self._max_bytes = max_bytes
        self._now = now

    @contextmanager
    def entry(self, key: str, make: Make, *, check: Check = lambda: None) -> Iterator[Path]:
        """The directory of an entry; it stays while the block runs. See `hold`."""
        held = self.hold(key, make, check=check)
        try:
            yield held.path
        finally:
            held.close()

    def hold(
        self,
        key: str,
        make: Make,
        *,
        size_bytes: int | None = None,
        is_resumed: bool = False,
        check: Check = lambda: None,
    ) -> Held:
        """An entry, made if it is not there.

        Args:
            key: a file name without dots.
            make: see there.
            size_bytes: how large it will be, if that is known: room is made before it is made, and
                where there is none it is refused. Else room is made afterwards, from other entries.
            is_resumed: `make` may find what it left behind when it failed before, or what a process
                did that was killed meanwhile, and go on.
            check: called again and again while others make the entry.

        Raises:
            ResourceExhausted: it does not fit beside what is in use.
            ServingError: the cache cannot be written; and whatever `make` and `check` raise.
        """
        path = self.directory / f"{key}{_ENTRY}"
        if path.is_dir() and not os.access(self.directory, os.W_OK):
            return Held(path, None)  # filled by others, in an image perhaps, who remove nothing
        while True:
            lock = self._lock(key, fcntl.LOCK_SH, check)
            if path.is_dir():
                _touch(path)
                return Held(path, lock)
            os.close(lock)
            # Another may make it first, and use it for long: then its lock is never ours alone.
            lock = self._lock(key, fcntl.LOCK_EX, check, until=path.is_dir)
            if lock < 0:
                continue
            try:
                if not path.is_dir():
                    self._make(path, make, size_bytes, is_resumed=is_resumed)
            finally:
                os.close(lock)
            if size_bytes is None and self._max_bytes:
                self._make_room(0, keep=path)

    def entries(self) -> list[Entry]:
        """All there is, what was used last coming first. Nothing is made or changed.

        Raises:
            ServingError: the directory cannot be read.
        """
        found = []
        with suppress(FileNotFoundError), OsErrorsOf(self.directory):
            for path in self.directory.iterdir() if self.directory.is_dir() else ():
                if path.suffix in (_ENTRY, _PARTIAL):
                    with suppress(FileNotFoundError):  # others remove it just now
                        found.append(_entry(path))
        return sorted(found, key=lambda entry: entry.used_s, reverse=True)

    def remove(self, key: str) -> bool:
        """Remove an entry that nobody uses, whole or not; False when it is there still."""
        paths = [self.directory / f"{key}{ending}" for ending in (_ENTRY, _PARTIAL)]
        found = [_remove(path) for path in paths if path.exists()]
        return all(found)

    def use(self, key: str) -> Held | None:
        """An entry, if it is there and whole; None otherwise. Nothing is waited for for long."""
        path = self.directory / f"{key}{_ENTRY}"
        if not path.is_dir():
            return None
        if not os.access(self.directory, os.W_OK):
            return Held(path, None)
        lock = self._lock(key, fcntl.LOCK_SH, lambda: None)
        if path.is_dir():
            return Held(path, lock)
        os.close(lock)
        return None

    def has(self, key: str) -> bool:
        """Whether there is an entry; it may be gone when it is asked for."""
        return (self.directory / f"{key}{_ENTRY}").is_dir()

    def sweep(self) -> None:
        """Remove what processes left that were killed while they made an entry.

        What can be resumed stays for a day: whoever makes that entry goes on from it.
        """
        for left in self.directory.glob(f"*{_PARTIAL}"):
            if not self._is_resumable(left) or self._age_s(left) > _KEPT_S:
                _remove(left)

    def _make(self, path: Path, make: Make, size_bytes: int | None, *, is_resumed: bool) -> None:
        partial = path.with_suffix(_PARTIAL)
        for left in self.directory.glob(f"{path.name}.*{_PARTIAL}"):  # of earlier releases
            shutil.rmtree(left, ignore_errors=True)
        if not is_resumed or not self._is_resumable(partial):
            shutil.rmtree(partial, ignore_errors=True)
        with self._saying_what_to_do():
            partial.mkdir(mode=0o700, exist_ok=True)
            if is_resumed:
                (partial / _RESUMABLE).write_text(_start_of_machine())
        made = partial / _MADE
        is_kept = is_resumed
        try:
            if size_bytes is not None:
                self._make_room(size_bytes, keep=partial)
            make(made)
            with self._saying_what_to_do():
                _write_through(made)
                made.rename(path)
            is_kept = False
        finally:
            if not is_kept:
                shutil.rmtree(partial, ignore_errors=True)

    def _is_resumable(self, partial: Path) -> bool:
        """Whether all that was written to a partial entry is there, whoever was killed meanwhile.

        After a crash of the machine it need not be: only a whole entry was written through.
        """
        try:
            return (partial / _RESUMABLE).read_text() == _start_of_machine()
        except (OSError, ValueError):
            return False

    def _age_s(self, partial: Path) -> float:
        """Since somebody last began to make it."""
        with suppress(OSError):
            return self._now() - (partial / _RESUMABLE).stat().st_mtime
        return 0.0

    def _make_room(self, needed_bytes: int, *, keep: Path) -> None:
        """Remove what was used longest ago until the rest fits; what is in use stays.

        Args:
            needed_bytes: for what is to be made at `keep`, where they are set aside.
            keep: stays, and does not count if it is yet to be made.
        """
        with self._saying_what_to_do():
            lock = os.open(self.directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # never held for long
            used_bytes = self._make_room_alone(needed_bytes, keep)
            if needed_bytes:
                self._refuse_excess(needed_bytes, used_bytes)
                with self._saying_what_to_do():
                    (keep / _EXPECTED).write_text(str(needed_bytes))
        finally:
            os.close(lock)

    def _make_room_alone(self, needed_bytes: int, keep: Path) -> int:
        """How much the rest takes, once what could go has gone."""
        found = []
        for path in self.directory.iterdir():
            if path.suffix in (_ENTRY, _PARTIAL) and not (needed_bytes and path == keep):
                with suppress(OSError, ValueError):  # another process makes room too
                    # The time of an entry is that of its last use. What nobody finished goes first.
                    order = (path.suffix == _ENTRY, path.stat().st_mtime_ns)
                    found.append((order, _size_bytes(path), path))
        used_bytes = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if not self._excess_bytes(needed_bytes, used_bytes):
                break
            if path != keep and _remove(path):
                used_bytes -= size
                _log.info("Removed %s from the model cache, which is full", path)
        return used_bytes

    def _excess_bytes(self, needed_bytes: int, used_bytes: int) -> int:
        """By how much something does not fit, into the limit or on the disk."""
        over_limit = used_bytes + needed_bytes - self._max_bytes if self._max_bytes else 0
        over_disk = needed_bytes - shutil.disk_usage(self.directory).free if needed_bytes else 0
        return max(0, over_limit, over_disk)

    def _refuse_excess(self, needed_bytes: int, used_bytes: int) -> None:
        if not self._excess_bytes(needed_bytes, used_bytes):
            return
        free = shutil.disk_usage(self.directory).free
        can_fit = needed_bytes <= (self._max_bytes or needed_bytes)
        kind = NoRoomBeside if can_fit and needed_bytes <= free + used_bytes else ResourceExhausted
        limit = f"{used_bytes} of the {self._max_bytes} of --model_cache_max_bytes are in use; "
        raise kind(
            f"No room for {needed_bytes} bytes in the model cache {self.directory}: "
            f"{limit if self._max_bytes else ''}{free} are free on its disk"
        )

    def _lock(
        self, key: str, how: int, check: Check, until: Callable[[], bool] = lambda: False
    ) -> int:
        """The descriptor of a lock, to be closed; -1 where `until` comes true before it is had."""
        path = self.directory / f"{key}{_LOCK}"
        waiting = threading.Event()
        while True:
            with self._saying_what_to_do():
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                while not _try_lock(file, how):
                    if until():
                        return -1
                    check()
                    waiting.wait(_POLL_S)
                if _is_at(file, path):
                    locked, file = file, -1
                    return locked
                # Somebody removed the entry, and this file with it, just before.
            finally:
                if file >= 0:
                    os.close(file)

    @contextmanager
    def _saying_what_to_do(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            shown = error_of_os(str(self.directory), error)
            raise type(shown)(f"Models cannot be kept: {shown.message}. {_ADVICE}") from error


@cache
def _start_of_machine() -> str:
    """Says which start of this machine it is; where nobody can tell, which process."""
    try:
        return _BOOT_ID.read_text()
    except OSError:
        return f"{os.getpid()} {time.time_ns()}"


def _entry(path: Path) -> Entry:
    return Entry(
        key=path.name.partition(".")[0],
        path=path,
        size_bytes=_size_bytes(path),
        used_s=path.stat().st_mtime,
        is_whole=path.suffix == _ENTRY,
        is_in_use=_is_locked(_lock_of(path)),
    )


def _is_locked(lock: Path) -> bool:
    """Whether a process holds a lock now."""
    try:
        file = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # nobody has ever made it; or it is another user's
        return False
    try:
        return not _try_lock(file, fcntl.LOCK_EX)
    finally:
        os.close(file)


def _lock_of(path: Path) -> Path:
    return path.parent / f"{path.name.partition('.')[0]}{_LOCK}"


def _touch(path: Path) -> None:
    with suppress(OSError):  # a cache that others filled may be read-only
        os.utime(path)


def _remove(path: Path) -> bool:
    """Remove an entry and its lock; False when it is in use, or cannot be removed."""
    lock = _lock_of(path)
    try:
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:  # of another user
        return False
    try:
        if not _try_lock(file, fcntl.LOCK_EX) or not _is_at(file, lock):
            return False
        _remove_whole(path)
        lock.unlink()
        return not path.exists()
    finally:
        os.close(file)


def _remove_whole(path: Path) -> None:
    """Remove a directory such that whoever is killed meanwhile leaves no entry of half of it."""
    partial = path.with_suffix(_PARTIAL)
    if path != partial:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):  # then it is of another user, and stays
            path.rename(partial)
    shutil.rmtree(partial, ignore_errors=True)


def _try_lock(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _size_bytes(path: Path) -> int:
    """How large a directory is; of a partial one, how large it will be."""
    size = 0
    for where, _, names in os.walk(path):
        for name in names:
            if name in _NOTES and where == str(path):
                continue
            with suppress(OSError):
                size += os.lstat(os.path.join(where, name)).st_size
    expected = path / _EXPECTED
    return max(size, int(expected.read_text())) if expected.is_file() else size


def _write_through(directory: Path) -> None:
    """Have the system write all files to the disk, so that no crash leaves an entry of half of it.

    Raises:
        OSError: it cannot.
    """
    for where, _, names in os.walk(directory):
        for path in (*(os.path.join(where, name) for name in names), where):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

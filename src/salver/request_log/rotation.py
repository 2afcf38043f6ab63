"""Files that grow until they are large or old, and then make room for the next.

A file is called `PREFIX-20260131T093000.123456Z-PID.SUFFIX`, so that names sort by time, and as
long as it grows `.open` is put behind that. What is written is in the hands of the operating system
at once, so it outlives the process; a file that is complete is brought to the disk (fsync) before
it gets its name, and then also outlives the machine's crash. A growing file is locked (flock), so
that what a server left that was killed can be told, and is completed by the next one.
"""

import contextlib
import fcntl
import logging
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

from salver.instruments.files import NotRegular, open_regular

__all__ = ["OPEN_SUFFIX", "FileLimits", "RotatingFile"]

_logger = logging.getLogger(__name__)

OPEN_SUFFIX: Final = ".open"
"""Behind the name of a file that is still being written, or that nobody came to complete."""

_STAMP: Final = r"-\d{8}T\d{6}\.\d{6}Z-\d+"
_MODE: Final = 0o640  # requests are nobody else's business


@dataclass(frozen=True, slots=True)
class FileLimits:
    """When a file is complete, and how much is kept.

    Attributes:
        max_file_bytes: what would make a file larger goes to the next one.
        max_file_s: seconds from the first record on; infinite for no limit, as the one before.
        max_total_bytes: of all complete files of one prefix; above that the oldest are deleted,
            but for the last. 0: none is ever deleted.
    """

    max_file_bytes: float = 1 << 28
    max_file_s: float = 3600.0
    max_total_bytes: int = 0


def open_new(path: str) -> int:
    """A descriptor of a new file, with the directories above it.

    Raises:
        FileExistsError: there is one.
        OSError: it cannot be made.
    """
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
    return os.open(path, flags, _MODE)


class RotatingFile:
    """The files of one prefix. Belongs to one thread."""

    def __init__(
        self,
        prefix: str,
        suffix: str,
        limits: FileLimits,
        *,
        clock: Callable[[], float],
        opener: Callable[[str], int] = open_new,
    ) -> None:
        """Begin without a file: the first is made by the first `write`.

        Args:
            prefix: path and beginning of the names.
            suffix: their end, such as `.tfrecord`.
            limits: see there.
            clock: seconds since 1970.
            opener: see `open_new`.
        """
        self._prefix = os.path.abspath(prefix) if prefix else prefix
        self._suffix = suffix
        self._limits = limits
        self._clock = clock
        self._opener = opener
        self._descriptor: int | None = None
        self._path = ""
        self._size = 0
        self._since = 0.0
        self._has_begun = False

    def write(self, data: bytes) -> None:
        """Append all of it or nothing; begins the next file when it is time for that.

        Raises:
            OSError: the disk is full, or something else is wrong with it.
        """
        if self._descriptor is not None:
            if not self._is_in_place():
                self._let_go()
            elif self._size + len(data) > self._limits.max_file_bytes or self._is_old():
                self.complete()
        if self._descriptor is None:
            self._begin()
        if not self._has_begun:
            self._has_begun = True
            self._complete_abandoned()
        assert self._descriptor is not None
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self._take_back()
            raise
        self._size += len(data)

    def seconds_left(self) -> float | None:
        """Until the present file is old; None where there is none, or it never is."""
        if self._descriptor is None or self._limits.max_file_s == math.inf:
            return None
        return max(0.0, self._since + self._limits.max_file_s - self._clock())

    def complete_if_old(self) -> None:
        """Complete the present file if it is old.

        Raises:
            OSError: see `complete`.
        """
        if self._descriptor is not None and self._is_old():
            self.complete()

    def complete(self) -> None:
        """Bring the present file to the disk and give it its name; the next `write` begins one.

        Raises:
            OSError: it cannot be renamed. It is left as it is.
        """
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):  # what it would tell was not lost by us
            os.fsync(self._descriptor)
        path = self._path
        self._let_go()
        os.rename(path + OPEN_SUFFIX, path)
        if self._limits.max_total_bytes:
            self._delete_oldest()

    def _is_old(self) -> bool:
        return self._clock() - self._since >= self._limits.max_file_s

    def _is_in_place(self) -> bool:
        """Whether nobody has moved or deleted the file."""
        assert self._descriptor is not None
        try:
            named = os.stat(self._path + OPEN_SUFFIX)
        except OSError:
            return False
        return os.path.samestat(named, os.fstat(self._descriptor))

    def _begin(self) -> None:
        now = self._clock()
        micros = int(now * 1e6)
        while True:
            seconds, fraction = divmod(micros, 1_000_000)
            stamp = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y%m%dT%H%M%S")
            path = f"{self._prefix}-{stamp}.{fraction:06d}Z-{os.getpid()}{self._suffix}"
            micros += 1  # two logs may have one prefix
            if os.path.exists(path):
                continue
            try:
                self._descriptor = self._opener(path + OPEN_SUFFIX)
            except FileExistsError:
                continue
            break
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._path, self._size, self._since = path, 0, now

    def _let_go(self) -> None:
        assert self._descriptor is not None
        descriptor, self._descriptor = self._descriptor, None
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def _take_back(self) -> None:
        """Cut off what was written of a record, so that what follows can be read."""
        assert self._descriptor is not None
        if self._size:
            try:
                os.ftruncate(self._descriptor, self._size)
            except OSError:
                self._let_go()
            return
        self._let_go()
        with contextlib.suppress(OSError):
            os.unlink(self._path + OPEN_SUFFIX)

    def _complete_abandoned(self) -> None:
        """Name the files of servers that were killed; nobody else would, or ever delete them."""
        with contextlib.suppress(OSError):
            for path in self._paths(self._suffix + OPEN_SUFFIX):
                with contextlib.suppress(OSError, NotRegular), open_regular(path) as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while one writes it
                    os.fsync(file)
                    os.rename(path, path.removesuffix(OPEN_SUFFIX))
                    _logger.info("Completed the request log %s, which was left open", path)

    def _paths(self, suffix: str) -> list[str]:
        """The files of this prefix, oldest first."""
        where, start = os.path.split(self._prefix)
        is_ours = re.compile(f"{re.escape(start)}{_STAMP}{re.escape(suffix)}").fullmatch
        return [os.path.join(where, name) for name in sorted(os.listdir(where)) if is_ours(name)]

    def _delete_oldest(self) -> None:
        sizes: dict[str, int] = {}
        for path in self._paths(self._suffix):
            with contextlib.suppress(FileNotFoundError):  # deleted by another server
                sizes[path] = os.stat(path).st_size
        total = sum(sizes.values())
        for path in list(sizes)[:-1]:
            if total <= self._limits.max_total_bytes:
                break
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
                _logger.info("Deleted the oldest request log %s", os.path.basename(path))
            total -= sizes[path]

"""Local files: paths that may be URIs, system errors as ours, how a directory looked, its cache.

Whoever reads a file while the server runs opens it by `open_regular`: the path may have become a
pipe, which waits for ever to be opened, or a device, which may do anything.

Source of the texts: `tensorflow/core/platform/errors.cc` (IOError) and `env.cc`.
"""

import errno
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Final

from salver.errors import (
    Code,
    FailedPrecondition,
    NotFound,
    OutOfRange,
    ServingError,
    Unimplemented,
    error_of,
)
from salver.instruments.uris import first_name

__all__ = [
    "Footprint",
    "NotRegular",
    "OsErrorsOf",
    "check_regular",
    "drop_from_cache",
    "error_of_os",
    "footprint",
    "is_uri",
    "list_names",
    "local_path",
    "open_regular",
    "read_regular",
    "require_path",
    "scheme_of",
]

# Scheme → the program that copies from such a store.
_COPY: Final = {
    "s3": ": aws s3 cp --recursive {uri} DIRECTORY",
    "gs": ": gcloud storage cp --recursive {uri} DIRECTORY",
    "hdfs": ": hdfs dfs -get {uri} DIRECTORY",
    "http": ": curl -O {uri}",
    "https": ": curl -O {uri}",
}
_SCHEME = re.compile(r"([a-zA-Z][0-9a-zA-Z.]*)://")

_CODE_OF_ERRNO: dict[int, Code] = {
    errno.EINVAL: Code.INVALID_ARGUMENT,
    errno.ENAMETOOLONG: Code.INVALID_ARGUMENT,
    errno.E2BIG: Code.INVALID_ARGUMENT,
    errno.ETIMEDOUT: Code.DEADLINE_EXCEEDED,
    errno.ENODEV: Code.NOT_FOUND,
    errno.ENOENT: Code.NOT_FOUND,
    errno.ENXIO: Code.NOT_FOUND,
    errno.EEXIST: Code.ALREADY_EXISTS,
    errno.EPERM: Code.PERMISSION_DENIED,
    errno.EACCES: Code.PERMISSION_DENIED,
    errno.EROFS: Code.PERMISSION_DENIED,
    errno.ENOTEMPTY: Code.FAILED_PRECONDITION,
    errno.EISDIR: Code.FAILED_PRECONDITION,
    errno.ENOTDIR: Code.FAILED_PRECONDITION,
    errno.EBADF: Code.FAILED_PRECONDITION,
    errno.EBUSY: Code.FAILED_PRECONDITION,
    errno.ENOSPC: Code.RESOURCE_EXHAUSTED,
    errno.EMFILE: Code.RESOURCE_EXHAUSTED,
    errno.ENFILE: Code.RESOURCE_EXHAUSTED,
    errno.ENOMEM: Code.RESOURCE_EXHAUSTED,
    errno.EFBIG: Code.OUT_OF_RANGE,
    errno.EOVERFLOW: Code.OUT_OF_RANGE,
    errno.ENOSYS: Code.UNIMPLEMENTED,
    errno.EAGAIN: Code.UNAVAILABLE,
    errno.EINTR: Code.UNAVAILABLE,
    errno.ESTALE: Code.ABORTED,
}


def error_of_os(path: str, error: OSError) -> ServingError:
    """What the operating system says of `path`: `<path>; Permission denied`."""
    number = error.errno or 0
    reason = os.strerror(number) if number else str(error)
    return error_of(_CODE_OF_ERRNO.get(number, Code.UNKNOWN), f"{path}; {reason}")


class OsErrorsOf:
    """Within it, what the operating system says of a path is raised as an error of ours."""

    def __init__(self, path: "str | os.PathLike[str]") -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, OSError):
            raise error_of_os(str(self._path), error) from error


def local_path(path: str) -> str:
    """The path on this machine that a path or `file://` URI means.

    Raises:
        Unimplemented: a URI of another scheme.
    """
    scheme = _SCHEME.match(path)
    if scheme is None:
        return path
    if scheme[1] != "file":
        copy = _COPY.get(scheme[1].lower(), "")
        raise Unimplemented(
            f"File system scheme '{scheme[1]}' not implemented (file: '{path}')",
            hint="Models are served from local files. Copy it here, or mount the store, and serve "
            f"that{copy.format(uri=path)}.",
        )
    return path[scheme.end() :]


def is_uri(path: str) -> bool:
    """Whether a path begins with a scheme, as TensorFlow's ParseURI reads it."""
    return _SCHEME.match(path) is not None


def scheme_of(path: str) -> str:
    """The scheme of a URI, as `first_name` has it; empty for a path, and for a `file://` URI."""
    scheme = _SCHEME.match(path)
    return "" if scheme is None or scheme[1] == "file" else first_name(scheme[1])


def require_path(path: str) -> str:
    """The local form of `path`, which exists.

    Raises:
        NotFound: nothing is there.
        Unimplemented: see `local_path`.
    """
    local = local_path(path)
    if not os.path.exists(local):
        raise NotFound(f"{path} not found")
    return local


def list_names(directory: str) -> list[str]:
    """The names of all entries of a local directory, in no order.

    Raises:
        ServingError: the directory cannot be read.
    """
    with OsErrorsOf(directory):
        return os.listdir(directory)


class NotRegular(FailedPrecondition):
    """A path leads to a pipe, a socket or a device where a file was to be read.

    Attributes:
        is_pipe: whether it is a pipe, which may be read once.
    """

    def __init__(self, path: str, kind: str) -> None:
        super().__init__(f"{path}; Is {kind}, not a regular file")
        self.is_pipe = kind == _PIPE


_PIPE: Final = "a pipe"

_KINDS: Final[tuple[tuple[Callable[[int], bool], str], ...]] = (
    (stat.S_ISFIFO, _PIPE),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular(path: str | os.PathLike[str]) -> None:
    """Look, without opening it, whether a path leads to a regular file, by links or not.

    Raises:
        NotRegular: it leads to a pipe, a socket or a device.
        OSError: nothing is there; or a directory is.
    """
    _check_mode(os.fspath(path), os.stat(path).st_mode)


def _check_mode(path: str, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no file")
    raise NotRegular(path, kind)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading. Anything else is refused, and never waited for.

    Raises:
        NotRegular: see `check_regular`.
        OSError: it cannot be opened.
    """
    check_regular(path)  # so that no device is even opened
    # What is there may be another thing by now.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _check_mode(os.fspath(path), os.fstat(descriptor).st_mode)
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str], max_bytes: int | None = None) -> bytes:
    """All of a regular file.

    Args:
        path: where it is.
        max_bytes: the most it may have; None for any size.

    Raises:
        NotRegular: see `check_regular`.
        OutOfRange: it is longer than `max_bytes`.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        if max_bytes is None:
            return file.read()
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OutOfRange(f"{os.fspath(path)}; File too large: more than {max_bytes} bytes")
    return content


@dataclass(frozen=True, slots=True)
class Footprint:
    """How the files under a directory look. Two that are equal mean that nothing has changed.

    Attributes:
        num_files: all entries below it, directories counted too.
        size_bytes: of all files together.
        newest_ns: the latest change of any entry, the directory itself included: of contents,
            name or permissions (ctime), since a file that could not be read may become readable.
        inode: of the directory, so that one moved into its place is told from it.
    """

    num_files: int
    size_bytes: int
    newest_ns: int
    inode: int


def footprint(directory: str) -> Footprint:
    """Look at every file under a local directory.

    Raises:
        ServingError: a directory cannot be read, or a file has gone meanwhile.
    """
    path = directory
    with OsErrorsOf(path):
        top = os.stat(directory)
        num_files, size_bytes, newest_ns = 0, 0, top.st_ctime_ns
        pending = [directory]
        while pending:
            path = pending.pop()
            with os.scandir(path) as entries:
                for entry in entries:
                    path = entry.path
                    # A link that leads nowhere counts as itself.
                    found = entry.stat(follow_symlinks=entry.is_dir() or entry.is_file())
                    num_files += 1
                    newest_ns = max(newest_ns, found.st_ctime_ns)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(path)
                    else:
                        size_bytes += found.st_size
    return Footprint(num_files, size_bytes, newest_ns, top.st_ino)


_advise: Final[Callable[[int, int, int, int], None] | None] = getattr(os, "posix_fadvise", None)
_DONT_NEED: Final[int] = getattr(os, "POSIX_FADV_DONTNEED", 0)


def drop_from_cache(directory: str) -> None:
    """Tell the system that it need not keep the files under a local directory in memory.

    What it keeps counts against the memory of a container. Only a hint: pages that are mapped or
    not yet written stay, other systems than Linux have no such call, and nothing is raised.
    """
    if _advise is None:  # macOS
        return
    for where, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                _drop_file(os.path.join(where, name), _advise)


def _drop_file(path: str, advise: Callable[[int, int, int, int], None]) -> None:
    # Not to wait for ever where somebody has put a pipe among the files.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        advise(descriptor, 0, 0, _DONT_NEED)
    finally:
        os.close(descriptor)

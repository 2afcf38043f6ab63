"""Local files: paths that may be URIs, system errors as ours, how a directory looked, its cache.

Source of the texts: `tensorflow/core/platform/errors.cc` (IOError) and `env.cc`.
"""

import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from salver.errors import Code, NotFound, ServingError, Unimplemented, error_of

__all__ = [
    "Footprint",
    "drop_from_cache",
    "error_of_os",
    "footprint",
    "list_names",
    "local_path",
    "require_path",
]

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
    return error_of(_CODE_OF_ERRNO.get(number, Code.UNKNOWN), f"{path}; {os.strerror(number)}")


def local_path(path: str) -> str:
    """The path on this machine that a path or `file://` URI means.

    Raises:
        Unimplemented: a URI of another scheme.
    """
    scheme = _SCHEME.match(path)
    if scheme is None:
        return path
    if scheme[1] != "file":
        raise Unimplemented(f"File system scheme '{scheme[1]}' not implemented (file: '{path}')")
    return path[scheme.end() :]


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
    try:
        return os.listdir(directory)
    except OSError as error:
        raise error_of_os(directory, error) from error


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
    try:
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
    except OSError as error:
        raise error_of_os(path, error) from error
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

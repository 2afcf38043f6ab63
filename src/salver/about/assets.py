"""The files beside a model, read without being led away from it.

Models may be strangers' work: a link may lead to any file that the server can read, and opening a
pipe may never end.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Final

from salver.about.document import About
from salver.about.reading import MOST_BYTES, NAME, parse_about
from salver.errors import InvalidArgument, NotFound

__all__ = ["ASSETS", "MOST_EXAMPLE_BYTES", "read_about", "read_asset"]

ASSETS: Final = "assets"
MOST_EXAMPLE_BYTES: Final = 16 << 20
_LINKS: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EMLINK, errno.ENXIO})


def read_about(version: Path) -> About | None:
    """What the version in a directory says of itself; None where it says nothing.

    Raises:
        InvalidArgument: the file is wrong, or no file of its own.
        OSError: it cannot be read.
    """
    try:
        data = read_asset(version, NAME, MOST_BYTES)
    except NotFound:
        return None
    return parse_about(data)


def read_asset(version: Path, name: str, most_bytes: int = MOST_EXAMPLE_BYTES) -> bytes:
    """A file below `assets/` of a version.

    `assets` itself may be a link: `salver serve FILE` makes one.

    Args:
        version: the directory.
        name: path below `assets/`, with slashes and without dots.
        most_bytes: a file that has more is refused.

    Raises:
        NotFound: there is no such file.
        InvalidArgument: it is no regular file, a link leads to it, or it is too long.
        OSError: it cannot be read.
    """
    *above, last = name.split("/")
    try:
        at = os.open(version / ASSETS, os.O_RDONLY | os.O_DIRECTORY)
        for part in above:
            at = _opened(part, at, os.O_DIRECTORY)
        at = _opened(last, at, os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFound(f"{ASSETS}/{name} is not there") from error
    except OSError as error:
        if error.errno in _LINKS:
            raise InvalidArgument(f"{ASSETS}/{name} is no regular file") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(at).st_mode):
            raise InvalidArgument(f"{ASSETS}/{name} is no regular file")
        with open(at, "rb", closefd=False) as file:
            data = file.read(most_bytes + 1)
    finally:
        os.close(at)
    if len(data) > most_bytes:
        raise InvalidArgument(f"{ASSETS}/{name} is longer than {most_bytes >> 20} MiB")
    return data


def _opened(name: str, at: int, flags: int) -> int:
    """Open a name in an open directory, which is closed, and follow no link."""
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=at)
    finally:
        os.close(at)

"""Files that are there whole or as they were before, also after the machine has lost power."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["make_private", "replace_file"]

_PRIVATE = 0o700


def make_private(directory: Path) -> None:
    """Make a directory that only this user can enter, with what is above it."""
    directory.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)


def replace_file(path: Path, text: str) -> None:
    """Write a file for this user alone, in place of the one there is.

    Raises:
        OSError: it cannot be written; the one before is untouched.
    """
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise
    _keep_name(path.parent)


def _keep_name(directory: Path) -> None:
    """Bring the entry of a directory to the disk."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

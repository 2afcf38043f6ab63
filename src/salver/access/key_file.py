"""Changes of a key file: lines put in and taken out, all else kept as it was written.

The file is replaced whole, so that a server that watches it sees it before or after the change.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from salver.access.keys import KeyLine, line_of, lines_of
from salver.access.rules import read_key_file
from salver.errors import AlreadyExists, NotFound
from salver.instruments.files import OsErrorsOf

__all__ = ["add_key", "list_keys", "remove_keys"]

_HEAD: Final = """\
# API keys: <id> <sha256 of the key> <role> [expires]. The keys themselves are kept nowhere.
"""


def list_keys(path: str) -> list[KeyLine]:
    """The keys of a file.

    Raises:
        InvalidArgument: it is no key file.
        ServingError: it cannot be read.
    """
    return lines_of(read_key_file(path), path)


def add_key(path: str, line: KeyLine) -> None:
    """Put a key in; the file is made where there is none.

    Raises:
        AlreadyExists: there is a key of this id.
        InvalidArgument: the file is no key file.
        ServingError: it cannot be read or written.
    """
    with _changing(path) as real:
        try:
            text = _text(real, path)
        except NotFound:
            text = _HEAD
        if any(each.id == line.id for each in lines_of(text.encode(), path)):
            raise AlreadyExists(f"{path} has a key {line.id} already")
        end = "" if not text or text.endswith("\n") else "\n"
        _replace(real, f"{text}{end}{line.text}\n")


def remove_keys(path: str, ids: Sequence[str]) -> None:
    """Take keys out: all of them, or none where one is not there.

    Raises:
        NotFound: there is no such key, or no file.
        InvalidArgument: the file is no key file.
        ServingError: it cannot be read or written.
    """
    with _changing(path) as real:
        text = _text(real, path)
        known = {each.id for each in lines_of(text.encode(), path)}
        if missing := [id for id in ids if id not in known]:
            raise NotFound(f"{path} has no key {', '.join(missing)}")
        kept = [line for line in re.split(r"(?<=\n)", text) if not _is_of(line, ids)]
        _replace(real, "".join(kept))


def _is_of(line: str, ids: Sequence[str]) -> bool:
    found = line_of(line)
    return found is not None and found.id in ids


def _text(real: str, path: str) -> str:
    content = read_key_file(real)
    lines_of(content, path)  # which refuses what is no text
    return content.decode()


@contextmanager
def _changing(path: str) -> Iterator[str]:
    """Keep others who change it out; gives the file itself, where a path leads by links."""
    real = os.path.realpath(path)
    with OsErrorsOf(path):
        directory = os.open(os.path.dirname(real), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield real
    finally:
        os.close(directory)


def _replace(path: str, text: str) -> None:
    """Write a file anew, for the same owner and with the same rights."""
    with OsErrorsOf(path):
        descriptor, new = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".salver-keys-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text.encode())
                with suppress(FileNotFoundError):
                    before = os.stat(path)
                    os.fchmod(file.fileno(), before.st_mode & 0o7777)
                    with suppress(PermissionError):  # it is then of who changes it
                        os.fchown(file.fileno(), before.st_uid, before.st_gid)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(new)
            raise

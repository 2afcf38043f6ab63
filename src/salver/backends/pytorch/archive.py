"""PyTorch's archives, which are zip files, read within bounded memory and without PyTorch.

A member is read up to a limit that stands before its size is believed, and the table of members is
measured before it is read: `zipfile` takes some ten times its size in memory.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from salver.errors import FailedPrecondition, NotFound, ServingError
from salver.instruments.files import error_of_os, open_regular

__all__ = ["Archive", "open_archive"]

_MOST_TABLE_BYTES: Final = 32 << 20  # members have some 100 bytes each
_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_LONGEST_COMMENT: Final = 0xFFFF
_END64: Final = b"PK\x06\x06"
_LOCATOR64: Final = b"PK\x06\x07"
_LOCATOR64_BYTES: Final = 20
_IN_64: Final = 0xFFFFFFFF


class Archive:
    """A zip file. Its members all stand below one folder, whose name does not matter."""

    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        """See `open_archive`."""
        self._path = path
        self._file = file
        self._members = {_without_root(name): name for name in file.namelist()}

    def __contains__(self, name: object) -> bool:
        """Whether there is such a member."""
        return name in self._members

    def below(self, folder: str) -> list[str]:
        """The names of the members below a folder, which ends in `/`."""
        return [name for name in self._members if name.startswith(folder) and name != folder]

    def read(self, name: str, most_bytes: int) -> bytes:
        """A member.

        Raises:
            NotFound: there is none.
            FailedPrecondition: it is larger than that, or damaged.
        """
        try:
            with self._file.open(self._members[name]) as member:
                data = member.read(most_bytes + 1)
        except KeyError:
            raise NotFound(f"{self._path} has no {name}") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise _damaged(self._path, f"{name}: {error}") from error
        except RuntimeError as error:  # it has a password
            raise _damaged(self._path, f"{name}: {error}") from error
        if len(data) > most_bytes:
            raise FailedPrecondition(
                f"{self._path}: {name} is longer than {most_bytes >> 20} MiB, which is not read"
            )
        return data


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a file of PyTorch.

    Raises:
        FailedPrecondition: it is no archive, or a damaged one.
        ServingError: it cannot be opened.
    """
    try:
        with open_regular(path) as file:
            _check_table(path, file)
            with zipfile.ZipFile(file) as opened:
                yield Archive(path, opened)
    except ServingError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise _damaged(path, str(error)) from error
    except OSError as error:
        raise error_of_os(str(path), error) from error


def _without_root(name: str) -> str:
    return name.partition("/")[2] or name


def _damaged(path: Path, said: str) -> FailedPrecondition:
    return FailedPrecondition(f"{path} is no archive of PyTorch, or is damaged: {said}")


def _check_table(path: Path, file: BinaryIO) -> None:
    """Refuse a table of members that is larger than any model needs.

    Raises:
        FailedPrecondition: it is, or there is none.
    """
    size = file.seek(0, 2)
    tail_bytes = min(size, _END_BYTES + _LONGEST_COMMENT + _LOCATOR64_BYTES)
    file.seek(size - tail_bytes)
    tail = file.read(tail_bytes)
    at = tail.rfind(_END)
    if at < 0 or at + _END_BYTES > len(tail):
        raise _damaged(path, "it does not end as a zip file does")
    (table_bytes,) = struct.unpack_from("<L", tail, at + 12)
    locator = tail[max(0, at - _LOCATOR64_BYTES) : at]
    if locator.startswith(_LOCATOR64):
        (end64,) = struct.unpack_from("<Q", locator, 8)
        file.seek(min(end64, size))
        head = file.read(48)
        if not head.startswith(_END64):
            raise _damaged(path, "its table of members cannot be found")
        (table_bytes,) = struct.unpack_from("<Q", head, 40)
    elif table_bytes == _IN_64:
        raise _damaged(path, "its table of members cannot be found")
    if table_bytes > _MOST_TABLE_BYTES:
        raise FailedPrecondition(
            f"{path} has a table of members of {table_bytes >> 20} MiB, which is not read"
        )
    file.seek(0)

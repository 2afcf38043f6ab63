"""Unpacks an archive of a version that somebody else has made, and trusts nothing in it.

Files and directories alone, under names that stay in the directory, each once, and no more of them
than a bound: an archive of a few kilobytes may claim to hold terabytes.
"""

import os
import shutil
import tarfile
import zlib
from collections.abc import Callable
from gzip import BadGzipFile, GzipFile
from pathlib import Path, PurePosixPath
from typing import IO, Final

from salver.errors import DataLoss, InvalidArgument, ResourceExhausted, ServingError
from salver.remote.parts import check_names
from salver.sources.protocol import within

__all__ = ["MOST_FILES", "is_archive", "unpack"]

MOST_FILES: Final = 100_000
_MOST_RATIO: Final = 100  # counted beyond the first; weights shrink to a half at best
_FREE_BYTES: Final = 256 << 20
_HEADER_BYTES: Final = 1 << 20  # of one entry: names, and what else stands before a file
_CHUNK_BYTES: Final = 1 << 20
_LEFT_FREE: Final = 0.01  # of the disk

Check = Callable[[], object]


def is_archive(path: str) -> bool:
    """Whether a name is that of an archive."""
    return path.endswith((".tar.gz", ".tgz"))


class _Inflated:
    """What is in the archive, counted; the file object that the library reads."""

    def __init__(self, packed: IO[bytes], size: int) -> None:
        self._packed = GzipFile(fileobj=packed, mode="rb")
        self._most = _FREE_BYTES + size * _MOST_RATIO
        self._read = 0
        self.header_bytes = 0

    def read(self, size: int) -> bytes:
        content = self._packed.read(min(size, _CHUNK_BYTES))
        self._read += len(content)
        self.header_bytes += len(content)
        if self._read > self._most:
            raise _final(
                InvalidArgument(f"The archive inflates to more than {_MOST_RATIO} times its size")
            )
        if self.header_bytes > _HEADER_BYTES:
            raise _final(InvalidArgument("The archive has an entry with an endless name"))
        return content


def unpack(archive: Path, into: Path, shown: str, check: Check) -> None:
    """Unpack an archive into a directory, which is there and gets nothing else.

    One directory that holds all there is, as `tar czf 3.tar.gz 3/` makes it, is left out.

    Args:
        archive: a `.tar.gz`.
        into: where its files are to stand.
        shown: what it is called in errors.
        check: called again and again; raises when nobody wants it any more.

    Raises:
        InvalidArgument: there is something in it that no version has.
        DataLoss: it is damaged.
        ResourceExhausted: there is no room on the disk.
        ServingError: what `check` raises.
        OSError: it cannot be written.
    """
    staging = into / ".salver-unpacked"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        _unpack(archive, staging, check)
        _move(staging, into)
    except ServingError as error:
        error.message = f"{shown}: {error.message}"
        raise
    except (tarfile.TarError, BadGzipFile, EOFError, zlib.error) as error:
        raise _final(DataLoss(f"{shown} is no whole .tar.gz: {error}")) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unpack(archive: Path, staging: Path, check: Check) -> None:
    names: list[str] = []
    directories: set[str] = set()
    with archive.open("rb") as packed:
        inflated = _Inflated(packed, archive.stat().st_size)
        with tarfile.open(fileobj=inflated, mode="r|") as entries:  # type: ignore[call-overload]
            for entry in entries:
                check()
                name = _name(entry)
                if not name:
                    continue
                if len(names) + len(directories) >= MOST_FILES:
                    raise _final(InvalidArgument(f"There are more than {MOST_FILES} files in it"))
                if entry.isdir():
                    directories.add(name)
                    within(staging, name).mkdir(parents=True, exist_ok=True)
                    continue
                names.append(name)
                _check_room(entry.size, staging)
                _write(entries, entry, within(staging, name), inflated, check)
                inflated.header_bytes = 0
        while inflated.read(_CHUNK_BYTES):  # the checksum of the archive comes last
            inflated.header_bytes = 0
            check()
    if len(set(names)) < len(names):
        raise _final(InvalidArgument("A file stands in it twice"))
    check_names(names, staging)
    if not names:
        raise _final(InvalidArgument("There is no file in it"))


def _name(entry: tarfile.TarInfo) -> str:
    """The name of an entry; empty for the top.

    Raises:
        InvalidArgument: it is neither a file nor a directory, or its name leads elsewhere.
    """
    name = entry.name
    while name.startswith("./"):
        name = name[2:]
    name = name.rstrip("/") if entry.isdir() else name
    if name in ("", ".") and entry.isdir():
        return ""
    if not (entry.isreg() or entry.isdir()) or entry.issparse():
        kind = "a link" if entry.issym() or entry.islnk() else "no regular file"
        raise _final(InvalidArgument(f"{entry.name!r} in it is {kind}"))
    return name


def _check_room(size: int, staging: Path) -> None:
    disk = shutil.disk_usage(staging)
    if size > disk.free - disk.total * _LEFT_FREE:
        raise ResourceExhausted(f"There is no room to unpack it: {disk.free} bytes are free")


def _write(
    entries: tarfile.TarFile, entry: tarfile.TarInfo, path: Path, inflated: _Inflated, check: Check
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = entries.extractfile(entry)
    assert content is not None, "of a regular file"
    left = entry.size
    with path.open("xb") as file:
        while left:
            inflated.header_bytes = 0
            chunk = content.read(min(_CHUNK_BYTES // 2, left))
            if not chunk:
                raise EOFError("it ends in the middle of a file")
            file.write(chunk)
            left -= len(chunk)
            check()


def _move(staging: Path, into: Path) -> None:
    """Put what was unpacked into its place, without the one directory that holds all."""
    top = list(staging.iterdir())
    source = top[0] if len(top) == 1 and top[0].is_dir() else staging
    for path in list(source.iterdir()):
        os.rename(path, into / PurePosixPath(path.name))


def _final(error: ServingError) -> ServingError:
    error.is_final = True
    return error

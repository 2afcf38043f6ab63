"""`SHA256SUMS`: the sums of all files of a version, read, compared and written.

The form is that of coreutils: `sha256sum -c SHA256SUMS` reads it. In a version every file is
listed but the manifest itself and its signature: none is missing, and none is there beside them.
What is read is bounded, since whoever may write a manifest may write anything into it.
"""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from salver.errors import DataLoss, InvalidArgument, OutOfRange, ServingError
from salver.instruments.files import OsErrorsOf, open_regular, read_regular

__all__ = [
    "MANIFEST",
    "MAX_BYTES",
    "MAX_FILES",
    "PART",
    "SIGNATURE",
    "Check",
    "check_files",
    "copy_file",
    "final",
    "format_manifest",
    "list_files",
    "make_manifest",
    "parse_manifest",
    "read_manifest",
    "sum_of",
]

MANIFEST: Final = "SHA256SUMS"
SIGNATURE: Final = "SHA256SUMS.sig"
PART: Final = "SHA256SUMS.part"
"""Stands beside the files of a version in a store while they are uploaded."""

MAX_FILES: Final = 100_000
"""Files that a manifest may list. The largest SavedModels have some hundreds."""

MAX_BYTES: Final = 16 << 20
"""The size of a manifest: 160 bytes for each of so many files."""

_CHUNK_BYTES: Final = 1 << 20
_SHOWN: Final = 3
_LINE: Final = re.compile(rb"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
_ESCAPED: Final = re.compile(r"\\(.?)")
_ESCAPES: Final = {"\\": "\\", "n": "\n", "r": "\r"}

Check = Callable[[], object]
"""Called again and again; raises once nobody wants the outcome any more."""


def _never() -> None:
    return None


def final(error: ServingError) -> ServingError:
    """The same error, of files that will fail again as long as they are the same."""
    error.is_final = True
    return error


# -- the file --------------------------------------------------------------------------------------


def read_manifest(directory: str | os.PathLike[str]) -> bytes | None:
    """The manifest of a version directory as it stands there; None where it has none.

    Raises:
        InvalidArgument: it is too large.
        ServingError: it cannot be read.
    """
    path = Path(directory, MANIFEST)
    try:
        with OsErrorsOf(path):
            return read_regular(path, MAX_BYTES) if os.path.lexists(path) else None
    except OutOfRange as error:
        raise final(InvalidArgument(error.message)) from error


def parse_manifest(content: bytes, where: str = MANIFEST) -> dict[str, str]:
    """The sums that a manifest lists: the path of a file → 64 small hexadecimal digits.

    Args:
        content: of the file.
        where: it is, for errors.

    Raises:
        InvalidArgument: it is no such list; or a path leads out of the directory, stands there
            twice, or differs from another in its case alone; or there are too many.
    """
    sums: dict[str, str] = {}
    folded: dict[str, str] = {}
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line:
            continue
        name, digest = _parsed(line, where, number)
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise _wrong(where, number, f"{name!r} and {other!r} differ in their case alone")
        if name in sums:
            raise _wrong(where, number, f"{name!r} stands there twice")
        sums[name] = digest
        if len(sums) > MAX_FILES:
            raise _wrong(where, number, f"more than {MAX_FILES} files")
    return sums


def _parsed(line: bytes, where: str, number: int) -> tuple[str, str]:
    found = _LINE.fullmatch(line)
    if found is None:
        raise _wrong(where, number, "it is not `<sum in 64 hexadecimal digits>  <path>`")
    name = os.fsdecode(found[3])
    if found[1]:
        name = _ESCAPED.sub(lambda escape: _unescaped(escape[1], where, number), name)
    name = name.removeprefix("./")  # as `find . -type f` writes it
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise _wrong(where, number, f"{name!r} is no path of a file in the directory")
    return name, found[2].decode().lower()


def _unescaped(letter: str, where: str, number: int) -> str:
    if letter not in _ESCAPES:
        raise _wrong(where, number, f"\\{letter} means nothing")
    return _ESCAPES[letter]


def _wrong(where: str, line: int, what: str) -> ServingError:
    return final(InvalidArgument(f"{where}: line {line}: {what}"))


def make_manifest(directory: str | os.PathLike[str], check: Check = _never) -> bytes:
    """The manifest of all files of a version directory, in the order of their names.

    Raises:
        InvalidArgument: see `list_files`.
        ServingError: a file cannot be read; and what `check` raises.
    """
    names = list_files(directory, MAX_FILES)
    return format_manifest({name: sum_of(Path(directory, name), check) for name in names})


def format_manifest(sums: Mapping[str, str]) -> bytes:
    """The manifest of files whose sums are known, in the order of their names."""
    lines = []
    for name, digest in sorted(sums.items()):
        escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        mark = "\\" if escaped != name else ""
        lines.append(os.fsencode(f"{mark}{digest}  {escaped}\n"))
    return b"".join(lines)


# -- the files that it lists -----------------------------------------------------------------------


def list_files(directory: str | os.PathLike[str], most: int) -> list[str]:
    """The paths of all files under a directory, but of its manifest and the signature of that.

    A link to a file counts as that file. Nothing else does: a link to a directory would bring
    files that the directory does not hold.

    Args:
        directory: of a version.
        most: files there may be.

    Raises:
        InvalidArgument: there are more; or something is no file and no directory, or such a link.
        ServingError: it cannot be looked at.
    """
    found: list[str] = []
    with OsErrorsOf(os.fspath(directory)):
        for name in _walk(os.fspath(directory), ""):
            if name not in (MANIFEST, SIGNATURE):
                found.append(name)
            if len(found) > most:
                raise final(InvalidArgument(f"{os.fspath(directory)} has more than {most} files"))
    return found


def _walk(directory: str, prefix: str) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{name}/")
                continue
            mode = os.stat(entry.path).st_mode
            if not stat.S_ISREG(mode):
                kind = "a link to a directory" if stat.S_ISDIR(mode) else "no regular file"
                raise final(
                    InvalidArgument(f"{name} is {kind}, which a version with sums cannot have")
                )
            yield name


def check_files(
    directory: str | os.PathLike[str], sums: Mapping[str, str], check: Check = _never
) -> None:
    """Compare the files under a directory with what a manifest lists. Each is read once.

    Raises:
        DataLoss: a file is missing, is there beside those that are listed, or has another sum.
        InvalidArgument: see `list_files`.
        ServingError: a file cannot be read; and what `check` raises.
    """
    check_names(list_files(directory, MAX_FILES), sums)
    for name, wanted in sums.items():
        check_sum(name, sum_of(Path(directory, name), check), wanted)


def check_names(found: Iterable[str], sums: Mapping[str, str]) -> None:
    """Refuse a set of files that is not the listed one.

    Raises:
        DataLoss: it is not.
    """
    names = frozenset(found)
    missing, extra = sums.keys() - names, names - sums.keys()
    if missing or extra:
        parts = [
            f"{_named(paths)} {verb}"
            for paths, verb in ((missing, "listed and missing"), (extra, "there and not listed"))
            if paths
        ]
        raise final(DataLoss(f"{MANIFEST} does not fit the files: {'; '.join(parts)}"))


def check_sum(name: str, found: str, wanted: str) -> None:
    """Refuse a file whose sum is another.

    Raises:
        DataLoss: it is.
    """
    if found != wanted:
        raise final(
            DataLoss(f"{name} is not what {MANIFEST} lists: its sum is {found}, not {wanted}")
        )


def _named(paths: Iterable[str]) -> str:
    names = sorted(paths)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(map(repr, names[:_SHOWN]))}{more} {'are' if len(names) > 1 else 'is'}"


def sum_of(path: str | os.PathLike[str], check: Check = _never) -> str:
    """The sum of a regular file.

    Raises:
        ServingError: it cannot be read; and what `check` raises.
    """
    with OsErrorsOf(path), open_regular(path) as file:
        return _summed(file, None, check)


def copy_file(
    path: str | os.PathLike[str], to: str | os.PathLike[str], check: Callable[[int], object]
) -> str:
    """Copy a regular file, and return the sum of what was written. It is read once.

    Args:
        path: is read.
        to: is made; nothing may be there.
        check: as `Check`; told how many bytes were copied since it was called last.

    Raises:
        ServingError: one of them cannot be opened or read; and what `check` raises.
        OSError: it cannot be written.
    """
    with OsErrorsOf(path):
        source = open_regular(path)
    with source, open(to, "xb", buffering=0) as target:
        before = 0

        def counted() -> None:
            nonlocal before
            at = target.tell()
            check(at - before)
            before = at

        digest = _summed(source, target, counted)
        counted()
        return digest


def _summed(source: BinaryIO, target: BinaryIO | None, check: Check) -> str:
    import hashlib  # here: compiled code, which few servers need

    digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK_BYTES))
    while count := source.readinto(buffer):  # type: ignore[attr-defined]
        chunk = buffer[:count]
        digest.update(chunk)
        while target is not None and chunk:
            chunk = chunk[target.write(chunk) :]
        check()
    return digest.hexdigest()

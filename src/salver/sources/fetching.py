"""Makes a version present on this machine, through the cache.

What a fetcher brings stands in a staging directory until all of it is there and nothing else, and
is renamed into place then: a version that was fetched by half is never loaded. What is in the cache
already is looked at before it is used: the names and sizes of its files, and their sums where the
version brings sums. What is damaged there is fetched anew.
"""

import errno
import logging
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Final

from salver.errors import DataLoss, InvalidArgument, ResourceExhausted, ServingError
from salver.instruments.cache import Cache, Held
from salver.instruments.files import error_of_os
from salver.instruments.manifest import MAX_FILES, check_names, list_files
from salver.sources.protocol import Fetcher, Stage, Version, within
from salver.sources.records import RECORD, Record, read_record
from salver.sources.verification import Verification

__all__ = ["Fetched", "check_entry", "fetch_version", "is_kept"]

_log = logging.getLogger(__name__)

_DIGITS: Final = 32
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Fetched:
    """A version that was fetched, and stays until this is closed.

    Attributes:
        path: its directory, which is named by its number.
        directory: the same.
        location: where it was fetched from.
    """

    def __init__(self, held: Held, number: int, location: str) -> None:
        """Take over an entry of the cache."""
        self.location = location
        self.path = held.path / str(number)
        self.directory = str(self.path)
        self.close = held.close


def fetch_version(
    number: int,
    version: Version,
    fetcher: Fetcher,
    cache: Cache,
    stage: Stage,
    verification: Verification = Verification(),  # noqa: B008 - frozen
    *,
    base_path: str = "",
) -> Fetched:
    """The files of a version, from the cache or fetched.

    Args:
        number: of the version.
        version: see there.
        fetcher: fetches it.
        cache: keeps it.
        stage: is told how it goes.
        verification: which sums it has to bring.
        base_path: of its model, to be found by while its store is away.

    Returns:
        The directory, which stays until this is closed.

    Raises:
        ResourceExhausted: there is no room for it.
        DataLoss: its files are not those whose sums it brings.
        ServingError: whatever keeps it from being fetched; and what `stage` raises.
    """
    is_made = False

    def make(entry: Path) -> None:
        nonlocal is_made
        if fetcher.can_resume and _is_fetched(entry, number, version):
            return  # and is looked at as what is in the cache is
        try:
            _fetch(number, version, fetcher, entry, stage, verification, base_path)
        except OSError as error:
            raise _error_of(error, version, cache) from error
        is_made = True

    size_bytes = None if version.files is None else version.files.size_bytes
    key = _key(number, version, is_demanded=verification.is_demanded)
    while True:
        held = cache.hold(
            key,
            make,
            size_bytes=size_bytes,
            is_resumed=fetcher.can_resume,
            check=stage.check,
        )
        try:
            if not is_made:
                check_entry(held.path, number, version.location, verification, stage)
        except DataLoss as error:
            held.close()
            if not cache.remove(key):
                raise
            _log.warning("What was kept of %s is fetched anew: %s", version.location, error.message)
        except BaseException:
            held.close()
            raise
        else:
            return Fetched(held, number, version.location)


def check_entry(
    entry: Path, number: int, shown: str, verification: Verification, stage: Stage
) -> None:
    """Look whether what is in the cache is what was fetched, and may be used.

    Args:
        entry: a directory of the cache.
        number: of the version in it.
        shown: where it came from, for errors.
        verification: which sums it has to bring.
        stage: its `check` is called again and again.

    Raises:
        DataLoss: files are missing or damaged.
        ServingError: see `Verification.check`; and what `stage` raises.
    """
    directory = entry / str(number)
    record = read_record(entry)
    if record is not None:  # else of an earlier release
        record.check(directory)
    verification.check(str(directory), shown, stage.check)


def _fetch(
    number: int,
    version: Version,
    fetcher: Fetcher,
    entry: Path,
    stage: Stage,
    verification: Verification,
    base_path: str,
) -> None:
    """Bring all that belongs into an entry of the cache; last comes the record of it."""
    into = entry / str(number)
    into.mkdir(parents=True, exist_ok=fetcher.can_resume)
    (entry / RECORD).unlink(missing_ok=True)
    fetcher.fetch(version, into, stage)
    stage.check()
    _check_tree(into)
    _check_fetched(into, version, fetcher, verification, stage)
    if not verification.is_demanded:  # of what is beside a version there are no sums
        _write_beside(entry, fetcher, version, stage)
    now_s = int(time.time())  # noqa: TID251 - for people, and to tell which is newer
    Record.of(number, version, into, base_path, now_s).write(entry)


def _is_fetched(entry: Path, number: int, version: Version) -> bool:
    """Whether a process that was killed had only to write through what it had fetched."""
    record = read_record(entry)
    if record is None or (record.number, record.version) != (number, version):
        return False
    try:
        record.check(entry / str(number))
    except DataLoss:
        return False
    return True


def _write_beside(entry: Path, fetcher: Fetcher, version: Version, stage: Stage) -> None:
    read = getattr(fetcher, "beside", None)
    for name, content in read(version, stage).items() if read is not None else ():
        within(entry, name).write_bytes(content)


def _check_fetched(
    into: Path, version: Version, fetcher: Fetcher, verification: Verification, stage: Stage
) -> None:
    """Compare what has just been fetched with the sums it brings.

    What is wrong is removed: a fetch that goes on where this one ended must not keep it.
    """
    try:
        if getattr(fetcher, "is_comparing", False):
            sums = verification.sums(into, version.location)
            if sums is not None:
                check_names(list_files(into, MAX_FILES), sums)
        else:
            verification.check(str(into), version.location, stage.check)
    except ServingError as error:
        if error.is_final:
            shutil.rmtree(into, ignore_errors=True)
        raise


def _error_of(error: OSError, version: Version, cache: Cache) -> ServingError:
    if error.errno in _FULL:
        size = "" if version.files is None else f", which takes {version.files.size_bytes} bytes"
        return ResourceExhausted(
            f"The disk of the model cache {cache.directory} is full: no room for "
            f"{version.location}{size}",
            hint="Make room there, or name a directory on another disk: --model_cache=PATH",
        )
    return error_of_os(str(error.filename or version.location), error)


def is_kept(number: int, version: Version, cache: Cache) -> bool:
    """Whether the files of a version are in the cache."""
    return any(cache.has(_key(number, version, is_demanded=each)) for each in (False, True))


def _key(number: int, version: Version, *, is_demanded: bool) -> str:
    """The key of a version in the cache: says nothing of where it is, which may be any text."""
    parts = f"{number}\0{version.location}\0{version.files}\0{version.revision}"
    if version.beside and not is_demanded:
        parts += f"\0{version.beside}"
    import hashlib  # here: compiled code, which few servers need

    return hashlib.sha256(parts.encode(errors="surrogateescape")).hexdigest()[:_DIGITS]


def _check_tree(directory: Path) -> None:
    """Refuse all but files and directories: a link may lead to any file that the server can read.

    Raises:
        InvalidArgument: there is something else.
        OSError: it cannot be looked at.
    """
    for where, directories, names in os.walk(directory, onerror=_raise):
        for name in (*directories, *names):
            path = os.path.join(where, name)
            mode = os.lstat(path).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                shown = os.path.relpath(path, directory)
                kind = "a link" if stat.S_ISLNK(mode) else "no regular file"
                raise InvalidArgument(
                    f"The version that was fetched is refused, since {shown} in it is {kind}"
                )


def _raise(error: OSError) -> None:
    raise error

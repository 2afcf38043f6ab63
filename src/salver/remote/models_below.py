"""Which models there are directly below a path of a bucket, by the names of files alone."""

import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from salver.errors import InvalidArgument
from salver.remote.listing import Entry, TooMany, entry_of, list_models
from salver.remote.places import joined
from salver.remote.stores import Bucket, Level
from salver.sources.protocol import within
from salver.sources.versions import parse_version

__all__ = ["is_version_of", "models_below"]

_MOST_NAMES: Final = 1000
_AT_ONCE: Final = 8
_WHOLE: Final = frozenset({"saved_model.pb", "saved_model.pbtxt", "model.py"})
_VERSIONS: Final = 3  # directories named by numbers that are looked into

IsVersion = Callable[[str], bool]
"""Whether a directory on this machine is a version by itself, by the names of the files in it."""


def is_version_of(entries: Iterable[Entry], is_version: IsVersion) -> bool:
    """The same of files in a store."""
    names = [entry.name for entry in entries if "/" not in entry.name and entry.size]
    with tempfile.TemporaryDirectory(prefix="salver-names-") as directory:
        for name in names[:_MOST_NAMES]:
            with suppress(
                OSError, ValueError, InvalidArgument
            ):  # which then is no name of a file of a model
                within(Path(directory), name).touch()
        return is_version(directory)


def models_below(bucket: Bucket, path: str, is_version: IsVersion) -> Sequence[str]:
    """The names directly below a path that are models; none where the path is one itself.

    A model is a directory with versions: directories named by numbers, with files in them. Or it
    is one version, by the names of its files.

    Args:
        bucket: where they are.
        path: without slashes at its ends; empty for the whole bucket.
        is_version: see there.

    Raises:
        ServingError: they cannot be listed.
    """
    level = bucket.level(path)
    if _is_one(_files(level), is_version) or _has_versions(bucket, path, level.directories):
        return []
    names = [name for name in level.directories if _can_be_named(name)]
    if not names:
        return []
    try:
        listed = list_models(bucket, path, names)
    except (TooMany, InvalidArgument):  # the name of one file would hide all models
        return _one_by_one(bucket, path, names, is_version)
    return sorted(
        name
        for name, of in listed.items()
        if any("/" not in entry.name for entries in of.versions.values() for entry in entries)
        or is_version_of(of.others, is_version)
    )


def _one_by_one(
    bucket: Bucket, path: str, names: Sequence[str], is_version: IsVersion
) -> Sequence[str]:
    def is_model(name: str) -> bool:
        level = bucket.level(joined(path, name))
        has_versions = any(parse_version(each) is not None for each in level.directories)
        return has_versions or is_version_of(_files(level), is_version)

    from multiprocessing.pool import ThreadPool  # here: few servers need it

    with ThreadPool(min(_AT_ONCE, len(names))) as pool:
        found = pool.map(is_model, names)
    return sorted(name for name, is_one in zip(names, found, strict=True) if is_one)


def _has_versions(bucket: Bucket, path: str, names: Collection[str]) -> bool:
    """Whether there are files right in the newest of the directories named by numbers."""
    numbers = {number: name for name in names if (number := parse_version(name)) is not None}
    newest = sorted(numbers, reverse=True)[:_VERSIONS]
    return any(bucket.level(joined(path, numbers[number])).files for number in newest)


def _is_one(entries: Sequence[Entry], is_version: IsVersion) -> bool:
    return any(entry.name in _WHOLE for entry in entries) or is_version_of(entries, is_version)


def _files(level: Level) -> list[Entry]:
    return [entry_of(meta["path"].rpartition("/")[2], meta) for meta in level.files]


def _can_be_named(name: str) -> bool:
    """Whether a directory can give a model its name."""
    return bool(name) and ":" not in name

"""What is listed below base paths: the files of each version, with as few requests as can be."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from salver.about.config_file import FILE as CONFIG
from salver.errors import InvalidArgument
from salver.instruments.files import Footprint
from salver.instruments.manifest import MANIFEST
from salver.remote.parts import RemoteFile
from salver.remote.places import joined
from salver.remote.settling import Seen
from salver.remote.stores import PAGE, Bucket, Meta
from salver.sources.versions import parse_version
from salver.vocabulary.servable import Latest, Specific, VersionPolicy

__all__ = [
    "CONFIG",
    "Entry",
    "Listing",
    "TooMany",
    "can_be_file",
    "entry_of",
    "file_at",
    "files_below",
    "list_models",
    "list_versions",
]

_MOST_PAGES: Final = 2  # of one model, before its versions are listed one by one
_MOST_PAGES_OF_ONE: Final = 100
_SPARE: Final = 2  # versions to look at beside the newest, which may not be complete


class TooMany(Exception):
    """There is more below a path than is worth to list at once."""


class Entry(NamedTuple):
    """One file."""

    name: str  # below its version
    size: int
    etag: str
    modified_s: float  # 0 where there is an ETag

    @property
    def line(self) -> str:
        """What changes when the file does, as far as the store tells."""
        return f"{self.name}\0{self.size}\0{self.etag or self.modified_s}\n"


@dataclass(slots=True)
class Listing:
    """What is below one base path.

    Attributes:
        versions: name of a directory → what is in it.
        others: files that stand in no directory that is named by a number.
        file: the base path itself, where it is a file.
    """

    versions: dict[str, list[Entry]] = field(default_factory=dict)
    others: list[Entry] = field(default_factory=list)
    file: Entry | None = None

    def add(self, below: str, meta: Meta) -> None:
        """Take in a file by its name below the base path."""
        directory, slash, name = below.partition("/")
        if slash and _is_version(directory):
            self.versions.setdefault(directory, []).append(entry_of(name, meta))
        elif below:
            self.others.append(entry_of(below, meta))
        elif meta["size"]:  # else it says that there is a directory
            self.file = entry_of(meta["path"].rpartition("/")[2], meta)

    @property
    def config(self) -> Entry | None:
        """The `config.pbtxt` that stands beside its versions, if one does."""
        found = (each for each in self.others if each.name == CONFIG and each.size)
        return next(found, None)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing."""
        return not self.versions and not self.others and self.file is None


def entry_of(name: str, meta: Meta) -> Entry:
    """An object as a file, by its name below the version."""
    etag = meta["e_tag"]
    if etag:
        return Entry(name, meta["size"], etag, 0.0)
    return Entry(name, meta["size"], "", meta["last_modified"].timestamp())


@lru_cache(maxsize=4096)
def _is_version(directory: str) -> bool:
    return parse_version(directory) is not None


def list_models(bucket: Bucket, parent: str, names: Collection[str]) -> dict[str, Listing]:
    """What is below several base paths that have one parent, in one go.

    Raises:
        TooMany: it would take more requests than one for each.
        ServingError: they cannot be listed.
    """
    return sorted_by_model(pages_of_models(bucket, parent, len(names)), parent, names)


def pages_of_models(bucket: Bucket, parent: str, count: int) -> Iterator[Sequence[Meta]]:
    """The same as it comes, of so many base paths; raises as `list_models`."""
    for number, page in enumerate(bucket.pages(parent)):
        if number > count:
            raise TooMany
        yield page


def fingerprint(page: Sequence[Meta]) -> int:
    """What changes, in this process, when any file of a page does."""
    return hash(tuple([(m["path"], m["size"], m["e_tag"] or m["last_modified"]) for m in page]))


def sorted_by_model(
    pages: Iterable[Sequence[Meta]], parent: str, names: Collection[str]
) -> dict[str, Listing]:
    """What pages have of each of several base paths that have one parent."""
    found = {name: Listing() for name in names}
    start = len(parent) + 1 if parent else 0
    for page in pages:
        for meta in page:
            name, _, below = meta["path"][start:].partition("/")
            listing = found.get(name)
            if listing is not None:
                listing.add(below, meta)
    return found


def list_versions(
    bucket: Bucket,
    path: str,
    policy: Callable[[Listing], VersionPolicy],
    known: Collection[int],
) -> Listing:
    """What is below one base path, as far as the policy may ask for it.

    Args:
        bucket: where it is.
        path: of the base path.
        policy: of the model, by what stands directly in the base path.
        known: versions that are served now.

    Raises:
        ServingError: it cannot be listed.
    """
    found = Listing()
    try:
        _add_all(bucket, path, found)
    except TooMany:
        found = Listing()
        level = bucket.level(path)
        for meta in level.files:
            found.add(meta["path"].rpartition("/")[2], meta)
        for name in _candidates(level.directories, policy(found), known):
            for page in _bounded(bucket, f"{path}/{name}" if path else name):
                for meta in page:
                    found.add(meta["path"][len(path) + 1 if path else 0 :], meta)
    if found.is_empty and can_be_file(path):
        found.file = next(iter(file_at(bucket, path)), None)
    return found


def can_be_file(path: str) -> bool:
    """Whether a base path may be a file by its name: a request for each look is only for those."""
    return "." in path.rpartition("/")[2]


def file_at(bucket: Bucket, path: str) -> list[Entry]:
    """The file that a path is; nothing where it is none.

    Raises:
        ServingError: nobody can tell.
    """
    meta = bucket.head(path)
    return [entry_of(path.rpartition("/")[2], meta)] if meta is not None and meta["size"] else []


def _add_all(bucket: Bucket, path: str, found: Listing) -> None:
    start = len(path) + 1 if path else 0
    for number, page in enumerate(bucket.pages(path)):
        if number >= _MOST_PAGES:
            raise TooMany
        for meta in page:
            found.add(meta["path"][start:], meta)


def _candidates(
    names: Iterable[str], policy: VersionPolicy, known: Collection[int]
) -> Sequence[str]:
    by_number = {n: name for name in sorted(names) if (n := parse_version(name)) is not None}
    chosen = set(known) & by_number.keys()
    if isinstance(policy, Latest):
        chosen |= set(sorted(by_number, reverse=True)[: policy.num_versions + _SPARE])
    elif isinstance(policy, Specific):
        chosen |= set(policy.versions) & by_number.keys()
    else:
        chosen = set(by_number)
    return [by_number[number] for number in sorted(chosen)]


def _bounded(bucket: Bucket, path: str) -> Iterator[Sequence[Meta]]:
    """The files of one version, a page at a time.

    Raises:
        InvalidArgument: there are more than any model has.
    """
    for number, page in enumerate(bucket.pages(path)):
        if number >= _MOST_PAGES_OF_ONE:
            most = _MOST_PAGES_OF_ONE * PAGE
            raise InvalidArgument(f"{joined(bucket.root, path)} has more than {most} files")
        yield page


def files_below(bucket: Bucket, path: str) -> list[Entry]:
    """The files of one version.

    Raises:
        ServingError: they cannot be listed.
    """
    start = len(path) + 1
    return [
        entry_of(meta["path"][start:], meta)
        for page in _bounded(bucket, path)
        for meta in page
        if len(meta["path"]) > start
    ]


def without_markers(entries: Sequence[Entry]) -> list[Entry]:
    """The files without those empty ones that only say that there is a directory."""
    directories = {
        entry.name[:at]
        for entry in entries
        for at in range(len(entry.name))
        if entry.name[at] == "/"
    }
    return [entry for entry in entries if entry.size or entry.name not in directories]


def revision(entries: Iterable[Entry]) -> str:
    """What changes when any file does."""
    lines = "".join(sorted(entry.line for entry in entries))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def footprint(entries: Sequence[Entry]) -> Footprint:
    """How large they are."""
    return Footprint(len(entries), sum(entry.size for entry in entries), 0, 0)


def seen(entries: Sequence[Entry]) -> Seen:
    """The same for `Settling`."""
    return Seen.of(
        hash(frozenset(entries)), {entry.name for entry in entries if "/" not in entry.name}
    )


def remote_files(entries: Sequence[Entry], sums: Mapping[str, str]) -> list[RemoteFile]:
    """The same for a fetch."""
    return [RemoteFile(e.name, e.size, e.etag, sums.get(e.name, "")) for e in entries]


def check_complete(entries: Sequence[Entry], sums: Mapping[str, str], location: str) -> None:
    """Refuse a version of which the manifest names files that are not there.

    Raises:
        InvalidArgument: there are such.
    """
    names = {entry.name for entry in entries}
    missing = sorted(sums.keys() - names)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InvalidArgument(
            f"{location} is not whole: its {MANIFEST} names {missing[0]}{more}, which is not there"
        )

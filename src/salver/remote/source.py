"""The source for models in object stores: `s3://`, `gs://`, `az://` and `abfs://`."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from salver.about.config_file import FILE
from salver.config.remote import RemoteStore, read_remote_config, store_for
from salver.errors import Aborted, InvalidArgument, NotFound
from salver.instruments.manifest import MANIFEST, MAX_BYTES, PART, parse_manifest
from salver.remote import listing
from salver.remote.bandwidth import Bandwidth
from salver.remote.beside import read_config_beside
from salver.remote.groups import Group, group_key
from salver.remote.listing import Entry
from salver.remote.models_below import models_below
from salver.remote.parts import Parts, RemoteFile
from salver.remote.places import Place, joined, place_of
from salver.remote.polls import Polls
from salver.remote.stores import Bucket, open_bucket
from salver.remote.timetable import again
from salver.sources.protocol import Found, MonitoredServable, Stage, Version, within
from salver.sources.settings import SourceSettings

__all__ = ["ObjectStoreSource", "make", "shared_bandwidth"]

_bandwidths: dict[int, Bandwidth] = {}
_making = threading.Lock()  # guards it


def shared_bandwidth(settings: SourceSettings) -> Bandwidth:
    """The one limit of all sources with these settings."""
    rate = settings.bytes_per_second
    with _making:
        return _bandwidths.setdefault(rate, Bandwidth(rate))


def make(scheme: str, settings: SourceSettings) -> "ObjectStoreSource":
    """The source for a scheme; see `sources.table`."""
    return ObjectStoreSource(settings)


class ObjectStoreSource:
    """A `Source` and its `Fetcher`."""

    can_resume: Final = True
    is_comparing: Final = True

    def __init__(
        self,
        settings: SourceSettings,
        clock: Callable[[], float] = time.monotonic,
        opening: Callable[[Place, RemoteStore, SourceSettings], Bucket] = open_bucket,
    ) -> None:
        """Send nothing yet.

        Args:
            settings: see there.
            clock: seconds, monotonic.
            opening: opens the bucket of a place.

        Raises:
            ServingError: the file that says how stores are reached is wrong.
        """
        self._settings = settings
        self._polls = Polls(clock, settings.quiet_s)
        self._open = opening
        self._stores = read_remote_config(settings.config_file) if settings.config_file else ()
        self._bandwidth = shared_bandwidth(settings)
        self._groups: dict[tuple[str, str, RemoteStore], Group] = {}
        self._servables: Sequence[MonitoredServable] | None = None
        self._refused: list[Found] = []
        self._opening = threading.Lock()  # guards what follows
        self._buckets: dict[tuple[str, RemoteStore], Bucket] = {}

    @property
    def poll_wait_s(self) -> float:
        """See `Source`: until the next listing is due."""
        return self._polls.next_s(self._groups.values(), self._settings.poll_wait_s)

    @property
    def fetcher(self) -> "ObjectStoreSource":
        """See `Source`."""
        return self

    # -- finding ---------------------------------------------------------------------------------

    def find(self, servables: Sequence[MonitoredServable]) -> Iterator[Found]:
        """See `Source.find`: of those that are due, and of others nothing."""
        if servables is not self._servables:
            self._regroup(servables)
            yield from self._refused
        yield from self._polls.find(self._groups.values())

    def _regroup(self, servables: Sequence[MonitoredServable]) -> None:
        self._servables, self._refused = servables, []
        members: dict[tuple[str, str, RemoteStore], list[MonitoredServable]] = {}
        for servable in servables:
            try:
                root, parent = group_key(servable.base_path)
            except InvalidArgument as error:  # noqa: PERF203 - once for each configuration
                self._refused.append((servable, error))
            else:
                key = root, parent, self._store(servable.base_path)
                members.setdefault(key, []).append(servable)
        before, self._groups = self._groups, {}
        for key, of in members.items():
            root, parent, _ = key
            group = before.get(key) or Group(self._bucket, root, parent, self._settings)
            group.take(of)
            self._groups[key] = group

    def _store(self, uri: str) -> RemoteStore:
        return store_for(self._stores, uri)

    def _bucket(self, uri: str) -> Bucket:
        place, store = place_of(uri), self._store(uri)
        key = place.root, store
        with self._opening:
            if key not in self._buckets:
                self._buckets[key] = self._open(place, store, self._settings)
            return self._buckets[key]

    # -- fetching --------------------------------------------------------------------------------

    def fetch(self, version: Version, into: Path, stage: Stage) -> None:
        """See `Fetcher.fetch`."""
        bucket, path = self._bucket(version.location), place_of(version.location).path
        path, entries = again(stage, partial(self._entries, bucket, path, version))
        sums = {}
        if any(entry.name == MANIFEST for entry in entries):
            where = joined(version.location, MANIFEST)
            read = partial(bucket.read_small, joined(path, MANIFEST), MAX_BYTES)
            content = again(stage, read)
            sums = parse_manifest(content, where)
            listing.check_complete(entries, sums, version.location)
        files, directories = self._sorted(bucket, path, entries, sums, stage)
        Parts(
            files,
            into,
            _Files(bucket, path),
            stage,
            self._bandwidth,
            location=version.location,
            stall_s=self._settings.timeout_s,
            is_behind=self._settings.is_behind,
        ).run()
        for name in directories:
            within(into, name).mkdir(parents=True, exist_ok=True)

    def beside(self, version: Version, stage: Stage) -> Mapping[str, bytes]:
        """See `Fetcher`: the `config.pbtxt` of its model."""
        if not version.beside:
            return {}
        bucket = self._bucket(version.location)
        path = place_of(version.location).path.rpartition("/")[0]
        content = again(stage, partial(read_config_beside, bucket, path, version.beside))
        return {FILE: content}

    def models_below(self, base_path: str, is_version: Callable[[str], bool]) -> Mapping[str, str]:
        """See `Source`."""
        place = place_of(base_path)
        names = models_below(self._bucket(base_path), place.path, is_version)
        return {name: joined(base_path.rstrip("/"), name) for name in names}

    def _entries(self, bucket: Bucket, path: str, version: Version) -> tuple[str, list[Entry]]:
        """The files of a version, which are those that were listed before, and where they are."""
        entries = listing.files_below(bucket, path)
        if not entries and listing.can_be_file(path):
            path, entries = path.rpartition("/")[0], listing.file_at(bucket, path)
        if not entries:
            raise NotFound(f"{version.location} is not there any more")
        names = {entry.name for entry in entries}
        entries = listing.without_markers(entries)
        if PART in names or listing.revision(entries) != version.revision:
            raise Aborted(f"{version.location} has changed since it was listed")
        return path, entries

    def _sorted(
        self,
        bucket: Bucket,
        path: str,
        entries: Sequence[Entry],
        sums: dict[str, str],
        stage: Stage,
    ) -> tuple[list[RemoteFile], list[str]]:
        """Files, and the empty ones among them that are none and only say that a directory is."""
        directories = set()
        for entry in entries:
            if entry.size or entry.name in sums:
                continue
            name = joined(path, entry.name)
            if sums or again(stage, partial(bucket.head, name)) is None:
                directories.add(entry.name)
        kept = [entry for entry in entries if entry.name not in directories]
        return listing.remote_files(kept, sums), sorted(directories)


class _Files:
    """A `Reader` of one version."""

    def __init__(self, bucket: Bucket, path: str) -> None:
        self._bucket = bucket
        self._path = path

    @property
    def has_ranges(self) -> bool:
        return self._bucket.has_ranges

    def read(self, file: RemoteFile, start: int, stop: int, chunk_bytes: int) -> Iterator[Any]:
        path = joined(self._path, file.name)
        return self._bucket.read(path, file, start, stop, chunk_bytes)

"""Finds versions in directories of this machine.

Each model stands alone: one whose base path is missing keeps what it has, and the others go on
(the reference gives up the whole poll).

Source: TensorFlow Serving `sources/storage_path/file_system_storage_path_source.cc`.
"""

import os
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from salver.errors import InvalidArgument, ServingError
from salver.instruments.files import list_names, local_path, require_path
from salver.sources.protocol import Fetcher, Found, MonitoredServable, Version, select
from salver.sources.unforeseen import Unforeseen
from salver.sources.versions import parse_version

__all__ = ["LISTED_IN_TURN", "FileSystem", "Looks", "find_versions", "not_found"]


LISTED_IN_TURN: Final = 50
"""Base paths that are listed at each poll whatever their dates; so many models, and no more, always
are."""

_REST_S: Final = 3.0  # coarser than the clock of any file system: two seconds, of FAT

S = TypeVar("S", bound=Hashable)


@dataclass(slots=True)
class _Look:
    stamp: tuple[int, ...]
    since_s: float  # when the directory was first seen so
    listed_s: float = 0.0


class Looks:
    """Remembers how base paths looked. Belongs to the thread that polls."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Know nothing.

        Args:
            clock: seconds, monotonic.
        """
        self._clock = clock
        self._looks: dict[Hashable, _Look] = {}
        self._turn = 0

    def to_list(self, places: Sequence[tuple[S, str]]) -> list[S]:
        """Of some base paths, those to be listed now, in their order; all others are forgotten.

        Args:
            places: by what the caller knows them, and where they are on this machine.
        """
        count, now_s = len(places), self._clock()
        due = {(self._turn + n) % count for n in range(min(LISTED_IN_TURN, count))}
        self._turn = (self._turn + LISTED_IN_TURN) % max(1, count)
        before, self._looks = self._looks, {}
        listed = []
        for number, (key, path) in enumerate(places):
            stamp = _stamp(path)
            look = before.get(key)
            if look is None or look.stamp != stamp:
                look = _Look(stamp, now_s)
            self._looks[key] = look
            # What was listed so soon after a change may have missed the end of it.
            is_known = bool(stamp) and look.listed_s - look.since_s >= _REST_S
            if number in due or not is_known:
                look.listed_s = now_s
                listed.append(key)
        return listed


def _stamp(path: str) -> tuple[int, ...]:
    """What changes when the entries of a directory do; empty for what cannot be looked at."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)


def find_versions(servable: MonitoredServable) -> dict[int, str]:
    """The versions of a servable that its base path and policy ask for: version → directory.

    Raises:
        ServingError: the base path is missing or cannot be read.
    """
    try:
        base = require_path(servable.base_path)
    except ServingError as error:
        raise not_found(servable, error) from error
    listed = list_names(base)
    policy = servable.policy_in(base)
    servable = servable if policy is None else replace(servable, policy=policy)
    if all(parse_version(name) is None for name in listed) and servable.is_version(base):
        return dict.fromkeys(select(servable, ["1"]), base)
    names = select(servable, listed)
    return {version: os.path.join(base, name) for version, name in names.items()}


def not_found(servable: MonitoredServable, error: ServingError) -> InvalidArgument:
    """The error of a servable at whose base path nobody can look, in the reference's words."""
    return InvalidArgument(
        f"Could not find base path {servable.base_path} for servable {servable.name} "
        f"with error {error.status}"
    )


class FileSystem:
    """A `Source`. Directories in which nothing has changed are not read again."""

    fetcher: Final[Fetcher | None] = None

    def __init__(
        self, poll_wait_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Know nothing yet.

        Args:
            poll_wait_s: see `Source`.
            clock: seconds, monotonic.
        """
        self.poll_wait_s: Final = poll_wait_s
        self._looks = Looks(clock)
        self._unforeseen = Unforeseen()
        self._servables: Sequence[MonitoredServable] = ()
        self._places: list[tuple[str, str]] = []  # the same: name, and where on this machine
        self._found: dict[str, Mapping[int, Version]] = {}

    def find(self, servables: Sequence[MonitoredServable]) -> Iterator[Found]:
        """See `Source.find`."""
        if servables is not self._servables:
            kept = {each.name for each in frozenset(self._servables) & frozenset(servables)}
            self._found = {name: found for name, found in self._found.items() if name in kept}
            self._places = [(each.name, local_path(each.base_path)) for each in servables]
            self._servables = servables
        listed = frozenset(self._looks.to_list(self._places))
        for servable in servables:
            found = self._found.get(servable.name)
            if found is None or servable.name in listed:
                try:
                    paths = find_versions(servable)
                except Exception as error:  # noqa: BLE001 - of one model, and not of all
                    self._found.pop(servable.name, None)
                    yield servable, self._unforeseen.as_serving_error(servable.base_path, error)
                    continue
                self._unforeseen.forget(servable.base_path)
                found = {number: Version(path) for number, path in paths.items()}
                self._found[servable.name] = found
            yield servable, found

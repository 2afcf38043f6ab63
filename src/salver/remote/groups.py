"""Base paths that are polled together: those of one bucket that have one parent."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from salver.errors import InvalidArgument, NotFound, ServingError
from salver.remote import listing
from salver.remote.beside import Policies, PolicyOf
from salver.remote.listing import Entry, Listing, TooMany
from salver.remote.models_below import is_version_of
from salver.remote.places import Place, joined, place_of
from salver.remote.settling import Seen, Settling
from salver.remote.stores import Bucket
from salver.remote.timetable import Failures
from salver.remote.unchanged import Unchanged
from salver.sources.file_system import not_found
from salver.sources.protocol import Found, MonitoredServable, Version, select
from salver.sources.settings import SourceSettings
from salver.sources.versions import parse_version
from salver.vocabulary.servable import VersionPolicy

__all__ = ["Group", "group_key"]

_Key = tuple[str, str]

_logger = logging.getLogger(__name__)

_MOST_PER_S: Final = 20  # requests, of models that are listed one by one
_ALONE_FOR: Final = 20  # polls after one that was dearer than a listing of each


def group_key(uri: str) -> tuple[str, str]:
    """Which group a base path belongs to: the bucket's URI, and the path of the parent.

    Raises:
        InvalidArgument: it is no base path.
    """
    place = place_of(uri)
    return place.root, place.path.rpartition("/")[0]


class Group:
    """The state of such a group. A `Polled`; used in the thread that polls it, but for `take`."""

    def __init__(
        self, open_bucket: Callable[[str], Bucket], root: str, parent: str, settings: SourceSettings
    ) -> None:
        """Know nothing, and be due.

        Args:
            open_bucket: opens a bucket for a base path.
            root: URI of the bucket.
            parent: of all base paths.
            settings: see there.
        """
        self._due_s = 0.0
        self._open = open_bucket
        self._root = root
        self._parent = parent
        self._settings = settings
        self._failures = Failures(settings.poll_wait_s)
        self._alone_for = 0
        self._wanted: tuple[MonitoredServable, ...] = ()
        self._is_due = False  # whatever its time, since there are others than before
        self._servables: tuple[MonitoredServable, ...] = ()
        self._settling: dict[_Key, Settling] = {}
        self._known: dict[_Key, Mapping[int, Version]] = {}
        self._seen: dict[_Key, tuple[MonitoredServable, str, Mapping[int, Seen]]] = {}
        self._told: dict[_Key, str] = {}
        self._policies = Policies()
        self._unchanged = Unchanged()
        self._is_policy_unknown = False  # of some model, since its file could not be read

    @property
    def due_s(self) -> float:
        """When it is to be listed next."""
        return 0.0 if self._is_due else self._due_s

    @due_s.setter
    def due_s(self, due_s: float) -> None:
        self._due_s = due_s

    def take(self, servables: Sequence[MonitoredServable]) -> None:
        """List for these at the next poll; at once, if there are others than before.

        Called from the thread that knows which are wanted, while a poll may be under way.
        """
        before, self._wanted = self._wanted, tuple(servables)
        if not set(servables) <= set(before):
            self._is_due = True

    def _adopt(self, servables: tuple[MonitoredServable, ...]) -> None:
        """Poll for these."""
        if servables == self._servables:
            return
        self._unchanged = Unchanged()
        self._servables = servables
        keys = {_key(servable) for servable in servables}
        self._settling = {key: of for key, of in self._settling.items() if key in keys}
        self._known = {key: of for key, of in self._known.items() if key in keys}
        self._seen = {key: of for key, of in self._seen.items() if key in keys}
        self._told = {key: of for key, of in self._told.items() if key in keys}
        self._policies.keep(keys)

    def poll(self, now_s: float) -> list[Found]:
        """List once, and say when to list next."""
        self._is_due = False
        self._adopt(self._wanted)
        try:
            found = self._polled(now_s)
        except Exception as raised:  # noqa: BLE001 - of one group, and not of all
            error = self._failures.as_serving_error(joined(self._root, self._parent), raised)
            others = len(self._servables) - 1
            error.message += f" and {others} more below the same path" if others else ""
            self.due_s = now_s + self._failures.failed(error)
            return [(servable, error) for servable in self._servables]
        next_s = now_s + self._failures.succeeded(joined(self._root, self._parent))
        waiting = [each.again_s for each in self._settling.values() if each.again_s is not None]
        self.due_s = min([next_s, *waiting])
        is_quiet = not (waiting or self._alone_for or self._is_policy_unknown)
        self._unchanged.settle(found, is_quiet=is_quiet)
        if self._alone_for:  # which costs a request for each model
            self.due_s = max(self.due_s, now_s + len(self._servables) / _MOST_PER_S)
        return found

    def _polled(self, now_s: float) -> list[Found]:
        """What was found: what it was, where the listing is what it was."""
        bucket = self._open(self._servables[0].base_path)
        listings = self._listings(bucket)
        return (
            self._unchanged.found
            if listings is None
            else list(self._found(bucket, listings, now_s))
        )

    def _found(
        self,
        bucket: Bucket,
        listings: Sequence[tuple[MonitoredServable, Listing | ServingError]],
        now_s: float,
    ) -> Iterator[Found]:
        errors = self._policies.read(bucket, list(self._beside(listings)))
        self._is_policy_unknown = bool(errors)
        for servable, listed in listings:
            if (error := errors.get(_key(servable))) is not None:
                yield from self._told_once(servable, error)
                continue
            if isinstance(listed, ServingError):
                yield from self._told_once(servable, listed)
                continue
            try:
                found = self._versions(servable, listed, now_s)
            except Exception as raised:  # noqa: BLE001 - of one model, and not of all
                error = self._failures.as_serving_error(servable.base_path, raised)
                yield from self._told_once(servable, error)
                continue
            if not found and listed.is_empty:
                missing = not_found(servable, NotFound(f"{servable.base_path} not found"))
                yield from self._told_once(servable, missing)
                continue
            key = _key(servable)
            self._told.pop(key, None)
            if found or key in self._known or self._settling[key].again_s is None:
                if found != self._known.get(key):
                    self._known[key] = found
                yield servable, self._known[key]

    def _beside(
        self, listings: Iterable[tuple[MonitoredServable, Listing | ServingError]]
    ) -> Iterator[PolicyOf]:
        for servable, listed in listings:
            config = None if isinstance(listed, ServingError) else listed.config
            if config is not None:
                path = place_of(servable.base_path).path
                yield PolicyOf(_key(servable), servable, path, config)
            else:
                self._policies.forget(_key(servable))

    def _told_once(self, servable: MonitoredServable, error: ServingError) -> Iterator[Found]:
        """An error that is the same as at the last poll is not told again."""
        if self._told.get(_key(servable)) != error.message:
            self._told[_key(servable)] = error.message
            yield servable, error

    def _listings(
        self, bucket: Bucket
    ) -> Sequence[tuple[MonitoredServable, Listing | ServingError]] | None:
        """What is below each base path; None where that is what it was at the last poll."""
        places = {servable: place_of(servable.base_path) for servable in self._servables}
        if len(places) > 1 and not self._alone_for:
            try:
                names = {place.path.rpartition("/")[2] for place in places.values()}
                pages = listing.pages_of_models(bucket, self._parent, len(names))
                changed = self._unchanged.changed(pages)
                if changed is None:
                    return None
                together = listing.sorted_by_model(changed, self._parent, names)
            except (TooMany, InvalidArgument) as error:  # a name of one would hide all others
                self._alone_for = _ALONE_FOR
                reason = error.message if isinstance(error, InvalidArgument) else "it is too long"
                _logger.warning(
                    "The models below %s are listed one by one, since they cannot be listed "
                    "together: %s",
                    *(joined(self._root, self._parent), reason),
                )
            else:
                return [
                    (servable, together[place.path.rpartition("/")[2]])
                    for servable, place in places.items()
                ]
        self._alone_for = max(0, self._alone_for - 1)
        return list(self._one_by_one(bucket, places))

    def _one_by_one(
        self, bucket: Bucket, places: Mapping[MonitoredServable, Place]
    ) -> Iterator[tuple[MonitoredServable, Listing | ServingError]]:
        for servable, place in places.items():
            known = self._known.get(_key(servable), {})
            policy = partial(self._policy, bucket, servable)
            try:
                yield servable, listing.list_versions(bucket, place.path, policy, known)
            except InvalidArgument as error:
                yield servable, error

    def _policy(
        self, bucket: Bucket, servable: MonitoredServable, listed: Listing
    ) -> VersionPolicy:
        errors = self._policies.read(bucket, list(self._beside([(servable, listed)])))
        for error in errors.values():
            raise error
        return self._policies.of(_key(servable), servable)

    def _versions(
        self, servable: MonitoredServable, listed: Listing, now_s: float
    ) -> Mapping[int, Version]:
        """The versions that are asked for and complete."""
        directories = listed.versions
        if not directories and (files := listed.others or _alone(listed)):
            directories = {"": files} if is_version_of(files, servable.is_version) else {}
        numbers = {name: 1 if name == "" else parse_version(name) for name in directories}
        by_number = {n: name for name, n in sorted(numbers.items()) if n is not None and n >= 0}
        seen = {n: listing.seen(directories[name]) for n, name in by_number.items()}
        key = _key(servable)
        servable = replace(servable, policy=self._policies.of(key, servable))
        config = None if "" in directories else listed.config
        beside = "" if config is None else listing.revision([config])
        if self._seen.get(key) == (servable, beside, seen) and key in self._known:
            return self._known[key]  # nothing has changed, and nothing is waited for
        self._seen.pop(key, None)
        made: dict[int, Version] = {}

        def version(number: int) -> Version:
            if number not in made:
                made[number] = _version(servable, by_number[number], directories, beside)
            return made[number]

        settling = self._settling.setdefault(key, Settling(self._settings.settle_s))
        kept = [n for n in by_number if self._is_kept(n, seen[n], version)]
        complete = settling.complete(seen, now_s, kept)
        # What is served is not given up because it is written anew.
        known = {n: v for n, v in self._known.get(key, {}).items() if n in by_number}
        usable = complete | known.keys()
        if not usable and settling.again_s is not None:
            return {}
        if settling.again_s is None:
            self._seen[key] = (servable, beside, seen)
        chosen = _chosen(servable, {by_number[n] or "1": n for n in usable})
        return {n: version(n) if n in complete else known[n] for n in chosen}

    def _is_kept(self, number: int, seen: Seen, version: Callable[[int], Version]) -> bool:
        if seen.has_manifest or seen.is_uploading or not self._settings.settle_s:
            return False
        return self._settings.is_kept(number, version(number))


def _alone(listed: Listing) -> list[Entry]:
    return [] if listed.file is None else [listed.file]


def _key(servable: MonitoredServable) -> _Key:
    """What a model is known by, also when its policy changes."""
    return servable.name, servable.base_path


def _chosen(servable: MonitoredServable, names: Mapping[str, int]) -> Collection[int]:
    return select(servable, names).keys()


def _version(
    servable: MonitoredServable,
    name: str,
    directories: Mapping[str, Sequence[Entry]],
    beside: str,
) -> Version:
    entries = listing.without_markers(directories[name])
    location = joined(place_of(servable.base_path).uri, name)
    files, revision = listing.footprint(entries), listing.revision(entries)
    return Version(location, files, revision, beside)

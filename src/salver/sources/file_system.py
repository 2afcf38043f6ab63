"""Polls base paths and aspires to the versions found there.

Each model stands alone: one whose base path is missing keeps what it has, and the others go on
(the reference gives up the whole poll).

Source: TensorFlow Serving `sources/storage_path/file_system_storage_path_source.cc`.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from salver.errors import InvalidArgument, ServingError
from salver.files import list_names, local_path, require_path, unreachable
from salver.sources.looks import Looks
from salver.sources.versions import Policy
from salver.sources.watcher import Watcher

__all__ = ["Aspire", "FileSystemSource", "Findings", "MonitoredServable", "find_versions"]

_logger = logging.getLogger(__name__)

Aspire = Callable[[str, Mapping[int, str]], None]
"""Told which versions of a name to serve, version → directory. Returns at once."""


class Findings(Protocol):
    """What a look at the versions that do not load has found."""

    @property
    def directories(self) -> Collection[str]:
        """Of versions whose files are worth watching: a change may let a failed load succeed."""
        ...

    @property
    def again_s(self) -> float | None:
        """When to look again at the latest, in seconds; None for whenever the poll comes by."""
        ...


@dataclass(frozen=True, slots=True)
class _Nothing:
    directories: tuple[str, ...] = ()
    again_s: float | None = None


@dataclass(frozen=True, slots=True)
class MonitoredServable:
    """One model to poll for.

    Attributes:
        name: the servable stream.
        base_path: an absolute path, or a URI.
        policy: which of the versions there to serve.
    """

    name: str
    base_path: str
    policy: Policy


def find_versions(servable: MonitoredServable) -> dict[int, str]:
    """The versions of a servable that its base path and policy ask for: version → directory.

    Raises:
        ServingError: the base path is missing or cannot be read.
    """
    try:
        base = require_path(servable.base_path)
    except ServingError as error:
        raise _not_found(servable, error) from error
    selection = servable.policy.select(servable.name, list_names(base))
    for warning in selection.warnings:
        _logger.warning("%s", warning)
    if selection.is_empty_by_mistake:
        _logger.warning(
            "No versions of servable %s found under base path %s. Did you forget to name your "
            "leaf directory as a number (eg. '/1/')?",
            servable.name,
            servable.base_path,
        )
    return {version: os.path.join(base, name) for version, name in selection.names.items()}


class FileSystemSource:
    """One thread that polls for all models. Safe to use from any thread."""

    def __init__(
        self,
        aspire: Aspire,
        *,
        poll_wait_seconds: int = 1,
        recheck: Callable[[], Findings] = _Nothing,
        is_watching: bool = True,
        wait: Callable[[threading.Event, float | None], bool] = threading.Event.wait,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a source that does nothing before `start`.

        Args:
            aspire: told when what is wanted of a model has changed, and after each change of
                its configuration.
            poll_wait_seconds: pause between polls; 0 polls once for each configuration, a
                negative number never.
            recheck: called after each poll; looks at the versions that do not load.
            is_watching: whether a change on disk may wake the poll before its time.
            wait: waits for an event so many seconds; a test's own clock goes in here.
            clock: seconds, monotonic.
        """
        self._aspire = aspire
        self._poll_wait_seconds = poll_wait_seconds
        self._recheck = recheck
        self._wait = wait
        self._lock = threading.Lock()
        self._servables: tuple[MonitoredServable, ...] = ()
        self._by_name: dict[str, MonitoredServable] = {}  # the same
        self._known: dict[str, Mapping[int, str]] = {}  # what was last aspired to
        self._looks = Looks(clock)
        self._placed: tuple[MonitoredServable, ...] = ()  # those in the next
        self._places: dict[str, str] = {}  # name → base path on this machine
        self._wake = threading.Event()
        self._is_closing = False
        self._has_polled = False
        has_period = poll_wait_seconds > 0
        self._watcher = Watcher(self.poke) if is_watching and has_period else None
        # Nothing is watched at the first poll: importing the library would slow the first load.
        first_wait_s = min(poll_wait_seconds, 1) if self._watcher else poll_wait_seconds
        self._first_wait_s = float(first_wait_s)
        self._again_s: float | None = None  # what the last recheck asked for
        self._thread = threading.Thread(target=self._run, name="salver-source", daemon=True)

    def start(self) -> None:
        """Begin to poll."""
        if self._poll_wait_seconds >= 0:
            self._thread.start()

    def reconfigure(self, servables: Iterable[MonitoredServable]) -> None:
        """Replace the whole set of models and poll at once.

        Models that are gone are given up before this returns.
        """
        with self._lock:
            before, self._servables = self._servables, tuple(servables)
            if before == self._servables:
                return
            names = self._by_name = {servable.name: servable for servable in self._servables}
            for gone in sorted({servable.name for servable in before} - names.keys()):
                self._aspire(gone, {})
            kept = frozenset(before) & frozenset(self._servables)
            keep = {servable.name for servable in kept}
            self._known = {name: known for name, known in self._known.items() if name in keep}
        self.poke()

    def poke(self) -> None:
        """Poll now."""
        self._wake.set()

    def stop(self) -> None:
        """Aspire to nothing more, and give nothing up; `close` waits for the threads."""
        with self._lock:
            self._is_closing = True
        self._wake.set()
        if self._watcher is not None:
            self._watcher.stop()

    def close(self, timeout_s: float | None = None) -> bool:
        """Stop and join the threads.

        Args:
            timeout_s: how long to wait; a file system may hang for ever. None for any time.

        Returns:
            Whether the threads have ended.
        """
        self.stop()
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
        has_ended = self._watcher is None or self._watcher.close(left_s)
        return has_ended and not self._thread.is_alive()

    def _run(self) -> None:
        while not self._is_closing:
            self._wake.clear()
            try:
                self._poll()
            except Exception:
                _logger.exception("The poll failed")
            self._wait(self._wake, self._pause_s())
            self._has_polled = True

    def _pause_s(self) -> float | None:
        if self._poll_wait_seconds == 0:
            return None
        pause_s = float(self._poll_wait_seconds) if self._has_polled else self._first_wait_s
        return pause_s if self._again_s is None else min(pause_s, self._again_s)

    def _poll(self) -> None:
        servables = self._servables
        if servables is not self._placed:
            self._placed, self._places = servables, _places(servables)
        places = self._places
        listed = frozenset(self._looks.to_list(list(places.items())))
        known = self._known
        for servable in servables:
            name = servable.name
            if name not in places:
                continue  # nobody can look there, as was said
            if name not in listed and name in known:
                continue  # as it was
            try:
                found = find_versions(servable)
            except ServingError as error:
                _complain(error)
                continue
            self._report(servable, found)
        findings = self._recheck()
        self._again_s = findings.again_s
        if self._watcher is not None and self._has_polled:
            self._update_watch(self._watcher, places.values(), findings.directories)

    def _report(self, servable: MonitoredServable, found: Mapping[int, str]) -> None:
        with self._lock:
            is_current = self._by_name.get(servable.name) == servable and not self._is_closing
            if is_current and self._known.get(servable.name) != found:
                self._known[servable.name] = found
                self._aspire(servable.name, found)

    def _update_watch(
        self, watcher: Watcher, base_paths: Iterable[str], versions: Iterable[str]
    ) -> None:
        directories = set(base_paths)
        for version in versions:
            directories.update(where for where, _, _ in os.walk(version))
        watcher.watch(frozenset(filter(os.path.isdir, directories)))


def _places(servables: Iterable[MonitoredServable]) -> dict[str, str]:
    """Name → where its base path is on this machine, but for schemes nobody can look at."""
    places: dict[str, str] = {}
    for servable in servables:
        error = unreachable(servable.base_path)
        if error is None:
            places[servable.name] = local_path(servable.base_path)
        else:
            _complain(_not_found(servable, error))
    return places


def _not_found(servable: MonitoredServable, error: ServingError) -> InvalidArgument:
    return InvalidArgument(
        f"Could not find base path {servable.base_path} for servable {servable.name} "
        f"with error {error.status}"
    )


def _complain(error: ServingError) -> None:
    _logger.error(
        "FileSystemStoragePathSource encountered a filesystem access error: %s", error.message
    )

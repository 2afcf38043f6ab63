"""The models of one source: a thread that polls for them, and what it has found.

A source that hangs or fails has its models stay as they are, and holds up no other source. Those of
which it has never told anything are served as the cache has them meanwhile.
"""

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from salver.errors import ServingError
from salver.instruments.files import local_path
from salver.instruments.notices import NOTICE
from salver.sources.polling import Polling, Wait
from salver.sources.protocol import Aspire, Found, MonitoredServable, Source, Version
from salver.sources.settings import STALE_WAIT_S
from salver.sources.silence import Silence
from salver.sources.watcher import Watcher

__all__ = ["Findings", "Kept", "Nothing", "OnStale", "PolledSource", "complain"]

_logger = logging.getLogger(__name__)

_AWAY: Final = "its store is away"


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
class Nothing:
    """Findings of a look at nothing."""

    directories: tuple[str, ...] = ()
    again_s: float | None = None


Kept = Callable[[MonitoredServable], Mapping[int, Version]]
"""What the cache has of a model, by the numbers of the versions that its policy asks for."""

OnStale = Callable[[str, Mapping[int, Version]], None]
"""Told which versions of a model are served as they were kept: its store is away, or has other
files of them by now. None of them any more: an empty mapping."""


def _keeps_nothing(_servable: MonitoredServable) -> Mapping[int, Version]:
    return {}


def _nobody_minds(_name: str, _versions: Mapping[int, Version]) -> None:
    return None


class PolledSource(Polling):
    """One source and its thread. Safe to use from any thread.

    Attributes:
        source: see there.
    """

    def __init__(
        self,
        source: Source,
        aspire: Aspire,
        *,
        name: str,
        recheck: Callable[[], Findings] = Nothing,
        kept: Kept = _keeps_nothing,
        on_stale: OnStale = _nobody_minds,
        is_watching: bool = False,
        wait: Wait = threading.Event.wait,
        answer_s: float = STALE_WAIT_S,
    ) -> None:
        """Do nothing before `start`.

        Args:
            source: finds versions.
            aspire: told when what is wanted of a model has changed, and after each change of
                its configuration.
            name: of the thread.
            recheck: called after each poll; looks at the versions that do not load.
            kept: see there; asked for models that the source cannot tell of.
            on_stale: see there.
            is_watching: whether a change in a base path may wake the poll before its time.
            wait: see `Polling`.
            answer_s: how long a source that is asked may say nothing before what was kept of models
                is served.
        """
        super().__init__(name, is_watching=is_watching and source.poll_wait_s > 0, wait=wait)
        self.source = source
        self._aspire = aspire
        self._recheck = recheck
        self._kept = kept
        self._on_stale = on_stale
        self._answer_s = answer_s
        self._telling = threading.Lock()  # held while what was found, or kept, is told
        self._stale: set[str] = set()  # of these the known versions are those that were kept
        self._lock = threading.Lock()
        self._servables: tuple[MonitoredServable, ...] = ()
        self._by_name: dict[str, MonitoredServable] = {}  # the same
        self._known: dict[str, Mapping[int, Version]] = {}  # what was last found
        self._versions: dict[str, Version] = {}  # the same, by their locations
        self._has_polled = False
        self._again_s: float | None = None  # what the last recheck asked for
        self._may_report = threading.Event()
        self._may_report.set()

    def start(self) -> None:
        """Begin to poll, unless the source is never to be polled, or has begun."""
        if self.source.poll_wait_s >= 0 and self._thread.ident is None:
            super().start()

    def look_ahead(self, servables: Iterable[MonitoredServable]) -> None:
        """Begin to poll for what the first `reconfigure` is about to name; report nothing before.

        What was found of models that it then does not name is never reported.
        """
        with self._lock:
            if self._servables or self._closing.is_set():
                return
            self._may_report.clear()
            self._set(servables)
        self.start()

    def reconfigure(self, servables: Iterable[MonitoredServable]) -> None:
        """Replace the whole set of models and poll at once. Of those that are gone nothing is said.

        A poll that is under way reports nothing of them when this has returned.
        """
        with self._lock:
            before = self._servables
            self._set(servables)
            self._may_report.set()
            if before == self._servables:
                return
            keep = {servable.name for servable in frozenset(before) & frozenset(self._servables)}
            self._known = {name: known for name, known in self._known.items() if name in keep}
            gone = self._stale - self._known.keys()
            self._stale -= gone
            self._index()
        for name in gone:
            self._on_stale(name, {})
        self.poke()

    def _set(self, servables: Iterable[MonitoredServable]) -> None:
        """Under the lock."""
        wanted = tuple(servables)
        if wanted != self._servables:
            self._servables = wanted
            self._by_name = {servable.name: servable for servable in wanted}

    def stop(self) -> None:
        """Aspire to nothing more, and give nothing up; `close` waits for the thread."""
        with self._lock:
            self._closing.set()
            self._may_report.set()
        super().stop()

    def close(self, timeout_s: float | None = None) -> bool:
        """See `Polling.close`; closes what the source has open, where it has a `close`."""
        has_ended = super().close(timeout_s)
        close = getattr(self.source, "close", None)
        if has_ended and close is not None:
            close()
        return has_ended

    def version(self, location: str) -> Version | None:
        """What was last listed at a location; None when nothing is there any more."""
        return self._versions.get(location)

    def servable_of(self, location: str) -> MonitoredServable | None:
        """The model of which a version was last listed at a location; None for none."""
        for name, found in tuple(self._known.items()):
            if any(version.location == location for version in found.values()):
                return self._by_name.get(name)
        return None

    def known(self, name: str) -> Collection[int]:
        """The versions of a model that were found last, and are asked for."""
        return self._known.get(name, {}).keys()

    def _pause_s(self) -> float | None:
        is_first, self._has_polled = not self._has_polled, True
        pause_s = self.source.poll_wait_s
        if pause_s == 0:
            return None
        # Nothing is watched at the first poll: importing the library would slow the first load.
        pause_s = min(pause_s, 1.0) if is_first and self._watcher is not None else pause_s
        return pause_s if self._again_s is None else min(pause_s, self._again_s)

    def _poll(self) -> None:
        servables = self._servables
        told: ServingError | None = None  # one error may be of many models
        try:
            for servable, found in self._found(servables):
                self._may_report.wait()
                if isinstance(found, ServingError):
                    if found is not told:
                        complain(found)
                    told = found
                    self._fall_back([servable], _AWAY)
                elif found is not self._known.get(servable.name):
                    self._report(servable, found)
        except ServingError as error:
            self._may_report.wait()
            complain(error)
            self._fall_back(servables, _AWAY)
        self._may_report.wait()
        with self._lock:
            self._index()
        findings = self._recheck()
        self._again_s = findings.again_s
        if self._watcher is not None and self._has_polled:
            self._watch(self._watcher, servables, findings.directories)

    def _found(self, servables: Sequence[MonitoredServable]) -> Iterable[Found]:
        """What the source says; while it says nothing, what was kept is told of by another thread.

        Only of models of which nothing is known: what is served is not touched.
        """
        if not servables:
            return ()
        if self.source.fetcher is None:
            return self.source.find(servables)
        silence = Silence(
            f"{self._thread.name}-silence", self._answer_s, self._on_silence, self._may_report
        )
        return silence.heard(lambda: self.source.find(servables))

    def _on_silence(self) -> None:
        self._fall_back(self._servables, f"its store has not answered for {self._answer_s:g} s")

    def _fall_back(self, servables: Iterable[MonitoredServable], why: str) -> None:
        """Have what was kept of models serve of which the source has never told anything."""
        for servable in servables:
            if servable.name in self._known or not (kept := self._kept(servable)):
                continue
            with self._telling:
                if servable.name in self._known:  # the source was quicker
                    continue
                _logger.warning(
                    "Servable %s is served from the model cache, stale, since %s: version %s",
                    *(servable.name, why, ", ".join(map(str, sorted(kept)))),
                )
                self._on_stale(servable.name, kept)
                self._take(servable, kept)
                with self._lock:
                    if is_served := self._known.get(servable.name) is kept:
                        self._stale.add(servable.name)
                if not is_served:  # it was configured otherwise meanwhile
                    self._on_stale(servable.name, {})

    def _is_back(self, name: str, found: Mapping[int, Version]) -> None:
        """The source tells of a model again; versions of other files stay stale."""
        kept = self._known.get(name, {})
        outdated = {n: of for n, of in kept.items() if n in found and found[n] != of}
        _logger.log(NOTICE, "The store of servable %s is back", name)
        self._stale.discard(name)
        self._on_stale(name, outdated)

    def _report(self, servable: MonitoredServable, found: Mapping[int, Version]) -> None:
        with self._telling:
            if servable.name in self._stale:
                self._is_back(servable.name, found)
            self._take(servable, found)

    def _take(self, servable: MonitoredServable, found: Mapping[int, Version]) -> None:
        locations = {number: version.location for number, version in found.items()}
        with self._lock:
            if self._by_name.get(servable.name) != servable or self._closing.is_set():
                return
            before, self._known[servable.name] = self._known.get(servable.name), found
            if before == found:
                return
            self._versions.update((version.location, version) for version in found.values())
            # Other files at the same places change nothing of what is loaded.
            if before is None or locations != {n: v.location for n, v in before.items()}:
                self._aspire(servable.name, locations)

    def _index(self) -> None:
        """Under the lock: forget versions that are known no more."""
        if self.source.fetcher is not None:
            known = self._known.values()
            self._versions = {v.location: v for found in known for v in found.values()}

    @staticmethod
    def _watch(
        watcher: Watcher, servables: Iterable[MonitoredServable], versions: Iterable[str]
    ) -> None:
        directories = {local_path(servable.base_path) for servable in servables}
        for version in versions:
            directories.update(where for where, _, _ in os.walk(version))
        watcher.watch(frozenset(filter(os.path.isdir, directories)))


def complain(error: ServingError) -> None:
    """Log why a model cannot be looked for, in the words users search for."""
    _logger.error(
        "FileSystemStoragePathSource encountered a filesystem access error: %s", error.message
    )

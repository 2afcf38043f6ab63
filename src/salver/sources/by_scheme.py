"""All sources of a server: each model is looked for by the one for the scheme of its base path.

Each has a thread of its own, made when a model first needs it; the file system's is always there,
since it also looks at the files of versions that failed.
"""

import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from salver.errors import NotFound, ServingError, Unimplemented
from salver.instruments.cache import Cache
from salver.instruments.files import Footprint, footprint, local_path, scheme_of
from salver.sources.fetch_meter import FetchMeter, OnFetched
from salver.sources.fetching import Fetched, fetch_version
from salver.sources.file_system import FileSystem, find_versions, not_found
from salver.sources.polled import Findings, Nothing, OnStale, PolledSource, complain
from salver.sources.polling import Wait
from salver.sources.protocol import Aspire, Fetcher, MonitoredServable, Source, Stage, Version
from salver.sources.records import KeptVersions
from salver.sources.settings import STALE_WAIT_S
from salver.sources.table import make_source
from salver.sources.verification import LocalCopies, Verification
from salver.vocabulary.servable import Specific

__all__ = ["Sources"]

_LOCAL: Final = ""
_COPIES: Final = "copy"  # no scheme of a source: what is copied is on this machine
_UNKNOWN_FILES: Final = Footprint(0, 0, 0, 0)


class Sources:
    """Looks for models, wherever they are, and fetches them. Safe to use from any thread."""

    def __init__(
        self,
        file_system: FileSystem,
        cache: Callable[[], Cache],
        *,
        verification: Verification = Verification(),  # noqa: B008 - frozen
        is_watching: bool = True,
        wait: Wait = threading.Event.wait,
        make: Callable[[str], Source | None] = make_source,
        on_fetched: OnFetched = lambda *_what: None,
        stale_wait_s: float = STALE_WAIT_S,
    ) -> None:
        """Look for nothing before `connect` and `start`.

        Args:
            file_system: the source for paths, and for what no other is.
            cache: where fetched versions are kept; asked when one is fetched.
            verification: which sums versions have to bring.
            is_watching: whether a change on disk may wake the poll before its time.
            wait: see `Polling`.
            make: makes the source for a scheme; see `table.make_source`.
            on_fetched: told of each fetch that has ended; see `FetchMeter`.
            stale_wait_s: how long a store may say nothing before what the cache has is served.
        """
        self._file_system = file_system
        self._cache = cache
        self._verification = verification
        self._copies = LocalCopies(verification)
        self._is_watching = is_watching
        self._wait = wait
        self._stale_wait_s = stale_wait_s
        self._make = make
        self._meter = FetchMeter(on_fetched)
        self._kept = KeptVersions(lambda: cache().directory, time.monotonic)
        self._aspire: Aspire = lambda _name, _versions: None
        self._on_stale: OnStale = lambda _name, _versions: None
        self._configuring = threading.Lock()  # guards what follows; nothing is waited for in it
        self._wanted: tuple[MonitoredServable, ...] = ()
        self._is_started = False
        self._is_stopped = False
        self._polled: dict[str, PolledSource | ServingError | None] = {}
        self._ahead: threading.Thread | None = None
        self._fetching = threading.Lock()  # guards what follows
        self._fetched: weakref.WeakSet[Fetched] = weakref.WeakSet()

    def connect(
        self,
        aspire: Aspire,
        recheck: Callable[[], Findings] = Nothing,
        on_stale: OnStale = lambda _name, _versions: None,
    ) -> None:
        """Say who is to be told; once, before anything else.

        Args:
            aspire: told when what is wanted of a model has changed, and after each change of
                its configuration.
            recheck: called after each poll of the file system; looks at the versions that do not
                load.
            on_stale: see there.
        """
        self._aspire = aspire
        self._on_stale = on_stale
        self._polled[_LOCAL] = PolledSource(
            self._file_system,
            aspire,
            name="salver-source",
            recheck=recheck,
            is_watching=self._is_watching,
            wait=self._wait,
        )

    def unreachable(self, base_path: str) -> ServingError | None:
        """Why nobody here can look at a base path; None where one can, be it that nothing is there.

        May import a plug-in, when the first base path of its scheme is named.
        """
        with self._configuring:
            polled = self._of(scheme_of(base_path))
        if isinstance(polled, PolledSource):
            return None
        if polled is not None:
            return polled
        try:
            local_path(base_path)
        except Unimplemented as error:
            return error
        return None

    def look_ahead(self, servables: Iterable[MonitoredServable]) -> None:
        """Begin to ask stores for what the first `reconfigure` is about to name.

        The rest of a server is made meanwhile. Nothing is reported before that, errors neither.
        """
        far = [servable for servable in servables if scheme_of(servable.base_path)]
        if far and self._ahead is None:
            work = partial(self._look_ahead, far)
            self._ahead = threading.Thread(target=work, name="salver-look-ahead", daemon=True)
            self._ahead.start()

    def _look_ahead(self, servables: Iterable[MonitoredServable]) -> None:
        for scheme, of in _by_scheme(servables).items():
            with self._configuring:
                if self._wanted or self._is_stopped:
                    return
                polled = self._of(scheme)
                if isinstance(polled, PolledSource):
                    polled.look_ahead(of)

    def start(self) -> None:
        """Begin to poll; and clean up after servers that were killed."""
        # Daemon: what it leaves, the next start removes.
        threading.Thread(target=self._sweep, name="salver-cache-sweep", daemon=True).start()
        with self._configuring:
            self._is_started = True
            for polled in self._all():
                polled.start()

    def reconfigure(self, servables: Iterable[MonitoredServable]) -> None:
        """Replace the whole set of models and poll at once.

        Models that are gone are given up before this returns.
        """
        wanted = tuple(servables)
        if wanted == self._wanted:
            return
        with self._configuring:
            of_scheme = _by_scheme(wanted)
            for scheme in of_scheme:
                self._of(scheme)
            before, self._wanted = self._wanted, wanted
            for scheme, polled in tuple(self._polled.items()):
                if isinstance(polled, PolledSource):
                    polled.reconfigure(of_scheme.get(scheme, ()))
            for gone in sorted({each.name for each in before} - {each.name for each in wanted}):
                self._aspire(gone, {})
        for servable in wanted:
            if (error := self.unreachable(servable.base_path)) is not None:
                complain(not_found(servable, error))

    def poke(self) -> None:
        """Poll now."""
        for polled in self._all():
            polled.poke()

    def versions(self, servable: MonitoredServable) -> Collection[int]:
        """The versions that a configuration asks for, as far as that is known without waiting.

        Raises:
            ServingError: its base path cannot be looked at.
        """
        if not scheme_of(servable.base_path):
            return find_versions(servable)
        polled = self._polled.get(scheme_of(servable.base_path))
        known = polled.known(servable.name) if isinstance(polled, PolledSource) else ()
        # Asked for by their numbers, they may be found at the next poll.
        return servable.policy.versions if isinstance(servable.policy, Specific) else known

    def stop(self) -> None:
        """Aspire to nothing more, and give nothing up; `close` waits for the threads."""
        self._is_stopped = True  # without the lock: a plug-in may be hanging in its import
        for polled in self._all():
            polled.stop()

    def close(self, timeout_s: float | None = None) -> bool:
        """Stop and join the threads; see `Polling.close`."""
        self.stop()
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        has_ended = True
        for polled in self._all():
            left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
            has_ended &= polled.close(left_s)
        if self._ahead is not None:
            self._ahead.join(None if until_s is None else max(0.0, until_s - time.monotonic()))
            has_ended &= not self._ahead.is_alive()
        return has_ended

    # -- fetching --------------------------------------------------------------------------------

    def lane(self, location: str) -> str | None:
        """What a version has to be fetched by, such as `s3`; None when it is loaded in place."""
        return scheme_of(location) or (_COPIES if self._verification.is_demanded else None)

    def look(self, location: str) -> Footprint:
        """How the files of a version look: on this machine now, elsewhere when last listed.

        Raises:
            ServingError: nobody can tell.
        """
        if not scheme_of(location):
            return footprint(location)
        version, _ = self._listed(location)
        files = version.files or _UNKNOWN_FILES
        if version.revision or version.beside:
            import hashlib  # here: compiled code, which few servers need

            said = version.revision + version.beside
            digest = hashlib.sha256(said.encode(errors="surrogateescape")).digest()
            files = replace(files, inode=int.from_bytes(digest[:8], "big"))
        return files

    def fetch(self, number: int, location: str, stage: Stage) -> Fetched:
        """Make a version present, and keep it so until what is returned is closed.

        Raises:
            ServingError: see `fetch_version`.
        """
        fetcher: Fetcher = self._copies
        base_path = ""
        if scheme_of(location):
            version, polled = self._listed(location)
            its_own, servable = polled.source.fetcher, polled.servable_of(location)
            assert its_own is not None, "whose versions are elsewhere"
            fetcher = self._meter.metered("" if servable is None else servable.name, its_own)
            base_path = "" if servable is None else servable.base_path
        else:
            version = self._copies.version(location)
        fetched = fetch_version(
            number, version, fetcher, self._cache(), stage, self._verification, base_path=base_path
        )
        with self._fetching:
            self._fetched.add(fetched)
        return fetched

    def check(self, directory: str, stop: Callable[[], object]) -> None:
        """Compare a version that is loaded where it stands with the sums it brings, if it does.

        Args:
            directory: of the version. One that was fetched has been compared then.
            stop: called again and again; raises once nobody wants the outcome any more.

        Raises:
            DataLoss: its files are not those.
            ServingError: see `Verification.check`.
        """
        if not self.origin(directory):
            self._verification.check(directory, directory, stop)

    def origin(self, directory: str) -> str:
        """Where a version that is here now was fetched from; empty where it was not fetched."""
        with self._fetching:
            return next((of.location for of in self._fetched if of.directory == directory), "")

    def _listed(self, location: str) -> tuple[Version, PolledSource]:
        polled = self._polled.get(scheme_of(location))
        version = polled.version(location) if isinstance(polled, PolledSource) else None
        if version is None or not isinstance(polled, PolledSource):
            raise NotFound(f"{location} is not there any more")
        return version, polled

    # -- within ----------------------------------------------------------------------------------

    def _sweep(self) -> None:
        with suppress(ServingError, OSError):  # told of when a version is to be fetched
            self._cache().sweep()

    def _all(self) -> list[PolledSource]:
        return [each for each in tuple(self._polled.values()) if isinstance(each, PolledSource)]

    def _of(self, scheme: str) -> PolledSource | ServingError | None:
        """Under the lock: what looks after a scheme, or why nothing does."""
        if scheme not in self._polled:
            self._polled[scheme] = self._made(scheme)
        return self._polled[scheme]

    def _made(self, scheme: str) -> PolledSource | ServingError | None:
        try:
            source = self._make(scheme)
        except ServingError as error:
            return error
        if source is None:
            return None
        polled = PolledSource(
            source,
            self._aspire,
            name=f"salver-source-{scheme}",
            kept=self._kept,
            on_stale=self._on_stale,
            wait=self._wait,
            answer_s=self._stale_wait_s,
        )
        if self._is_started and not self._is_stopped:
            polled.start()
        return polled


def _by_scheme(servables: Iterable[MonitoredServable]) -> dict[str, list[MonitoredServable]]:
    found: dict[str, list[MonitoredServable]] = {}
    for servable in servables:
        found.setdefault(scheme_of(servable.base_path), []).append(servable)
    return found

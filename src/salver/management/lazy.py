"""Models that are loaded when a request needs them: in the place of the loader and its map.

To the core, a placeholder is a servable that loads quickly. The map gives out the model that a
placeholder holds, or raises `NotLoaded`, by which a request can wait for it.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final, Protocol, cast
from weakref import WeakValueDictionary

from salver.config.model_options import LoadSettings
from salver.config.options import ServerOptions, schedulable_cpus
from salver.errors import ServingError
from salver.inference.servable import Servable
from salver.instruments.files import drop_from_cache, footprint
from salver.lifecycle.attempt import Local
from salver.lifecycle.fetching import Fetcher
from salver.lifecycle.handles import Entry, ServingMap
from salver.lifecycle.late_fetches import LateFetch
from salver.lifecycle.loader import Footprinter
from salver.lifecycle.monitor import VersionState, VersionStatus
from salver.lifecycle.placeholders import Held, NotLoaded, Placeholder
from salver.lifecycle.residency import Residency, ResidencyOptions
from salver.metrics.catalogue import BY_NAME
from salver.metrics.text import Cell, Family
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.servable import ServableId

__all__ = ["LazyModels", "LazyServingMap", "LoadsAndInspects", "is_lazy"]


class LoadsAndInspects(Protocol):
    """What loads the models: see `server.loading.Loader`."""

    def __call__(self, settings: LoadSettings, id: ServableId, directory: str) -> Servable:
        """Load one version."""
        ...

    def inspect(self, settings: LoadSettings, directory: str) -> ModelInfo | None:
        """See `Loader.inspect`."""
        ...


def is_lazy(options: ServerOptions) -> bool:
    """Whether models are loaded when a request needs them."""
    return options.lazy_load_models or options.max_loaded_models > 0


class LazyServingMap(ServingMap[Servable]):
    """A serving map of placeholders, which gives out what they hold."""

    def acquire(self, name: str, version: int | None = None) -> Entry[Servable]:
        """See `ServingMap.acquire`; what is given has the `id`, `model` and `release` of an entry.

        Raises:
            NotLoaded: the version is available, but not in memory.
            ServingError: also what its last load failed with.
        """
        return _held(super().acquire(name, version))

    def acquire_label(self, name: str, label: str) -> Entry[Servable]:
        """See `ServingMap.acquire_label`; raises as `acquire`."""
        return _held(super().acquire_label(name, label))


def _held(entry: Entry[Servable]) -> Entry[Servable]:
    placeholder_entry = cast("Entry[Placeholder[Servable]]", entry)
    return cast("Entry[Servable]", Held.of(placeholder_entry))


class LazyModels:
    """Loads versions when requests need them. Any thread may call anything here.

    Attributes:
        serving: where they are to be published.
        residency: says which are in memory.
    """

    def __init__(
        self,
        loader: LoadsAndInspects,
        options: ServerOptions,
        *,
        transient_load_bytes: int = 0,
        check: Callable[[str], object] = lambda _directory: None,
        fetcher: Fetcher | None = None,
        look: Footprinter = footprint,
        after_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with none.

        Args:
            loader: loads them when it is time.
            options: the flags.
            check: called with a version directory before each load, in whose thread; may raise
                `ServingError`.
            transient_load_bytes: what each load takes beside its estimate until it is over.
            fetcher: brings versions that are elsewhere, when they are asked for; None where all
                are on this machine.
            look: takes the footprint of a version, wherever it is.
            after_change: called after each load and each eviction, from some thread.
            clock: seconds, monotonic.
        """
        self._fetcher = fetcher
        self.serving: Final = LazyServingMap()
        self._copies: dict[str, int] = {}  # model → processes that hold a version
        self._loader = loader
        self._check = check
        self._is_cache_flushed = options.flush_filesystem_caches
        # Those that the manager still keeps: until they are unloaded.
        self._placeholders: WeakValueDictionary[ServableId, Placeholder[Servable]] = (
            WeakValueDictionary()
        )
        self.residency: Residency[Servable] = Residency(
            ResidencyOptions(
                max_loaded=options.max_loaded_models,
                max_memory_bytes=options.max_model_memory_bytes,
                transient_load_bytes=transient_load_bytes,
                num_threads=options.num_load_threads or schedulable_cpus(),
                load_timeout_s=options.load_timeout_seconds,
            ),
            after_change=after_change,
            clock=clock,
            look=look,
            copies=lambda id: self._copies.get(id.name, 1),
        )

    def __call__(self, settings: LoadSettings, id: ServableId, directory: str) -> Servable:
        """Look at a version, and load it only if an older one is in memory; see `LoadModel`.

        Raises:
            ServingError: it will not load, as far as can be seen; or it was loaded in vain.
        """
        self._copies[id.name] = settings.instances or 1
        lane = None if self._fetcher is None else self._fetcher.lane(directory)
        # What the manager has fetched is loaded at once, to take the place of an older version.
        if lane is not None and not settings.origin:
            return self._elsewhere(settings, id, directory, lane)
        info = self._loader.inspect(settings, directory)
        told: list[ModelInfo] = []  # by a load that is over before there is a placeholder to tell
        load = partial(self._loaded, settings, id, directory, told)
        placeholder = self.residency.add(id, directory, load, info)
        self._placeholders[id] = placeholder
        if placeholder.info is None and told:
            placeholder.info = told[-1]
        return cast("Servable", placeholder)

    def _elsewhere(
        self, settings: LoadSettings, id: ServableId, location: str, lane: str
    ) -> Servable:
        """A placeholder for a version that is fetched whenever it has to be loaded."""
        fetcher, told = self._fetcher, list[ModelInfo]()
        assert fetcher is not None
        fetched: list[str] = []

        def fetch(stage: LateFetch) -> Local:
            local = fetcher.fetch(id.version, location, stage)
            fetched[:] = [local.directory]
            return local

        def load() -> Servable:
            return self._loaded(replace(settings, origin=location), id, fetched[0], told)

        placeholder = self.residency.add(id, location, load, fetch=fetch, lane=lane)
        self._placeholders[id] = placeholder
        return cast("Servable", placeholder)

    def is_fetched_early(self, id: ServableId) -> bool:
        """Whether a version is fetched before anybody asks for it: to replace one in memory."""
        return self.residency.is_in_use(id.name)

    def _loaded(
        self, settings: LoadSettings, id: ServableId, directory: str, told: list[ModelInfo]
    ) -> Servable:
        try:
            self._check(directory)
            servable = self._loader(settings, id, directory)
        finally:
            if self._is_cache_flushed:
                drop_from_cache(directory)
        told[:] = [servable.report()]
        placeholder = self._placeholders.get(id)
        if placeholder is not None and placeholder.info is None:
            placeholder.info = told[-1]
        return servable

    def bring_in(self, name: str) -> None:
        """Have the versions of a model loaded that are not in memory; does not wait for that.

        Nothing keeps them there afterwards: they may have to make room, as any other.
        """
        for version in self.serving.available(name):
            with suppress(ServingError):  # its last load failed, or it has gone meanwhile
                self._bring_in(name, version)

    def _bring_in(self, name: str, version: int) -> None:
        try:
            self.serving.acquire(name, version).release()
        except NotLoaded as not_loaded:
            claim = not_loaded.claim()
            claim.loading.add_done_callback(claim.__exit__)

    def described(self, status: VersionStatus) -> VersionStatus:
        """The status of a version, and whether it is in memory or why it cannot be."""
        placeholder = self._placeholders.get(status.id)
        if placeholder is None or status.state is not VersionState.AVAILABLE:
            return status
        local = placeholder.local
        return replace(
            status,
            directory=status.directory if local is None else local.directory,
            error=placeholder.error,
            is_in_memory=placeholder.is_in_memory,
            note=placeholder.note or status.note,
        )

    def families(self) -> list[Family]:
        """A collector for `Metrics.add_collector`."""
        counts = self.residency.counts
        evictions: list[Cell] = [((name,), n) for name, n in counts.evictions.items()]
        return [
            Family(BY_NAME["salver_resident_versions"], [((), counts.resident)]),
            Family(BY_NAME["salver_evictions_total"], evictions),
        ]

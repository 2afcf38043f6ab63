"""Models that are loaded when they are asked for: what takes the place of the loader and its map.

To the core, a seat is a servable that loads quickly. Whoever asks the map for it is given what the
seat holds, or told to wait by `NotLoaded`.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, Protocol, cast
from weakref import WeakValueDictionary

from salver.config.options import ServerOptions, schedulable_cpus
from salver.files import drop_from_cache
from salver.inference.servable import Servable
from salver.lifecycle.handles import Entry, ServingMap
from salver.lifecycle.monitor import VersionState, VersionStatus
from salver.lifecycle.residency import Counts, Residency, ResidencyOptions
from salver.lifecycle.seats import Held, Seat
from salver.metrics.catalogue import BY_NAME
from salver.metrics.text import Cell, Family
from salver.servable import ServableId

__all__ = ["LazyModels", "LazyServingMap", "LoadsAndLooks", "is_lazy"]


class LoadsAndLooks(Protocol):
    """What loads the models: see `server.loading.Loader`."""

    def __call__(self, platform_name: str, id: ServableId, directory: str) -> Servable:
        """Load one version."""
        ...

    def inspect(self, platform_name: str, directory: str) -> bytes | None:
        """See `AnyFormat.inspect`."""
        ...


def is_lazy(options: ServerOptions) -> bool:
    """Whether models are loaded when they are asked for."""
    return options.lazy_load_models or options.max_loaded_models > 0


class LazyServingMap(ServingMap[Servable]):
    """A serving map of seats, which gives out what they hold."""

    def acquire(self, name: str, version: int | None = None) -> Entry[Servable]:
        """See `ServingMap.acquire`; what is given is an entry as far as it is asked.

        Raises:
            NotLoaded: the version is available, but not in memory.
            ServingError: also what its last load failed with.
        """
        return _held(super().acquire(name, version))

    def acquire_label(self, name: str, label: str) -> Entry[Servable]:
        """See `ServingMap.acquire_label`; raises as `acquire`."""
        return _held(super().acquire_label(name, label))


def _held(entry: Entry[Servable]) -> Entry[Servable]:
    seated = cast("Entry[Seat[Servable]]", entry)
    return cast("Entry[Servable]", Held.of(seated))


class LazyModels:
    """Loads versions when they are asked for. Any thread may call anything here.

    Attributes:
        serving: where they are to be published.
    """

    def __init__(
        self,
        loader: LoadsAndLooks,
        options: ServerOptions,
        *,
        transient_load_bytes: int = 0,
        after_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with none.

        Args:
            loader: loads them when it is time.
            options: the flags.
            transient_load_bytes: what each load takes beside its estimate until it is over.
            after_change: called after each load and each eviction, from some thread.
            clock: seconds, monotonic.
        """
        self.serving: Final = LazyServingMap()
        self._loader = loader
        self._is_cache_flushed = options.flush_filesystem_caches
        # Those that somebody still keeps: the manager, until they are unloaded.
        self._seats: WeakValueDictionary[ServableId, Seat[Servable]] = WeakValueDictionary()
        self._residency: Residency[Servable] = Residency(
            ResidencyOptions(
                max_loaded=options.max_loaded_models,
                max_memory_bytes=options.max_model_memory_bytes,
                transient_load_bytes=transient_load_bytes,
                num_threads=options.num_load_threads or schedulable_cpus(),
                load_timeout_s=options.load_timeout_seconds,
            ),
            after_change=after_change,
            clock=clock,
        )

    def __call__(self, platform_name: str, id: ServableId, directory: str) -> Servable:
        """Look at a version, and load it only if an older one is in memory; see `LoadModel`.

        Raises:
            ServingError: it will not load, as far as can be seen; or it was loaded in vain.
        """
        definitions = self._loader.inspect(platform_name, directory)
        told: list[bytes] = []  # by a load that is over before there is a seat to tell
        load = partial(self._loaded, platform_name, id, directory, told)
        seat = self._residency.seat(id, directory, load, definitions)
        self._seats[id] = seat
        if seat.definitions is None and told:
            seat.definitions = told[-1]
        return cast("Servable", seat)

    def _loaded(
        self, platform_name: str, id: ServableId, directory: str, told: list[bytes]
    ) -> Servable:
        try:
            servable = self._loader(platform_name, id, directory)
        finally:
            if self._is_cache_flushed:
                drop_from_cache(directory)
        told[:] = [servable.model.signature_def_map]
        seat = self._seats.get(id)
        if seat is not None and seat.definitions is None:
            seat.definitions = told[-1]
        return servable

    @property
    def counts(self) -> Counts:
        """See `Residency.counts`."""
        return self._residency.counts

    @property
    def reserved(self) -> dict[ServableId, int]:
        """See `Residency.reserved`."""
        return self._residency.reserved

    def described(self, status: VersionStatus) -> VersionStatus:
        """The status of a version, and whether it is in memory or why it cannot be."""
        seat = self._seats.get(status.id)
        if seat is None or status.state is not VersionState.AVAILABLE:
            return status
        return replace(
            status, error=seat.last_error, is_in_memory=seat.is_in_memory, note=seat.note
        )

    def families(self) -> list[Family]:
        """A collector for `Metrics.add_collector`."""
        counts = self._residency.counts
        evictions: list[Cell] = [((name,), n) for name, n in counts.evictions.items()]
        return [
            Family(BY_NAME["salver_resident_versions"], [((), counts.resident)]),
            Family(BY_NAME["salver_evictions_total"], evictions),
        ]

    def recheck(self) -> tuple[str, ...]:
        """See `Residency.recheck`."""
        return self._residency.recheck()

    def stop(self) -> None:
        """See `Residency.stop`."""
        self._residency.stop()

    def close(self, timeout_s: float | None = None) -> bool:
        """See `Residency.close`."""
        return self._residency.close(timeout_s)

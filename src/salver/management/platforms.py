"""The platforms of a server: how the models of each are loaded, and the threads for their batches.

What the versions of a platform share lives as long as the loader.
"""

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping

from salver.backends.registry import Backends
from salver.backends.selection import BY_FILES, Selected, Selector
from salver.config.batching import BatchingParameters, BatchingSetup
from salver.config.model_options import LoadSettings
from salver.config.platform import PlatformConfig, platform_of_flags
from salver.config.start_up import Configuration
from salver.errors import InvalidArgument
from salver.scheduling.scheduler import BatchScheduler

__all__ = ["Platform", "PlatformTable", "Platforms"]


class Platforms(Collection[str]):
    """What a model may ask for. Packages of backends are looked for where nothing else is meant."""

    def __init__(self, configured: Iterable[str], backends: Backends | None = None) -> None:
        """Look for none yet.

        Args:
            configured: the names of the configuration.
            backends: those there are.
        """
        self._configured = tuple(configured)
        self._backends = backends or Backends()

    def __contains__(self, name: object) -> bool:
        return name in self._configured or name in self._backends

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._configured, *self._backends)))

    def __len__(self) -> int:
        return len(list(iter(self)))


class Platform:
    """How the models of a platform are loaded and run, and the threads for their batches.

    Attributes:
        select: chooses their backends.
        config: what the configuration says of the platform.
        scheduler: has the threads; None where requests are not merged.
    """

    def __init__(self, select: Selector, config: PlatformConfig, most_running: int) -> None:
        """Start the threads.

        Args:
            select: see there.
            config: see there.
            most_running: batches of a model at a time; 0 for any number.
        """
        self.select = select
        self.config = config
        self.scheduler: BatchScheduler | None = None
        if config.batching is not None:
            self.scheduler = _scheduler(config.batching, most_running)

    def parameters(self, directory: str) -> BatchingParameters | None:
        """How the version in a directory is batched; None where it is not."""
        setup = self.config.batching
        return None if setup is None else setup.version_parameters(directory)


class PlatformTable:
    """All platforms. Safe to use from any thread."""

    def __init__(self, configuration: Configuration, backends: Backends) -> None:
        """Make those of the configuration.

        Args:
            configuration: says how their models are loaded.
            backends: those there are.
        """
        self._options = configuration.options
        self._backends = backends
        self._lock = threading.Lock()  # guards what follows
        self._most_batches: Mapping[str, int] = {}
        self._platforms = {
            name: self._made(config) for name, config in configuration.platforms.items()
        }
        self._of_flags = self._platforms.get(BY_FILES)

    @property
    def names(self) -> Platforms:
        """What a model may ask for."""
        return Platforms(self._platforms, self._backends)

    def selected(self, settings: LoadSettings, directory: str) -> tuple[Platform, Selected]:
        """How the models of a platform are run, and the backend of a version.

        Raises:
            ServingError: there is no backend for it, or its options are wrong.
        """
        with self._lock:
            platform = self._platforms.get(settings.platform) or self._of_flags
            if platform is None:  # a file of platforms does not say
                platform = self._of_flags = self._made(platform_of_flags(self._options))
        try:
            return platform, platform.select(directory, settings.platform, settings.options)
        except InvalidArgument as error:  # options that are wrong stay so
            error.is_final = True
            raise

    def limit(self, most_batches: Mapping[str, int]) -> None:
        """Run so many batches of a model at a time, of models that say it."""
        with self._lock:
            self._most_batches = most_batches
            for scheduler in self._schedulers():
                scheduler.limit(most_batches)

    def stop(self) -> None:
        """Give up what backends do before loads, now and for ever."""
        self._backends.stop()

    def close(self) -> None:
        """End the threads that run batches, once no version is left."""
        for scheduler in self._schedulers():
            scheduler.close()

    def abandon(self) -> None:
        """Drop the batches that wait, and leave running ones to themselves."""
        for scheduler in self._schedulers():
            scheduler.abandon()

    def _made(self, config: PlatformConfig) -> Platform:
        selector = Selector(self._backends, config.settings)
        platform = Platform(selector, config, self._options.max_concurrent_runs_per_model)
        if platform.scheduler is not None:
            platform.scheduler.limit(self._most_batches)
        return platform

    def _schedulers(self) -> list[BatchScheduler]:
        platforms = {id(each): each for each in (*self._platforms.values(), self._of_flags)}
        found = [None if each is None else each.scheduler for each in platforms.values()]
        return [each for each in found if each is not None]


def _scheduler(setup: BatchingSetup, most_running: int) -> BatchScheduler:
    return BatchScheduler(
        setup.num_threads,
        thread_pool_name=setup.thread_pool_name,
        most_running_per_owner=most_running or None,
    )

"""How a version comes up: a backend loads it, runners and meters are put around it, it is warmed.

Called from the load threads. What the versions share, the threads that run batches above all,
lives as long as the loader.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from salver.backends.keras.options import keras_options
from salver.backends.registry import (
    DEFAULT_PLATFORM,
    AnyFormat,
    BackendOptions,
    InternalBatching,
    open_backend,
)
from salver.batching.batched import VersionBatching
from salver.batching.run_pool import RunPool
from salver.batching.runner import MeasuredProgram
from salver.batching.scheduler import BatchScheduler
from salver.config.batching import BatchingParameters, BatchingSetup
from salver.config.options import ServerOptions
from salver.config.platform import PlatformConfig
from salver.config.start_up import Configuration
from salver.errors import ServingError
from salver.inference.servable import Runner, Servable
from salver.metrics.registry import Metrics
from salver.model import Model
from salver.servable import ServableId
from salver.served_links import as_given
from salver.server.warming import Warming
from salver.warmup.replay import Replay

__all__ = ["Loader", "Marking"]

_log = logging.getLogger(__name__)

_TFLITE_POOL_NAME = "tflite_batch_threads"


class Marking(Protocol):
    """Notes what runs natively, for who may have to find out what ended this process."""

    def model(self, id: ServableId, model: Model) -> Model:
        """The same model, whose runs are noted."""
        ...

    def loading(self, id: ServableId) -> AbstractContextManager[None]:
        """Note a load, or an unload."""
        ...


class Loader:
    """Loads versions of every platform."""

    def __init__(
        self,
        configuration: Configuration,
        pool: RunPool,
        *,
        warming: Warming,
        metrics: Metrics,
        describe: Callable[[bytes], object],
        is_serving: Callable[[], bool] = lambda: True,
        marking: Marking | None = None,
    ) -> None:
        """Load nothing yet.

        Args:
            configuration: says how models are loaded.
            pool: for the runs that are too long for the loop.
            warming: replays what a version brings for that.
            metrics: counts what the versions do.
            describe: called with the signatures of each model.
            is_serving: whether anybody is served whom a load could hold up.
            marking: see there; None where nobody would read it.
        """
        # Every name in the configuration means SavedModels; the file may give several, with
        # settings of their own.
        self._platforms = {
            name: _Platform(
                open_backend(
                    DEFAULT_PLATFORM, _backend_options(config, configuration.options, is_serving)
                ),
                config,
                configuration.options.max_concurrent_runs_per_model,
            )
            for name, config in configuration.platforms.items()
        }
        self._pool = pool
        self._warming = warming
        self._metrics = metrics
        self._describe = describe
        self._is_serving = is_serving
        self._marking = marking

    @property
    def platforms(self) -> tuple[str, ...]:
        """What a model may ask for."""
        return tuple(self._platforms)

    def __call__(self, platform_name: str, id: ServableId, directory: str) -> Servable:
        """Load one version; see `server.core.LoadModel`.

        Raises:
            ServingError: whatever keeps it from being loaded or warmed up.
        """
        try:
            return self._up(self._platforms[platform_name], id, directory)
        except ServingError as error:
            error.message = as_given(error.message, directory)
            raise

    def _up(self, platform: "_Platform", id: ServableId, directory: str) -> Servable:
        noted = nullcontext() if self._marking is None else self._marking.loading(id)
        with noted, self._metrics.loads.timed_version(id.name):
            servable = self._loaded(platform, id, directory)
            warmup = platform.config.warmup
            if warmup.is_enabled:
                observe = self._metrics.loads.warmed_up
                replay = Replay(
                    *(warmup.num_iterations, warmup.num_threads),
                    observe=observe,
                    rests=self._is_serving,
                )
                self._warming.warm(replay, servable, id, directory)
            return servable

    def inspect(self, platform_name: str, directory: str) -> bytes | None:
        """See `AnyFormat.inspect`."""
        try:
            definitions = self._platforms[platform_name].backend.inspect(directory)
        except ServingError as error:
            error.message = as_given(error.message, directory)
            raise
        if definitions is not None:
            self._describe(definitions)
        return definitions

    def stop(self) -> None:
        """Give up conversions, now and for ever: what waits for them raises."""
        for platform in self._platforms.values():
            platform.backend.stop()

    def close(self) -> None:
        """End the threads that run batches, once no version is left."""
        for platform in self._platforms.values():
            if platform.scheduler is not None:
                platform.scheduler.close()

    def abandon(self) -> None:
        """Drop the batches that wait, and leave running ones to themselves."""
        for platform in self._platforms.values():
            if platform.scheduler is not None:
                platform.scheduler.abandon()

    def _loaded(self, platform: "_Platform", id: ServableId, directory: str) -> Servable:
        parameters = platform.parameters(directory)
        with self._metrics.loads.timed_model(directory):
            model: Model = platform.backend.load(directory, id)
        if self._marking is not None:
            model = self._marking.model(id, model)
        try:
            runner, close = self._runner(platform, parameters, model, id)
            self._describe(model.signature_def_map)
        except BaseException:
            model.close()
            raise
        meters = self._metrics.meter_factory(id.name, id.version, is_batched=close is not None)

        def closed() -> None:
            if close is not None:
                close()
            self._metrics.forget(id.name, id.version)

        return Servable(model, runner, meters=meters, on_close=closed)

    def _runner(
        self,
        platform: "_Platform",
        parameters: BatchingParameters | None,
        model: Model,
        id: ServableId,
    ) -> tuple[Runner, Callable[[], None] | None]:
        """Where a version runs, and what ends that; None where nothing is to end."""
        lane = self._pool.lane(id.name)
        observer = self._metrics.batches.of(id.name, id.version)
        if platform.scheduler is not None and parameters is not None:
            _log.info("Wrapping session to perform batch processing")
            batching = VersionBatching(
                parameters, platform.scheduler, lane, owner=id.name, observer=observer
            )
            return batching.runner, batching.close
        wanted = getattr(model, "internal_batching", None)
        if not isinstance(wanted, InternalBatching):
            return (lambda program, _names: MeasuredProgram(program, lane)), None
        scheduler = BatchScheduler(wanted.num_batch_threads, thread_pool_name=_TFLITE_POOL_NAME)
        batching = VersionBatching(wanted, scheduler, lane, owner=id.name, observer=observer)

        def close() -> None:
            batching.close()
            scheduler.close()

        return batching.runner, close


class _Platform:
    """A backend, and the threads for its batches."""

    def __init__(self, backend: AnyFormat, config: PlatformConfig, most_running: int) -> None:
        self.backend = backend
        self.config = config
        self.scheduler: BatchScheduler | None = None
        if config.batching is not None:
            self.scheduler = _scheduler(config.batching, most_running)

    def parameters(self, directory: str) -> BatchingParameters | None:
        """How the version in a directory is batched; None where it is not."""
        setup = self.config.batching
        return None if setup is None else setup.version_parameters(directory)


def _scheduler(setup: BatchingSetup, most_running: int) -> BatchScheduler:
    return BatchScheduler(
        setup.num_threads,
        thread_pool_name=setup.thread_pool_name,
        most_running_per_owner=most_running or None,
    )


def _backend_options(
    config: PlatformConfig, options: ServerOptions, is_serving: Callable[[], bool]
) -> BackendOptions:
    session, tflite = config.session, config.tflite
    return BackendOptions(
        saved_model_tags=session.saved_model_tags,
        session_config=session.config_proto,
        custom_op_libraries=session.custom_op_libraries,
        is_xla_enabled=session.is_xla_enabled,
        session_target=session.target,
        load_thread_pool=session.load_thread_pool,
        has_session_metadata=session.has_metadata,
        prefer_tflite_model=tflite.is_preferred,
        num_tflite_pools=max(1, tflite.num_pools),
        num_tflite_interpreters_per_pool=max(1, tflite.num_interpreters_per_pool),
        keras=keras_options(options),
        is_serving=is_serving,
    )

"""How a version comes up: a backend loads it, runners and meters are put around it, it is warmed.

Called from the load threads. What the versions share, the threads that run batches above all,
lives as long as the loader.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, cast

from salver.about.config_file import ConfigFile
from salver.backends.protocol import Backend, LoadStage
from salver.backends.registry import Backends
from salver.backends.selection import BY_FILES, Selected, Selector
from salver.children.limits import ChildSettings
from salver.children.model import ChildModel, Children, What
from salver.config.batching import BatchingParameters, BatchingSetup
from salver.config.model_options import LoadSettings, ModelOptions
from salver.config.models import ModelConfig
from salver.config.platform import PlatformConfig, platform_of_flags
from salver.config.start_up import Configuration
from salver.errors import (
    DeadlineExceeded,
    InvalidArgument,
    ServingError,
    Unavailable,
    Unimplemented,
)
from salver.inference.servable import Runner, Servable
from salver.instruments.served_links import as_given
from salver.management.beside import Rules, limited, merging_of, requested, rules_of
from salver.management.merging import OwnBatching
from salver.management.obeying import cancelling, is_serial, obeying
from salver.management.placing import (
    giving_up,
    limits_of,
    lone_by_children,
    placement,
    started_by_children,
)
from salver.management.trust import Trust
from salver.management.warming import Warming
from salver.metrics.registry import Metrics
from salver.scheduling.batched import StartsLone, VersionBatching
from salver.scheduling.run_pool import RunLimits, RunPool
from salver.scheduling.runner import MeasuredProgram
from salver.scheduling.scheduler import BatchScheduler
from salver.vocabulary.model import Merging, Model, ModelInfo, Program
from salver.vocabulary.servable import ServableId
from salver.warmup.replay import Replay, has_requests

__all__ = ["Loader", "Marking", "Platforms"]

_log = logging.getLogger(__name__)

_GIVEN_UP_S: Final = 0.5  # after which who gave a load up has said so
_MOST_BATCH_THREADS: Final = 64


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
        describe: Callable[[ModelInfo], object],
        is_serving: Callable[[], bool] = lambda: True,
        marking: Marking | None = None,
        backends: Backends | None = None,
        children: Children | None = None,
    ) -> None:
        """Load nothing yet.

        Args:
            configuration: says how models are loaded.
            pool: for the runs that are too long for the loop.
            warming: replays what a version brings for that.
            metrics: counts what the versions do.
            describe: called with what each model says of itself.
            is_serving: whether anybody is served whom a load could hold up.
            marking: see there; None where nobody would read it.
            backends: those there are.
            children: run models that are not to run here; None where all are.
        """
        self._children = children
        self._options = configuration.options
        self._backends = backends or Backends()
        self._lock = threading.Lock()
        self._most_batches: Mapping[str, int] = {}  # at a time; of models that say it
        self._model_options: Mapping[str, ModelOptions] = {}
        self._own_batching = OwnBatching()
        self._instances: dict[str, int] = {}  # of models that say it in a file beside them
        self._platforms = {
            name: self._platform(config) for name, config in configuration.platforms.items()
        }
        self._of_flags = self._platforms.get(BY_FILES)
        self._pool = pool
        self._may_run_inline = configuration.options.inline_runs != "never"
        self._warming = warming
        self._metrics = metrics
        self._describe = describe
        self._is_serving = is_serving
        self._marking = marking
        self._trust = Trust.of(configuration.options)
        self._is_stopped = False

    @property
    def platforms(self) -> Collection[str]:
        """What a model may ask for."""
        return Platforms(self._platforms, self._backends)

    def __call__(self, settings: LoadSettings, id: ServableId, directory: str) -> Servable:
        """Load one version; see `load_records.LoadModel`.

        Raises:
            ServingError: whatever keeps it from being loaded or warmed up.
        """
        try:
            platform, selected = self._selected(settings, directory)
            selected = self._trust.checked(selected, settings.origin)
            return self._up(platform, selected, settings, id, directory)
        except ServingError as error:
            error.message = as_given(error.message, directory)
            raise

    def _parameters(
        self, platform: "_Platform", name: str, directory: str
    ) -> tuple[BatchingParameters | None, BatchingParameters | None]:
        """How a version is batched, and how it would be if its model said nothing.

        Both are None where it is not.
        """
        usual, own = platform.parameters(directory), self._own_batching.of(name)
        if own is None:
            return usual, usual
        if platform.scheduler is None:
            _log.warning("salver.batching of model %s does nothing without --enable_batching", name)
            return usual, usual
        return own, usual or own

    def _platform(self, config: PlatformConfig) -> "_Platform":
        selector = Selector(self._backends, config.settings)
        platform = _Platform(selector, config, self._options.max_concurrent_runs_per_model)
        if platform.scheduler is not None:
            platform.scheduler.limit(self._most_batches)
        return platform

    def _selected(self, settings: LoadSettings, directory: str) -> "tuple[_Platform, Selected]":
        """How the models of a platform are run, and the backend of a version."""
        with self._lock:
            platform = self._platforms.get(settings.platform) or self._of_flags
            if platform is None:  # a file of platforms does not say
                platform = self._of_flags = self._platform(platform_of_flags(self._options))
        try:
            return platform, platform.select(directory, settings.platform, settings.options)
        except InvalidArgument as error:  # options that are wrong stay so
            error.is_final = True
            raise

    def _up(
        self,
        platform: "_Platform",
        selected: Selected,
        settings: LoadSettings,
        id: ServableId,
        directory: str,
    ) -> Servable:
        place = placement(settings, self._options, selected.backend, id)
        config = requested(id, directory)
        instances = 0 if config is None or settings.instances else config.instances
        if instances and place is not None:
            place = replace(place, instances=instances)
        self._set_instances(id.name, instances)
        # What a child does is not what this process may end of.
        is_noted = place is None and self._marking is not None
        noted = self._marking.loading(id) if is_noted and self._marking else nullcontext()
        with noted, self._metrics.loads.timed_version(id.name, id.version):
            trusts = partial(self._trust.trusts_in, selected.path, settings.origin)
            stage = LoadStage(
                id=id,
                is_serving=self._is_serving,
                check=self.check if place is None else self._check_of_child(),
                trusts=trusts,
            )
            if place is None:
                servable = self._loaded(platform, selected, stage, directory, config)
            else:
                servable = self._loaded_in_children(
                    *(platform, selected, place, stage, directory, config)
                )
            warmup = platform.config.warmup
            if warmup.is_enabled:
                observe = self._metrics.loads.warmed_up
                replay = Replay(
                    *(warmup.num_iterations, warmup.num_threads),
                    observe=observe,
                    rests=self._is_serving,
                )
                self._warming.warm(replay, servable, id, directory)
                self._warm_children(servable, replay, id, directory)
            return servable

    def _warm_children(
        self, servable: Servable, replay: Replay, id: ServableId, directory: str
    ) -> None:
        """Warm up the children that the requests of a warmup did not come to, now and later."""
        model = servable.model
        if not isinstance(model, ChildModel) or not has_requests(directory):
            return
        again = replace(replay, observe=lambda *_: None)  # it is one warmup to who counts them

        def warm(one: Model) -> None:
            self._warming.warm(again, Servable(one, started_by_children), id, directory)

        if len(model.instances.children) > 1:
            try:
                model.warm_each(warm)
            except BaseException:
                servable.close()
                raise
        model.warm_replacements(warm, self._options.load_timeout_seconds)

    def limit(self, models: Iterable[ModelConfig]) -> None:
        """Have the models of a configuration run as often at a time as their options say."""
        with self._lock:
            self._model_options = options = {model.name: model.options for model in models}
        self._own_batching.set(options)
        self._limit()

    def _set_instances(self, name: str, count: int) -> None:
        """Have a model run so often at a time, as a file beside it says; 0 where none does."""
        with self._lock:
            if self._instances.get(name, 0) == count:
                return
            self._instances[name] = count
        self._limit()

    def _limit(self) -> None:
        with self._lock:
            options, instances = self._model_options, dict(self._instances)
        if self._options.max_concurrent_runs_per_model:
            instances = {}
        running = {
            name: (instances.get(name) if own.max_concurrent_runs is None else 0)
            or own.max_concurrent_runs
            or None
            for name, own in options.items()
        }
        self._pool.limit(
            {
                name: RunLimits(running[name], own.max_queued_runs)
                for name, own in options.items()
                if running[name] is not None or own.max_queued_runs is not None
            }
        )
        if self._children is not None:
            self._children.limit({name: limits_of(own) for name, own in options.items()})
        with self._lock:
            self._most_batches = {n: most for n, most in running.items() if most is not None}
            for scheduler in self._schedulers():
                scheduler.limit(self._most_batches)

    def inspect(self, settings: LoadSettings, directory: str) -> ModelInfo | None:
        """See `Selected.inspect`. What another Python needs, that one alone can tell."""
        if settings.python_executable:
            return None
        try:
            selected = self._selected(settings, directory)[1]
            info = self._trust.checked(selected, settings.origin).inspect()
            info = info and replace(info, backend=selected.backend.name)
        except ServingError as error:
            error.message = as_given(error.message, directory)
            raise
        if info is not None:
            self._describe(info)
        return info

    def stop(self) -> None:
        """Give up what is done before loads, now and for ever: what waits for it raises."""
        self._is_stopped = True
        self._backends.stop()

    def close(self) -> None:
        """End the threads that run batches, once no version is left."""
        for scheduler in self._schedulers():
            scheduler.close()

    def abandon(self) -> None:
        """Drop the batches that wait, and leave running ones to themselves."""
        for scheduler in self._schedulers():
            scheduler.abandon()

    def _schedulers(self) -> list[BatchScheduler]:
        platforms = {id(each): each for each in (*self._platforms.values(), self._of_flags)}
        found = [None if each is None else each.scheduler for each in platforms.values()]
        return [each for each in found if each is not None]

    def _loaded(
        self,
        platform: "_Platform",
        selected: Selected,
        stage: LoadStage,
        directory: str,
        config: ConfigFile | None,
    ) -> Servable:
        id = stage.id
        parameters, usual = self._parameters(platform, id.name, directory)
        with self._metrics.loads.timed_model(directory):
            loaded = selected.load(stage)
        backend = selected.backend
        model = obeying(loaded, backend.capabilities)
        if self._marking is not None:
            model = self._marking.model(id, model)
        close: Callable[[], None] | None = None
        try:
            rules = _rules(platform, parameters, model, id, backend, config)
            runner, close = self._runner(platform, rules, id, backend, usual)
            runner = runner if model.batching is not None else limited(runner, config, id.name)
            if backend.capabilities.can_cancel:
                runner = cancelling(runner, loaded)
            self._describe(ModelInfo(model.signatures, model.definitions))
        except BaseException:
            if close is not None:
                close()
            model.close()
            raise
        return self._servable(
            *(model, runner, close, id),
            backend=backend.name,
            merging=self._merging(rules, usual, config, id.name),
        )

    def _loaded_in_children(
        self,
        platform: "_Platform",
        selected: Selected,
        place: ChildSettings,
        stage: LoadStage,
        directory: str,
        config: ConfigFile | None,
    ) -> Servable:
        """Load a version into processes of its own."""
        id = stage.id
        children = self._children
        if children is None:
            raise Unimplemented("Models run in processes of their own only in a server")
        parameters, usual = self._parameters(platform, id.name, directory)
        lane = self._pool.lane(id.name)
        counts = lane.counts

        def ran() -> None:
            counts.child += 1

        def load(path: Path, options: Any, stage: LoadStage) -> ChildModel:
            return children.load(
                What(
                    id=id,
                    backend=selected.backend,
                    options=options,
                    directory=path,
                    settings=place,
                    most_running=lambda: int(lane.most_running),
                    most_queued=lambda: lane.most_queued,
                    ran=ran,
                    rejected=lambda: self._pool.rejected_elsewhere(id.name),
                    too_late=lambda: self._pool.came_too_late(id.name),
                ),
                stage,
            )

        with self._metrics.loads.timed_model(directory):
            model = cast("ChildModel", selected.load(stage, load))
        close: Callable[[], None] | None = None
        try:
            backend = selected.backend
            rules = _rules(platform, parameters, model, id, backend, config)
            runner, close = self._child_runner(rules, model, id, backend, usual)
            runner = runner if model.batching is not None else limited(runner, config, id.name)
            self._describe(ModelInfo(model.signatures, model.definitions, backend=backend.name))
        except BaseException:
            if close is not None:
                close()
            model.close()
            raise
        return self._servable(
            *(model, runner, close, id),
            backend=backend.name,
            merging=self._merging(rules, usual, config, id.name),
        )

    def _servable(
        self,
        model: Model,
        runner: Runner,
        close: Callable[[], None] | None,
        id: ServableId,
        *,
        backend: str,
        merging: Callable[[], Merging | None],
    ) -> Servable:
        meters = self._metrics.meter_factory(id.name, id.version, is_batched=close is not None)

        def closed() -> None:
            if close is not None:
                close()
            self._metrics.forget(id.name, id.version)

        return Servable(
            *(model, runner), meters=meters, on_close=closed, backend=backend, merging=merging
        )

    def _merging(
        self,
        rules: Rules | None,
        usual: BatchingParameters | None,
        config: ConfigFile | None,
        name: str,
    ) -> Callable[[], Merging | None]:
        """What tells how the requests of a version are merged now."""
        if not isinstance(rules, BatchingParameters) or usual is None:
            fixed = merging_of(rules, config)
            return lambda: fixed
        return lambda: merging_of(self._own_batching.of(name) or usual, config)

    def _check_of_child(self) -> Callable[[], None]:
        """What ends a load in a child: also when it was given up, which no other load notices."""
        begun_s, limit_s = time.monotonic(), self._options.load_timeout_seconds

        def check() -> None:
            self.check()
            if limit_s and time.monotonic() - begun_s > limit_s + _GIVEN_UP_S:
                raise DeadlineExceeded(f"The load has not returned for {limit_s:g} s")

        return check

    def check(self) -> None:
        """Go no further once loads are given up.

        Raises:
            Unavailable: they are.
        """
        if self._is_stopped:
            raise Unavailable("The server is stopping")

    def _runner(
        self,
        platform: "_Platform",
        rules: Rules | None,
        id: ServableId,
        backend: Backend,
        usual: BatchingParameters | None,
    ) -> tuple[Runner, Callable[[], None] | None]:
        """Where a version runs, and what ends that; None where nothing is to end."""
        is_alone = is_serial(backend.capabilities)
        lane = self._pool.lane(id.name)
        observer = self._metrics.batches.of(id.name, id.version)
        scheduler, num_threads = None, 1
        if isinstance(rules, BatchingParameters):
            _log.info("Wrapping session to perform batch processing")
            scheduler = platform.scheduler if not is_alone else None
        elif rules is not None:
            num_threads = 1 if is_alone else rules.num_batch_threads
        else:
            return (
                lambda program, _names: MeasuredProgram(
                    program, lane, may_run_inline=self._may_run_inline
                )
            ), None

        if scheduler is not None:
            batching = VersionBatching(
                *(rules, scheduler, lane, observer),
                owner=id.name,
                may_run_inline=self._may_run_inline,
            )
            return batching.runner, self._follow(id.name, batching, rules, usual)
        return self._batched_alone(rules, num_threads, id, backend, usual)

    def _follow(
        self, name: str, batching: VersionBatching, rules: Rules, usual: BatchingParameters | None
    ) -> Callable[[], None]:
        """Have a version go by the parameters of its model as they change; what ends it."""
        if not isinstance(rules, BatchingParameters) or usual is None:
            return batching.close

        def close() -> None:
            self._own_batching.remove(batching)
            batching.close()

        self._own_batching.add(name, batching, usual)
        return close

    def _batched_alone(
        self,
        rules: Rules,
        num_threads: int,
        id: ServableId,
        backend: Backend,
        usual: BatchingParameters | None,
        lone: Callable[[Program], StartsLone] | None = None,
    ) -> tuple[Runner, Callable[[], None]]:
        """Batches in threads of its own: those that all share would wait for the runs of this."""
        own = BatchScheduler(num_threads, thread_pool_name=f"{backend.name}_batch_threads")
        batching = VersionBatching(
            *(rules, own, self._pool.lane(id.name)),
            self._metrics.batches.of(id.name, id.version),
            owner=id.name,
            may_run_inline=self._may_run_inline,
            lone=lone,
        )
        end = self._follow(id.name, batching, rules, usual)

        def close() -> None:
            end()
            own.close()

        return batching.runner, close

    def _child_runner(
        self,
        rules: Rules | None,
        model: ChildModel,
        id: ServableId,
        backend: Backend,
        usual: BatchingParameters | None,
    ) -> tuple[Runner, Callable[[], None] | None]:
        """Where a version in children runs, and what ends that; as `_runner`."""
        if isinstance(rules, BatchingParameters):
            _log.info("Wrapping session to perform batch processing")
        if rules is None:
            return started_by_children, None
        # A thread waits for each run.
        num_threads = min(model.instances.most_together, _MOST_BATCH_THREADS)
        runner, close = self._batched_alone(
            rules, num_threads, id, backend, usual, lone_by_children
        )
        return giving_up(runner, model), close


class _Platform:
    """How the models of a platform are loaded and run, and the threads for their batches."""

    def __init__(self, select: Selector, config: PlatformConfig, most_running: int) -> None:
        self.select = select
        self.config = config
        self.scheduler: BatchScheduler | None = None
        if config.batching is not None:
            self.scheduler = _scheduler(config.batching, most_running)

    def parameters(self, directory: str) -> BatchingParameters | None:
        """How the version in a directory is batched; None where it is not."""
        setup = self.config.batching
        return None if setup is None else setup.version_parameters(directory)


def _rules(
    platform: _Platform,
    parameters: BatchingParameters | None,
    model: Model,
    id: ServableId,
    backend: Backend,
    config: ConfigFile | None,
) -> Rules | None:
    """How the requests of a version are merged; None where each is run alone."""
    batches_itself = backend.capabilities.batches_itself
    if platform.scheduler is not None and parameters is not None and not batches_itself:
        return parameters
    if model.batching is not None or batches_itself:
        return model.batching
    return rules_of(config, model, id)


def _scheduler(setup: BatchingSetup, most_running: int) -> BatchScheduler:
    return BatchScheduler(
        setup.num_threads,
        thread_pool_name=setup.thread_pool_name,
        most_running_per_owner=most_running or None,
    )

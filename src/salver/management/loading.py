"""How a version comes up: a backend loads it, runners and meters are put around it, it is warmed.

Called from the load threads.
"""

import time
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, cast

from salver.about.config_file import ConfigFile
from salver.backends.protocol import LoadStage
from salver.backends.registry import Backends
from salver.backends.selection import Selected
from salver.children.limits import ChildSettings
from salver.children.model import ChildModel, Children, What
from salver.config.model_options import LoadSettings
from salver.config.models import ModelConfig
from salver.config.start_up import Configuration
from salver.errors import DeadlineExceeded, ServingError, Unavailable, Unimplemented
from salver.inference.servable import Servable
from salver.instruments.served_links import as_given
from salver.management.beside import requested
from salver.management.limits import Limits
from salver.management.merging import OwnBatching
from salver.management.obeying import cancelling, obeying
from salver.management.placing import placement, started_by_children
from salver.management.platforms import Platform, PlatformTable
from salver.management.runners import Made, Runners
from salver.management.trust import Trust
from salver.management.warming import Warming
from salver.metrics.registry import Metrics
from salver.scheduling.run_pool import RunPool
from salver.vocabulary.model import Model, ModelInfo
from salver.vocabulary.servable import ServableId
from salver.warmup.replay import Replay, has_requests

__all__ = ["Loader", "Marking"]

_GIVEN_UP_S: Final = 0.5  # after which who gave a load up has said so


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
        self._platforms = PlatformTable(configuration, backends or Backends())
        self._own_batching = OwnBatching()
        self._limits = Limits(configuration.options, pool, self._platforms, children)
        self._runners = Runners(
            *(pool, metrics.batches, self._own_batching),
            may_run_inline=configuration.options.inline_runs != "never",
        )
        self._pool = pool
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
        return self._platforms.names

    def __call__(self, settings: LoadSettings, id: ServableId, directory: str) -> Servable:
        """Load one version; see `load_records.LoadModel`.

        Raises:
            ServingError: whatever keeps it from being loaded or warmed up.
        """
        try:
            platform, selected = self._platforms.selected(settings, directory)
            selected = self._trust.checked(selected, settings.origin)
            return self._up(platform, selected, settings, id, directory)
        except ServingError as error:
            error.message = as_given(error.message, directory)
            raise

    def _up(
        self,
        platform: Platform,
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
        self._limits.set_instances(id.name, instances)
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
        options = {model.name: model.options for model in models}
        self._own_batching.set(options)
        self._limits.set(options)

    def inspect(self, settings: LoadSettings, directory: str) -> ModelInfo | None:
        """See `Selected.inspect`. What another Python needs, that one alone can tell."""
        if settings.python_executable:
            return None
        try:
            selected = self._platforms.selected(settings, directory)[1]
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
        self._platforms.stop()

    def close(self) -> None:
        """End the threads that run batches, once no version is left."""
        self._platforms.close()

    def abandon(self) -> None:
        """Drop the batches that wait, and leave running ones to themselves."""
        self._platforms.abandon()

    def _loaded(
        self,
        platform: Platform,
        selected: Selected,
        stage: LoadStage,
        directory: str,
        config: ConfigFile | None,
    ) -> Servable:
        id = stage.id
        plan = self._runners.plan(platform, id.name, directory)
        with self._metrics.loads.timed_model(directory):
            loaded = selected.load(stage)
        backend = selected.backend
        model = obeying(loaded, backend.capabilities)
        if self._marking is not None:
            model = self._marking.model(id, model)
        made: Made | None = None
        try:
            made = self._runners.of(plan, model, id, backend, config)
            if backend.capabilities.can_cancel:
                made.runner = cancelling(made.runner, loaded)
            self._describe(ModelInfo(model.signatures, model.definitions))
        except BaseException:
            if made is not None and made.close is not None:
                made.close()
            model.close()
            raise
        return self._servable(model, made, id, backend=backend.name)

    def _loaded_in_children(
        self,
        platform: Platform,
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
        plan = self._runners.plan(platform, id.name, directory)
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
        made: Made | None = None
        try:
            backend = selected.backend
            made = self._runners.of_children(plan, model, id, backend, config)
            self._describe(ModelInfo(model.signatures, model.definitions, backend=backend.name))
        except BaseException:
            if made is not None and made.close is not None:
                made.close()
            model.close()
            raise
        return self._servable(model, made, id, backend=backend.name)

    def _servable(self, model: Model, made: Made, id: ServableId, *, backend: str) -> Servable:
        close = made.close
        meters = self._metrics.meter_factory(id.name, id.version, is_batched=close is not None)

        def closed() -> None:
            if close is not None:
                close()
            self._metrics.forget(id.name, id.version)

        return Servable(
            *(model, made.runner),
            meters=meters,
            on_close=closed,
            backend=backend,
            merging=made.merging,
        )

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

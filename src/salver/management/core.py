"""The models of a server: applies configurations, answers which version serves a request.

Applying follows the order of TensorFlow Serving's `model_servers/server_core.cc` (ReloadConfig),
because that order can be observed: a configuration whose labels cannot be assigned is recorded as
the current one, yet its models are not touched.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from salver.config.model_options import LoadSettings
from salver.config.models import ModelConfig, check_models
from salver.errors import (
    FailedPrecondition,
    NotFound,
    ServingError,
    Unavailable,
    Unimplemented,
)
from salver.inference.servable import Servable
from salver.instruments.files import scheme_of
from salver.lifecycle.callers import Caller
from salver.lifecycle.file_changes import Findings
from salver.lifecycle.handles import ServingMap
from salver.lifecycle.loader import LoadOptions
from salver.lifecycle.manager import Manager
from salver.lifecycle.monitor import Monitor, VersionState, VersionStatus
from salver.management.admission import Admission, logging_configs
from salver.management.applied import Applied
from salver.management.base_paths import BasePaths
from salver.management.labels import LabelRules
from salver.management.lazy import LazyModels
from salver.management.load_records import LoadModel, LoadRecords
from salver.management.lookup import Lookup
from salver.management.prospects import hopeless_error
from salver.management.servables import monitored, servables_of
from salver.management.waits import Left, ModelsUnavailable, Waiting, Waits
from salver.sources.by_scheme import Sources
from salver.sources.protocol import MonitoredServable, Version
from salver.vocabulary.access import Actor
from salver.vocabulary.servable import ServableId

__all__ = ["CoreOptions", "ServerCore"]

_logger = logging.getLogger(__name__)

_STALE = "stale: served from the model cache: its store does not answer, or has other files by now"


@dataclass(frozen=True, slots=True)
class CoreOptions:
    """The flags that concern models as such.

    Attributes:
        load: threads and retries.
        allow_version_labels_for_unavailable_models: a label that is new, or keeps its version,
            may name a version that is not available.
        max_ended_versions: how many versions of a model that have ended are remembered; 0 for all.
        base_paths: those that a configuration may name which comes over the network.
        may_name_log_files: whether it may also name any files for request logs, and not only those
            that the present one names, or the last that came from flags or a file.
    """

    load: LoadOptions = field(default_factory=LoadOptions)
    allow_version_labels_for_unavailable_models: bool = False
    max_ended_versions: int = 0
    base_paths: BasePaths = field(default_factory=BasePaths)
    may_name_log_files: bool = True


class ServerCore(Lookup):
    """All models of one server process. Safe to use from any thread."""

    def __init__(
        self,
        load: LoadModel,
        platforms: Collection[str],
        options: CoreOptions,
        sources: Sources,
        *,
        after_change: Callable[[], None] = lambda: None,
        on_status: Callable[[str], None] = lambda _name: None,
        on_configured: Callable[[], None] = lambda: None,
        serving: ServingMap[Servable] | None = None,
        lazy: LazyModels | None = None,
        update_logs: Callable[[Mapping[str, bytes]], None] = lambda _configs: None,
        check_logs: Callable[[Mapping[str, bytes]], None] = lambda _configs: None,
        abandon: Callable[[ServableId], None] = lambda _id: None,
        on_applied: Callable[[Applied], None] = lambda _applied: None,
        is_fetched_first: Callable[[ServableId], bool] | None = None,
        bring_in: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with no models.

        Args:
            load: loads one version of a model of one of the platforms.
            platforms: the platforms a model may ask for.
            options: see there.
            sources: find the versions of models, and fetch them; not connected yet, closed by
                `close`.
            after_change: called after each load and unload, from the manager's thread.
            on_status: called with the name of a model after each change of its versions' states.
            on_configured: called when the names of the models have changed, before they are loaded.
            serving: where versions are published; one of its own where it is not given.
            lazy: what `load` is where models are loaded when they are asked for; closed by `close`.
            update_logs: the last step of each configuration: logs requests from then on as it says,
                by model a serialized `tensorflow.serving.LoggingConfig`; or raises `ServingError`.
            check_logs: refuses what `update_logs` would, before anything is done.
            abandon: called when a load that does not return was given up; see `Manager`.
            on_applied: called with each change that is in effect, in their order, under the lock of
                configurations: it only takes down what there is.
            is_fetched_first: see `Manager`, where `load` may fetch by itself though there is no
                `lazy`.
            bring_in: has a model loaded that is not in memory, where models are loaded when they
                are asked for, though there is no `lazy`.
            clock: seconds, monotonic.
        """
        self._load = load
        self._load_records = LoadRecords(self._load_version)
        self._update_logs = update_logs
        self._on_configured = on_configured
        self._on_applied = on_applied
        self._admission = Admission(
            *(platforms, options.base_paths),
            may_name_log_files=options.may_name_log_files,
            check_logs=check_logs,
        )
        self._turn = threading.Lock()  # of those who wait for models; held until they begin to
        self._applying = threading.Lock()  # nobody who waits for models holds it
        self._models: tuple[ModelConfig, ...] | None = None
        self._applied: tuple[ModelConfig, ...] | None = None  # as a whole, and not only recorded
        self._configured: tuple[ModelConfig, ...] = ()  # those that the source has, or had
        self._has_begun = False  # a first configuration, be it empty, was there
        self._sources = sources
        self._monitor = Monitor(max_ended=options.max_ended_versions, on_change=on_status)
        self._waits = Waits(self._monitor)
        self._generation = 0  # of configurations that were applied
        # The names in `_sourced` are those the source has: a configuration that was refused for its
        # labels or platforms is the current one, but has not come this far.
        if lazy is not None:
            serving, is_fetched_first = lazy.serving, lazy.is_fetched_early
            bring_in = lazy.bring_in
        super().__init__(ServingMap() if serving is None else serving, self._monitor, lazy=lazy)
        self._bring_in = bring_in
        self._label_rules = LabelRules(
            self._serving,
            self._monitor,
            are_unavailable_allowed=options.allow_version_labels_for_unavailable_models,
            find=self._sources.versions,
            describe=self._known,
        )
        self._manager: Manager[Servable] = Manager(
            self._load_records.load,
            options.load,
            serving=self._serving,
            monitor=self._monitor,
            after_change=after_change,
            abandon=abandon,
            copies=self._load_records.num_processes,
            is_current=self._load_records.is_current,
            look=sources.look,
            fetcher=sources,
            is_fetched_first=is_fetched_first or (lambda _id: True),
            clock=clock,
        )
        sources.connect(self._manager.aspire, self._recheck, self._set_stale)

    def wait_until_settled(self, names: Collection[str], timeout_s: float | None = None) -> bool:
        """Wait until each model has an available version, or a try to load one that failed.

        May be called while `apply` waits, from another thread.

        Args:
            names: the models; those without a version on disk do not settle.
            timeout_s: the longest wait; None for any.

        Returns:
            Whether all are settled, and not the time over.

        Raises:
            Cancelled: `interrupt` or `close` was called.
        """
        return self._monitor.wait_until_settled(names, timeout_s)

    def hopeless(self, timeout_s: float) -> ServingError | None:
        """Why none of the models can be served before something is installed or configured.

        Args:
            timeout_s: how long to wait for loads that are under way.

        Returns:
            None when there are no models, or one is served, or may be without anything being done.
        """
        return hopeless_error(self.model_names(), self._monitor, timeout_s)

    @property
    def reserved(self) -> Mapping[ServableId, int]:
        """Version → the memory set aside for it in bytes, by an estimate from its files."""
        return self._manager.reserved if self._lazy is None else self._lazy.residency.reserved

    @property
    def applied(self) -> tuple[ModelConfig, ...] | None:
        """The present configuration; None before the first, and when it was not applied whole.

        One whose models do not load has been applied.
        """
        return self._applied

    @property
    def configured(self) -> tuple[ModelConfig, ...]:
        """The configuration that is in effect: the last one that was applied as far as its models.

        In difference to `applied` it stays when another one is refused.
        """
        return self._configured

    @property
    def named(self) -> tuple[ModelConfig, ...]:
        """The last configuration in effect that came from flags or a file, not the network."""
        return self._admission.named

    # -- configuration ---------------------------------------------------------------------------

    def look_ahead(self, models: Iterable[ModelConfig]) -> None:
        """Begin to ask stores for models that the first `apply` is about to name."""
        self._sources.look_ahead(servables_of(models).values())

    def apply(
        self,
        models: tuple[ModelConfig, ...] | None,
        *,
        is_awaited: bool = True,
        caller: Caller | None = None,
        is_anew: bool = False,
    ) -> None:
        """Make `models` the configuration, and wait for those it names for the first time.

        One at a time is applied; then others may be, while this one waits for its models.

        Args:
            models: the whole list; None for an empty configuration, which changes nothing.
            is_awaited: whether to wait. If not, and it is the first configuration, the caller ends
                the initial load: `end_initial_load`.
            caller: who waits, over the network; see `with_options_kept`. Told when the
                configuration is in effect. None for a configuration of flags or a file.
            is_anew: whether models that were unloaded are loaded again; see `set_loaded`.

        Raises:
            PermissionDenied: a caller names what is not theirs to name: base paths, options, files.
            FailedPrecondition: no list may become an empty configuration; or a label names a
                version that is not available.
            InvalidArgument: the list is wrong; see `salver.config.models`.
            ModelsUnavailable: a model could not be loaded. The configuration stays in effect.
            Superseded: by a newer configuration, while it waited.
            Unimplemented: a model lies where nobody here can look. The configuration stays too.
            Left: the caller has left. If it waited by then, the configuration stays in effect.
            Cancelled: `interrupt` or `close` was called meanwhile.
        """
        actor = None if caller is None else caller.actor
        is_requested = caller is not None
        if is_requested and models is not None:  # early: nobody gives way to what is refused
            self._admission.check_request(models, self._configured)
        caller = caller or Caller()
        with self._turn if is_awaited else nullcontext():
            if is_awaited and models is not None:
                check_models(models)
                self._waits.give_way(_servables(models, self._unloaded), caller)
            with self._applying:
                self._monitor.check_interrupted()  # what was queued must not undo what serves
                self._has_begun = True
                if models is None:
                    self._apply_empty()
                    return
                is_first = self._sourced is None
                if is_requested:
                    models = self._admission.with_options_kept(models, self._configured)
                waiting = self._take(
                    *(models, caller if is_awaited else None),
                    is_anew=is_anew,
                    actor=actor,
                    is_requested=is_requested,
                )
                generation = self._generation
        if waiting is None:
            return
        caller.taken()
        try:
            self._wait(waiting, is_first=is_first)
        # Those that are there are to be logged all the same.
        except (ModelsUnavailable, Unimplemented, Left):
            self._finish(models, generation, is_first=is_first)
            raise
        self._finish(models, generation, is_first=is_first)
        _logger.info("Finished adding/updating models")

    def change(
        self,
        make: Callable[[tuple[ModelConfig, ...]], tuple[ModelConfig, ...]],
        actor: Actor,
        *,
        is_dry_run: bool = False,
    ) -> tuple[tuple[ModelConfig, ...], tuple[ModelConfig, ...]]:
        """Make another configuration of the present one. Nobody waits for its models.

        What is wrong is refused before anything is recorded.

        Args:
            make: called with the present configuration; no other is applied meanwhile. It may
                refuse.
            actor: who requests it, over the network.
            is_dry_run: only find out whether it could be done.

        Returns:
            The configuration before and after.

        Raises:
            PermissionDenied: it names a base path or files that are not theirs to name.
            FailedPrecondition: a label names a version that is not available.
            InvalidArgument: the list is wrong.
            Unavailable: the server has not come as far as to have a configuration.
            ServingError: what `make` raises.
            Cancelled: `interrupt` or `close` was called.
        """
        with self._applying:
            self._monitor.check_interrupted()
            if not self._has_begun:
                raise Unavailable("The server has no configuration yet: it starts")
            before = self._configured
            models = make(before)
            is_first = self._sourced is None
            self._check(models)
            self._admission.check_change(models, before)
            self._label_rules.plan(models, is_first=is_first)
            self._admission.check_platforms(models)
            if is_dry_run or (models == before and self._applied == before):
                return before, models
            self._take(models, None, is_anew=False, actor=actor, is_requested=True)
            if is_first:
                self._manager.end_initial_load()
            return before, models

    def reload(self, name: str, actor: Actor) -> None:
        """Load the versions of a model again, also those that have failed. Does not wait for that.

        A version is unloaded before it is loaded again.

        Raises:
            NotFound: the configuration has no such model.
            FailedPrecondition: it is unloaded.
            Cancelled: `interrupt` or `close` was called.
        """
        with self._applying:
            self._monitor.check_interrupted()
            self._find(name)
            if name in self._unloaded:
                raise FailedPrecondition(f"Model {name} is unloaded", hint="Load it.")
            self._load_records.outdate(name)
            self._manager.reload(name)
            self._manager.settle()
            models = self._configured
            self._on_applied(Applied(models, models, actor, name, "reload"))

    def set_loaded(self, name: str, *, is_loaded: bool, caller: Caller | None = None) -> None:
        """Load a model of the configuration, or unload it, and wait for that.

        What is unloaded stays so until it is loaded, or a configuration comes without it or by an
        `apply` that says so. To load what is loaded tries versions again that have failed. A model
        that is loaded when it is asked for begins to be, as if somebody had.

        Args:
            name: of the model.
            is_loaded: whether it is to be.
            caller: who waits. Told when the change is in effect, as are those of `apply`.

        Raises:
            NotFound: the configuration has no such model, or there is no version of it.
            ModelsUnavailable: no version could be loaded. It is wanted all the same.
            Superseded: by a newer change, while it waited.
            ServingError: nobody here can look for its versions.
            Left: the caller has left.
            Cancelled: `interrupt` or `close` was called meanwhile.
        """
        caller = caller or Caller()
        if is_loaded and self._bring_in is not None and self._is_whole(name):
            self._bring_in(name)
            return
        with self._applying:
            self._monitor.check_interrupted()
            waiting = self._set_loaded(name, caller, is_loaded=is_loaded)
        caller.taken()
        if waiting is not None:
            self._wait(waiting, is_first=False)
            _logger.info("Loaded model: %s", name)
            if self._bring_in is not None:
                self._bring_in(name)
            return
        self._waits.until_ended(name, lambda: name in self._unloaded, caller)
        _logger.info("Unloaded model: %s", name)

    def _is_whole(self, name: str) -> bool:
        """Whether a model answers, and no version of it has failed."""
        if not self._serving.answers(name) or name in self._unloaded:
            return False
        return all(status.error is None for status in self._monitor.statuses(name))

    def _set_loaded(self, name: str, caller: Caller, *, is_loaded: bool) -> Waiting | None:
        """Under the lock: have it in effect; what is waited for where it is to be loaded."""
        model, models = self._find(name), self._configured
        if not is_loaded:
            _logger.info(" Unloading model: %s", name)
            self._aspire(models, None, unloaded=self._unloaded | {name})
            self._on_applied(Applied(models, models, caller.actor, name, "unload"))
            return None
        if not scheme_of(model.base_path) and not self._sources.versions(monitored(model)):
            raise NotFound(f"No version of model {name} is there", hint=self._known(name))
        _logger.info(" Loading model: %s", name)
        failed = [s.id for s in self._monitor.statuses(name) if s.error is not None]
        is_again = name not in self._unloaded  # else the source brings all its versions
        waiting = self._aspire(
            models, caller, unloaded=self._unloaded - {name}, only=frozenset([name])
        )
        self._on_applied(Applied(models, models, caller.actor, name, "load"))
        for id in failed if is_again else ():
            if not self._manager.is_quarantined(id):
                self._manager.again(id)
        return waiting

    def _find(self, name: str) -> ModelConfig:
        model = next((model for model in self._configured if model.name == name), None)
        if model is None:
            raise NotFound(f"Model {name} is not configured", hint=self._known(name))
        return model

    def _check(self, models: tuple[ModelConfig, ...]) -> None:
        """Under the lock: refuse what cannot become the configuration."""
        # A model that was refused has no platform yet. The reference compares with it all the
        # same, and so refuses every configuration after one with a wrong platform.
        taken = [model for model in self._models or () if model.name in (self._sourced or ())]
        self._admission.check(models, taken)

    def _take(
        self,
        models: tuple[ModelConfig, ...],
        caller: Caller | None,
        *,
        is_anew: bool,
        actor: Actor | None,
        is_requested: bool,
    ) -> Waiting | None:
        """Under the lock: have this configuration in effect; what its models are waited for by."""
        self._check(models)
        is_first = self._sourced is None
        self._models, self._applied = models, None
        self._label_rules.assign(models, is_first=is_first)
        self._has_labels = True
        _logger.info("Adding/updating models.")
        for model in models:
            _logger.info(" (Re-)adding model: %s", model.name)
        self._admission.check_platforms(models)
        outdated = self._load_records.set(models)
        self._applied = models
        if not is_requested:  # not before: what is refused names no place, and takes none away
            self._admission.name(models)
        self._generation += 1
        self._monitor.set_unreachable(self._unreachable(models))
        configured = self._configured
        waiting = self._aspire(models, caller, unloaded=frozenset() if is_anew else self._unloaded)
        self._on_applied(Applied(configured, models, actor))
        for name in outdated:
            self._manager.reload(name)
        if waiting is None:
            self._log_requests(models, is_first=is_first)
            _logger.info("Finished adding/updating models")
        return waiting

    def _wait(self, waiting: Waiting, *, is_first: bool) -> None:
        try:
            failures = self._waits.finish(waiting)
        finally:
            if is_first:
                self._manager.end_initial_load()
        if failures:
            raise ModelsUnavailable("servable" if is_first else "model", failures)
        if waiting.unreachable is not None:
            raise waiting.unreachable

    def _finish(self, models: tuple[ModelConfig, ...], generation: int, *, is_first: bool) -> None:
        """The last step of a configuration, unless a newer one has the last word."""
        with self._applying:
            if generation == self._generation:
                self._log_requests(models, is_first=is_first)

    def states(self, name: str) -> tuple[tuple[VersionStatus, ...], ServingError | None]:
        """All that is known of the versions of a model: for copies of it in other processes."""
        return self._monitor.statuses(name), self._monitor.last_error(name)

    def lost(self, id: ServableId, error: ServingError) -> None:
        """A version that was available is there no more, though nobody decided so."""
        self._monitor.publish(id, VersionState.END, error)

    def note(self, id: ServableId, text: str | None) -> None:
        """Say with the status of a version what becomes of its processes; None for nothing."""
        status = self._monitor.status(id)
        if status is not None and status.state is VersionState.AVAILABLE:
            self._monitor.note(id, text)

    def quarantine(self, id: ServableId, error: ServingError) -> None:
        """Take a version away that does harm; see `Manager.quarantine`."""
        self._manager.quarantine(id, error)

    def load_again(self, id: ServableId) -> None:
        """Load a version that has failed; see `Manager.again`."""
        self._manager.again(id)

    def is_quarantined(self, id: ServableId) -> bool:
        """Whether a version that is wanted stays away because it does harm."""
        return self._manager.is_quarantined(id)

    def interrupt(self) -> None:
        """End the wait of `apply` and all fetches, now and for ever.

        May be called from a signal handler.
        """
        self._manager.interrupt()
        self._monitor.interrupt()

    def close(self, timeout_s: float | None = None, load_grace_s: float = 1.0) -> bool:
        """Unload all models and join all threads.

        Args:
            timeout_s: how long to wait altogether, for requests that hold a version above all.
            load_grace_s: how long of that to wait for what nobody needs any more: loads that are
                running, and a file system that does not answer.

        Returns:
            Whether everything is unloaded and all threads are gone.
        """
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        self.interrupt()
        self._sources.stop()
        if self._lazy is not None:
            self._lazy.residency.stop()
        has_unloaded = self._manager.close(timeout_s, load_grace_s)
        left_s = load_grace_s if until_s is None else max(0.0, until_s - time.monotonic())
        left_s = min(left_s, load_grace_s)
        if self._lazy is not None:
            has_unloaded &= self._lazy.residency.close(left_s)
        return self._sources.close(left_s) and has_unloaded

    def _recheck(self) -> Findings:
        """Look at the versions that do not load, also those that are loaded when asked for."""
        found = self._manager.recheck()
        if self._lazy is None:
            return found
        return replace(found, directories=(*found.directories, *self._lazy.residency.recheck()))

    def _apply_empty(self) -> None:
        if self._models is not None:
            text = (
                "Cannot transition to requested config. It is only legal to transition from one "
                "ModelConfigList to another."
            )
            _logger.error("%s", text)
            raise FailedPrecondition(text)
        _logger.info("Taking no action for empty config.")

    def end_initial_load(self) -> None:
        """Go from the load threads of start-up to those of ordinary times."""
        self._manager.end_initial_load()

    def _aspire(
        self,
        models: tuple[ModelConfig, ...],
        caller: Caller | None,
        *,
        unloaded: frozenset[str],
        only: frozenset[str] = frozenset(),
    ) -> Waiting | None:
        """Under the lock: have the source look for these, but for those that are unloaded.

        Args:
            models: the configuration.
            caller: who waits; None for nobody.
            unloaded: names; others than those of the configuration are dropped.
            only: of the models that are waited for; empty for those that are new.
        """
        before, since = self._sourced, self._monitor.now()
        loaded_before = frozenset(before or ()) - self._unloaded
        self._configured, self._sourced = models, tuple(model.name for model in models)
        self._unloaded = unloaded.intersection(self._sourced)
        servables = _servables(models, self._unloaded)
        self._on_configured()
        new = only or servables.keys() - loaded_before
        away = self._unreachable(model for model in models if model.name in new)
        waiting = self._waits.begin(
            servables,
            dict.fromkeys(new - away.keys(), 0 if before is None else since),
            caller,
            unreachable=next(iter(away.values()), None),
            is_alone=bool(only),
        )
        self._sources.reconfigure(servables.values())
        # What is given up must be on its way out before anybody looks whether it is available.
        self._manager.settle()
        if before is None:
            self._sources.start()
        return waiting

    def _log_requests(self, models: tuple[ModelConfig, ...], *, is_first: bool) -> None:
        """Log as a configuration says that is in effect. Where that fails, only a start does."""
        try:
            self._update_logs(logging_configs(models))
        except ServingError as error:
            self._applied = None  # so the same configuration tries again
            if is_first:
                raise
            _logger.warning("Requests are logged as before: %s", error.message)

    def _unreachable(self, models: Iterable[ModelConfig]) -> dict[str, ServingError]:
        """Those that lie where nobody here can look, by their names, and why."""
        away = ((model.name, self._sources.unreachable(model.base_path)) for model in models)
        return {name: error for name, error in away if error is not None}

    def _load_version(self, settings: LoadSettings, id: ServableId, path: str) -> Servable:
        is_fetched_later = self._sources.lane(path) is not None
        if self._lazy is None and not is_fetched_later:  # else before each load
            self._sources.check(path, self._monitor.check_interrupted)
        return self._load(replace(settings, origin=self._sources.origin(path)), id, path)

    def _set_stale(self, name: str, versions: Mapping[int, Version]) -> None:
        self._monitor.set_remarks(name, dict.fromkeys(versions, _STALE))


def _servables(
    models: Iterable[ModelConfig], unloaded: Collection[str]
) -> dict[str, MonitoredServable]:
    """What a source is to look for."""
    return servables_of(model for model in models if model.name not in unloaded)

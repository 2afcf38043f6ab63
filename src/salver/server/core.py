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

from salver.config import models as config
from salver.config.models import ModelConfig
from salver.errors import (
    FailedPrecondition,
    ServingError,
    Unimplemented,
    Unknown,
)
from salver.inference.servable import Servable
from salver.lifecycle.callers import Caller
from salver.lifecycle.handles import ServingMap
from salver.lifecycle.loader import LoadOptions
from salver.lifecycle.manager import Manager
from salver.lifecycle.monitor import Monitor, VersionState, VersionStatus
from salver.lifecycle.unrest import Findings
from salver.servable import ServableId
from salver.server.labels import LabelRules
from salver.server.lazy import LazyModels
from salver.server.lookup import Lookup
from salver.server.servables import servables_of, unreachable_models
from salver.server.waits import Left, Waiting, Waits
from salver.sources.file_system import FileSystemSource

__all__ = ["CoreOptions", "LoadModel", "ModelsUnavailable", "ServerCore"]

_logger = logging.getLogger(__name__)

LoadModel = Callable[[str, ServableId, str], Servable]
"""Loads a version: (platform, id, directory). Called from load threads."""


class ModelsUnavailable(Unknown):
    """Models that were waited for did not come up; everything else of the configuration holds.

    Attributes:
        failures: the version that decided for each of these models.
    """

    def __init__(self, noun: str, failures: tuple[VersionStatus, ...]) -> None:
        super().__init__(
            f"{len(failures)} {noun}(s) did not become available: "
            f"{{{''.join(map(_failure_text, failures))}}}"
        )
        self.failures = failures


@dataclass(frozen=True, slots=True)
class CoreOptions:
    """The flags that concern models as such.

    Attributes:
        load: threads and retries.
        file_system_poll_wait_seconds: see `FileSystemSource`.
        is_watching: see `FileSystemSource`.
        allow_version_labels_for_unavailable_models: a label that is new, or keeps its version,
            may name a version that is not available.
        max_ended_versions: how many versions of a model that have ended are remembered; 0 for all.
    """

    load: LoadOptions = field(default_factory=LoadOptions)
    file_system_poll_wait_seconds: int = 1
    is_watching: bool = True
    allow_version_labels_for_unavailable_models: bool = False
    max_ended_versions: int = 0


class ServerCore(Lookup):
    """All models of one server process. Safe to use from any thread."""

    def __init__(
        self,
        load: LoadModel,
        platforms: Collection[str],
        options: CoreOptions,
        *,
        after_change: Callable[[], None] = lambda: None,
        on_status: Callable[[str], None] = lambda _name: None,
        on_configured: Callable[[], None] = lambda: None,
        serving: ServingMap[Servable] | None = None,
        lazy: LazyModels | None = None,
        update_logs: Callable[[Mapping[str, bytes]], None] = lambda _configs: None,
        abandon: Callable[[ServableId], None] = lambda _id: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with no models.

        Args:
            load: loads one version of a model of one of the platforms.
            platforms: the platforms a model may ask for.
            options: see there.
            after_change: called after each load and unload, from the manager's thread.
            on_status: called with the name of a model after each change of its versions' states.
            on_configured: called when the names of the models have changed, before they are loaded.
            serving: where versions are published; one of its own where it is not given.
            lazy: what `load` is where models are loaded when they are asked for; closed by `close`.
            update_logs: the last step of each configuration: logs requests from then on as it says,
                by model a serialized `tensorflow.serving.LoggingConfig`; or raises `ServingError`.
            abandon: called when a load that does not return was given up; see `Manager`.
            clock: seconds, monotonic.
        """
        self._load = load
        self._update_logs = update_logs
        self._on_configured = on_configured
        self._platforms = platforms
        self._options = options
        self._turn = threading.Lock()  # of those who wait for models; held until they begin to
        self._applying = threading.Lock()  # nobody who waits for models holds it
        self._models: tuple[ModelConfig, ...] | None = None
        self._applied: tuple[ModelConfig, ...] | None = None  # as a whole, and not only recorded
        self._platform_of: dict[str, str] = {}
        self._monitor = Monitor(max_ended=options.max_ended_versions, on_change=on_status)
        self._waits = Waits(self._monitor)
        self._generation = 0  # of configurations that were applied
        # The names in `_sourced` are those the source has: a configuration that was refused for its
        # labels or platforms is the current one, but has not come this far.
        if lazy is not None:
            serving = lazy.serving
        super().__init__(ServingMap() if serving is None else serving, self._monitor, lazy=lazy)
        self._label_rules = LabelRules(
            self._serving,
            self._monitor,
            are_unavailable_allowed=options.allow_version_labels_for_unavailable_models,
            describe=self._known,
        )
        self._manager: Manager[Servable] = Manager(
            self._load_version,
            options.load,
            serving=self._serving,
            monitor=self._monitor,
            after_change=after_change,
            abandon=abandon,
            clock=clock,
        )
        self._source = FileSystemSource(
            self._manager.aspire,
            poll_wait_seconds=options.file_system_poll_wait_seconds,
            recheck=self._recheck,
            is_watching=options.is_watching,
        )

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
        names = self.model_names()
        until_s = time.monotonic() + timeout_s
        verdicts: list[bool | None] = []

        def pause_s() -> float | None:
            verdicts[:] = map(self._monitor.is_hopeless, names)
            left_s = until_s - time.monotonic()
            is_open = None in verdicts and False not in verdicts and left_s > 0
            return left_s if is_open else None

        self._monitor.watch(pause_s)
        return _together(names, self._monitor.last_error) if verdicts and all(verdicts) else None

    @property
    def reserved(self) -> Mapping[ServableId, int]:
        """Version → the memory set aside for it in bytes, by an estimate from its files."""
        return self._manager.reserved if self._lazy is None else self._lazy.reserved

    @property
    def applied(self) -> tuple[ModelConfig, ...] | None:
        """The present configuration; None before the first, and when it was not applied whole.

        One whose models do not load has been applied.
        """
        return self._applied

    # -- configuration ---------------------------------------------------------------------------

    def apply(
        self,
        models: tuple[ModelConfig, ...] | None,
        *,
        is_awaited: bool = True,
        caller: Caller | None = None,
    ) -> None:
        """Make `models` the configuration, and wait for those it names for the first time.

        One at a time is applied; then others may be, while this one waits for its models.

        Args:
            models: the whole list; None for an empty configuration, which changes nothing.
            is_awaited: whether to wait. If not, and it is the first configuration, the caller ends
                the initial load: `end_initial_load`.
            caller: who waits. Told when the configuration is in effect.

        Raises:
            FailedPrecondition: no list may become an empty configuration; or a label names a
                version that is not available.
            InvalidArgument: the list is wrong; see `salver.config.models`.
            ModelsUnavailable: a model could not be loaded. The configuration stays in effect.
            Superseded: by a newer configuration, while it waited.
            Unimplemented: a model lies where nobody here can look. The configuration stays too.
            Left: the caller has left. If it waited by then, the configuration stays in effect.
            Cancelled: `interrupt` or `close` was called meanwhile.
        """
        caller = caller or Caller()
        with self._turn if is_awaited else nullcontext():
            if is_awaited and models is not None:
                config.check_models(models)
                self._waits.give_way(servables_of(models), caller)
            with self._applying:
                self._monitor.check_interrupted()  # what was queued must not undo what serves
                if models is None:
                    self._apply_empty()
                    return
                is_first = self._sourced is None
                waiting = self._take(models, caller if is_awaited else None)
                generation = self._generation
        if waiting is None:
            return
        caller.taken()
        try:
            self._wait(waiting, is_first=is_first)
        # Those that are there are to be logged all the same.
        except (ModelsUnavailable, Unimplemented, Left):
            self._finish(models, generation)
            raise
        self._finish(models, generation)
        _logger.info("Finished adding/updating models")

    def _take(self, models: tuple[ModelConfig, ...], caller: Caller | None) -> Waiting | None:
        """Under the lock: have this configuration in effect; what its models are waited for by."""
        config.check_models(models)
        # A model that was refused has no platform yet. The reference compares with it all the
        # same, and so refuses every configuration after one with a wrong platform.
        taken = [model for model in self._models or () if model.name in (self._sourced or ())]
        config.check_platforms_unchanged(taken, models)
        self._models, self._applied = models, None
        self._label_rules.assign(models, is_first=self._sourced is None)
        self._has_labels = True
        _logger.info("Adding/updating models.")
        for model in models:
            _logger.info(" (Re-)adding model: %s", model.name)
        config.check_platforms_supported(models, self._platforms)
        self._platform_of |= {model.name: config.platform_of(model) for model in models}
        self._applied = models
        self._generation += 1
        self._monitor.set_unreachable(unreachable_models(models))
        waiting = self._aspire(models, caller)
        if waiting is None:
            self._log_requests(models)
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

    def _finish(self, models: tuple[ModelConfig, ...], generation: int) -> None:
        """The last step of a configuration, unless a newer one has the last word."""
        with self._applying:
            if generation == self._generation:
                self._log_requests(models)

    def states(self, name: str) -> tuple[tuple[VersionStatus, ...], ServingError | None]:
        """All that is known of the versions of a model: for copies of it in other processes."""
        return self._monitor.statuses(name), self._monitor.last_error(name)

    def lost(self, id: ServableId, error: ServingError) -> None:
        """A version that was available is there no more, though nobody decided so."""
        self._monitor.publish(id, VersionState.END, error)

    def quarantine(self, id: ServableId, error: ServingError) -> None:
        """Take a version away that does harm; see `Manager.condemn`."""
        self._manager.condemn(id, error)

    def load_again(self, id: ServableId) -> None:
        """Load a version that has failed; see `Manager.again`."""
        self._manager.again(id)

    def clear_quarantine(self, name: str) -> tuple[int, ...]:
        """See `DoorCore`. Of a model that ends this process there is nobody left to know."""
        del name
        return ()

    def is_quarantined(self, id: ServableId) -> bool:
        """Whether a version that is wanted stays away because it does harm."""
        return self._manager.is_condemned(id)

    def interrupt(self) -> None:
        """End the wait of `apply`, now and for ever. May be called from a signal handler."""
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
        self._source.stop()
        if self._lazy is not None:
            self._lazy.stop()
        has_unloaded = self._manager.close(timeout_s, load_grace_s)
        left_s = load_grace_s if until_s is None else max(0.0, until_s - time.monotonic())
        left_s = min(left_s, load_grace_s)
        if self._lazy is not None:
            has_unloaded &= self._lazy.close(left_s)
        return self._source.close(left_s) and has_unloaded

    def _recheck(self) -> Findings:
        """Look at the versions that do not load, also those that are loaded when asked for."""
        found = self._manager.recheck()
        if self._lazy is None:
            return found
        return replace(found, directories=(*found.directories, *self._lazy.recheck()))

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

    def _aspire(self, models: tuple[ModelConfig, ...], caller: Caller | None) -> Waiting | None:
        servables = servables_of(models)
        before, since = self._sourced, self._monitor.now()
        self._sourced = tuple(servables)
        self._on_configured()
        new = servables.keys() - (before or ())
        away = unreachable_models(model for model in models if model.name in new)
        waiting = self._waits.begin(
            servables,
            dict.fromkeys(new - away.keys(), 0 if before is None else since),
            caller,
            unreachable=next(iter(away.values()), None),
        )
        self._source.reconfigure(servables.values())
        # What is given up must be on its way out before anybody looks whether it is available.
        self._manager.settle()
        if before is None:
            self._source.start()
        return waiting

    def _log_requests(self, models: tuple[ModelConfig, ...]) -> None:
        configs = {m.name: m.logging_config for m in models if m.logging_config is not None}
        try:
            self._update_logs(configs)
        except ServingError:
            self._applied = None
            raise

    def _load_version(self, id: ServableId, path: str) -> Servable:
        return self._load(self._platform_of[id.name], id, path)


def _together(names: Iterable[str], error_of: Callable[[str], ServingError | None]) -> ServingError:
    """The errors of several models as one; where all have the same, that."""
    errors = {name: error for name in names if (error := error_of(name)) is not None}
    distinct = {error.message: error for error in errors.values()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    return FailedPrecondition(
        "No model can be served. "
        + "; ".join(f"{name}: {error.message}" for name, error in errors.items()),
        hint=next((error.hint for error in errors.values() if error.hint), None),
    )


def _failure_text(status: VersionStatus) -> str:
    reason = "" if status.error is None else f" due to error: {status.error.status}"
    return f"{{{status.id}{reason}}}, "

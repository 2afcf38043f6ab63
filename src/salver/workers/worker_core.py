"""What the doors of a worker ask: its own models, and what the supervisor says of all."""

import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import MappingProxyType
from typing import Any

from salver.config.models import ModelConfig
from salver.errors import NotFound, ServingError
from salver.inference.servable import MeterFactory, Servable
from salver.lifecycle.callers import Caller
from salver.lifecycle.handles import Entry, Labels, ServingMap
from salver.lifecycle.monitor import VersionStatus
from salver.requests import ServableRequest
from salver.servable import ServableId
from salver.server.lazy import LazyModels
from salver.server.lookup import Lookup
from salver.workers.isolated import IsolatedVersions
from salver.workers.messages import Apply, ClearQuarantine, Leave, SetStates

__all__ = ["WorkerCore"]


class _Told:
    """The states as the supervisor tells them. Readers take no lock: one table is replaced."""

    def __init__(self) -> None:
        self._of: Mapping[str, SetStates] = {}

    def put(self, states: SetStates) -> None:
        self._of = {**self._of, states.name: states}

    def status(self, id: ServableId) -> VersionStatus | None:
        return next((s for s in self.statuses(id.name) if s.id == id), None)

    def statuses(self, name: str) -> tuple[VersionStatus, ...]:
        told = self._of.get(name)
        return () if told is None else told.statuses

    def last_error(self, name: str) -> ServingError | None:
        told = self._of.get(name)
        return None if told is None else told.last_error


class WorkerCore(Lookup):
    """In the place of a `ServerCore`. Safe to use from any thread."""

    def __init__(
        self,
        ask: "Callable[[object], Future[Any]]",
        *,
        lazy: LazyModels | None = None,
        meters: Callable[[ServableId], MeterFactory] = lambda _id: lambda *_key: None,
    ) -> None:
        """Know of no models.

        Args:
            ask: asks the supervisor.
            lazy: what loads the models where that is done when they are asked for.
            meters: makes what counts the answers of a version that is run elsewhere.
        """
        self._told = _Told()
        serving: ServingMap[Servable] = ServingMap() if lazy is None else lazy.serving
        super().__init__(serving, self._told, lazy=lazy)
        self._ask = ask
        self._isolated = IsolatedVersions(ask, meters)
        self._numbers = itertools.count()
        self._callers: dict[int, Caller] = {}  # of configurations that are being applied
        self._applied: tuple[ModelConfig, ...] | None = None

    def _acquire_elsewhere(self, request: ServableRequest, error: ServingError) -> Entry[Servable]:
        """See `Lookup`: a version that is isolated is run in a process of its own.

        Raises:
            Unavailable: it is not, for now.
        """
        id = self._meant(request) if isinstance(error, NotFound) else None
        if id is None or not self._isolated.is_isolated(id):
            return super()._acquire_elsewhere(request, error)
        return self._isolated.acquire(id)

    def waiting_models(self) -> tuple[str, ...]:
        """See `Lookup`: but for those that are isolated, for which there is nothing to wait."""
        waiting = super().waiting_models()
        return tuple(name for name in waiting if self._isolated.newest(name) is None)

    @property
    def applied(self) -> tuple[ModelConfig, ...] | None:
        """See `ServerCore`."""
        return self._applied

    @property
    def reserved(self) -> Mapping[ServableId, int]:
        """What this worker sets aside by itself, for models that are loaded when asked for."""
        return MappingProxyType({} if self._lazy is None else self._lazy.reserved)

    def apply(
        self,
        models: tuple[ModelConfig, ...] | None,
        *,
        is_awaited: bool = True,
        caller: Caller | None = None,
    ) -> None:
        """See `ServerCore`: the supervisor does it, and all workers know when this returns.

        Raises:
            ServingError: what applying it raises.
        """
        number, caller = next(self._numbers), caller or Caller()
        self._callers[number] = caller
        try:
            applying = self._ask(Apply(models, is_awaited, number))
            caller.on_leave(lambda: self._ask(Leave(number)))
            applying.result()
        finally:
            del self._callers[number]

    def clear_quarantine(self, name: str) -> tuple[int, ...]:
        """See `DoorCore`."""
        versions: tuple[int, ...] = self._ask(ClearQuarantine(name)).result()
        return versions

    def taken(self, number: int) -> None:
        """A configuration is in effect that this worker has asked for."""
        caller = self._callers.get(number)
        if caller is not None:
            caller.taken()

    # -- what the supervisor says ----------------------------------------------------------------

    def _meant(self, request: ServableRequest) -> ServableId | None:
        """The version that a request is for, among those that are isolated."""
        version = request.version
        if request.label is not None:
            version = self.labels(request.name).get(request.label)
            return None if version is None else ServableId(request.name, version)
        if version is None:
            return self._isolated.newest(request.name)
        return ServableId(request.name, version) if version >= 0 else None

    @property
    def isolated(self) -> IsolatedVersions:
        """The versions that are run elsewhere, or not at all."""
        return self._isolated

    def publish(self, id: ServableId, model: Servable) -> None:
        """See `ServingMap`."""
        self._serving.publish(id, model)

    def is_published(self, id: ServableId) -> bool:
        """Whether a version answers requests here."""
        return id in self._serving.in_flight()

    def withdraw(self, id: ServableId, on_drained: Callable[[], None]) -> None:
        """See `ServingMap`."""
        self._serving.withdraw(id, on_drained)

    def withdraw_if_published(self, id: ServableId) -> None:
        """Answer by a version no more that nobody asks any more."""
        if self.is_published(id):
            self._serving.withdraw(id, lambda: None)

    def assign_labels(self, labels: Labels, moving: Labels) -> None:
        """See `ServingMap`."""
        self._serving.assign_labels(labels, moving)
        self._has_labels = True

    def set_names(self, names: tuple[str, ...], applied: tuple[ModelConfig, ...] | None) -> None:
        """See `ServerCore`."""
        self._sourced, self._applied = names, applied

    def set_states(self, states: SetStates) -> None:
        """How the versions of a model are."""
        self._told.put(states)

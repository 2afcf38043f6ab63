"""What the protocols of a worker look models up in: its own, and what the supervisor shares."""

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
from salver.management.lazy import LazyModels
from salver.management.lookup import Lookup
from salver.protocols.administration import Administered, AdminRequest
from salver.vocabulary.access import Actor
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId
from salver.workers.isolated import IsolatedVersions
from salver.workers.messages import Administer, Apply, Leave, Note, SetLoaded, SetStates

__all__ = ["WorkerCore"]


class _SharedStates:
    """The states as the supervisor shares them. Readers take no lock: one table is replaced."""

    def __init__(self) -> None:
        self._of: Mapping[str, SetStates] = {}

    def put(self, states: SetStates) -> None:
        self._of = {**self._of, states.name: states}

    def status(self, id: ServableId) -> VersionStatus | None:
        return next((s for s in self.statuses(id.name) if s.id == id), None)

    def statuses(self, name: str) -> tuple[VersionStatus, ...]:
        states = self._of.get(name)
        return () if states is None else states.statuses

    def last_error(self, name: str) -> ServingError | None:
        states = self._of.get(name)
        return None if states is None else states.last_error


class WorkerCore(Lookup):
    """In the place of a `ServerCore`. Safe to use from any thread.

    Attributes:
        serving: the versions that this worker answers by.
        isolated: those that another process runs, or none.
    """

    def __init__(
        self,
        ask: "Callable[[object], Future[Any]]",
        *,
        notify: Callable[[object], None] = lambda _message: None,
        lazy: LazyModels | None = None,
        meters: Callable[[ServableId], MeterFactory] = lambda _id: lambda *_key: None,
    ) -> None:
        """Know of no models.

        Args:
            ask: sends a request to the supervisor.
            notify: tells the supervisor something.
            lazy: what loads the models where that is done when a request needs them.
            meters: makes what counts the answers of a version that another process runs.
        """
        self._states_of = _SharedStates()
        self.serving: ServingMap[Servable] = ServingMap() if lazy is None else lazy.serving
        super().__init__(self.serving, self._states_of, lazy=lazy)
        self._ask = ask
        self._notify = notify
        self.isolated = IsolatedVersions(ask, meters)
        self._numbers = itertools.count()
        self._callers: dict[int, Caller] = {}  # of configurations that are being applied
        self._applied: tuple[ModelConfig, ...] | None = None
        self._configured: tuple[ModelConfig, ...] = ()

    def _acquire_fallback(self, request: ServableRequest, error: ServingError) -> Entry[Servable]:
        """See `Lookup`: a version that is isolated is run in a process of its own.

        Raises:
            Unavailable: it is not, for now.
        """
        id = self._isolated_version(request) if isinstance(error, NotFound) else None
        if id is None or not self.isolated.is_isolated(id):
            return super()._acquire_fallback(request, error)
        return self.isolated.acquire(id)

    def is_available(self, request: ServableRequest) -> bool:
        """See `Lookup`: so is a version that a process of its own runs."""
        if super().is_available(request):
            return True
        id = self._isolated_version(request)
        return id is not None and self.isolated.answers(id)

    def note(self, id: ServableId, text: str | None) -> None:
        """See `ServerCore`."""
        self._notify(Note(id, text))

    def waiting_models(self) -> tuple[str, ...]:
        """See `Lookup`: but for those that are isolated, for which there is nothing to wait."""
        waiting = super().waiting_models()
        return tuple(name for name in waiting if self.isolated.newest(name) is None)

    @property
    def applied(self) -> tuple[ModelConfig, ...] | None:
        """See `ServerCore`."""
        return self._applied

    @property
    def configured(self) -> tuple[ModelConfig, ...]:
        """See `ServerCore`."""
        return self._configured

    @property
    def reserved(self) -> Mapping[ServableId, int]:
        """What this worker sets aside by itself, for models that are loaded on demand."""
        return MappingProxyType({} if self._lazy is None else self._lazy.residency.reserved)

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
        self._change(lambda number, actor: Apply(models, is_awaited, number, actor), caller)

    def set_loaded(self, name: str, *, is_loaded: bool, caller: Caller | None = None) -> None:
        """See `ServerCore`: as `apply`."""
        self._change(lambda number, actor: SetLoaded(name, is_loaded, number, actor), caller)

    def administer(self, request: AdminRequest, caller: Caller) -> Administered:
        """See `Administer`: the supervisor does it, and all workers know when this returns.

        Raises:
            ServingError: it cannot be done.
        """
        answer: Administered = self._change(
            lambda number, actor: Administer(request, number, actor), caller
        )
        return answer

    def _change(
        self,
        message: "Callable[[int, Actor], Apply | SetLoaded | Administer]",
        caller: Caller | None,
    ) -> Any:
        """Have the supervisor do something, of which it tells by a number."""
        number, caller = next(self._numbers), caller or Caller()
        self._callers[number] = caller
        try:
            changing = self._ask(message(number, caller.actor))
            caller.on_leave(lambda: self._ask(Leave(number)))
            return changing.result()
        finally:
            del self._callers[number]

    def taken(self, number: int) -> None:
        """A configuration is in effect that this worker has requested."""
        caller = self._callers.get(number)
        if caller is not None:
            caller.taken()

    # -- state that the supervisor shares --------------------------------------------------------

    def _isolated_version(self, request: ServableRequest) -> ServableId | None:
        """The version that a request is for, among those that are isolated."""
        version = request.version
        if request.label is not None:
            version = self.labels(request.name).get(request.label)
            return None if version is None else ServableId(request.name, version)
        if version is None:
            return self.isolated.newest(request.name)
        return ServableId(request.name, version) if version >= 0 else None

    def is_published(self, id: ServableId) -> bool:
        """Whether a version answers requests here."""
        return id in self.serving.in_flight()

    def withdraw_if_published(self, id: ServableId) -> None:
        """Answer by a version no more, if it is so."""
        if self.is_published(id):
            self.serving.withdraw(id, lambda: None)

    def assign_labels(self, labels: Labels, moving: Labels) -> None:
        """See `ServingMap`."""
        self.serving.assign_labels(labels, moving)
        self._has_labels = True

    def set_names(
        self,
        names: tuple[str, ...],
        applied: tuple[ModelConfig, ...] | None,
        unloaded: frozenset[str] = frozenset(),
        configured: tuple[ModelConfig, ...] = (),
    ) -> None:
        """See `ServerCore`."""
        self._sourced, self._applied, self._unloaded = names, applied, unloaded
        self._configured = configured

    def set_states(self, states: SetStates) -> None:
        """How the versions of a model are."""
        self._states_of.put(states)

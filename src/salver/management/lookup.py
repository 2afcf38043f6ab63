"""What the APIs ask about models: which version answers, how the versions are, what exists.

From a serving map and the published states: a `ServerCore` keeps its own, a worker has copies that
its supervisor keeps up to date.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from salver.errors import InvalidArgument, NotFound, ServingError, Unavailable
from salver.inference.servable import Servable
from salver.lifecycle.handles import Entry, ServingMap
from salver.lifecycle.monitor import VersionState, VersionStatus
from salver.management.lazy import LazyModels
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId

__all__ = ["Lookup", "States"]

_VERSIONS_NAMED: Final = 8  # by a hint; many that ended may be remembered


class States(Protocol):
    """The part of a `Monitor` that is needed, from any thread."""

    def status(self, id: ServableId) -> VersionStatus | None: ...
    def statuses(self, name: str) -> tuple[VersionStatus, ...]: ...
    def last_error(self, name: str) -> ServingError | None: ...


class Lookup:
    """The answers. Safe to use from any thread."""

    def __init__(
        self, serving: ServingMap[Servable], states: States, *, lazy: LazyModels | None = None
    ) -> None:
        """Answer from these; no model is configured yet.

        Args:
            serving: the versions that answer.
            states: how all are.
            lazy: knows which are in memory, where they are loaded when a request needs them.
        """
        self._serving = serving
        self._states = states
        self._lazy = lazy
        # In the order of the configuration; None before the first.
        self._sourced: tuple[str, ...] | None = None
        self._has_labels = False
        self._unloaded: frozenset[str] = frozenset()
        self._is_named: Callable[[str], bool] = lambda _name: True

    def name_only(self, is_named: Callable[[str], bool]) -> None:
        """Have hints name some models alone.

        Args:
            is_named: whether whoever asks at that moment may know of a model of this name.
        """
        self._is_named = is_named

    # -- requests --------------------------------------------------------------------------------

    def acquire(self, request: ServableRequest) -> Entry[Servable]:
        """Pin the version that answers `request`; the caller must `release` what it gets, once.

        Raises:
            NotFound: the model, or this version of it, is not available.
            InvalidArgument: no such label, or no name.
            Unavailable: labels are not known yet.
        """
        try:
            if request.label is None:
                return self._serving.acquire(request.name, request.version)
            return self._serving.acquire_label(request.name, request.label)
        except ServingError as error:
            return self._acquire_fallback(request, error)

    def is_available(self, request: ServableRequest) -> bool:
        """Whether a version here answers `request`, be it that it is loaded for it."""
        name, version, label = request.name, request.version, request.label
        if label is not None:
            return self._serving.has_label(name, label)
        return self._serving.answers(name) if version is None else self._serving.has(name, version)

    def in_flight(self) -> dict[ServableId, int]:
        """How many requests hold each available version."""
        return self._serving.in_flight()

    # -- status ----------------------------------------------------------------------------------

    def statuses(self, name: str, version: int | None = None) -> tuple[VersionStatus, ...]:
        """The state of one version, or of all versions of a model that were ever seen.

        Returns:
            Highest version first; never empty.

        Raises:
            NotFound: no version was ever seen.

        Source: `model_servers/get_model_status_impl.cc`.
        """
        if version is not None:
            status = self._states.status(ServableId(name, version)) if version >= 0 else None
            if status is None:
                raise NotFound(
                    f"Could not find version {version} of model {name}", hint=self._known(name)
                )
            return self._described((status,))
        found = self._states.statuses(name)
        if not found:
            raise NotFound(f"Could not find any versions of model {name}", hint=self._known(name))
        return self._described(found)

    def last_error(self, name: str) -> ServingError | None:
        """Why loading a model failed last, be it to be tried again; None while nothing has failed.

        A version that became available forgets its errors. Of several versions that failed the
        highest speaks.
        """
        return self._states.last_error(name)

    @property
    def lazy(self) -> LazyModels | None:
        """What loads models when a request needs them; None where all are loaded at once."""
        return self._lazy

    def model_names(self) -> tuple[str, ...]:
        """The models that are served, or are to be, in the order of the configuration."""
        return self._sourced or ()

    @property
    def unloaded(self) -> frozenset[str]:
        """Those of `model_names` that somebody has had unloaded; see `ServerCore.set_loaded`."""
        return self._unloaded

    def labels(self, name: str) -> dict[str, int]:
        """What the labels of a model mean now."""
        return dict(self._serving.labels.get(name, {}))

    def waiting_models(self) -> tuple[str, ...]:
        """Those of `model_names` that have no available version now, though they should."""
        names, unloaded = self.model_names(), self._unloaded
        return tuple(n for n in names if not self._serving.answers(n) and n not in unloaded)

    def problem(self, name: str) -> str | None:
        """Why a model has no available version, in a line, as far as that is known."""
        failure = self.last_error(name)
        if failure is not None:
            return failure.message
        notes = (status.note for status in self._states.statuses(name))
        return next(filter(None, notes), None)

    def _described(self, statuses: tuple[VersionStatus, ...]) -> tuple[VersionStatus, ...]:
        """The same, with what is known of models that are loaded when a request needs them."""
        lazy = self._lazy
        return statuses if lazy is None else tuple(map(lazy.described, statuses))

    def _acquire_fallback(self, request: ServableRequest, error: ServingError) -> Entry[Servable]:
        """What answers a request that no version here does; here nothing.

        Raises:
            ServingError: nothing does.
        """
        raise self._explain(request, error) from None

    # -- hints -----------------------------------------------------------------------------------

    def _explain(self, request: ServableRequest, error: ServingError) -> ServingError:
        if not request.name:
            return InvalidArgument("ModelSpec has no name specified.")
        if request.label is not None and not self._has_labels:
            return Unavailable(f"Model labels does not init yet.{request.label}")
        error.hint = error.hint or self._known(request.name)
        return error

    def _known(self, name: str) -> str | None:
        """What exists, as a hint: the versions and labels of a model, or the models."""
        if name not in self.model_names():
            if not self.model_names():
                return "This server has no models."
            names = ", ".join(filter(self._is_named, self.model_names()))
            return f"Models of this server: {names}." if names else None
        if name in self._unloaded:
            return f"{name} was unloaded. POST /v2/repository/models/{name}/load brings it back."
        statuses = self._states.statuses(name)
        hint = f"Versions of {name}: {_version_list(statuses)}."
        labels = ", ".join(f"{label} ({v})" for label, v in sorted(self.labels(name).items()))
        if labels:
            hint += f" Labels: {labels}."
        failure = self.last_error(name)
        if failure is None or any(s.state is VersionState.AVAILABLE for s in statuses):
            return hint
        return f"{hint} The last load failed: {failure.message}"


def _version_list(statuses: Sequence[VersionStatus]) -> str:
    """At most so many versions, highest first: those that are available, then the newest."""
    by_worth = sorted(statuses, key=lambda s: s.state is not VersionState.AVAILABLE)
    named = frozenset(status.id for status in by_worth[:_VERSIONS_NAMED])
    text = ", ".join(
        f"{s.id.version} ({', '.join(filter(None, (s.state.name, s.note)))})"
        for s in statuses
        if s.id in named
    )
    more = len(statuses) - len(named)
    return f"{text} and {more} more" if more else text or "none yet"

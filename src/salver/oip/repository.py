"""The models of the server as a repository of Triton's: their list, loading and unloading.

Plain dicts and functions, over which REST and gRPC write their forms. Only what the server's
configuration names can be loaded, from where it says: what a request brings along is refused.

Source: Triton's `docs/protocol/extension_model_repository.md`, and
`core/src/model_repository_manager/model_repository_manager.cc` for the words of errors.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from salver.errors import (
    Code,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServingError,
    Unavailable,
)
from salver.instruments.threads import InThread
from salver.lifecycle.callers import Caller
from salver.lifecycle.monitor import VersionState, VersionStatus
from salver.protocols.api import Models
from salver.vocabulary.access import Actor

__all__ = ["IndexEntry", "Repository"]

IndexEntry: TypeAlias = dict[str, str]
"""`name`, `version`, `state` and `reason`; without a version where none was ever seen."""

_STATES: Final[Mapping[VersionState, str]] = {
    VersionState.START: "LOADING",
    VersionState.LOADING: "LOADING",
    VersionState.AVAILABLE: "READY",
    VersionState.UNLOADING: "UNLOADING",
    VersionState.END: "UNAVAILABLE",
}
_MOST_WAITING: Final = 16  # each has a thread
_IGNORED: Final = "unload_dependents"  # no model here has any
_MOST_NAMED: Final = 64  # characters of a parameter


class Repository:
    """Lists models, loads and unloads them. Belongs to the loop."""

    def __init__(self, models: Models, in_control: InThread, *, is_explicit: bool) -> None:
        """Make it.

        Args:
            models: of the server.
            in_control: runs what may wait for models.
            is_explicit: whether `--model_control_mode` permits to load and unload.
        """
        self._models = models
        self._in_control = in_control
        self._is_explicit = is_explicit
        self._n_waiting = 0

    def names(self) -> list[str]:
        """The models that are configured, in the order of the configuration."""
        return list(self._models.model_names())

    def index(self, *, is_ready_only: bool = False) -> list[IndexEntry]:
        """All versions that were ever seen of the models that are configured, lowest first.

        Args:
            is_ready_only: leave out those that do not answer.
        """
        entries: list[IndexEntry] = []
        for name in self._models.model_names():
            statuses = self._statuses(name)
            entries += [_entry(status) for status in reversed(statuses)]
            if not statuses:
                reason = self._models.problem(name) or "no version is available"
                entries.append({"name": name, "state": "UNAVAILABLE", "reason": reason})
        return [each for each in entries if not is_ready_only or each["state"] == "READY"]

    async def load(
        self, name: str, parameters: Iterable[str] = (), *, actor: Actor | None = None
    ) -> None:
        """Load a model that is configured; done when a version answers.

        Args:
            name: of the model.
            parameters: names of what the request brings along.
            actor: who wants it.

        Raises:
            InvalidArgument: it brings something along; or no version could be loaded.
            NotFound: the configuration has no such model.
            FailedPrecondition: there is no version of it.
            Unavailable: nothing may be loaded by a request.
            ResourceExhausted: many wait already.
            ServingError: see `Models.set_loaded`.
        """
        self._check(name, parameters, "load")
        try:
            await self._set_loaded(name, is_loaded=True, actor=actor)
        except NotFound as error:
            text = f"failed to load '{name}', no version is available"
            raise FailedPrecondition(text, hint=error.message) from None
        except ServingError as error:
            if error.code is Code.UNKNOWN:  # see `management.waits.ModelsUnavailable`
                raise InvalidArgument(self._failure(name, error)) from None
            raise

    async def unload(
        self, name: str, parameters: Iterable[str] = (), *, actor: Actor | None = None
    ) -> None:
        """Unload a model that is configured; done when no version is left. Raises as `load`."""
        self._check(name, parameters, "unload")
        await self._set_loaded(name, is_loaded=False, actor=actor)

    def _check(self, name: str, parameters: Iterable[str], action: str) -> None:
        if not self._is_explicit:
            raise Unavailable(
                "explicit model load / unload is not allowed if polling is enabled",
                hint="It is with --model_control_mode=explicit.",
            )
        for each in parameters:
            if each != _IGNORED:
                raise InvalidArgument(
                    f"parameter '{each[:_MOST_NAMED]}' is not supported: a model is loaded as the "
                    "server's configuration has it, and from there",
                )
        if name not in self._models.model_names():
            raise NotFound(
                f"failed to {action} '{name}', failed to poll from model repository",
                hint=f"Only models that the server's configuration names can be {action}ed.",
            )

    async def _set_loaded(self, name: str, *, is_loaded: bool, actor: Actor | None) -> None:
        if self._n_waiting >= _MOST_WAITING:
            raise ResourceExhausted(
                f"{_MOST_WAITING} others wait for models to be loaded or unloaded: try again later"
            )
        caller = Caller(actor=actor)
        set_loaded = self._models.set_loaded
        doing = asyncio.ensure_future(
            self._in_control(lambda: set_loaded(name, is_loaded=is_loaded, caller=caller))
        )
        self._n_waiting += 1
        doing.add_done_callback(self._done)
        try:
            await asyncio.shield(doing)
        except asyncio.CancelledError:
            caller.leave()
            raise

    def _done(self, doing: "asyncio.Future[None]") -> None:
        self._n_waiting -= 1
        if not doing.cancelled():
            doing.exception()  # nobody may be left to be told

    def _statuses(self, name: str) -> tuple[VersionStatus, ...]:
        try:
            return tuple(self._models.statuses(name))
        except NotFound:
            return ()

    def _failure(self, name: str, error: ServingError) -> str:
        failed = [status for status in self._statuses(name) if status.error is not None]
        said = "".join(
            f"version {status.id.version} is at {_STATES[status.state]} state: "
            f"{'' if status.error is None else status.error.message};"
            for status in reversed(failed)
        )
        return f"load failed for model '{name}': {said or error.message}"


def _entry(status: VersionStatus) -> IndexEntry:
    reason = status.note or ""
    if status.error is not None:
        reason = status.error.message
    elif status.state is VersionState.END:
        reason = "unloaded"
    said: dict[str, Any] = {
        "name": status.id.name,
        "version": str(status.id.version),
        "state": _STATES[status.state],
        "reason": reason,
    }
    return said

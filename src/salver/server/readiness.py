"""Whether this server should get traffic."""

from collections.abc import Sequence
from typing import Protocol

from salver.errors import NotFound
from salver.lifecycle.monitor import VersionState, VersionStatus

__all__ = ["Readiness"]


class _Models(Protocol):
    def model_names(self) -> Sequence[str]: ...

    def waiting_models(self) -> Sequence[str]: ...

    def statuses(self, name: str) -> Sequence[VersionStatus]: ...


class Readiness:
    """Knows what keeps the server from being ready.

    Attributes:
        is_started: the first configuration has been applied.
        is_draining: the server has been told to stop.
    """

    def __init__(self, models: _Models) -> None:
        self._models = models
        self.is_started = False
        self.is_draining = False

    def problem(self) -> str | None:
        """Why there should be no traffic now; None when there may."""
        if self.is_draining:
            return "draining"
        if waiting := self._models.waiting_models():
            return f"no version is available of: {', '.join(waiting)}"
        return None if self.is_started or self._models.model_names() else "starting"

    def available(self, name: str) -> tuple[int, ...]:
        """The versions of a model that answer now, newest first."""
        return tuple(
            status.id.version
            for status in self._statuses(name)
            if status.state is VersionState.AVAILABLE
        )

    def error_of(self, name: str) -> str:
        """Why a model has no available version, as far as is known."""
        statuses = self._statuses(name)
        if not statuses:
            return "no version found on disk"
        errors = [status.error.message for status in statuses if status.error is not None]
        return errors[0] if errors else "loading"

    def _statuses(self, name: str) -> Sequence[VersionStatus]:
        try:
            return self._models.statuses(name)
        except NotFound:
            return ()

"""Whether this server should get traffic."""

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Readiness"]


class _Models(Protocol):
    def model_names(self) -> Sequence[str]: ...

    def waiting_models(self) -> Sequence[str]: ...


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

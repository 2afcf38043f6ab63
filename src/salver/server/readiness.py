"""Whether this server should get traffic."""

from collections.abc import Sequence
from typing import Final, Protocol

__all__ = ["Readiness"]

_MOST_EXPLAINED: Final = 8  # models; the others are named
_LONGEST: Final = 300  # characters of an explanation


class _Models(Protocol):
    def model_names(self) -> Sequence[str]: ...

    def waiting_models(self) -> Sequence[str]: ...

    def problem(self, name: str) -> str | None: ...


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
            named = [*map(self._explained, waiting[:_MOST_EXPLAINED]), *waiting[_MOST_EXPLAINED:]]
            return f"no version is available of: {', '.join(named)}"
        return None if self.is_started or self._models.model_names() else "starting"

    def _explained(self, name: str) -> str:
        problem = self._models.problem(name)
        if problem is None:
            return name
        line = " ".join(problem.split())
        return f"{name} ({line if len(line) <= _LONGEST else f'{line[:_LONGEST]}…'})"

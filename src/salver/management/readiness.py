"""Whether this server should get traffic."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

__all__ = ["ConfiguredModels", "Readiness"]

_MOST_EXPLAINED: Final = 8  # models; the others are named
_LONGEST: Final = 300  # characters of an explanation


class ConfiguredModels(Protocol):
    """The models of a server, as far as its readiness depends on them."""

    def model_names(self) -> Sequence[str]: ...

    def waiting_models(self) -> Sequence[str]: ...

    def problem(self, name: str) -> str | None: ...


class Readiness:
    """Knows what keeps the server from being ready.

    Attributes:
        is_started: the first configuration has been applied.
        is_draining: the server has been told to stop.
        is_settled: it has said yes once since the start, and goes on saying so until it drains.
            Only of one that stays ready.
    """

    def __init__(
        self,
        models: ConfiguredModels,
        *,
        stays: bool = False,
        on_settled: Callable[[], None] | None = None,
    ) -> None:
        """Have said nothing yet.

        Args:
            models: which there are.
            stays: models count until each has had an available version, and no more after that.
            on_settled: called when that is so, on the thread that has found out.
        """
        self._models = models
        self._stays = stays
        self._on_settled = on_settled
        self.is_started = False
        self.is_draining = False
        self.is_settled = False

    def start(self) -> None:
        """Note that the first configuration has been applied; settle by what it has come to."""
        self.is_started = True
        self.problem()

    def problem(self) -> str | None:
        """Why there should be no traffic now; None when there may."""
        if self.is_draining:
            return "draining"
        if self.is_settled:
            return None
        if waiting := self._models.waiting_models():
            named = [*map(self._explained, waiting[:_MOST_EXPLAINED]), *waiting[_MOST_EXPLAINED:]]
            return f"no version is available of: {', '.join(named)}"
        if self._stays and self.is_started:
            self._settle()
        return None if self.is_started or self._models.model_names() else "starting"

    def _settle(self) -> None:
        self.is_settled = True
        if self._on_settled is not None:
            self._on_settled()

    def _explained(self, name: str) -> str:
        problem = self._models.problem(name)
        if problem is None:
            return name
        line = " ".join(problem.split())
        return f"{name} ({line if len(line) <= _LONGEST else f'{line[:_LONGEST]}…'})"

"""What a model in children may have, and how often one that ends is started again."""

from dataclasses import dataclass
from typing import Final

__all__ = ["KILL", "BackOff", "ChildLimits", "ChildSettings"]

KILL: Final = "kill"

_FIRST_DELAY_S: Final = 0.1
_LONGEST_DELAY_S: Final = 10.0
_BEHAVES_AFTER_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """How the children of a version are made: when this changes, it is loaded again.

    Attributes:
        instances: how many there are.
        cpus: processors that each may run on, and threads that its libraries begin; 0 for all.
        python_executable: that runs them; empty for the server's.
    """

    instances: int = 1
    cpus: int = 0
    python_executable: str = ""


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What holds from the next run on.

    Attributes:
        max_concurrent_runs: in each child at a time; None as its backend has it.
        max_resident_bytes: a child that has more memory is ended; 0 for any amount.
        on_timeout: what becomes of a run that nobody waits for: `kill` ends its process.
    """

    max_concurrent_runs: int | None = None
    max_resident_bytes: int = 0
    on_timeout: str = ""


class BackOff:
    """How long the next process of an instance is waited for."""

    def __init__(self) -> None:
        self._deaths = 0

    def delay_s(self, lived_s: float, *, is_own_fault: bool) -> float:
        """The pause before the next one is started.

        Args:
            lived_s: how long the one that has ended could be asked, in seconds; 0 for never.
            is_own_fault: whether it ended of itself. One that the server has ended, because a run
                took too long, is replaced at once.
        """
        if not is_own_fault:
            return 0.0
        if lived_s >= _BEHAVES_AFTER_S:
            self._deaths = 0
        self._deaths += 1
        if self._deaths == 1:
            return 0.0
        return min(_LONGEST_DELAY_S, _FIRST_DELAY_S * float(1 << min(self._deaths - 2, 20)))

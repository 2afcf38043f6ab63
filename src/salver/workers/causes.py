"""Why a process has ended, in words."""

import signal
from collections.abc import Collection
from pathlib import Path
from typing import Final

from salver.servable import ServableId

__all__ = ["MemoryKills", "cause_of_end", "is_fault", "short_cause", "while_running"]

_MOST_NAMED: Final = 4
_FAULTS: Final = frozenset(
    [
        *(signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
        *(signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP),
    ]
)


def cause_of_end(code: int, loading: Collection[ServableId] = ()) -> str:
    """What the end of a process says.

    Args:
        code: as `subprocess` gives it: negative for a signal.
        loading: what it was loading.
    """
    text = _signal_text(-code) if code < 0 else f"exit status {code}"
    return f"{text}, while it was loading {_listed(loading)}" if loading else text


def while_running(cause: str, running: Collection[ServableId]) -> str:
    """The same, with what ran at that moment, if anything did."""
    return f"{cause}, while it was running {_listed(running)}" if running else cause


def short_cause(code: int) -> str:
    """What the end of a process says, in a word."""
    return cause_of_end(code).partition(" (")[0]


def is_fault(code: int) -> bool:
    """Whether a process ended by what it did itself: also if something in it asked for the end."""
    return code >= 0 or -code in _FAULTS


class MemoryKills:
    """Whether the system ends processes for want of memory. Linux says how many it has ended."""

    def __init__(self, path: Path = Path("/proc/vmstat")) -> None:
        """Begin to count.

        Args:
            path: where the system says it.
        """
        self._path = path
        self._seen = self._count()

    def happened(self) -> bool:
        """Whether one was ended since this was asked the last time."""
        before, self._seen = self._seen, self._count()
        return self._seen > before

    def _count(self) -> int:
        try:
            lines = self._path.read_text().splitlines()
        except OSError:
            return 0
        found = (line.split() for line in lines if line.startswith("oom_kill "))
        return next((int(value) for _, value in found), 0)


def _listed(ids: Collection[ServableId]) -> str:
    named = sorted(ids)[:_MOST_NAMED]
    more = f" and {len(ids) - len(named)} more" if len(ids) > len(named) else ""
    return f"{', '.join(map(str, named))}{more}"


def _signal_text(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name} (out of memory?)" if number == signal.SIGKILL else name

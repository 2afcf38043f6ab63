"""How processes end, in words."""

import signal
from pathlib import Path
from typing import Final

__all__ = ["MemoryKills", "end_of", "is_fault"]

_FAULTS: Final = frozenset(
    [
        *(signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
        *(signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP),
    ]
)


def end_of(code: int) -> str:
    """What the end of a process says.

    Args:
        code: as `subprocess` gives it: negative for a signal.
    """
    return _signal_text(-code) if code < 0 else f"exit status {code}"


def is_fault(code: int) -> bool:
    """Whether a process ended by what it did itself: also if something in it called for the end."""
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
        """Whether one was ended since the last call."""
        before, self._seen = self._seen, self._count()
        return self._seen > before

    def _count(self) -> int:
        try:
            lines = self._path.read_text().splitlines()
        except OSError:
            return 0
        found = (line.split() for line in lines if line.startswith("oom_kill "))
        return next((int(value) for _, value in found), 0)


def _signal_text(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name} (out of memory?)" if number == signal.SIGKILL else name

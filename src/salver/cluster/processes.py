"""Processes that are known again, and never taken for others.

The system gives the number of a process that has ended to another one. Together with the moment at
which a process started, and the boot that it started in, the number is of that process alone.
"""

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["ProcessId", "identify", "is_alive", "send_signal", "wait_end"]

_PROC: Final = Path("/proc")
_BOOT: Final = _PROC / "sys/kernel/random/boot_id"
_STATE, _STARTED = 0, 19  # fields of /proc/PID/stat behind the name, see proc(5)
_DEAD: Final = ("Z", "X")
_LOOK_S: Final = 0.05  # between two looks whether a process has ended


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process.

    Attributes:
        pid: its number.
        started: when, in the words of the system.
    """

    pid: int
    started: str


def identify(pid: int) -> ProcessId | None:
    """The process that has a number now; None where there is none, or it has ended."""
    if not _BOOT.exists():
        return _identify_by_ps(pid)
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        boot = _BOOT.read_text().strip()
    except (OSError, ValueError):
        return None
    return None if fields[_STATE] in _DEAD else ProcessId(pid, f"{boot}:{fields[_STARTED]}")


def _identify_by_ps(pid: int) -> ProcessId | None:
    """The same where there is no /proc, as on macOS."""
    said = subprocess.run(  # noqa: S603 - our own arguments
        ["/bin/ps", "-o", "lstart=,stat=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    if not said or said[-1].startswith(_DEAD):
        return None
    return ProcessId(pid, " ".join(said[:-1]))


def is_alive(process: ProcessId) -> bool:
    """Whether it runs still."""
    return identify(process.pid) == process


def send_signal(process: ProcessId, number: signal.Signals) -> bool:
    """Send a signal to a process, and to no other that has got its number.

    Returns:
        Whether it was there.

    Raises:
        PermissionError: it is another user's.
    """
    try:
        descriptor = _opened(process)
    except ProcessLookupError:
        return False
    if descriptor is None:
        if is_alive(process):
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)
                return True
        return False
    try:  # from here on the descriptor is of one process, whatever becomes of the number
        if not is_alive(process):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def wait_end(process: ProcessId, within_s: float) -> bool:
    """Wait until a process has ended; whether it has."""
    try:
        descriptor = _opened(process)
    except ProcessLookupError:
        return True
    if descriptor is None:
        return _look_for_end(process, within_s)
    try:
        if is_alive(process):
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(within_s * 1000)
    finally:
        os.close(descriptor)
    return not is_alive(process)


def _opened(process: ProcessId) -> int | None:
    """A descriptor of the process that has the number; None where the system makes none.

    Raises:
        ProcessLookupError: there is none.
    """
    if not hasattr(os, "pidfd_open"):  # macOS
        return None
    try:
        return os.pidfd_open(process.pid)
    except ProcessLookupError:
        raise
    except OSError:  # no such system call, or it is kept from containers
        return None


def _look_for_end(process: ProcessId, within_s: float) -> bool:
    until_s = time.monotonic() + within_s
    while is_alive(process):
        if (left_s := until_s - time.monotonic()) <= 0:
            return False
        time.sleep(min(_LOOK_S, left_s))
    return True

"""What the operating system says of this process, read when somebody asks."""

import os
import resource
import sys
from pathlib import Path
from typing import Final

from salver.metrics.catalogue import BY_NAME
from salver.metrics.text import Family

__all__ = ["build_family", "process_families"]

_PROC: Final = Path("/proc")
_PREFIX: Final = "salver_process_"


def process_families(proc: Path = _PROC) -> list[Family]:
    """The families of the process; where the system does not tell, those without cells.

    Args:
        proc: the process file system; there is none on macOS.
    """
    values: dict[str, float | None] = {
        "cpu_seconds_total": _cpu_seconds(),
        "max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "open_fds": _open_fds(proc),
        "resident_memory_bytes": None,
        "start_time_seconds": None,
        "threads": None,
    }
    try:
        # Behind the name of the command, which may hold anything; proc_pid_stat(5) counts from 1.
        fields = (proc / "self" / "stat").read_text(errors="replace").rpartition(")")[2].split()
        booted = _boot_time(proc)
    except OSError:
        pass
    else:
        values["threads"] = int(fields[20 - 3])
        values["start_time_seconds"] = booted + int(fields[22 - 3]) / os.sysconf("SC_CLK_TCK")
        values["resident_memory_bytes"] = int(fields[24 - 3]) * resource.getpagesize()
    return [
        Family(BY_NAME[f"{_PREFIX}{name}"], [] if value is None else [((), value)])
        for name, value in values.items()
    ]


def build_family(version: str, tensorflow: str) -> Family:
    """What is running.

    Args:
        version: of this server.
        tensorflow: of TensorFlow; empty where it is not installed.
    """
    labels = (version, sys.version.partition(" ")[0], tensorflow)
    return Family(BY_NAME["salver_build_info"], [(labels, 1)])


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _open_fds(proc: Path) -> int | None:
    try:
        return len(os.listdir(proc / "self" / "fd")) - 1  # one is that of the listing itself
    except OSError:
        return None


def _boot_time(proc: Path) -> int:
    lines = (proc / "stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("btime "))

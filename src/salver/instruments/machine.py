"""What this machine has, as far as this process may use it."""

import os
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["make_shared_memory", "memory_bytes", "resident_bytes"]

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def make_shared_memory(name: str) -> int:
    """The descriptor of memory, empty yet, that goes with the last process that holds it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile() as file:  # pragma: no cover - only where it is not Linux
        return os.dup(file.fileno())


def resident_bytes(pid: int | str = "self") -> int:
    """What a process holds in RAM now; 0 where the system does not say so."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def memory_bytes(root: Path = Path("/")) -> int:
    """The memory that this process may use: the machine's, or less where its cgroup says so.

    Args:
        root: where `/proc` and `/sys` are; a test's own goes in here.

    Source: Linux `Documentation/admin-guide/cgroup-v2.rst`, `cgroup-v1/memory.rst`.
    """
    machine = _PAGE_BYTES * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_cgroup_limits(root)])


def _cgroup_limits(root: Path) -> list[int]:
    """What this process's group and those above it allow; nothing where there are none."""
    tops = (
        (root / "sys/fs/cgroup", "memory.max"),
        (
            root / "sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
        ),
    )
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    files = {top / name for top, name in tops}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for (top, name), is_meant in zip(
            tops, (controllers == "", "memory" in controllers.split(",")), strict=True
        ):
            if is_meant:
                group = top / path.lstrip("/")
                files |= {each / name for each in (group, *group.parents) if top in each.parents}
    return [limit for file in files for limit in _limit_in(file)]


def _limit_in(file: Path) -> list[int]:
    try:
        text = file.read_text().strip()
    except OSError:  # in a container the groups above are not shown
        return []
    return [int(text)] if text.isdecimal() and int(text) > 0 else []

"""What this machine has, as far as this process may use it."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["memory_bytes"]

_NO_LIMIT: Final = 1 << 60  # what version 1 of cgroups says where there is none is beyond


def memory_bytes(root: Path = Path("/")) -> int:
    """How much memory there may be in use: the machine's, or less in a container.

    Args:
        root: of the file system; for tests.
    """
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([physical, *_limits(root)])


def _limits(root: Path) -> Iterator[int]:
    """What cgroups allow, of both versions, where they say so."""
    group = ""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                group = line[3:].strip("/")
    cgroups = root / "sys/fs/cgroup"
    for path in (
        *(cgroups / group / "memory.max", cgroups / "memory.max"),
        cgroups / "memory/memory.limit_in_bytes",
    ):
        with suppress(OSError, ValueError):
            limit = int(path.read_text())
            if 0 < limit < _NO_LIMIT:
                yield limit

"""What the machine itself does to latencies, to be kept apart from what a server does.

Two things of virtual machines, and of kernels that do not interrupt themselves, are longer than all
that the benchmarks of tails want to see. Memory that has been free for some seconds may have gone
back to the host, and the first who touches it waits for it, up to 17 ms per 8 MiB where this was
written; so a `Ballast` keeps some and lets go of it just before it is needed. And the kernel may
copy a file into fresh memory for 3 ms at a time, or the host take the processor away; what then
happens to a thread of real-time priority, which no program can be before, `watched` tells.
"""

import mmap
import os
import subprocess
import sys
import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LATE_S = 1e-3  # and more is noted
_EVERY_S = 1e-3
_PRIORITY = 50
_PIECE = bytes(range(256)) * 4096  # 1 MiB
_NOT_ALLOWED = 3  # exit status of a watch


class Ballast:
    """Memory that is in use until somebody needs it."""

    def __init__(self, n_bytes: int) -> None:
        self._n_bytes = n_bytes
        self._held: mmap.mmap | None = None

    def take(self) -> None:
        """Hold it, all of it written to. Nothing where it is held."""
        if self._held is None:
            self._held = mmap.mmap(-1, self._n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            for begin in range(0, self._n_bytes, len(_PIECE)):
                self._held[begin : begin + len(_PIECE)] = _PIECE

    def drop(self) -> None:
        """Give it back to the system, from where the next who asks gets it."""
        if self._held is not None:
            self._held.close()
            self._held = None


@contextmanager
def watched(cpus: Iterable[int]) -> Iterator[list[Any]]:
    """Have threads of real-time priority look when they could not run.

    Args:
        cpus: one each.

    Yields:
        A list that gets an array at the end, of shape (n, 2): from when to when, by
        `time.monotonic`, one of them was late by more than `LATE_S`. It gets nothing where such
        threads are not allowed.
    """
    watches = [
        subprocess.Popen(
            [sys.executable, "-E", "-S", Path(__file__).resolve(), str(cpu)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        for cpu in cpus
    ]
    found: list[Any] = []
    try:
        yield found
    finally:
        said = [watch.communicate()[0] for watch in watches]
    if all(watch.returncode == 0 for watch in watches):
        import numpy as np  # which a watch has no use for

        found.append(np.frombuffer(b"".join(said), np.float64).reshape(-1, 2))
    elif any(watch.returncode not in (0, _NOT_ALLOWED) for watch in watches):
        raise RuntimeError("a watch over the machine has failed")


def _watch(cpu: int) -> None:
    """Write down when this was late, until standard input is closed."""
    os.sched_setaffinity(0, {cpu})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    except OSError:
        sys.exit(_NOT_ALLOWED)
    os.set_blocking(0, False)
    late = array("d")
    due_s = time.monotonic()
    while True:
        due_s += _EVERY_S
        time.sleep(max(0.0, due_s - time.monotonic()))
        now_s = time.monotonic()
        if now_s - due_s > LATE_S:
            late.extend((due_s, now_s))
            due_s = now_s
        if sys.stdin.buffer.raw.read(1) == b"":  # type: ignore[attr-defined]
            break
    sys.stdout.buffer.write(late.tobytes())


if __name__ == "__main__":
    _watch(int(sys.argv[1]))

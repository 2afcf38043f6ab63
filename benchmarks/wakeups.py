"""How late a thread gets its work done beside threads that compute, by the slices it asks for.

    python benchmarks/wakeups.py [--busy 2] [--work_ms 0.4] [--slices 0,0.1,0.7] [--turns 5]

What the system's scheduler costs a server, with nothing of a server in it. A thread sleeps 4.5 ms,
computes for as long as a request takes its event loop, and sleeps again. Beside it, as many other
processes as `--busy` says compute all the time. Told is how much later it is done than it had been
by itself, in milliseconds: a part of it until the thread runs, the rest because the processor is
taken from it before it is done. The slices are milliseconds that the thread asks for by
`sched_setattr` (Linux 6.12 and newer); 0 asks for nothing. They take turns. Linux only.
"""

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from salver.instruments.threads import take_short_slices

SLEEP_S = 4.5e-3
WAKEUPS = 250  # of each slice in a turn
COMPUTE = "import os\nbegun = os.getppid()\nwhile os.getppid() == begun:\n    sum(range(100_000))"


@contextmanager
def computing(count: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    others = [subprocess.Popen([sys.executable, "-c", COMPUTE]) for _ in range(count)]
    try:
        time.sleep(0.5)  # until they do
        yield
    finally:
        for each in others:
            each.kill()
        for each in others:
            each.wait()


def lateness(slice_ms: float, work_s: float) -> list[float]:
    """How late each piece of work of one thread was done, in seconds.

    Raises:
        RuntimeError: the system gives no such slices.
    """
    found: list[float] = []
    has_slices = True

    def wake() -> None:
        nonlocal has_slices
        if slice_ms and not take_short_slices(round(slice_ms * 1e6)):
            has_slices = False
            return
        for _ in range(WAKEUPS):
            due_s = time.perf_counter() + SLEEP_S
            time.sleep(SLEEP_S)
            until_s = time.thread_time() + work_s
            while time.thread_time() < until_s:
                pass
            found.append(time.perf_counter() - due_s - work_s)

    thread = threading.Thread(target=wake)
    thread.start()
    thread.join()
    if not has_slices:
        raise RuntimeError("the system takes no wish for slices")
    return found


def measure(
    slices: Sequence[float], *, busy: int, work_s: float, turns: int
) -> dict[float, list[float]]:
    """Slice in milliseconds → how late each piece of work was done, in seconds, sorted."""
    found: dict[float, list[float]] = {each: [] for each in slices}
    with computing(busy):
        for _ in range(turns):
            for each in slices:
                found[each] += lateness(each, work_s)
    return {each: sorted(late) for each, late in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--busy", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--work_ms", type=float, default=0.4)
    parser.add_argument("--slices", default="0,0.1,0.7", help="comma list of milliseconds")
    parser.add_argument("--turns", type=int, default=5)
    chosen = parser.parse_args()
    slices = [float(each) for each in chosen.slices.split(",")]
    work_s = chosen.work_ms / 1e3
    for busy in (0, chosen.busy):
        found = measure(slices, busy=busy, work_s=work_s, turns=chosen.turns)
        for slice_ms, late in found.items():
            shares = {
                f"p{share:g}": late[int(len(late) * share / 100)] for share in (50, 90, 95, 99)
            }
            told = ", ".join(f"{name} {1e3 * value:.2f}" for name, value in shares.items())
            asked = f"slices of {slice_ms:g} ms" if slice_ms else "no slices asked for"
            print(f"beside {busy}: {asked}: {told}, mean {1e3 * statistics.mean(late):.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())

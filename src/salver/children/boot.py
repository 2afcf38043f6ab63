"""The program of a child, run as a file by whichever Python the model has.

It ties itself to its parent, makes the server's own Salver importable, and nothing else of the
server's packages, and goes on in `salver.children.program`. Until then it must be read by any
Python 3.6 and newer, and needs no package.

Arguments: descriptors of the two sockets and of the lifeline (see `children.starting`), the process
id of the server, the processors to run on (`0,1`; empty for all), and what it is called.
"""

import os
import sys
from typing import Any

_LEAST_VERSION = (3, 10)
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_SET_SIGNAL = 10  # F_SETSIG, which Python knows since 3.11 only
_HANG_UP = 1
_KILL = 9
_MORE_OOM_SCORE = 300


def _tie_to(parent: int, lifeline: int) -> None:
    """Have the system end this process group when the server ends, however it does.

    Source: prctl(2). A death signal comes when the thread ends that started this process, which may
    be before the server's end of the lifeline is closed: it must leave the group to the lifeline.
    """
    import ctypes

    number = _HANG_UP if _tie_group_to(lifeline) else _KILL
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, number, 0, 0, 0)
    if os.getppid() != parent:  # it has ended before
        os._exit(1)


def _tie_group_to(lifeline: int) -> bool:
    """Have the system kill the process group once the other end of a pipe is closed.

    It does so whatever runs, also in native code, and in the same step for all that the model has
    started in its group.

    Returns:
        False in a sandbox that has no such signals.
    """
    import fcntl
    import signal

    leader = os.getpid()

    def end(number: int, frame: object) -> None:
        os.kill(0 if os.getpid() == leader else os.getpid(), _KILL)

    try:
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, _SET_SIGNAL, _KILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    except OSError:
        return False
    signal.signal(_HANG_UP, end)
    return True


def _stand_first_for_oom() -> None:
    """When memory is short, a child is ended rather than the server."""
    try:
        with open("/proc/self/oom_score_adj", "r+") as file:
            score = min(1000, int(file.read()) + _MORE_OOM_SCORE)
            file.seek(0)
            file.write(str(score))
    except (OSError, ValueError):
        pass


class _OwnSource:
    """Finds `salver` where this file is, wherever the packages of this Python are."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name != "salver":
            return None
        from importlib.util import spec_from_file_location

        return spec_from_file_location(
            name,
            os.path.join(self._directory, "__init__.py"),
            submodule_search_locations=[self._directory],
        )


def _main(data: str, control: str, lifeline: str, parent: str, cpus: str, label: str) -> None:
    _tie_to(int(parent), int(lifeline))
    if cpus:
        os.sched_setaffinity(0, [int(each) for each in cpus.split(",")])
    _stand_first_for_oom()
    if sys.version_info < _LEAST_VERSION:
        sys.exit(f"Python {sys.version} cannot run a model: 3.10 or newer is needed")
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [each for each in sys.path if os.path.abspath(each) != here]
    sys.meta_path.insert(0, _OwnSource(os.path.dirname(here)))
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        sys.exit(
            f"{sys.executable} cannot run a model: {error}. Install numpy there: "
            f"{sys.executable} -m pip install 'numpy>=1.26'"
        )
    from salver.children.program import run

    run(int(data), int(control), label)


if __name__ == "__main__":
    _main(*sys.argv[1:])

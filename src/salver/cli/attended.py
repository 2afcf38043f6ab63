"""`salver serve` for as long as its parent lives: what `salver.serve` and `publish` start."""

import os
import select
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence

from salver.cli.salver import main as salver
from salver.cli.starting import Leave, Run, leave_at_once, run_server
from salver.config.flag_sources import PREFIX

__all__ = ["Orphanhood", "main"]

_LOOK_S = 1.0


class Orphanhood:
    """Whether the parent has ended.

    It has when nobody holds the other end of a pipe, which is seen at once, or when this process
    has another parent: a fork of the one it had may hold the pipe open.
    """

    def __init__(self, pipe: int, look_s: float = _LOOK_S) -> None:
        """Note who the parent is.

        Args:
            pipe: its reading end; nothing is ever written to it.
            look_s: between two looks at the parent.
        """
        self._pipe = pipe
        self._look_s = look_s
        self._parent = os.getppid()
        self.is_over = False

    def watch(self, end: Callable[[], None]) -> None:
        """Wait for it, and then call `end`."""
        while os.getppid() == self._parent:
            readable, _, _ = select.select([self._pipe], [], [], self._look_s)
            if readable and not os.read(self._pipe, 1):
                break
        self.is_over = True
        end()


def main(argv: Sequence[str], run: Run = run_server, leave: Leave = leave_at_once) -> int:
    """Serve; returns the exit status.

    Args:
        argv: the program; a directory that is removed when the parent cannot do it any more; the
            arguments of `salver serve`.
        run: starts the server.
        leave: ends the process when a model will not.
    """
    _, scratch, *arguments = argv
    orphanhood = Orphanhood(sys.stdin.fileno())
    # The parent's keywords are all there is to say: what a container sets is for `salver serve`,
    # and what a service manager does, for the parent.
    for variable in [name for name in os.environ if name.startswith((PREFIX, "NOTIFY_SOCKET"))]:
        del os.environ[variable]

    def clean() -> None:
        if orphanhood.is_over:
            shutil.rmtree(scratch, ignore_errors=True)

    def leave_clean(status: int) -> None:
        clean()
        leave(status)

    # Until the server has its own handler: so that the directory goes in any case.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    threading.Thread(
        target=orphanhood.watch,
        args=(lambda: os.kill(os.getpid(), signal.SIGTERM),),
        name="salver-parent",
        daemon=True,
    ).start()
    try:
        return salver(["salver", "serve", *arguments], run, leave_clean)
    finally:
        clean()

"""What a worker process runs; see `salver.workers`. Nobody calls it by hand."""

import gc
import os
import pickle
import signal
import sys
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from salver.cli.logging_setup import LogStyle, set_up_logging
from salver.cli.starting import Leave, import_extensions, leave_at_once
from salver.instruments.threads import call_process

if TYPE_CHECKING:
    from salver.workers.messages import Begin

__all__ = ["main"]


def main(
    argv: Sequence[str] | None = None,
    leave: Leave = leave_at_once,
    *,
    log_level: int | None = None,
    is_plain: bool = False,
    is_json: bool = False,
) -> int:
    """Serve as the supervisor says; returns the exit status.

    Args:
        argv: the program; the descriptor of this end of the channel; the number of the worker.
            The process's own when None.
        leave: ends the process when a model will not.
        log_level: see `LogStyle`; as the environment says when None.
        is_plain: see there.
        is_json: see there.
    """
    arguments = sys.argv if argv is None else argv
    # The supervisor decides what a signal to the whole group of processes means. They are not
    # ignored, as programs started from here would inherit that.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    connection = Connection(int(arguments[1]))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.disable()  # imports make no garbage; the worker enables it when it has started
    style = None if log_level is None else LogStyle(log_level, is_plain, is_json)
    set_up_logging(who=f"worker {arguments[2]}", style=style)
    call_process(f"salver-{arguments[2]}")
    from salver.backends.selection import prepare

    import_extensions()
    preparing = prepare(*pickle.loads(connection.recv_bytes()))  # noqa: S301 - our parent's
    try:
        from salver.server import api_servers as _servers  # noqa: F401 - needed as soon as it begins
        from salver.workers import worker  # while the library is opened

        has_ended = worker.run(connection, on_begin=partial(_begin, style))
    except EOFError:  # nobody needs this one
        return 0
    finally:
        preparing.join()  # a process that ends while a library is opened may hang
    if not has_ended:
        leave(0)
    return 0


def _begin(style: LogStyle | None, begin: "Begin") -> None:
    from salver.workers.marks import enable_fault_trace

    set_up_logging(who=f"worker {begin.slot}", style=style)
    call_process(f"salver-worker{begin.slot}")
    if begin.memory is not None:
        enable_fault_trace(begin.memory[1])

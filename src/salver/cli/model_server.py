"""`tensorflow_model_server`: the reference's command line.

Source: TensorFlow Serving `model_servers/main.cc`.
"""

import logging
import os
import sys
from collections.abc import Sequence

from salver.cli.backend_flags import find_backend_flag
from salver.cli.logging_setup import set_up_logging, style_of
from salver.cli.starting import Leave, Run, leave_at_once, run_server
from salver.cli.versions import model_server_version, tensorflow_version
from salver.config.flag_sources import parse_all
from salver.config.flags import nearest_flag, usage
from salver.config.options import ServeMode, ServerOptions, warnings_of
from salver.errors import InvalidArgument, ServingError

__all__ = ["main"]

_log = logging.getLogger(__name__)

_FAILURE = 255  # the reference returns -1
_INTERRUPTED = 130  # as a shell sees a process that SIGINT ended


def main(
    argv: Sequence[str] | None = None, run: Run = run_server, leave: Leave = leave_at_once
) -> int:
    """Run the command; returns its exit status.

    Args:
        argv: with the program's name; the process's own when None.
        run: starts the server.
        leave: ends the process when a model will not.
    """
    program, *arguments = sys.argv if argv is None else argv
    set_up_logging()
    try:
        parsed = parse_all(
            arguments, find=find_backend_flag, environment=os.environ, has_variables=False
        )
    except ServingError as error:
        return _not_started(error)
    for bad in parsed.bad:
        _log.error("%s", bad)
    if parsed.bad or parsed.wants_help:
        print(usage(program), end="")
        return _FAILURE
    if parsed.options.version:
        print(f"TensorFlow ModelServer: {model_server_version()}")
        print(f"TensorFlow Library: {tensorflow_version()}")
        return 0
    if parsed.leftovers:
        print(f"unknown argument: {parsed.leftovers[0]}")
        print(usage(program), end="", flush=True)
        _warn_of(parsed.leftovers)
    if parsed.options.log_format != "text":
        try:
            set_up_logging(style=style_of(parsed.options))
        except InvalidArgument as error:
            return _not_started(error)
    for line in warnings_of(parsed.set_names):
        _log.warning("%s", line)
    return _serve(parsed.options, run, leave)


def _warn_of(leftovers: Sequence[str]) -> None:
    for argument in leftovers:
        meant = nearest_flag(argument) if argument.startswith("-") else None
        _log.warning("Ignoring %s%s", argument, f": did you mean {meant}?" if meant else "")


def _serve(options: ServerOptions, run: Run, leave: Leave) -> int:
    try:
        if not run(options, None, ServeMode()):
            leave(0)
    except ServingError as error:
        return _not_started(error)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _not_started(error: ServingError) -> int:
    print(f"Failed to start server. Error: {error.status}", flush=True)
    if error.hint:
        _log.error("%s", error.hint)
    return _FAILURE

"""How a run in a child ends for which nobody waits, and what is said of one that fails."""

import logging
import os
import sys
from concurrent.futures import CancelledError
from typing import Final

from salver.errors import Cancelled, Internal, ServingError, drop_frames, out_of_memory

__all__ = ["Stopped", "failure_of"]

_log = logging.getLogger(__name__)

_STOPPED_TEXT: Final = "The run was stopped: nobody waits for it any more"


class Stopped(GeneratorExit):
    """Raised in a run that nobody waits for.

    To a generator that is at work it is what `close` would be at its next `yield`.
    """


def failure_of(error: BaseException) -> ServingError:
    """What the server is told of a run that has failed; a run that calls for the end has it."""
    if isinstance(error, ServingError):
        drop_frames(error)
        return error
    if isinstance(error, (Stopped, CancelledError)):
        return Cancelled(_STOPPED_TEXT)
    if isinstance(error, MemoryError):
        return out_of_memory(error)
    if isinstance(error, SystemExit):
        _leave_process(error)
    _log.error("A run failed", exc_info=error)
    return Internal(f"{type(error).__name__}: {error}")


def _leave_process(exit: SystemExit) -> None:
    code = exit.code
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)  # noqa: T201 - as Python does
        code = 1
    sys.stdout.flush()
    os._exit((code or 0) & 0xFF)

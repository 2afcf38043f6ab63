"""Log lines on standard error in the form TensorFlow's programs write them."""

import logging
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TextIO

import salver

__all__ = ["ReferenceFormatter", "level_from", "set_up_logging"]

_ROOT = str(Path(salver.__file__).parent.parent) + os.sep
_LETTERS = ((logging.CRITICAL, "F"), (logging.ERROR, "E"), (logging.WARNING, "W"))
_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


class ReferenceFormatter(logging.Formatter):
    """`2025-01-31 12:00:00.123456: I salver/server.py:12] Finished adding/updating models`."""

    def __init__(self, who: str = "") -> None:
        """Write lines; `who` stands before each message, where several processes write them."""
        super().__init__()
        self._who = f"{who}: " if who else ""

    def format(self, record: logging.LogRecord) -> str:
        # Local time, as the reference prints it.
        moment = datetime.fromtimestamp(record.created)  # noqa: DTZ006
        letter = next((letter for level, letter in _LETTERS if record.levelno >= level), "I")
        path = record.pathname.removeprefix(_ROOT)
        line = (
            f"{moment:%Y-%m-%d %H:%M:%S.%f}: {letter} {path}:{record.lineno}] "
            f"{self._who}{record.getMessage()}"
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def level_from(environment: Mapping[str, str]) -> int:
    """The least level to log: TF_CPP_MIN_LOG_LEVEL from 0 (info) to 3 (fatal); 0 if unclear."""
    try:
        asked = int(environment.get("TF_CPP_MIN_LOG_LEVEL", "0"))
    except ValueError:
        return logging.INFO
    return _LEVELS[min(max(asked, 0), len(_LEVELS) - 1)]


def set_up_logging(
    environment: Mapping[str, str] | None = None, stream: TextIO | None = None, *, who: str = ""
) -> None:
    """Send the log to `stream`: our own lines from the asked level up, others' from warnings up.

    Args:
        environment: the process's when None.
        stream: standard error when None.
        who: see `ReferenceFormatter`.
    """
    level = level_from(os.environ if environment is None else environment)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(ReferenceFormatter(who))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("salver").setLevel(level)

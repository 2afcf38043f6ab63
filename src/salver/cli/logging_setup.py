"""Log lines on standard error: as TensorFlow's programs write them, or for a person at a terminal.

TensorFlow's own lines are written by its library, which looks at an environment variable when it is
opened; what it warns of is mostly how it was built, and what fails in it is told by the calls.
"""

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TextIO

import salver
from salver.notices import NOTICE

__all__ = [
    "LogStyle",
    "PlainFormatter",
    "ReferenceFormatter",
    "level_from",
    "quieten_tensorflow",
    "set_up_logging",
    "style_from",
]

_ROOT = str(Path(salver.__file__).parent.parent) + os.sep
_LETTERS = ((logging.CRITICAL, "F"), (logging.ERROR, "E"), (logging.WARNING, "W"))
_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
_WORDS: Final = ((logging.ERROR, "error: "), (logging.WARNING, "warning: "))
_VARIABLE: Final = "TF_CPP_MIN_LOG_LEVEL"
# Files of the drivers of NVIDIA (Windows' Linux too) and AMD. Without them TensorFlow for GPUs
# writes errors of CUDA that nobody can mend, and nobody needs to.
_DRIVERS: Final = ("/dev/nvidiactl", "/proc/driver/nvidia", "/dev/dxg", "/dev/kfd")
_CLEAR_LINE: Final = "\r\033[K"


@dataclass(frozen=True, slots=True)
class LogStyle:
    """How a command logs.

    Attributes:
        level: the least that is logged of our own.
        is_plain: whether lines are for a person, rather than as the reference writes them.
    """

    level: int
    is_plain: bool = False


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


class PlainFormatter(logging.Formatter):
    """`12:00:00 warning: gRPC is not served: …`."""

    def __init__(self, who: str = "", *, is_terminal: bool = False) -> None:
        """Write lines.

        Args:
            who: see `ReferenceFormatter`.
            is_terminal: whether something may stand in the line already, that is to go.
        """
        super().__init__()
        self._who = f"{who}: " if who else ""
        self._before = _CLEAR_LINE if is_terminal else ""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created)  # noqa: DTZ006
        word = next((word for level, word in _WORDS if record.levelno >= level), "")
        line = f"{self._before}{moment:%H:%M:%S} {word}{self._who}{record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def level_from(environment: Mapping[str, str]) -> int:
    """The least level to log: TF_CPP_MIN_LOG_LEVEL from 0 (info) to 3 (fatal); 0 if unclear."""
    try:
        asked = int(environment.get(_VARIABLE, "0"))
    except ValueError:
        return logging.INFO
    return _LEVELS[min(max(asked, 0), len(_LEVELS) - 1)]


def style_from(environment: Mapping[str, str], *, verbose: bool) -> LogStyle:
    """How to log: quietly for a person unless `--verbose`, or the environment, says otherwise."""
    if verbose:
        return LogStyle(level_from(environment))
    level = level_from(environment) if _VARIABLE in environment else NOTICE
    return LogStyle(level, is_plain=True)


def quieten_tensorflow(environment: MutableMapping[str, str]) -> None:
    """Have TensorFlow, opened after this, keep to itself what is of no use to a person.

    Where there is a GPU its warnings are shown, since they may say why it is not used; else only
    what ends the process. What the environment says already stays.
    """
    has_driver = any(os.path.exists(path) for path in _DRIVERS)
    environment.setdefault(_VARIABLE, "1" if has_driver else "3")


def set_up_logging(
    environment: Mapping[str, str] | None = None,
    stream: TextIO | None = None,
    *,
    who: str = "",
    style: LogStyle | None = None,
) -> None:
    """Send the log to `stream`: our own lines from the asked level up, others' from warnings up.

    Args:
        environment: the process's when None.
        stream: standard error when None.
        who: see `ReferenceFormatter`.
        style: how; as the reference does, with the level of the environment, when None.
    """
    style = style or LogStyle(level_from(os.environ if environment is None else environment))
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        PlainFormatter(who, is_terminal=stream.isatty())
        if style.is_plain
        else ReferenceFormatter(who)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(style.level, logging.WARNING))
    logging.getLogger("salver").setLevel(style.level)

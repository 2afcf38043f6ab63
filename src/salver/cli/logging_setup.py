"""Log lines on standard error: as TensorFlow's programs write them, for a person, or for programs.

TensorFlow's own lines are written by its library, which looks at an environment variable when it is
opened; what it warns of is mostly how it was built, and what fails in it is told by the calls.
"""

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, TextIO

import orjson

import salver
from salver.config.options import ServerOptions
from salver.errors import InvalidArgument
from salver.instruments.log_level import level_name
from salver.instruments.notices import NOTICE

__all__ = [
    "JsonFormatter",
    "LogStyle",
    "PlainFormatter",
    "ReferenceFormatter",
    "level_from",
    "quieten_tensorflow",
    "set_up_logging",
    "style_from",
    "style_of",
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
_FORMATS: Final = ("text", "json")


@dataclass(frozen=True, slots=True)
class LogStyle:
    """How a command logs.

    Attributes:
        level: the least that is logged of our own.
        is_plain: whether lines are for a person, rather than as the reference writes them.
        is_json: whether each line is a JSON object instead.
    """

    level: int
    is_plain: bool = False
    is_json: bool = False


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


class JsonFormatter(logging.Formatter):
    """One JSON object a line.

    It has `time` (ISO 8601 in UTC), `level`, `message`, `logger`, `source`, `pid` and, where there
    are such, `process` (of several) and `exception`.
    """

    def __init__(self, who: str = "") -> None:
        """Write lines; `who` is `process`, see `ReferenceFormatter`."""
        super().__init__()
        self._who = who

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": level_name(record.levelno),
            "message": _encodable(record.getMessage()),
            "logger": record.name,
            "source": _encodable(f"{record.pathname.removeprefix(_ROOT)}:{record.lineno}"),
            "pid": record.process,
        }
        if self._who:
            line["process"] = self._who
        if record.exc_info:
            line["exception"] = _encodable(self.formatException(record.exc_info))
        return orjson.dumps(line).decode()


def _encodable(text: str) -> str:
    """A text without halves of characters, as names of files may have: they are no UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def level_from(environment: Mapping[str, str]) -> int:
    """The least level to log: TF_CPP_MIN_LOG_LEVEL from 0 (info) to 3 (fatal); 0 if unclear."""
    try:
        asked = int(environment.get(_VARIABLE, "0"))
    except ValueError:
        return logging.INFO
    return _LEVELS[min(max(asked, 0), len(_LEVELS) - 1)]


def style_from(
    environment: Mapping[str, str], *, verbose: bool, log_format: str = "text"
) -> LogStyle:
    """How to log: quietly for a person unless `--verbose`, or the environment, says otherwise.

    Args:
        environment: of the process.
        verbose: as the flag of that name says.
        log_format: as the flag of that name says: `text` or `json`.

    Raises:
        InvalidArgument: it says something else.
    """
    if log_format not in _FORMATS:
        raise InvalidArgument(f'--log_format must be "text" or "json", not "{log_format}"')
    is_json = log_format == "json"
    if verbose:
        return LogStyle(level_from(environment), is_json=is_json)
    level = level_from(environment) if _VARIABLE in environment else NOTICE
    return LogStyle(level, is_plain=True, is_json=is_json)


def style_of(options: ServerOptions) -> LogStyle:
    """How a server logs, as its flags and the environment of this process say.

    Raises:
        InvalidArgument: a flag makes no sense.
    """
    return style_from(os.environ, verbose=options.verbose, log_format=options.log_format)


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
    handler.setFormatter(_formatter(style, who, is_terminal=stream.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(style.level, logging.WARNING))
    logging.getLogger("salver").setLevel(style.level)


def _formatter(style: LogStyle, who: str, *, is_terminal: bool) -> logging.Formatter:
    if style.is_json:
        return JsonFormatter(who)
    return (
        PlainFormatter(who, is_terminal=is_terminal) if style.is_plain else ReferenceFormatter(who)
    )

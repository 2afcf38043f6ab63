"""The least level of our own log lines, by its name: read, and changed while the server runs."""

import logging
from collections.abc import Mapping
from typing import Final

from salver.errors import InvalidArgument
from salver.instruments.notices import NOTICE

__all__ = ["LEVELS", "level_name", "level_of", "log_level", "set_log_level"]

LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": NOTICE,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
"""Name → level, the most talkative first."""

_OURS: Final = "salver"
_log = logging.getLogger(__name__)


def log_level() -> int:
    """What this process logs of its own from."""
    return logging.getLogger(_OURS).getEffectiveLevel()


def set_log_level(level: int) -> None:
    """Log our own lines from a level up, and others' from warnings up, or that level if higher."""
    present = log_level()
    if present != level:
        text = "The log level changes from %s to %s"
        _log.log(NOTICE, text, level_name(present), level_name(level))
    logging.getLogger(_OURS).setLevel(level)
    logging.getLogger().setLevel(max(level, logging.WARNING))


def level_name(level: int) -> str:
    """The name of a level; of one between two that of the quieter."""
    return next((name for name, known in LEVELS.items() if level <= known), "critical")


def level_of(name: object) -> int:
    """The level of a name, in upper or lower case.

    Raises:
        InvalidArgument: there is none.
    """
    level = LEVELS.get(name.lower()) if isinstance(name, str) else None
    if level is None:
        raise InvalidArgument(f"level must be one of {', '.join(LEVELS)}")
    return level

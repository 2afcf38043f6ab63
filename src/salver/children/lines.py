"""The lines that a child writes, and how the server finds out how serious they are.

What a child prints is a line of the server's log. What it logs has its level in front, behind a
byte that no text begins with.
"""

import logging
import os
from typing import Final

__all__ = ["ChildHandler", "level_and_text"]

_MARK: Final = b"\x01"
_STDERR: Final = 2


class ChildHandler(logging.Handler):
    """Writes what a child logs where the server reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, each of its lines with its level; in one piece where it is short."""
        try:
            lines = self.format(record).splitlines() or [""]
            head = _MARK + str(record.levelno).encode() + b" "
            data = b"".join(
                [head + line.encode(errors="backslashreplace") + b"\n" for line in lines]
            )
            while data:
                data = data[os.write(_STDERR, data) :]
        except Exception:  # noqa: BLE001 - as handlers do
            self.handleError(record)


def level_and_text(line: bytes) -> tuple[int, str]:
    """How serious a line is, and what it says."""
    level = logging.INFO
    if line.startswith(_MARK):
        number, _, line = line[1:].partition(b" ")
        if number.isdigit() and len(number) <= 2:
            level = int(number)
    return level, line.decode(errors="backslashreplace")

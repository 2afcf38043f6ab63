"""What `salver serve` prints while its first models load."""

import re
import sys
from collections.abc import Sequence
from typing import Final, TextIO

from salver.config.options import LoadProgress

__all__ = ["ProgressLine", "bar"]

_FIRST_S: Final = 0.5  # who is ready sooner needs no word
_LINE_S: Final = 0.5  # between two states of the line at a terminal
_LOG_S: Final = 30.0  # between two lines elsewhere, the first after a few seconds
_FIRST_LOG_S: Final = 5.0
_NAMES: Final = 3
_LONGEST: Final = 79
_CLEAR_LINE: Final = "\r\033[K"
_BAR: Final = 20
_DONE_OF: Final = re.compile(r"([0-9.e+]+) of ([0-9.e+]+) ")  # in one unit


class ProgressLine:
    """One line at a terminal, written again and again; elsewhere a line now and then.

    Used by one thread.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write nothing yet; to standard error when `stream` is None."""
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._due_s = _FIRST_S if self._is_terminal else _FIRST_LOG_S
        self._is_shown = False

    def show(self, progress: LoadProgress) -> None:
        """Say how far it is, if that is due."""
        if progress.seconds < self._due_s or not progress.loading:
            return
        if self._is_terminal:
            text = f"Loading {_what(progress)} … {progress.seconds:.0f} s{_drawn(progress)}"
            self._write(f"{_CLEAR_LINE}{_cut(text)}")
            self._is_shown = True
            self._due_s = progress.seconds + _LINE_S
        else:
            where = f"{progress.rest_url} answers; " if progress.rest_url else ""
            fetching = f": {progress.fetching}" if progress.fetching else ""
            what = f"{_what(progress)}, {progress.seconds:.0f} s{fetching}"
            self._write(f"salver: {where}loading {what}\n")
            self._due_s = progress.seconds + _LOG_S

    def clear(self) -> None:
        """Take the line away."""
        if self._is_shown:
            self._write(_CLEAR_LINE)
            self._is_shown = False

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads it any more
            return


def bar(done: float, total: float) -> str:
    """`[######    ]`, or nothing where nobody knows how much there will be."""
    if total <= 0:
        return ""
    full = round(_BAR * min(1.0, max(0.0, done / total)))
    return f"[{'#' * full}{' ' * (_BAR - full)}]"


def _drawn(progress: LoadProgress) -> str:
    """A fetch as a bar, and in the words of the status."""
    if not progress.fetching:
        return ""
    found = _DONE_OF.search(progress.fetching)
    drawn = bar(float(found[1]), float(found[2])) if found is not None else ""
    words = progress.fetching.removeprefix("fetching").lstrip(", ")
    return f" {drawn} {words}" if drawn else f" {words}"


def _what(progress: LoadProgress) -> str:
    names = _listed(progress.loading)
    if progress.total == len(progress.loading):
        return names
    ready = progress.total - len(progress.loading)
    return f"{names} ({ready} of {progress.total} are up)"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES])
    return f"{shown} and {len(names) - _NAMES} more" if len(names) > _NAMES else shown


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"

"""How far a fetch is, as a bar at a terminal: that of `rich` where it is installed, else a line."""

import time
from typing import Any, Final, Protocol, TextIO

from salver.cli.progress import bar

__all__ = ["FetchBar", "fetch_bar"]

_AGAIN_S: Final = 0.2
_CLEAR_LINE: Final = "\r\033[K"


class FetchBar(Protocol):
    """Belongs to one thread."""

    @property
    def is_due(self) -> bool:
        """Whether it is time to show it again."""
        ...

    def show(self, done: int, total: int, words: str) -> None:
        """Draw it.

        Args:
            done: bytes that there are.
            total: that there will be; 0 where nobody knows.
            words: the same for a person.
        """
        ...

    def clear(self) -> None:
        """Take it away."""
        ...


def fetch_bar(stream: TextIO) -> FetchBar:
    """The bar for a stream; one that shows nothing where that is no terminal."""
    if not stream.isatty():
        return _Nothing()
    try:
        return _Rich(stream)
    except ImportError:
        return _Plain(stream)


class _Nothing:
    is_due = False

    def show(self, done: int, total: int, words: str) -> None: ...

    def clear(self) -> None: ...


class _Timed:
    """Is due now and then."""

    def __init__(self) -> None:
        self._shown_s: float | None = None

    @property
    def is_due(self) -> bool:
        return self._shown_s is None or time.monotonic() - self._shown_s >= _AGAIN_S

    def _has_shown(self) -> None:
        self._shown_s = time.monotonic()


class _Plain(_Timed):
    """A line that is written again and again."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def show(self, done: int, total: int, words: str) -> None:
        self._has_shown()
        self._stream.write(f"{_CLEAR_LINE}{bar(done, total)} {words}")
        self._stream.flush()

    def clear(self) -> None:
        if self._shown_s is not None:
            self._stream.write(_CLEAR_LINE)
            self._stream.flush()


class _Rich(_Timed):
    """The bar of `rich`, drawn when it is told to: there is no thread of its own."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        super().__init__()
        self._progress: Any = Progress(
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(file=stream),
            auto_refresh=False,
            transient=True,
        )
        self._task: Any = None

    def show(self, done: int, total: int, words: str) -> None:
        self._has_shown()
        if self._task is None:
            self._task = self._progress.add_task(words, total=None)
            self._progress.start()
        self._progress.update(
            self._task, completed=done, total=total or None, description=words, refresh=True
        )

    def clear(self) -> None:
        if self._task is not None:
            self._progress.stop()

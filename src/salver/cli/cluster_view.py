"""The status of a cluster that is shown anew each second: a view that stays where it is."""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from salver.cli.cluster_text import status_lines
from salver.errors import ServingError

__all__ = ["watch"]

_HOME: Final = "\x1b[H"
_CLEAR_LINE: Final = "\x1b[K"
_CLEAR_REST: Final = "\x1b[J"


def watch(
    status: Callable[[], Mapping[str, Any]], every_s: float, wait: Callable[[float], None]
) -> None:
    """Show it until somebody presses Ctrl-C.

    With `rich` it is drawn by that, which knows the size of the terminal; else by plain escape
    sequences, and where there is no terminal one after the other.
    """
    with suppress(KeyboardInterrupt):
        try:
            from rich.console import Console
            from rich.live import Live
        except ImportError:
            _watch_plainly(status, every_s, wait)
            return
        console = Console()
        if not console.is_terminal:
            _watch_plainly(status, every_s, wait)
            return
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(_drawn(_lines(status)), refresh=True)
                wait(every_s)


def _drawn(lines: list[str]) -> Any:
    from rich.text import Text

    return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")


def _watch_plainly(
    status: Callable[[], Mapping[str, Any]], every_s: float, wait: Callable[[float], None]
) -> None:
    is_terminal = sys.stdout.isatty()
    if is_terminal:
        print(_HOME + _CLEAR_REST, end="")
    while True:
        lines = _lines(status)
        if is_terminal:
            text = "".join(f"{line}{_CLEAR_LINE}\n" for line in lines)
            print(_HOME + text + _CLEAR_REST, end="", flush=True)
        else:
            print("\n".join(lines), end="\n\n", flush=True)
        wait(every_s)


def _lines(status: Callable[[], Mapping[str, Any]]) -> list[str]:
    try:
        return status_lines(status())
    except ServingError as error:  # the controller is being restarted
        return [f"{error.message}"]

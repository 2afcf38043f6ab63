"""`salver`: the server with friendly defaults, and the tools around it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from salver.cli.commands import COMMANDS, Misused, nearest_command
from salver.cli.printing import print_error
from salver.cli.starting import Leave, Run, leave_at_once, run_server
from salver.cli.versions import print_version
from salver.errors import ServingError

__all__ = ["main"]

_USAGE_ERROR: Final = 2
_FAILURE: Final = 1
_INTERRUPTED: Final = 130  # as a shell sees a process that SIGINT ended
_HELP_WORDS: Final = ("--help", "-h", "help")
_EXAMPLES: Final = """\
PATH is a model directory (with versions in numbered subdirectories), a model without versions, such
as a SavedModel, a directory of such models, or a file: net.onnx, trees.ubj, house.keras.

Examples:
  salver serve ./digits                   then open http://127.0.0.1:8501/
  salver show ./digits                    what does it take and give?
  salver bench http://127.0.0.1:8501 digits

Each command explains itself: salver serve --help.
"""


def main(
    argv: Sequence[str] | None = None, run: Run = run_server, leave: Leave = leave_at_once
) -> int:
    """Run the command; returns its exit status: 0, 1 for a failure, 2 for a command misused.

    Args:
        argv: with the program's name; the process's own when None.
        run: starts the server.
        leave: ends the process when a model will not.
    """
    arguments = list(sys.argv if argv is None else argv)[1:]
    word, *rest = arguments or [""]
    try:
        return _dispatch(word, rest, run, leave)
    except Misused as error:
        print(f"salver: {error}", file=sys.stderr)
        return _USAGE_ERROR
    except ServingError as error:
        print_error(error)
        return _FAILURE
    except KeyboardInterrupt:
        return _INTERRUPTED


def _dispatch(word: str, rest: Sequence[str], run: Run, leave: Leave) -> int:
    if word == "serve":
        from salver.cli.serve import serve

        return serve(rest, run, leave)
    if word == "demo":
        from salver.cli.demo import demo
        from salver.cli.serve import SERVE_DEFAULTS

        return demo(rest, SERVE_DEFAULTS, run, leave)
    for command in COMMANDS:
        if command.name == word:
            return command(rest)
    if word in _HELP_WORDS:
        print(_help(), end="")
        return 0
    if word == "--version":
        print_version()
        return 0
    raise Misused(_unknown(word))


def _help() -> str:
    width = max(len(command.usage) for command in COMMANDS)
    lines = [f"{command.usage:<{width}}   {command.help}" for command in COMMANDS]
    lines.append("salver --version")
    return "usage: " + "\n       ".join(lines) + f"\n\n{_EXAMPLES}"


def _unknown(word: str) -> str:
    if not word:
        names = ", ".join(command.name for command in COMMANDS)
        return f"a command is missing: one of {names}; see salver --help"
    if Path(word).exists():
        return f"there is no command {word!r}: did you mean salver serve {word}?"
    if (meant := nearest_command(word)) is not None:
        return f"there is no command {word!r}: did you mean {meant}?"
    return f"there is no command {word!r}: see salver --help"

"""What the commands print of errors: the words, then what to do, and last the names of nodes."""

import os
import sys
from collections.abc import Iterable

from salver.errors import ServingError
from salver.vocabulary.hints import without_nodes

__all__ = ["error_lines", "print_error", "print_lines"]


def error_lines(error: ServingError) -> list[str]:
    """An error as a person reads it; what TensorFlow says of its nodes comes last."""
    words, nodes = without_nodes(error.message)
    return [words, *(error.hint or "").splitlines(), *filter(None, [nodes])]


def print_error(error: ServingError) -> None:
    """Say on standard error why a command has failed."""
    first, *more = error_lines(error)
    print(f"salver: {first}", file=sys.stderr)
    for line in more:
        print(f"  {line}", file=sys.stderr)


def print_lines(lines: Iterable[str]) -> None:
    """Print, as far as somebody reads."""
    try:
        for line in lines:
            print(line)
        print(end="", flush=True)  # there may be no stdout to flush
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

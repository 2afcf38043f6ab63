"""What the commands print of errors: the words, then what to do, and last the names of nodes."""

import sys

from salver.errors import ServingError
from salver.hints import without_nodes

__all__ = ["error_lines", "print_error"]


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

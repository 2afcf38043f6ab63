"""Whether a SavedModel's graph has loops.

How long a graph without loops runs depends, but for a few operations, on the sizes of what is fed.
With a loop it may depend on the values, so that measuring earlier runs says nothing of the next.
A constant that looks like one costs the model some speed and nothing else.
"""

from pathlib import Path
from typing import Final

from salver.backends.tensorflow.nodes import operations_in

__all__ = ["LOOPS", "can_loop"]

LOOPS: Final = frozenset({"While", "StatelessWhile", "For", "Enter", "RefEnter"})


def can_loop(directory: str | Path) -> bool:
    """Look for loops in the graphs and functions of a SavedModel, in any of its variants.

    Raises:
        ServingError: a file cannot be read.
    """
    return bool(operations_in(directory, LOOPS))

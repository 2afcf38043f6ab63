"""Whether nodes make a tree. What is none leads a library that follows it out of its memory."""

import numpy as np

from salver.errors import DataLoss
from salver.vocabulary.requests import Array

__all__ = ["check_binary_tree", "check_within", "must"]


def must(is_right: bool, what: str) -> None:
    """Refuse a file.

    Raises:
        DataLoss: with what is wrong.
    """
    if not is_right:
        raise DataLoss(what)


def check_within(what: str, numbers: Array, least: int, end: int) -> None:
    """See that whole numbers are from `least` up to, not including, `end`.

    Raises:
        DataLoss: one is not.
    """
    must(not numbers.size or bool(least <= numbers.min() and numbers.max() < end), what)


def check_binary_tree(what: str, children: Array, count: int) -> None:
    """See that every node that is a child is it once, and the root is none.

    From the root, no circle can then be reached.

    Args:
        what: for the error.
        children: of all nodes that have any: numbers of nodes.
        count: of the nodes.

    Raises:
        DataLoss: they make no tree.
    """
    check_within(what, children, 1, count)
    must(bool((np.bincount(children, minlength=1) <= 1).all()), what)

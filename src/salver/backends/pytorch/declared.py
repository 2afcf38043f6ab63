"""Inputs and outputs that an option declares: `x: float32[-1, 4], k: int64[]`."""

import re
from typing import Final

from salver.backends.pytorch.leaves import Leaf
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DTYPES, DataType

__all__ = ["parse_leaves"]

_ONE: Final = re.compile(
    r"\s*(?P<name>[^\s:,\[\]]+)\s*:\s*(?P<dtype>\w+)\s*(?:\[(?P<shape>[-\d\s,]*)\])?\s*(?:,|$)"
)
_NOT_TENSORS: Final = frozenset(
    {DataType.INVALID, DataType.RESOURCE, DataType.VARIANT, DataType.STRING}
)


def parse_leaves(text: str) -> tuple[Leaf, ...]:
    """Read a declaration; empty for an empty text. Without a shape the rank is not known.

    Raises:
        InvalidArgument: it is none.
    """
    leaves: list[Leaf] = []
    at = 0
    while text[at:].strip():
        found = _ONE.match(text, at)
        dtype = None if found is None else DTYPES.get(found["dtype"])
        if found is None or dtype is None or dtype in _NOT_TENSORS:
            raise InvalidArgument(
                f"Not a declaration of tensors: {text[at:].strip()!r}",
                hint="Write NAME: DTYPE[SHAPE], and commas between: x: float32[-1, 4], k: int64[]",
            )
        leaves.append(Leaf(found["name"], dtype, _dims(found["shape"])))
        at = found.end()
    names = [leaf.name for leaf in leaves]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidArgument(f"{twice} is declared twice: {text!r}")
    return tuple(leaves)


def _dims(shape: str | None) -> tuple[int, ...] | None:
    if shape is None:
        return None
    try:
        sizes = tuple(int(size) for size in shape.split(",") if size.strip())
    except ValueError:
        raise InvalidArgument(f"Not a shape: [{shape}]") from None
    if any(size < -1 for size in sizes):
        raise InvalidArgument(f"Not a shape: [{shape}]")
    return sizes

"""What a PyTorch function takes and gives, flat: the tensors and numbers of its nested arguments.

PyTorch describes nested values by trees (`torch.utils._pytree`): the leaves, in their order, are
what is fed and returned.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from salver.errors import FailedPrecondition
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import Signature, TensorSpec

__all__ = [
    "NUMBERS",
    "Constant",
    "Interface",
    "Leaf",
    "Paths",
    "input_names",
    "output_names",
    "paths_of",
]

Paths = list[tuple[str | int, ...]]
"""Of the leaves of a tree, in their order: keys and numbers, the outermost first."""

NUMBERS: Final[Mapping[type, DataType]] = {
    bool: DataType.BOOL,
    int: DataType.INT64,
    float: DataType.FLOAT64,
}
"""Python's numbers → the element types they are fed as, by arrays without axes."""

_MOST_DEPTH: Final = 64


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor or a number.

    Attributes:
        name: alias of the input or output.
        dtype: of its elements.
        dims: one per axis: a size, or the expression by which axes that must be alike are told;
            -1 where nothing is known; None where the rank is not known.
        number: the type of Python that is wanted in place of a tensor; None for a tensor.
        default: what stands for an input that a request leaves out; None for none.
    """

    name: str
    dtype: DataType
    dims: tuple[int | str, ...] | None
    number: type | None = None
    default: bool | int | float | None = None

    @property
    def spec(self) -> TensorSpec:
        """The same for a signature."""
        if self.dims is None:
            return TensorSpec(self.dtype, None)
        return TensorSpec(self.dtype, tuple(-1 if isinstance(n, str) else n for n in self.dims))


@dataclass(frozen=True, slots=True)
class Constant:
    """An argument whose value was fixed when the program was exported."""

    value: Any


@dataclass(frozen=True, slots=True)
class Interface:
    """One function.

    Attributes:
        inputs: the leaves of its arguments.
        outputs: the leaves of what it returns; None for one that nobody is given, such as `None`.
        changes_inputs: whether it writes into the tensors that it is given.
    """

    inputs: tuple[Leaf | Constant, ...]
    outputs: tuple[Leaf | None, ...]
    changes_inputs: bool = False

    @property
    def fed(self) -> dict[str, Leaf]:
        """Alias → input, in alphabetical order."""
        return _sorted(each for each in self.inputs if isinstance(each, Leaf))

    @property
    def given(self) -> dict[str, Leaf]:
        """Alias → output, in alphabetical order."""
        return _sorted(each for each in self.outputs if each is not None)

    @property
    def signature(self) -> Signature:
        """The same for clients."""
        import numpy as np

        defaults = {
            name: np.array(of.default) for name, of in self.fed.items() if of.default is not None
        }
        return Signature(
            {name: of.spec for name, of in self.fed.items()},
            {name: of.spec for name, of in self.given.items()},
            defaults=defaults,
        )


def _sorted(leaves: Iterator[Leaf]) -> dict[str, Leaf]:
    return dict(sorted((each.name, each) for each in leaves))


def unique(names: Sequence[str]) -> list[str]:
    """The same; of those that are alike, all but the first get a number: `a`, `a_1`."""
    taken = set(names)
    seen: Counter[str] = Counter()
    made = []
    for name in names:
        new, number = name, 0
        if seen[name]:
            number = seen[name]
            while (new := f"{name}_{number}") in taken:
                number += 1
            taken.add(new)
        seen[name] += 1
        made.append(new)
    return made


# -- trees -----------------------------------------------------------------------------------------


def paths_of(text: str, fields: Mapping[str, Sequence[str]] | None = None) -> Paths:
    """The paths of the leaves of a tree.

    Args:
        text: as `torch.utils._pytree.treespec_dumps` writes it.
        fields: type → names, of named tuples.

    Raises:
        FailedPrecondition: it is no such tree.
    """
    try:
        _version, tree = orjson.loads(text)
        return list(_walk(tree, (), fields or {}))
    except (orjson.JSONDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FailedPrecondition(f"The program's description is wrong: no tree: {error}") from error


def _walk(
    node: Any, path: tuple[str | int, ...], fields: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str | int, ...]]:
    if node["type"] is None:
        yield path
        return
    if len(path) >= _MOST_DEPTH:
        raise ValueError("it is too deep")
    children = node["children_spec"]
    keys = fields.get(node["type"]) or _keys(node.get("context"), len(children))
    for key, child in zip(keys, children, strict=True):
        yield from _walk(child, (*path, key), fields)


def _keys(context: Any, count: int) -> Sequence[str | int]:
    """Names of the children, where a node says them: a dict's keys, or the fields of a class."""
    try:
        found = orjson.loads(context) if isinstance(context, str) else context
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, list):
        for names in (found, *(each for each in found if isinstance(each, list))):
            if len(names) == count and all(isinstance(name, (str, int)) for name in names):
                return [str(name) for name in names]
    return range(count)


def output_names(paths: Paths) -> list[str]:
    """`y`; `y0`, `y1` of a tuple; of a dict its keys. What is nested has its path: `y1_scores`."""
    return unique([_name("y", path) for path in paths])


def input_names(paths: Paths) -> list[str]:
    """Likewise `x`, `x0`, of arguments, and the names of those that are given by name.

    Args:
        paths: of a tree of two, the tuple of arguments and the dict of named ones.
    """
    by_place = {path[1] for path in paths if path[0] == 0}
    names = []
    for place, *rest in paths:
        path = tuple(rest)
        if place == 0 and len(by_place) == 1:
            path = path[1:]
        names.append(_name("x", path))
    return unique(names)


def _name(letter: str, path: Sequence[str | int]) -> str:
    if not path:
        return letter
    first, *rest = path
    head = f"{letter}{first}" if isinstance(first, int) else first
    return "_".join([head, *map(str, rest)])

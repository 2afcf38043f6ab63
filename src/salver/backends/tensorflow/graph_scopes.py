"""A graph, or one function of it, as far as it has been read: nodes, constants, calls, faults."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

__all__ = ["Fault", "Look", "Scope", "Values", "node_of", "short"]

_SMALL_BYTES: Final = 1 << 28  # what every machine has
_MOST_FAULTS: Final = 64
_ALIASES: Final = 16  # nodes that hand on a constant, one after the other


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a node.

    Attributes:
        text: names the node and says what it is.
        is_met_anyway: TensorFlow comes across it even in a function that nobody calls.
        claimed_bytes: the memory that is wanted, where it depends on this machine whether that is
            a fault; else None.
    """

    text: str
    is_met_anyway: bool = False
    claimed_bytes: int | None = None


class Values(NamedTuple):
    """A constant of whole numbers.

    Attributes:
        length: how many it has, or claims to have; None for a single number.
        first: the first of them, all if they are few.
    """

    length: int | None
    first: Sequence[int]


Look = Callable[["Scope", Any], None]
"""Looks at a `salver.graph.Node` and notes in a scope what it finds."""


@dataclass(slots=True, eq=False)
class Scope:
    """What is known of a graph or a function.

    Attributes:
        name: of the function; empty for the graph.
        is_function: whether it is one.
        ops: operation → how many nodes have it.
        calls: function → how many times it is named by attributes of nodes that call.
        faults: found so far, in order.
        excess_bytes: what its constants take beyond what the file has of them.
        handed_on: node → the only one whose value it hands on.
        numbers: node → the numbers of a small constant.
        texts: node → the text of a single string.
        later: what is to be judged when all nodes have been seen.
        unread_bytes: of the node that is looked at, in the file.
    """

    name: str = ""
    is_function: bool = False
    ops: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    excess_bytes: int = 0
    handed_on: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, Values] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    later: list[Callable[[], None]] = field(default_factory=list)
    unread_bytes: int = 0

    def add(
        self, nodes: Iterable[Any], watched: "Mapping[str, Sequence[Look]]", unread_bytes: int
    ) -> None:
        """Look at some nodes, each a `salver.graph.Node`.

        Args:
            nodes: in any order.
            watched: operation → what looks at its nodes.
            unread_bytes: of the file that belong to the only one of them.
        """
        ops = self.ops
        self.unread_bytes = unread_bytes
        for node in nodes:
            op = node.op
            ops[op] = ops.get(op, 0) + 1
            looks = watched.get(op)
            if looks is not None:
                for look in looks:
                    look(self, node)

    def judge(self) -> None:
        """Find the faults that depend on several nodes. Once all have been seen."""
        for judge in self.later:
            judge()
        self.later.clear()
        self.numbers.clear()
        self.texts.clear()

    @property
    def num_nodes(self) -> int:
        """How many there are."""
        return sum(self.ops.values())

    def blame(
        self,
        node: str,
        op: str,
        what: str,
        *,
        is_met_anyway: bool = False,
        claimed_bytes: int | None = None,
    ) -> None:
        """Note a fault; see there."""
        if claimed_bytes is not None and claimed_bytes < _SMALL_BYTES:
            return
        if len(self.faults) >= _MOST_FAULTS:
            return
        where = f" of function {short(self.name)}" if self.name else ""
        text = f"Node {short(node)} ({short(op)}){where} {what}"
        self.faults.append(Fault(text, is_met_anyway, claimed_bytes))

    def origin(self, input_: str) -> str:
        """The node whose value an input gets, past those that merely hand it on."""
        name = node_of(input_)
        for _ in range(_ALIASES):
            if name not in self.handed_on:
                break
            name = self.handed_on[name]
        return name

    def most_handed_on(self) -> int:
        """The largest number of nodes in a row that do nothing but hand on what they get."""
        lengths: dict[str, int] = {}
        for start in self.handed_on:
            name, path = start, []
            while name in self.handed_on and name not in lengths:
                lengths[name] = 0  # a row that comes back to itself ends here
                path.append(name)
                name = self.handed_on[name]
            length = lengths.get(name, 0)
            for each in reversed(path):
                length += 1
                lengths[each] = length
        return max(lengths.values(), default=0)


def node_of(input_: str) -> str:
    """The node that an input names: `x:0`, `^x` and `x:output:0` are of x."""
    return input_.partition(":")[0].lstrip("^")


_LONGEST_NAME: Final = 120


def short(name: str) -> str:
    """A name, or so much of it that it fits into a message."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"

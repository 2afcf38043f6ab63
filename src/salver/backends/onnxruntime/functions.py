"""Functions of a model, which ONNX Runtime puts in place of their calls when it loads.

It follows calls as deep as they go, until the stack of its thread ends and with it the process, and
as often as they double, until the memory ends.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

__all__ = ["MAIN", "CallGraph", "TooDeep", "function_name"]

MAIN: Final = ""
"""The graph of the model itself."""
_DEEPEST: Final = 100


class TooDeep(ValueError):
    """Calls are deeper than `_DEEPEST`, or have no end."""


def function_name(domain: str, name: str) -> str:
    """What a function, or the operation that calls it, is called here."""
    return f"{'' if domain == 'ai.onnx' else domain}:{name}"


@dataclass(slots=True)
class CallGraph:
    """Who calls whom.

    Attributes:
        caller: whose nodes are added now.
        nodes: caller → how many it has.
        kinds: caller → what its nodes are, and how often.
    """

    caller: str = MAIN
    nodes: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, kind: str) -> None:
        """The caller has a node, which may be a call."""
        self.nodes[self.caller] += 1
        self.kinds.setdefault(self.caller, Counter())[kind] += 1

    def size(self) -> int:
        """The most nodes that the model, or a function, has with those of what it calls.

        Raises:
            TooDeep: see there.
        """
        known: dict[str, tuple[int, int]] = {}
        return max((self._measure(caller, known, 0)[0] for caller in self.nodes), default=0)

    def _measure(
        self, caller: str, known: dict[str, tuple[int, int]], above: int
    ) -> tuple[int, int]:
        """How many nodes there are with those of calls, and how deep calls go."""
        found = known.get(caller)
        if found is None:
            if above > _DEEPEST:
                raise TooDeep(f"functions that call each other deeper than {_DEEPEST}")
            nodes, depth = self.nodes[caller], 0
            for kind, times in self.kinds.get(caller, {}).items():
                if kind in self.nodes:
                    inner, below = self._measure(kind, known, above + 1)
                    nodes, depth = nodes + times * inner, max(depth, below + 1)
            found = known[caller] = nodes, depth
        if above + found[1] > _DEEPEST:
            raise TooDeep(f"functions that call each other deeper than {_DEEPEST}")
        return found

"""Servers that are to be started with other flags: one node after the other, each drained first.

Pure: it is told how the nodes are and says what follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from salver.cluster.conditions import NodeCondition

__all__ = ["Rolling", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """What follows.

    Attributes:
        drain: a node to be drained.
        release: a node that may take models again.
    """

    drain: str = ""
    release: str = ""


class Rolling:
    """Goes through the nodes of a cluster whose servers are outdated.

    Attributes:
        node: whose turn it is; empty for none.
    """

    def __init__(self) -> None:
        self.node = ""

    def step(self, nodes: Mapping[str, NodeCondition], *, is_whole: bool) -> Step:
        """Say what is to be done now.

        Args:
            nodes: those that report.
            is_whole: every model has the replicas that it should have, so that the next node's
                turn may come.
        """
        if self.node:
            return self._go_on(nodes)
        outdated = sorted(name for name, each in nodes.items() if each.is_outdated)
        if not outdated or not is_whole:
            return Step()
        self.node = outdated[0]
        return Step(drain=self.node)

    def _go_on(self, nodes: Mapping[str, NodeCondition]) -> Step:
        node, condition = self.node, nodes.get(self.node)
        if condition is None:  # it has gone meanwhile
            self.node = ""
            return Step(release=node)
        if condition.server_pid and not condition.is_outdated:
            self.node = ""
            return Step(release=node)
        return Step()

"""The state of one placement while it is made: who has what, how much is used and what is fair.

Nodes have numbers here, in the order of their names.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from salver.cluster.needs import ModelNeed, NodeRoom

__all__ = ["IDLE", "SLACKS", "TRIGGERS", "Board", "Share"]

SLACKS: Final[Mapping[str, float]] = {"bytes": 0.25, "rate": 0.5, "count": 0.25}
"""By how much the share of a node may be above the fair one after a model is placed there."""

IDLE: Final = 0.25
"""Part of a node's processors: where the fair rate is below it, that is taken for fair. So no model
moves for its rate while its node is busy for less than half of its time, as `Scaling` has no
replica added before that."""

TRIGGERS: Final[Mapping[str, float]] = {"bytes": 0.25, "rate": 1.0, "count": 1.0}
"""By how much it may differ, up or down, before models move. Rates change all the time and a move
costs a load, so that only twice the fair rate is too much, and none is too little."""


@dataclass(slots=True)
class Share:
    """One thing that nodes bear by shares.

    Attributes:
        used: of each node.
        fair: what each node would have if all had the same, by its capacity.
        slack: see `SLACKS`.
        trigger: see `TRIGGERS`.
    """

    used: list[float]
    fair: list[float]
    slack: float
    trigger: float

    def bears(self, node: int, more: float) -> bool:
        """Whether a node is within bounds with so much more."""
        return self.used[node] + more <= self.fair[node] * (1 + self.slack)

    def level(self, node: int, more: float = 0.0) -> float:
        """What a node has of its fair share, with so much more: 1.0 is just that."""
        used, fair = self.used[node] + more, self.fair[node]
        if fair:
            return used / fair
        return math.inf if used else 0.0


class Board:
    """Who has what.

    Args:
        models: all that are to be placed.
        nodes: where.
    """

    def __init__(self, models: Sequence[ModelNeed], nodes: Iterable[NodeRoom]) -> None:
        self.nodes = sorted(nodes, key=lambda node: node.name)
        self.number = {node.name: number for number, node in enumerate(self.nodes)}
        if len(self.number) < len(self.nodes):
            raise ValueError("two nodes have one name")
        self.models = {model.name: model for model in models}
        self.at: dict[str, list[int]] = {}
        self.held: list[set[str]] = [set() for _ in self.nodes]
        self.fixed: set[tuple[str, int]] = set()  # pinned models, where they were before
        self.free = [node.memory_bytes for node in self.nodes]
        zones = sorted({node.zone for node in self.nodes if node.zone})
        self._zone = [zones.index(node.zone) if node.zone else None for node in self.nodes]
        self.has_zones = len(zones) > 1
        memory = [max(node.memory_bytes, 0) for node in self.nodes]
        cores = [node.cores for node in self.nodes]
        total_bytes = sum(model.bytes * model.replicas for model in models)
        self.bytes = self._share("bytes", total_bytes, memory)
        self.rate = self._share("rate", sum(model.rate for model in models), cores)
        self.rate.fair = [
            max(fair, IDLE * each) for fair, each in zip(self.rate.fair, cores, strict=True)
        ]
        # Of those that take memory nothing is counted: their bytes are.
        lazy = sum(model.replicas for model in models if not model.bytes)
        self.count = self._share("count", lazy, memory if any(memory) else cores)
        self.shares = (self.bytes, self.rate, self.count)

    def _share(self, what: str, total: float, capacity: Sequence[float]) -> Share:
        whole = sum(capacity) or 1
        fair = [total * each / whole for each in capacity]
        return Share([0.0] * len(self.nodes), fair, SLACKS[what], TRIGGERS[what])

    def weights(self, model: ModelNeed) -> tuple[float, float, float]:
        """What one replica of a model adds to each of `shares`."""
        return model.bytes, model.rate / max(model.replicas, 1), 0.0 if model.bytes else 1.0

    def add(self, model: ModelNeed, node: int) -> None:
        """Give a model to a node."""
        self.at.setdefault(model.name, []).append(node)
        self.held[node].add(model.name)
        self._change(model, node, 1)

    def remove(self, model: ModelNeed, node: int) -> None:
        """Take a model from a node."""
        self.at[model.name].remove(node)
        self.held[node].discard(model.name)
        self._change(model, node, -1)

    def _change(self, model: ModelNeed, node: int, sign: int) -> None:
        self.free[node] -= sign * model.bytes
        for share, weight in zip(self.shares, self.weights(model), strict=True):
            share.used[node] += sign * weight

    def fits(self, model: ModelNeed, node: int) -> bool:
        """Whether a node that has not got a model has memory for it."""
        return model.bytes <= self.free[node] and model.name not in self.held[node]

    def is_within_bounds(self, model: ModelNeed, node: int) -> bool:
        """Whether a node stays within its bounds with one model more."""
        return all(
            not weight or share.bears(node, weight)
            for share, weight in zip(self.shares, self.weights(model), strict=True)
        )

    def level(self, node: int) -> float:
        """How much of its fair share a node has, of what it has most of."""
        return max(share.level(node) for share in self.shares)

    def shares_zone(self, model: str, node: int, leaving: int | None = None) -> bool:
        """Whether another node of a model is in the zone of this one.

        Args:
            model: its name.
            node: number of the one.
            leaving: a node that does not count.
        """
        if not self.has_zones:
            return False
        zone = self._zone[node]
        return zone is not None and any(
            self._zone[other] == zone
            for other in self.at.get(model, ())
            if other not in (node, leaving)
        )

    def is_surplus(self, model: str) -> bool:
        """Whether a model has more replicas than it must have."""
        return len(self.at[model]) > self.models[model].least

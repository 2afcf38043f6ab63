"""What placement is about: models that need nodes, nodes that have room, and which is where."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Assignment", "ModelNeed", "NodeRoom"]

Assignment = Mapping[str, tuple[str, ...]]
"""Model → its nodes, preferred first; none where it fits nowhere."""


@dataclass(frozen=True, slots=True)
class ModelNeed:
    """What a model needs.

    Attributes:
        name: of the model.
        bytes: of memory at each node that has it; 0 for one that is not in memory there.
        rate: load of all its replicas together, in processors kept busy.
        replicas: how many nodes should have it.
        least: how many of them it must have, so that surplus replicas of others make room.
        is_pinned: it stays where it is, as long as that node is there and has room.
    """

    name: str
    bytes: int = 0
    rate: float = 0.0
    replicas: int = 1
    least: int = 1
    is_pinned: bool = False

    def __post_init__(self) -> None:
        if self.bytes < 0 or self.rate < 0 or not 0 <= self.least <= self.replicas:
            raise ValueError(f"no such need: {self}")


@dataclass(frozen=True, slots=True)
class NodeRoom:
    """What a node has for models.

    Attributes:
        name: of the node.
        memory_bytes: for all models together.
        cores: by which its share of the rate is.
        zone: which part of the installation fails with it; empty where nobody knows.
    """

    name: str
    memory_bytes: int
    cores: float = 1.0
    zone: str = ""

    def __post_init__(self) -> None:
        if self.cores <= 0:
            raise ValueError(f"a node needs cores: {self}")

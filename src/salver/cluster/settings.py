"""The times and bounds by which a controller decides."""

from dataclasses import dataclass, field

from salver.cluster.scaling import Scaling

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """When a controller acts.

    Attributes:
        gather_s: how long a controller that has just started waits for reports before it places
            models, so that it leaves them where they are.
        dead_s: without a report, after which a node is dead.
        cut_off_s: the same where more than half of the nodes fell silent together, as they seem to
            when it is the controller that is cut off. For `cut_off_nodes` and more.
        cut_off_nodes: see `cut_off_s`.
        linger_s: how long a node keeps what no other node sends requests for any more.
        wait_for_room_s: how long a server that is to be started anew waits where all that its node
            still has can go nowhere else.
        balance_s: between two looks at the balance of nodes.
        moves: that balance may have under way at a time.
        short_s: how long models must have too few nodes before a further one is asked for, counted
            anew when one has come: models whose size nobody knows are taken for larger than most.
        head_room: part of each node's memory that must be left where there is a node less.
        spare: part of the memory of all nodes that is left to models which are loaded on demand.
        unknown_bytes: what a model is taken for until a node has loaded it.
        scaling: see there.
    """

    gather_s: float = 2.0
    dead_s: float = 4.0
    cut_off_s: float = 30.0
    cut_off_nodes: int = 5
    linger_s: float = 3.0
    wait_for_room_s: float = 60.0
    balance_s: float = 10.0
    moves: int = 64
    short_s: float = 10.0
    head_room: float = 0.2
    spare: float = 0.1
    unknown_bytes: int = 64 << 20
    scaling: Scaling = field(default_factory=Scaling)

    def warm_bytes(self, memory_bytes: float) -> float:
        """Of a node's memory, what is not left to models that are loaded on demand."""
        return memory_bytes * (1 - self.spare)

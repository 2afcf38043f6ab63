"""All that a controller knows; the steps of `control` read and change it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from salver.cluster.growing import Wanted
from salver.cluster.models import KnownModel
from salver.cluster.nodes import KnownNode
from salver.cluster.settings import Settings
from salver.cluster.spec import ClusterSpec
from salver.peers.map import PeerMap, Placed

__all__ = ["State"]


@dataclass(slots=True)
class State:
    """What is desired and observed, and what has to be looked at in the next step.

    Attributes:
        settings: see there.
        spec: what is desired; None before anybody said.
        models: of the specification.
        removed: models that are in it no more, while nodes still have them.
        nodes: that live, or may.
        draining: names of nodes that a person has drained.
        restarting: the node whose server is being started with other flags; empty for none.
        stuck: models that cannot leave that node, and why; empty while anything still leaves it.
        stuck_s: since when; None where it is not so.
        surplus: names of nodes that are superfluous, and go back to Ray's autoscaler.
        held_s: superfluous node → since when nothing more can leave it.
        largest_bytes: memory of the largest node beside those that are kept, of all that ever came.
        kept: names of nodes that are never superfluous; empty while nobody has said.
        wanted: nodes that there should be, as of the last step.
        generation: the highest that anything has.
        now_s: the time, as it was said last.
        peer_map: the present one.
        placed: its models, which grow into the next one.
        changed: models of which something new was said.
        remapped: models whose part of the map may have changed.
        touched: nodes whose files have changed.
        active: models that are asked for, or have been lately.
        moving: models that some node is to be without.
        must_place: something has changed by which models are placed.
        is_short: a model has too few replicas, or a version waits, for want of room.
        must_warm: models have been asked for that are not to be in memory, or too long ago.
        must_map: nodes of the map have changed.
        gathering_s: when the first node reported; None before.
        scaled_s: when demand was averaged last; None before.
        balanced_s: when models were placed last.
        sized_s: when a superfluous node was looked for last.
        lacking: models that a further node would help, and how many nodes each lacks.
        hoped: what was lacking when a node came that was asked for; empty once it has helped.
        vain: models that lack nodes still when one has come for them.
        short_s: since when models have too few nodes; None where they have not.
        roomy_s: since when a node is superfluous; None where none is.
        spec_document: a specification and how a journal has it.
    """

    settings: Settings = field(default_factory=Settings)
    spec: ClusterSpec | None = None
    models: dict[str, KnownModel] = field(default_factory=dict)
    removed: dict[str, KnownModel] = field(default_factory=dict)
    nodes: dict[str, KnownNode] = field(default_factory=dict)
    draining: set[str] = field(default_factory=set)
    restarting: str = ""
    stuck: dict[str, str] = field(default_factory=dict)
    stuck_s: float | None = None
    surplus: set[str] = field(default_factory=set)
    held_s: dict[str, float] = field(default_factory=dict)
    largest_bytes: int = 0
    kept: frozenset[str] = frozenset()
    wanted: Wanted = field(default_factory=Wanted)
    generation: int = 0
    now_s: float = 0.0
    peer_map: PeerMap = field(default_factory=PeerMap)
    placed: dict[str, Placed] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    remapped: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    moving: set[str] = field(default_factory=set)
    must_place: bool = False
    is_short: bool = False
    must_warm: bool = False
    must_map: bool = False
    gathering_s: float | None = None
    scaled_s: float | None = None
    balanced_s: float = 0.0
    sized_s: float = 0.0
    lacking: dict[str, int] = field(default_factory=dict)
    hoped: dict[str, int] = field(default_factory=dict)
    vain: set[str] = field(default_factory=set)
    short_s: float | None = None
    roomy_s: float | None = None
    spec_document: tuple[ClusterSpec, dict[str, Any]] | None = None

    def touch(self, nodes: Iterable[str]) -> None:
        """The files of these nodes have changed, of those that live."""
        self.touched.update(name for name in nodes if name in self.nodes)

    def rewarm(self, nodes: Iterable[str]) -> None:
        """What is to be in memory at these nodes has changed, of those that live."""
        for name in nodes:
            if (node := self.nodes.get(name)) is not None:
                node.resident = None

    def drain_as_asked(self, name: str) -> None:
        """Have a node be drained or not, by all who can ask for that."""
        if (node := self.nodes.get(name)) is not None:
            is_leaving = name in self.draining or name in self.surplus
            node.is_draining = is_leaving or name == self.restarting
            self.must_place = True

    def model(self, name: str) -> KnownModel | None:
        """A model that is desired, or was until lately."""
        return self.models.get(name) or self.removed.get(name)

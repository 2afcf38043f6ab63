"""What the controller knows of one model."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from salver.cluster.needs import ModelNeed
from salver.cluster.scaling import Demand
from salver.cluster.truth import Truth, aspired
from salver.config.model_documents import model_document
from salver.config.model_options import Replicas
from salver.config.models import ModelConfig

__all__ = ["KnownModel"]


@dataclass(slots=True)
class KnownModel:
    """One model.

    Attributes:
        config: as the specification has it.
        bytes: of memory that one version takes, or has taken; 0 while nobody knows.
        found: versions at its base path; empty where nobody looked.
        truth: what the cluster serves of it.
        is_warm: it is to be in memory at its nodes.
        is_rolling: a version that was found is being loaded beside those that are served.
        target: versions that it should be served with; empty where nobody looked which there are.
        lacks: versions of the target that are not served yet, beside others that are.
        versions: that its nodes should have; empty where they find out by themselves.
        written: `versions` as they are in the files of its nodes.
        nodes: that should have it, preferred first.
        leaving: nodes that had it and still do, until others answer (None) or a moment has come.
        demand: what is asked of it.
    """

    config: ModelConfig
    bytes: int = 0
    found: tuple[int, ...] = ()
    truth: Truth = field(default_factory=Truth)
    is_warm: bool = True
    is_rolling: bool = False
    target: tuple[int, ...] = ()
    lacks: tuple[int, ...] = ()
    versions: tuple[int, ...] = ()
    written: tuple[int, ...] = ()
    nodes: tuple[str, ...] = ()
    leaving: dict[str, float | None] = field(default_factory=dict)
    demand: Demand = field(default_factory=Demand)
    _document: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def replicas(self) -> Replicas:
        return self.config.options.replicas

    @property
    def is_kept_warm(self) -> bool:
        """Whether it must be in memory, whatever is asked of it."""
        return self.replicas.is_pinned or self.replicas.min >= 1

    @property
    def may_be_nowhere(self) -> bool:
        """Whether it is to leave memory when nothing is asked of it."""
        return not self.is_kept_warm and self.replicas.max >= 1

    def is_cramped(self, now_s: float, idle_s: float) -> bool:
        """Whether it has been asked for lately, and is not in memory for want of room."""
        last_s = self.demand.last_s
        return not self.is_warm and last_s is not None and now_s - last_s < idle_s

    def most(self, nodes: int) -> int:
        """Replicas that it may have at so many nodes."""
        return max(1, self.replicas.min, min(self.replicas.max or nodes, nodes))

    @property
    def least(self) -> int:
        """Replicas that it has at least."""
        return max(1, self.replicas.min)

    def __post_init__(self) -> None:
        self._derive()

    def take(self, config: ModelConfig) -> None:
        """Take what a new specification says."""
        self.config = config
        self._document = None
        self._derive()

    def take_found(self, versions: Collection[int]) -> bool:
        """Take which versions there are; returns whether they are others than before."""
        found = tuple(sorted(versions))
        if found == self.found:
            return False
        self.found = found
        self._derive()
        return True

    def take_truth(self, truth: Truth) -> None:
        """Take what the cluster serves of it now."""
        if truth != self.truth:
            self.truth = truth
            self._derive()

    def roll(self, is_rolling: bool) -> None:
        """Have the versions that are lacking be loaded beside those that are served, or not."""
        self.is_rolling = is_rolling
        self._derive()

    def _derive(self) -> None:
        served = self.truth.versions
        self.target = target = aspired(self.config.version_policy, self.found)
        self.lacks = tuple(each for each in target if each not in served) if served else ()
        if self.lacks:
            self.versions = tuple(sorted({*served, *(target if self.is_rolling else ())}))
        else:
            self.is_rolling = False
            self.versions = target

    def need(self, unknown_bytes: int) -> ModelNeed:
        """What it needs of nodes; where it is cold, one node that loads it when it is asked for."""
        is_moving = any(until is None for until in self.leaving.values())
        replicas = max(self.demand.replicas, self.least) if self.is_warm else 1
        return ModelNeed(
            self.name,
            self.resident_bytes(unknown_bytes),
            self.demand.busy if self.is_warm else 0.0,
            replicas,
            min(self.least, replicas),
            self.replicas.is_pinned or is_moving,
        )

    def resident_bytes(self, unknown_bytes: int) -> int:
        """Memory that it takes at each of its nodes."""
        return self.loaded_bytes(unknown_bytes) if self.is_warm else 0

    def loaded_bytes(self, unknown_bytes: int) -> int:
        """Memory that it takes where it is in memory."""
        return (self.bytes or unknown_bytes) * max(1, len(self.versions))

    def document(self, labels: Mapping[str, int]) -> dict[str, Any]:
        """Its part of the models' file of a node.

        Args:
            labels: that the node can have.
        """
        if self._document is None:
            options = replace(self.config.options, replicas=Replicas())
            bare = replace(self.config, options=options, version_labels={})
            self._document = model_document(bare)
        document = dict(self._document)
        if versions := self.versions:
            document["model_version_policy"] = {"specific": {"versions": list(versions)}}
        if labels:
            document["version_labels"] = dict(labels)
        return document

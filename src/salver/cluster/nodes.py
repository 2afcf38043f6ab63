"""What the controller knows of one node."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from salver.cluster.needs import NodeRoom
from salver.cluster.reports import AVAILABLE, ModelReport, NodeReport
from salver.peers.map import Peer

__all__ = ["KnownNode"]


@dataclass(slots=True)
class KnownNode:
    """One node.

    Attributes:
        report: its last one; `models` of it stands in `models`.
        last_s: when that came; None for one that has said nothing since the controller started.
        models: name → what it said last.
        held: models that are in its configuration.
        labels: model → labels of it that it can have, since their versions answer there.
        resident: models that should be in memory there, those that are asked most first; None where
            that has to be made again.
        generation: since when its configuration is as it is; 0 before it was ever decided.
        is_draining: others are to take over its models, whoever asked for that.
    """

    report: NodeReport
    last_s: float | None = None
    models: dict[str, ModelReport] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    resident: tuple[str, ...] | None = None
    generation: int = 0
    is_draining: bool = False

    @property
    def name(self) -> str:
        return self.report.name

    def room(self, lingering_bytes: int = 0) -> NodeRoom:
        """What it has for models, less what those take that are about to leave it."""
        report = self.report
        return NodeRoom(
            report.name, report.memory_bytes - lingering_bytes, report.cores, report.zone
        )

    def peer(self) -> Peer:
        """As its peers see it.

        Raises:
            InvalidArgument: it has no address, or a wrong one.
        """
        report = self.report
        return Peer(report.name, report.rest, report.grpc, report.zone)

    def available(self, model: str) -> frozenset[int]:
        """Versions of a model that answer there."""
        said = self.models.get(model)
        if said is None:
            return frozenset()
        return frozenset(each.version for each in said.versions if each.state == AVAILABLE)

    def take(
        self, report: NodeReport, now_s: float
    ) -> Iterator[tuple[str, ModelReport | None, ModelReport | None]]:
        """Take a report; yields what changed: a model, what was said of it, and what is now."""
        is_same = report.incarnation == self.report.incarnation
        before = self.models if is_same else {}
        changed: Mapping[str, ModelReport] = report.models
        for name, old in list(self.models.items()):
            if name not in changed and not (report.is_partial and is_same):
                del self.models[name]
                yield name, old, None
        for name, now in changed.items():
            known = before.get(name)
            if report.is_partial and not now.versions:
                self.models.pop(name, None)
                yield name, known, None
            elif known is None or known != now:
                self.models[name] = now
                yield name, known, now
        self.report = replace(report, models={})
        self.last_s = now_s

    def take_labels(self, model: str, labels: Mapping[str, int]) -> bool:
        """Note which labels of a model the node can have; returns whether they have changed."""
        available = self.available(model)
        possible = {label: version for label, version in labels.items() if version in available}
        if possible == self.labels.get(model, {}):
            return False
        self.labels[model] = possible
        return True

"""What a cluster is like at a moment, for people and programs. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from salver.cluster.models import KnownModel
from salver.cluster.nodes import KnownNode
from salver.cluster.state import State

__all__ = ["ClusterStatus", "ModelStatus", "NodeStatus", "status_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One node.

    Attributes:
        state: `live`, `silent` (a report is overdue), `draining` or `drained`.
        silent_s: since its last report; None where there was none since the controller started.
        memory_bytes: for its models.
        used_bytes: what those take that should be there, in memory.
        leaving_bytes: what those take that are about to leave it, where they are in memory.
        models: that it should have.
        is_behind: it has not got its present files yet.
    """

    name: str
    state: str
    rest: str
    grpc: str
    zone: str
    silent_s: float | None
    memory_bytes: int
    used_bytes: int
    leaving_bytes: int
    cores: float
    models: int
    is_behind: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One model.

    Attributes:
        state: `available`, `cold` (available, loaded when it is asked for), `loading`, `failed`,
            or `nowhere` (no node has room).
        versions: that the cluster serves.
        labels: label → version.
        nodes: that should have it.
        available: those of them that answer for it.
        leaving: nodes that are to be without it.
        replicas: that it should have.
        bytes: that it takes at each node; 0 where nobody knows.
        requests_per_second: averaged.
        error: of a version that failed; empty for none.
    """

    name: str
    state: str
    versions: tuple[int, ...]
    labels: Mapping[str, int]
    nodes: tuple[str, ...]
    available: tuple[str, ...]
    leaving: tuple[str, ...]
    replicas: int
    bytes: int
    requests_per_second: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """All of it.

    Attributes:
        is_settled: all models that can be are where they should be, and every node has its files.
    """

    name: str = ""
    generation: int = 0
    is_settled: bool = False
    nodes: tuple[NodeStatus, ...] = ()
    models: tuple[ModelStatus, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """It as JSON has it."""
        return {"schema": 1, **asdict(self)}


def status_of(state: State) -> ClusterStatus:
    """What a controller knows."""
    nodes = tuple(_node(state, state.nodes[name]) for name in sorted(state.nodes))
    models = tuple(_model(state, state.models[name]) for name in sorted(state.models))
    counts: dict[str, int] = {}
    for model in models:
        counts[model.state] = counts.get(model.state, 0) + 1
    is_settled = (
        not state.must_place
        and not any(node.is_behind or node.state == "silent" for node in nodes)
        and not any(model.leaving or model.state == "loading" for model in models)
        and all(model.available == model.nodes for model in models if model.state == "available")
    )
    return ClusterStatus(
        name=state.spec.name if state.spec else "",
        generation=state.generation,
        is_settled=is_settled,
        nodes=nodes,
        models=models,
        counts=dict(sorted(counts.items())),
    )


def _node(state: State, node: KnownNode) -> NodeStatus:
    unknown_bytes = state.settings.unknown_bytes
    held = [model for name in node.held if (model := state.model(name)) is not None]
    assigned = [model for model in held if node.name not in model.leaving]
    leaving = [model for model in held if node.name in model.leaving]
    silent_s = None if node.last_s is None else round(state.now_s - node.last_s, 3)
    if node.is_draining:
        word = "draining" if node.held else "drained"
    else:
        word = "silent" if silent_s is None or silent_s > state.settings.dead_s / 2 else "live"
    report = node.report
    return NodeStatus(
        name=node.name,
        state=word,
        rest=report.rest,
        grpc=report.grpc,
        zone=report.zone,
        silent_s=silent_s,
        memory_bytes=report.memory_bytes,
        used_bytes=sum(model.resident_bytes(unknown_bytes) for model in assigned),
        leaving_bytes=sum(model.resident_bytes(unknown_bytes) for model in leaving),
        cores=report.cores,
        models=len(assigned),
        is_behind=report.generation != node.generation,
    )


def _model(state: State, model: KnownModel) -> ModelStatus:
    placed = state.placed.get(model.name)
    answering = placed.nodes if placed else ()
    available = tuple(name for name in model.nodes if name in answering)
    error = error_of(state, model)
    if answering:
        word = "available" if model.is_warm else "cold"
    elif not model.nodes:
        word = "nowhere"
    else:
        word = "failed" if error else "loading"
    return ModelStatus(
        name=model.name,
        state=word,
        versions=model.truth.versions,
        labels=model.truth.labels,
        nodes=model.nodes,
        available=available,
        leaving=tuple(model.leaving),
        replicas=max(model.demand.replicas, model.least) if model.is_warm else 0,
        bytes=model.bytes,
        requests_per_second=round(model.demand.rate, 3),
        error=error,
    )


def error_of(state: State, model: KnownModel) -> str:
    """Why a version of a model failed at a node, if one did."""
    for name in model.nodes:
        said = state.nodes[name].models.get(model.name) if name in state.nodes else None
        for version in said.versions if said else ():
            if version.error:
                return f"version {version.version} at {name}: {version.error}"
    return ""

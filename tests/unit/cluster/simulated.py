"""A node without a server: what its file says is loaded at once, or when a test says so."""

from dataclasses import dataclass, field

from salver.cluster.control import Controller
from salver.cluster.reports import ModelReport, NodeDesire, NodeReport, VersionReport
from salver.cluster.spec import ClusterSpec
from salver.config.model_options import ModelOptions, Replicas
from salver.config.models import ModelConfig
from salver.peers.map import PeerMap
from salver.vocabulary.servable import VersionPolicy

MIB = 1 << 20


def model(
    name: str,
    least: int = 0,
    most: int = 0,
    pinned: bool = False,
    labels: dict[str, int] | None = None,
    policy: VersionPolicy | None = None,
) -> ModelConfig:
    config = ModelConfig(
        name=name,
        base_path=f"/models/{name}",
        model_platform="tensorflow",
        options=ModelOptions(replicas=Replicas(least, most, pinned)),
        version_labels=labels or {},
    )
    if policy is None:
        return config
    return ModelConfig(
        name=name,
        base_path=config.base_path,
        model_platform="tensorflow",
        options=config.options,
        version_labels=labels or {},
        version_policy=policy,
        names_versions=True,
    )


def spec(*models: ModelConfig) -> ClusterSpec:
    return ClusterSpec(models=models)


@dataclass
class Node:
    """What a node actor and its server would do.

    Attributes:
        sizes: of models, in bytes; 0 for what is not there.
        loads: (model, version) that load; None for all.
        fails: (model, version) → error.
        requests: model → requests so far.
        versions: that a server finds by itself, where its file does not say.
    """

    name: str
    memory_bytes: int = 1000 * MIB
    zone: str = ""
    cores: float = 4.0
    incarnation: str = "1"
    sizes: dict[str, int] = field(default_factory=dict)
    loads: set[tuple[str, int]] | None = None
    fails: dict[tuple[str, int], str] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    queued: dict[str, int] = field(default_factory=dict)
    versions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    found: dict[str, tuple[int, ...]] = field(default_factory=dict)
    files: dict[str, tuple[int, ...]] = field(default_factory=dict)
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    generation: int = 0
    peer_map: PeerMap = field(default_factory=PeerMap)
    desire: NodeDesire | None = None

    def report(self) -> NodeReport:
        return NodeReport(
            name=self.name,
            rest="127.0.0.1:8501",
            zone=self.zone,
            memory_bytes=self.memory_bytes,
            cores=self.cores,
            incarnation=self.incarnation,
            generation=self.generation,
            map_generation=self.peer_map.generation,
            models={name: self._model(name, versions) for name, versions in self.files.items()},
        )

    def _model(self, name: str, versions: tuple[int, ...]) -> ModelReport:
        said = []
        for version in versions:
            if error := self.fails.get((name, version)):
                said.append(VersionReport(version, "END", error))
            elif self.loads is None or (name, version) in self.loads:
                said.append(VersionReport(version, "AVAILABLE"))
            else:
                said.append(VersionReport(version, "LOADING"))
        return ModelReport(
            tuple(said),
            self.sizes.get(name, 0) * sum(each.state == "AVAILABLE" for each in said),
            self.requests.get(name, 0),
            self.queued.get(name, 0),
            found=self.found.get(name, ()),
        )

    def step(self, controller: Controller, now_s: float) -> None:
        """Report, and take what is desired."""
        self.desire = desire = controller.report(self.report(), now_s)
        if desire.peer_map is not None:
            self.peer_map = desire.peer_map
        if desire.config is not None:
            self.generation = desire.generation
            self.files = {entry["name"]: self._versions(entry) for entry in desire.config["models"]}
            self.labels = {
                entry["name"]: entry.get("version_labels", {}) for entry in desire.config["models"]
            }

    def _versions(self, entry: dict[str, object]) -> tuple[int, ...]:
        policy = entry.get("model_version_policy")
        if isinstance(policy, dict) and "specific" in policy:
            return tuple(policy["specific"]["versions"])
        return self.versions.get(str(entry["name"]), (1,))


@dataclass
class World:
    """A controller and its nodes, in steps of a second."""

    controller: Controller
    nodes: dict[str, Node]
    now_s: float = 0.0

    def run(self, seconds: int = 8) -> None:
        for _ in range(seconds):
            self.now_s += 1.0
            for name in sorted(self.nodes):
                self.nodes[name].step(self.controller, self.now_s)
            self.controller.tick(self.now_s)

    def at(self, model: str) -> set[str]:
        """Nodes whose files have a model."""
        return {name for name, node in self.nodes.items() if model in node.files}

    def mapped(self, model: str) -> tuple[str, ...]:
        """Nodes that the map sends requests to."""
        return self.controller.peer_map.models[model].nodes


def world(*nodes: Node) -> World:
    return World(Controller(), {node.name: node for node in nodes})

"""Any sequence of what can happen to a cluster, and what must hold after each step of it."""

import json
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.cluster.simulated import MIB, Node, World, model, spec

from salver.cluster.control import Controller
from salver.cluster.settings import Settings
from salver.cluster.spec import NodesSpec

_NAMES = [f"m{number}" for number in range(8)]
_NODES = [f"n{number}" for number in range(5)]
_SIZES = {name: (5 + 10 * number) * MIB for number, name in enumerate(_NAMES)}
_MEMORY = [0, 60 * MIB, 100 * MIB, 200 * MIB]
_SETTINGS = Settings(cut_off_nodes=100)  # that is a test of its own


class ClusterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.gathering_s = 0.0
        self.drained: set[str] = set()  # by a person
        self.restarting = ""
        self.world = World(Controller(_SETTINGS), {})
        self.world.controller.apply(spec(*(model(name) for name in _NAMES[:3])), _SIZES)

    @property
    def controller(self) -> Controller:
        return self.world.controller

    @rule(
        name=st.sampled_from(_NODES),
        memory=st.sampled_from(_MEMORY),
        zone=st.sampled_from(["", "a", "b"]),
    )
    def joins(self, name: str, memory: int, zone: str) -> None:
        self.world.nodes.setdefault(name, Node(name, memory, zone, sizes=_SIZES))

    @rule(name=st.sampled_from(_NODES))
    def dies(self, name: str) -> None:
        self.world.nodes.pop(name, None)

    @rule(name=st.sampled_from(_NODES), version=st.integers(2, 9))
    def restarts(self, name: str, version: int) -> None:
        node = self.world.nodes.get(name)
        if node is not None:
            node.incarnation = str(version)
            node.requests = {}

    @rule(
        rows=st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=len(_NAMES)
        ),
        idle_s=st.sampled_from([0, 0, 5]),
    )
    def applies(self, rows: list[tuple[int, int, bool]], idle_s: float) -> None:
        models = [
            model(name, min(a, b), max(a, b), pinned)
            for name, (a, b, pinned) in zip(_NAMES, rows, strict=False)
        ]
        wanted = replace(spec(*models), nodes=NodesSpec(idle_s=idle_s))
        self.controller.apply(wanted, _SIZES)

    @rule(name=st.sampled_from(_NAMES), versions=st.sets(st.integers(1, 4)))
    def finds(self, name: str, versions: set[int]) -> None:
        self.controller.found({name: versions})

    @rule(name=st.sampled_from(_NODES), is_draining=st.booleans())
    def drains(self, name: str, is_draining: bool) -> None:
        if any(node.name == name for node in self.controller.status().nodes):
            self.controller.drain(name, is_draining)
            (self.drained.add if is_draining else self.drained.discard)(name)

    @rule(name=st.sampled_from(["", *_NODES]))
    def gives_turn(self, name: str) -> None:
        self.controller.restart(name)
        self.restarting = name

    @rule(name=st.sampled_from(_NODES))
    def forgets(self, name: str) -> None:
        self.controller.forget(name)
        self.drained.discard(name)
        if self.restarting == name:
            self.restarting = ""

    @rule(
        name=st.sampled_from(_NAMES), count=st.integers(1, 5000), queued=st.sampled_from([0, 0, 50])
    )
    def asks(self, name: str, count: int, queued: int) -> None:
        for node in self.world.nodes.values():
            if name in node.files:
                node.requests[name] = node.requests.get(name, 0) + count
                node.queued[name] = queued

    @rule()
    def restores(self) -> None:
        journal = json.loads(json.dumps(self.controller.journal()))
        again = Controller.restore(journal, _SETTINGS)
        assert again.journal() == journal
        self.world.controller = again
        self.gathering_s = _SETTINGS.gather_s + 1

    @rule(seconds=st.integers(1, 12))
    def runs(self, seconds: int) -> None:
        for _ in range(seconds):
            self.run_second()
            # One that is back with less memory keeps its models until all have had time to report.
            for node in self.controller.status().nodes if self.gathering_s <= 0 else ():
                assert node.used_bytes <= node.memory_bytes, node

    def run_second(self) -> None:
        self.controller.see(self.world.nodes.keys(), _NODES[:1])
        self.world.run(1)
        if self.world.nodes:
            self.gathering_s -= 1

    @precondition(lambda self: self.world.nodes)
    @rule()
    def comes_to_rest(self) -> None:
        """After long enough without change everything that fits is where it should be."""
        for node in self.world.nodes.values():
            node.queued = {}
        for _ in range(20):
            self.run_second()
        surplus = self.controller.surplus
        for _ in range(20):
            self.run_second()
        status = self.controller.status()
        assert {node.name for node in status.nodes} == self.world.nodes.keys()
        live = [node for node in status.nodes if node.state == "live"]
        for found in status.models:
            assert set(found.available) == {*found.nodes}, found
            if not found.nodes and live:
                need = found.bytes
                assert all(node.used_bytes + need > node.memory_bytes for node in live), found
        before = {name: dict(node.files) for name, node in self.world.nodes.items()}
        generations = {name: node.generation for name, node in self.world.nodes.items()}
        for _ in range(15):
            self.run_second()
        if self.controller.surplus != surplus:
            return  # a node became superfluous meanwhile, as it may after any quiet time
        assert {name: dict(node.files) for name, node in self.world.nodes.items()} == before
        assert {name: node.generation for name, node in self.world.nodes.items()} == generations

    @invariant()
    def the_map_is_of_nodes_that_have_the_models(self) -> None:
        peer_map = self.controller.peer_map
        for name, placed in peer_map.models.items():
            for node in placed.nodes:
                assert node in peer_map.peers, name

    @invariant()
    def those_are_drained_whom_a_person_or_their_turn_drains(self) -> None:
        assert self.controller.restarting == self.restarting
        for node in self.controller.status().nodes:
            is_surplus = node.name in self.controller.surplus
            is_draining = is_surplus or node.name in self.drained or node.name == self.restarting
            assert (node.state in ("draining", "drained")) == is_draining, node

    @invariant()
    def the_node_of_the_head_is_never_superfluous(self) -> None:
        assert _NODES[0] not in self.controller.surplus

    @invariant()
    def generations_only_grow(self) -> None:
        for node in self.world.nodes.values():
            assert self.controller.journal()["generation"] >= node.peer_map.generation


TestCluster = ClusterMachine.TestCase

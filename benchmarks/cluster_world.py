"""Nodes and traffic of a simulated cluster: what a node actor, its server and clients would do.

A node loads what it is told to, some models at a time, at the speed of its disk. What is not to be
in memory is available at once, and loaded when it is first asked for; what was asked longest ago
makes room. Nothing here waits: time is a number.
"""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from salver.cluster.control import Controller
from salver.cluster.reports import ModelReport, NodeDesire, NodeReport, VersionReport

LOADS = 4  # at a time, at each node
BYTES_PER_S = 500 << 20  # that a node reads, for each load
LOAD_S = 0.5  # of a load, before its bytes
RUN_S = 0.004  # of a request


class Events:
    """What happens when."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, moment_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (moment_s, next(self._order), act))

    def run_until(self, moment_s: float) -> None:
        while self._heap and self._heap[0][0] <= moment_s:
            self.now_s, _, act = heapq.heappop(self._heap)
            act()
        self.now_s = moment_s


@dataclass(slots=True)
class Copy:
    """A model at a node: versions of its file, which of them are loaded, and what was asked."""

    versions: tuple[int, ...] = ()
    loaded: set[int] = field(default_factory=set)
    is_lazy: bool = False
    requests: int = 0
    asked_s: float = -1.0


class SimulatedNode:
    """One node, of which nothing is real but what it says."""

    def __init__(self, name: str, zone: str, memory_bytes: int, cores: float) -> None:
        self.name, self.zone = name, zone
        self.memory_bytes, self.cores = memory_bytes, cores
        self.is_dead = False
        self.copies: dict[str, Copy] = {}
        self.generation = self.map_generation = 0
        self.desire: NodeDesire | None = None
        self.used_bytes = 0
        self.waiting: list[tuple[str, int]] = []
        self.loading: set[tuple[str, int]] = set()
        self.changed: set[str] = set()
        self.has_reported = False

    def report(self, controller: Controller, now_s: float) -> NodeDesire:
        names = self.changed if self.has_reported else self.copies
        report = NodeReport(
            name=self.name,
            rest="10.0.0.1:8501",
            zone=self.zone,
            memory_bytes=self.memory_bytes,
            cores=self.cores,
            incarnation="1",
            generation=self.generation,
            map_generation=self.map_generation,
            models={name: self._said(name) for name in names},
            is_partial=self.has_reported,
        )
        self.changed = set()
        self.has_reported = True
        desire = controller.report(report, now_s)
        if desire.wants_all:
            self.has_reported = False
        return desire

    def _said(self, name: str) -> ModelReport:
        copy = self.copies.get(name)
        if copy is None:
            return ModelReport()
        states = tuple(
            VersionReport(
                version,
                "AVAILABLE" if version in copy.loaded or copy.is_lazy else "LOADING",
            )
            for version in copy.versions
        )
        return ModelReport(states, 0, copy.requests, 0, copy.requests * RUN_S)


class World:
    """All nodes, and the requests that they get.

    Args:
        sizes: of models, in bytes.
        events: that drive everything.
    """

    def __init__(self, sizes: dict[str, int], events: Events) -> None:
        self.sizes, self.events = sizes, events
        self.nodes: dict[str, SimulatedNode] = {}
        self.loads = self.cold_hits = self.lost = self.retried = self.asked = 0

    def take(self, node: SimulatedNode, desire: NodeDesire) -> None:
        """Have a node do what it is told."""
        before = node.desire.resident if node.desire else ()
        node.desire = desire
        self._start(node)
        if desire.peer_map is not None:
            node.map_generation = desire.peer_map.generation
        if desire.config is not None:
            node.generation = desire.generation
            self._configure(node, desire)
        known = frozenset(before)
        for name in (name for name in desire.resident if name not in known):
            copy = node.copies[name]
            for version in copy.versions:
                self._load(node, name, version)

    def _configure(self, node: SimulatedNode, desire: NodeDesire) -> None:
        wanted, resident = {}, frozenset(desire.resident)
        for entry in desire.config["models"] if desire.config else ():
            policy = entry.get("model_version_policy", {}).get("specific", {})
            wanted[entry["name"]] = tuple(policy.get("versions", (1,)))
        for name in node.copies.keys() - wanted.keys():
            self._drop(node, name, node.copies.pop(name).loaded)
        for name, versions in wanted.items():
            copy = node.copies.get(name)
            if copy is None:
                copy = node.copies[name] = Copy(is_lazy=name not in resident)
            if copy.versions != versions:
                self._drop(node, name, copy.loaded - {*versions})
                copy.versions = versions
                node.changed.add(name)
                if name in resident:
                    for version in versions:
                        self._load(node, name, version)

    def _drop(self, node: SimulatedNode, name: str, versions: set[int]) -> None:
        node.used_bytes -= self.sizes[name] * len(versions)
        if name in node.copies:
            node.copies[name].loaded -= versions
        node.changed.add(name)

    def _load(self, node: SimulatedNode, name: str, version: int) -> None:
        key = (name, version)
        if version in node.copies[name].loaded or key in node.loading or key in node.waiting:
            return
        node.waiting.append(key)
        self._start(node)

    def _start(self, node: SimulatedNode) -> None:
        while node.waiting and len(node.loading) < LOADS:
            key = node.waiting[0]
            copy = node.copies.get(key[0])
            is_wanted = copy is not None and key[1] in copy.versions
            if is_wanted and not self._make_room(node, key[0]):
                return  # until something leaves
            node.waiting.pop(0)
            if not is_wanted:
                continue
            node.loading.add(key)
            node.used_bytes += self.sizes[key[0]]
            self.loads += 1
            takes_s = LOAD_S + self.sizes[key[0]] / BYTES_PER_S
            self.events.at(self.events.now_s + takes_s, lambda key=key: self._loaded(node, key))

    def _loaded(self, node: SimulatedNode, key: tuple[str, int]) -> None:
        name, version = key
        node.loading.discard(key)
        copy = node.copies.get(name)
        if copy is None or version not in copy.versions:
            node.used_bytes -= self.sizes[name]
        else:
            copy.loaded.add(version)
            node.changed.add(name)
        self._start(node)

    def _make_room(self, node: SimulatedNode, name: str) -> bool:
        """Have what was asked longest ago leave memory, of what need not be in it."""
        lacking = node.used_bytes + self.sizes[name] - node.memory_bytes
        if lacking <= 0:
            return True
        resident = frozenset(node.desire.resident if node.desire else ())
        spare = [
            (copy.asked_s, other)
            for other, copy in node.copies.items()
            if copy.loaded and other not in resident and other != name
        ]
        for _, other in sorted(spare):
            copy = node.copies[other]
            copy.is_lazy = True
            lacking -= self.sizes[other] * len(copy.loaded)
            self._drop(node, other, set(copy.loaded))
            if lacking <= 0:
                return True
        return False

    def ask(self, name: str, nodes: tuple[str, ...], count: int) -> None:
        """Have clients ask for a model at the nodes that the map names."""
        self.asked += count
        live = [self.nodes[each] for each in nodes if not self.nodes[each].is_dead]
        dead = len(nodes) - len(live)
        if not live:
            self.lost += count
            return
        self.retried += count * dead // max(1, len(nodes))
        for number, node in enumerate(live):
            part = count // len(live) + (number < count % len(live))
            copy = node.copies.get(name)
            if not part or copy is None:
                continue
            copy.requests += part
            copy.asked_s = self.events.now_s
            node.changed.add(name)
            if not copy.loaded and copy.versions and copy.is_lazy:
                self.cold_hits += 1
                self._load(node, name, copy.versions[-1])

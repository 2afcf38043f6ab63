"""Simulate a cluster: the real controller and placement, nodes and clients of events alone.

    python benchmarks/cluster_simulation.py [--nodes 100] [--models 10000] [--plots DIR]
    python benchmarks/cluster_simulation.py --scale 1 10 100 [--plots DIR]
    python benchmarks/cluster_simulation.py --read FILE... [--plots DIR]

Models are more than fit (1.25 times the memory of all nodes); their traffic is Zipf's. Then nodes
die and join, a zone fails, a cold model becomes hot, a twentieth of the models gets a new version,
a node is drained. For each of that: replicas moved beside the fewest that would do, seconds until
every model that can answers again where it should, how even the nodes are, requests that came to a
model that was not in memory, and what the controller computed for it. `--scale` measures its parts
alone, for 10 and 100 times as many. Figures: docs/decisions/placement.md.
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from cluster_world import Events, SimulatedNode, World
from figures import Bar, Chart
from plots import svg

from salver.cluster.control import Controller
from salver.cluster.placement import ModelNeed, NodeRoom, place
from salver.cluster.reports import ModelReport, NodeReport, VersionReport
from salver.cluster.spec import ClusterSpec
from salver.config.model_options import ModelOptions, Replicas
from salver.config.models import ModelConfig
from salver.peers import map as peer_maps

GIB = 1 << 30
MEMORY = 16 * GIB  # of each node
CORES = 8.0
ZONES = 5
REQUESTS_PER_S = 100.0  # for each node
SKEW = 1.05  # of Zipf
REPLICATED = 0.05  # part of the models that must have two replicas, the hottest among them
STEP_S = 1.0

T = TypeVar("T")


@dataclass
class Outcome:
    """What one event made of the cluster.

    Attributes:
        moved: replicas that were placed at nodes where they were not before.
        least: the fewest that the event needs.
        healed_s: until every model answered again where it should.
        unavailable_s: until every model answered somewhere again, that is.
        lost: requests for which the map named no node, or dead ones alone.
        cold_hits: loads that a request had to wait for.
        most: memory used by the fullest node, of the mean.
        tick_ms: the longest step of the controller meanwhile.
        busy: seconds of computing by the controller for a second of the cluster, on average.
    """

    event: str
    moved: int = 0
    least: int = 0
    healed_s: float = 0.0
    unavailable_s: float = 0.0
    lost: int = 0
    cold_hits: int = 0
    asked: int = 0
    most: float = 0.0
    tick_ms: float = 0.0
    busy: float = 0.0


@dataclass
class Clock:
    """What the controller computes."""

    spent_s: float = 0.0
    longest_s: float = 0.0
    reports: int = 0

    def run(self, act: Callable[[], object]) -> object:
        begin = time.process_time()
        found = act()
        took_s = time.process_time() - begin
        self.spent_s += took_s
        self.longest_s = max(self.longest_s, took_s)
        return found


class Simulation:
    """A cluster of so many nodes and models."""

    def __init__(
        self, nodes: int, models: int, seed: int = 1, requests_per_s: float = REQUESTS_PER_S
    ) -> None:
        self.random = random.Random(seed)
        self.rng = np.random.default_rng(seed)
        self.events = Events()
        self.controller = Controller()
        self.clock = Clock()
        self.names = [f"model-{number:06}" for number in range(models)]
        mean = 1.25 * nodes * MEMORY / models / 1.05
        raw = self.rng.lognormal(0.0, 0.8, models)
        raw *= mean / raw.mean()
        sizes = {
            name: int(min(size, MEMORY / 4)) for name, size in zip(self.names, raw, strict=True)
        }
        self.world = World(sizes, self.events)
        weights = 1.0 / np.arange(1, models + 1) ** SKEW
        self.rates = weights / weights.sum() * requests_per_s * nodes
        for number in range(nodes):
            self.join(f"node-{number:04}", number)
        hot = int(models * REPLICATED)
        configs = [
            ModelConfig(
                name=name,
                base_path=f"/models/{name}",
                model_platform="tensorflow",
                options=ModelOptions(replicas=Replicas(2, 0) if number < hot else Replicas()),
            )
            for number, name in enumerate(self.names)
        ]
        self.clock.run(lambda: self.controller.apply(ClusterSpec(models=tuple(configs)), sizes))
        self.controller.found(dict.fromkeys(self.names, (1,)))
        self.events.at(0.5, self.tick)
        self.events.at(0.9, self.ask)

    def join(self, name: str, number: int) -> None:
        node = SimulatedNode(name, f"zone-{number % ZONES}", MEMORY, CORES)
        self.world.nodes[name] = node
        self.events.at(self.events.now_s + self.random.random(), lambda: self.report(node))

    def kill(self, name: str) -> None:
        self.world.nodes[name].is_dead = True

    def report(self, node: SimulatedNode) -> None:
        if node.is_dead:
            return
        self.clock.reports += 1
        begin = time.process_time()
        desire = node.report(self.controller, self.events.now_s)
        self.clock.spent_s += time.process_time() - begin
        self.world.take(node, desire)
        self.events.at(self.events.now_s + STEP_S, lambda: self.report(node))

    def tick(self) -> None:
        self.clock.run(lambda: self.controller.tick(self.events.now_s))
        self.events.at(self.events.now_s + STEP_S, self.tick)

    def ask(self) -> None:
        """A second of traffic."""
        placed = self.controller.peer_map.models
        counts = self.rng.poisson(self.rates)
        for number in np.flatnonzero(counts):
            name = self.names[number]
            nodes = placed[name].nodes if name in placed else ()
            self.world.ask(name, nodes, int(counts[number]))
        self.events.at(self.events.now_s + STEP_S, self.ask)

    # -- what is looked at -----------------------------------------------------------------------

    def assignment(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(entry["nodes"]) for name, entry in self.journal().items()}

    def warm(self) -> dict[str, tuple[str, ...]]:
        """Of the models that are to be in memory: the others cost nothing to move."""
        journal = self.journal()
        return {name: tuple(entry["nodes"]) for name, entry in journal.items() if entry["is_warm"]}

    def journal(self) -> dict[str, dict[str, list[str]]]:
        models: dict[str, dict[str, list[str]]] = self.controller.journal()["models"]
        return models

    def memory(self) -> list[float]:
        return [
            float(node.used_bytes)
            for node in self.controller.status().nodes
            if node.state == "live"
        ]

    def watch(
        self, event: str, seconds: int, hurt: Collection[str] = (), least: int = 0
    ) -> Outcome:
        """Go on for so long, and see what becomes of it.

        Args:
            event: its name.
            seconds: how long.
            hurt: models that have lost replicas.
            least: see `Outcome`; for each model that is hurt one more.
        """
        world, clock = self.world, self.clock
        before, begin_s = self.assignment(), self.events.now_s
        lost, cold, asked = world.lost, world.cold_hits, world.asked
        spent_s, clock.longest_s = clock.spent_s, 0.0
        found = Outcome(event, least=least + len([*hurt]), healed_s=-1.0, unavailable_s=-1.0)
        silent, hurt = {*(hurt or self.names)}, {*hurt}
        for second in range(1, seconds + 1):
            self.events.run_until(begin_s + second)
            if silent or hurt:
                self._look(found, second, silent, hurt)
        after = self.warm()
        found.moved = sum(len({*names} - {*before.get(name, ())}) for name, names in after.items())
        used = self.memory()
        found.most = max(used) / statistics.mean(used)
        found.lost, found.cold_hits = world.lost - lost, world.cold_hits - cold
        found.asked = world.asked - asked
        found.tick_ms = clock.longest_s * 1e3
        found.busy = (clock.spent_s - spent_s) / seconds
        print(found, file=sys.stderr)
        return found

    def _look(self, found: Outcome, second: int, silent: set[str], hurt: set[str]) -> None:
        """Take models that answer, or are whole, out of those that did not, or were not."""
        placed = self.controller.peer_map.models
        live = {name for name, node in self.world.nodes.items() if not node.is_dead}
        answering = {
            name for name in silent if name in placed and live.intersection(placed[name].nodes)
        }
        if answering == silent and silent:
            found.unavailable_s = second
        silent -= answering
        if not hurt:
            found.healed_s = max(found.healed_s, 0.0)
            return
        assigned = self.journal()
        hurt -= {
            name for name in hurt if {*assigned[name]["nodes"]} <= {*placed[name].nodes} & live
        }
        if not hurt:
            found.healed_s = second

    # -- what happens ----------------------------------------------------------------------------

    def run(self) -> list[Outcome]:
        nodes = list(self.world.nodes)
        outcomes = [self.watch("start", 60)]
        outcomes[0].least = outcomes[0].moved
        outcomes.append(self.watch("nothing", 20))
        hurt = self._at(nodes[:1])
        self.kill(nodes[0])
        outcomes.append(self.watch("a node dies", 30, hurt))
        fair = self._fair()
        self.join("node-new", 0)
        outcomes.append(self.watch("a node joins", 30, least=int(0.75 * fair)))
        zone = [name for name in nodes[1:] if self.world.nodes[name].zone == "zone-1"][
            : len(nodes) // 10
        ]
        hurt = self._at(zone)
        for name in zone:
            self.kill(name)
        outcomes.append(self.watch("a tenth of the nodes dies", 40, hurt))
        cold = len(self.names) // 2
        self.rates[cold] = 2000.0
        outcomes.append(self.watch("a cold model gets 2,000 a second", 40))
        hot = len(self.journal()[self.names[cold]]["nodes"])
        outcomes[-1].least = hot - 1
        self.rates[cold] = 0.0
        upgraded = self.names[::20]
        self.controller.found(dict.fromkeys(upgraded, (1, 2)))
        outcomes.append(self.watch("a twentieth gets a new version", 40))
        drained = next(name for name in nodes if not self.world.nodes[name].is_dead)
        hurt = self._at([drained])
        self.controller.drain(drained)
        outcomes.append(self.watch("a node is drained", 30, hurt))
        return outcomes

    def _at(self, nodes: list[str]) -> list[str]:
        """Models in memory at nodes, once for each replica there."""
        assigned = self.warm()
        return [name for name, at in assigned.items() for node in at if node in nodes]

    def _fair(self) -> float:
        """Replicas that a node would have if all had as many."""
        return sum(map(len, self.assignment().values())) / (len(self.memory()) + 1)


# -- parts alone, at scale -----------------------------------------------------------------------


@dataclass
class Part:
    """What one part of the controller computes, for so many nodes and models.

    Attributes:
        seconds: of processor time; each value once.
    """

    nodes: int
    models: int
    seconds: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)


def scale(factors: Sequence[float], from_scratch: float) -> list[Part]:
    """Measure placement, reports and files for 100 nodes and 10,000 models, times each factor.

    Args:
        factors: how many times as many.
        from_scratch: the largest factor that is placed from nothing; it takes models × nodes.
    """
    parts = []
    for factor in factors:
        part = Part(round(100 * factor), round(10_000 * factor))
        parts.append(part)
        names = [f"model-{number:07}" for number in range(part.models)]
        rng = random.Random(1)
        models = [ModelNeed(name, rng.randint(50, 150) << 20, rng.random()) for name in names]
        nodes = [
            NodeRoom(f"node-{number:05}", MEMORY, CORES, f"zone-{number % ZONES}")
            for number in range(part.nodes)
        ]
        if factor <= from_scratch:
            before, part.seconds["all placed from nothing"] = timed(
                lambda models=models, nodes=nodes: place(models, nodes, {})
            )
        else:
            before = {name: (nodes[number % len(nodes)].name,) for number, name in enumerate(names)}
        _, part.seconds["placed again, nothing new"] = timed(
            lambda models=models, nodes=nodes, before=before: place(models, nodes, before)
        )
        after, part.seconds["placed again, a node dead"] = timed(
            lambda models=models, nodes=nodes, before=before: place(models, nodes[1:], before)
        )
        moved = sum(after[name] != before[name] for name in names)
        print(f"{part.nodes} nodes, {part.models} models: {moved} moved", file=sys.stderr)
        part.seconds["reports of one second"] = reports_s(names, part.nodes)
        peers = {node.name: peer_maps.Peer(node.name, "10.0.0.1:8501") for node in nodes}
        placed = {name: peer_maps.Placed(at, (1,)) for name, at in before.items()}
        text, part.seconds["map of peers written"] = timed(
            lambda peers=peers, placed=placed: peer_maps.text(peer_maps.PeerMap(1, peers, placed))
        )
        part.bytes["map of peers"] = len(text)
    return parts


def reports_s(names: list[str], nodes: int) -> float:
    """Processor time for one report of each node, all of whose models were asked; by a sample."""
    controller = Controller()
    configs = tuple(
        ModelConfig(name=name, base_path="/m", model_platform="tensorflow") for name in names
    )
    controller.apply(ClusterSpec(models=configs))
    each = len(names) // nodes
    spent_s = 0.0
    count = max(1, nodes // 10)
    for second in range(3):
        for number in range(count):
            said = {
                name: ModelReport((VersionReport(1, "AVAILABLE"),), 0, second)
                for name in names[number * each : (number + 1) * each]
            }
            report = NodeReport(
                name=f"node-{number}", rest="10.0.0.1:1", memory_bytes=MEMORY, models=said
            )
            spent_s += timed(
                lambda report=report, second=second: controller.report(report, second)
            )[1]
    return spent_s / 3 * nodes / count


def timed(act: Callable[[], T]) -> tuple[T, float]:
    begin = time.process_time()
    found = act()
    return found, time.process_time() - begin


# -- told ----------------------------------------------------------------------------------------


def charts(outcomes: list[Outcome], parts: list[Part]) -> list[Chart]:
    """Of either, what there is."""
    found = []
    events = [each for each in outcomes if each.event not in ("start", "nothing")]
    if events:
        moved = {
            each.event: (
                Bar("moved into memory elsewhere", (float(each.moved),)),
                Bar("the fewest that would do", (float(each.least),), 1),
            )
            for each in events
        }
        title = "Replicas that move when something happens to 100 nodes"
        found.append(Chart("cluster-moves", title, "replicas", moved, "simulated"))
        hurt = [each for each in events if each.healed_s > 0]
        healed = {
            each.event: (
                Bar("every model answers somewhere", (each.unavailable_s,)),
                Bar("every model has all its replicas", (each.healed_s,)),
            )
            for each in hurt
        }
        title = "From the event until models answer again"
        found.append(
            Chart("cluster-healing", title, "seconds", healed, "simulated; 4 s of it are silence")
        )
        busy = {
            "": tuple(
                Bar(each.event, (each.busy * 1e3,)) for each in outcomes if each.event != "start"
            )
        }
        title = "What the controller computes for a second of the cluster"
        found.append(
            Chart("cluster-controller", title, "milliseconds of one core", busy, "simulated")
        )
    if parts:
        names = dict.fromkeys(name for part in parts for name in part.seconds)
        groups = {
            name: tuple(
                Bar(f"{part.nodes:,} nodes, {part.models:,} models", (part.seconds[name],))
                for part in parts
                if name in part.seconds
            )
            for name in names
        }
        title = "Where a cluster would become too large for one controller"
        found.append(Chart("cluster-scale", title, "seconds of one core", groups))
    return found


def table(outcomes: list[Outcome]) -> str:
    heads = (
        *("event", "moved / fewest", "answers, whole (s)", "lost of asked", "cold hits"),
        *("fullest / mean", "longest step (ms)", "busy"),
    )
    lines = [
        f"| {each.event} | {each.moved} / {each.least} | {each.unavailable_s:.0f}, "
        f"{each.healed_s:.0f} | {each.lost} of {each.asked:,} | {each.cold_hits} | "
        f"{each.most:.2f} | {each.tick_ms:.0f} | {each.busy:.3f} |"
        for each in outcomes
    ]
    return "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Simulate a cluster.")
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--requests", type=float, default=REQUESTS_PER_S, help="a second, per node")
    parser.add_argument("--scale", type=int, nargs="*", help="factors; 1 10 100 by default")
    parser.add_argument(
        "--from-scratch", type=int, default=10, help="largest factor placed from nothing"
    )
    parser.add_argument("--read", type=Path, nargs="+", help="files of --json, in place of running")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path)
    options = parser.parse_args(argv)
    outcomes: list[Outcome] = []
    parts: list[Part] = []
    if options.read:
        for file in options.read:
            found = json.loads(file.read_text())
            outcomes += [Outcome(**each) for each in found["outcomes"]]
            parts += [Part(**each) for each in found["parts"]]
        print(table(outcomes))
    elif options.scale is None:
        simulation = Simulation(options.nodes, options.models, requests_per_s=options.requests)
        outcomes = simulation.run()
        print(table(outcomes))
    else:
        parts = scale(options.scale or [1, 10, 100], options.from_scratch)
        for part in parts:
            print(json.dumps(asdict(part)))
    if options.json:
        document = {"outcomes": [*map(asdict, outcomes)], "parts": [*map(asdict, parts)]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.plots:
        options.plots.mkdir(parents=True, exist_ok=True)
        for chart in charts(outcomes, parts):
            (options.plots / f"{chart.name}.svg").write_text(svg(chart))
    return 0


if __name__ == "__main__":
    sys.exit(main())

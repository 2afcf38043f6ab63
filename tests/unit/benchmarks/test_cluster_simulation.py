"""A small simulated cluster, so that the figures of a large one are of what they say they are."""

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest


@pytest.fixture(scope="module")
def simulation(module_named: Callable[[str], Any]) -> Any:
    found = module_named("cluster_simulation")
    found.MEMORY = 2 << 30  # so that a load takes a second
    return found


@pytest.fixture(scope="module")
def cluster(simulation: Any) -> Any:
    cluster = simulation.Simulation(8, 120)
    cluster.started = cluster.watch("start", 60)
    return cluster


def test_a_dead_node_is_healed_within_ten_seconds_with_few_moves(cluster: Any) -> None:
    dead = "node-0003"
    hurt = cluster._at([dead])
    assert hurt
    cluster.kill(dead)
    found = cluster.watch("a node dies", 25, hurt)
    assert 0 < found.unavailable_s <= 10
    assert found.moved <= 2 * len(hurt)


def test_no_node_has_more_in_memory_than_it_can(cluster: Any) -> None:
    cluster.watch("nothing", 20)
    for node in cluster.world.nodes.values():
        assert node.used_bytes <= node.memory_bytes
        loaded = sum(
            cluster.world.sizes[name] * len(copy.loaded) for name, copy in node.copies.items()
        )
        loading = sum(cluster.world.sizes[name] for name, _ in node.loading)
        assert node.used_bytes == loaded + loading


def test_the_same_seed_makes_the_same_cluster(simulation: Any) -> None:
    one, other = (simulation.Simulation(3, 20, seed=7) for _ in range(2))
    for cluster in (one, other):
        cluster.watch("start", 15)
    assert one.controller.journal() == other.controller.journal()


def test_draws_what_came_out(simulation: Any, cluster: Any) -> None:
    outcome = simulation.Outcome("a node dies", 3, 2, 7.0, 5.0)
    parts = simulation.scale([0.01], 1)
    charts = simulation.charts([outcome], parts)
    assert [chart.name for chart in charts] == [
        *("cluster-moves", "cluster-healing", "cluster-controller", "cluster-scale")
    ]
    for chart in charts:
        ElementTree.fromstring(simulation.svg(chart))
    assert "| a node dies | 3 / 2 | 5, 7 |" in simulation.table([outcome])

"""A cluster that Ray's own autoscaler gives nodes, and takes them from: one machine at first."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from salver.cluster.processes import is_alive
from tests import onnx_models
from tests.integration.clusters import Load, Machines, RayNodes, machines, needs_ray, nodes_of
from tests.integration.serving import PATIENCE_S, eventually, free_port

pytestmark = [needs_ray, pytest.mark.filterwarnings("ignore")]

HEAD, WORKERS = "127.0.0.2", ("127.0.0.3", "127.0.0.4")
NODE_BYTES = 140 << 20  # a model whose size nobody knows yet is taken for 64 MiB
WEIGHTS_BYTES = 30 << 20
IDLE_S = 3
NOTES = "machines"
MODELS = tuple(f"m{number}" for number in range(8))  # three nodes full


def save(path: Path) -> None:
    """A model of which three fit on a node, and not four."""
    onnx_models.save(onnx_models.half_plus_two(), path / "1")
    with (path / "1" / "weights.bin").open("wb") as file:
        file.truncate(WEIGHTS_BYTES)


@pytest.fixture(scope="module", params=[2, pytest.param(1, marks=pytest.mark.stress)])
def edition(request: pytest.FixtureRequest) -> int:
    """Of the autoscaler: `ray up` and KubeRay have the second one, `ray start` the first."""
    return int(request.param)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory, edition: int) -> Iterator[Machines]:
    from tests.integration.ray_provider import autoscaling_config

    path, port = tmp_path_factory.mktemp("autoscaled"), free_port()
    autoscaling = path / "autoscaling.json"
    config = autoscaling_config(f"{HEAD}:{port}", HEAD, WORKERS, path / NOTES)
    autoscaling.write_text(json.dumps(config))

    def make_nodes(environment: Mapping[str, str]) -> RayNodes:
        here = str(Path(__file__).parent)
        more = {
            "PYTHONPATH": os.pathsep.join((environment["PYTHONPATH"], here)),
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_enable_autoscaler_v2": str(edition - 1),
            "RAY_CLOUD_INSTANCE_ID": HEAD,
        }
        return RayNodes({**environment, **more}, port, str(autoscaling))

    for name in MODELS:
        save(path / "models" / name)
    with machines(path, [HEAD], make_nodes) as made:
        made.nodes = {"memory_bytes": NODE_BYTES, "idle_s": IDLE_S, "cpus": 0}
        made.write()
        yield made


def model(path: Path, name: str) -> dict[str, Any]:
    replicas = {"min": 1, "max": 1}
    return {"base_path": str(path / "models" / name), "salver": {"replicas": replicas}}


@pytest.fixture(scope="module")
def cluster(at: Machines) -> Iterator[Any]:
    import salver.cluster

    deployment = salver.cluster.up(at.file, wait_s=0)
    yield deployment
    with suppress(Exception):
        deployment.down()


def noted(at: Machines) -> list[str]:
    """What was started and ended, in turn."""
    path = at.directory / NOTES
    return path.read_text().splitlines() if path.exists() else []


def want(cluster: Any, at: Machines, *models: str) -> None:
    """Have the cluster serve these models, each at one node."""
    import salver.cluster

    at.models = {name: model(at.directory, name) for name in models}
    salver.cluster.up(at.write(), wait_s=0)


def wait_answers(at: Machines) -> None:
    for name in at.models:
        at.wait_answer(HEAD, name, within_s=3 * PATIENCE_S)


def nodes(cluster: Any) -> dict[str, str]:
    """Node → its state."""
    return {node["name"]: node["state"] for node in cluster.status()["nodes"]}


def test_a_node_comes_for_models_that_lack_room_and_goes_when_it_is_superfluous(
    cluster: Any, at: Machines
) -> None:
    worker = WORKERS[0]
    want(cluster, at, *MODELS[:4])
    eventually("a node comes", lambda: noted(at), within_s=90)
    wait_answers(at)
    moved = next(name for name in at.models if nodes_of(cluster, name) == [worker])
    server = at.server(worker)
    with Load(at, [HEAD], [moved]) as load:
        want(cluster, at, moved)
        eventually("the machine is ended", lambda: f"end {worker}" in noted(at))
        load.wait_more(20)
    assert load.failed == []
    assert noted(at) == [f"start {worker}", f"end {worker}"]
    assert not is_alive(server)
    eventually("it is forgotten", lambda: nodes(cluster) == {HEAD: "live"})


@pytest.mark.stress
def test_the_machine_that_is_ended_is_the_one_that_was_drained(cluster: Any, at: Machines) -> None:
    want(cluster, at, *MODELS)
    wait_answers(at)
    eventually("both are there", lambda: len(nodes(cluster)) == 3)
    before, kept = len(noted(at)), MODELS[:5]
    with Load(at, [HEAD], kept) as load:
        want(cluster, at, *kept)
        drained = eventually("one is drained", lambda: leaving(cluster), within_s=2 * PATIENCE_S)
        eventually("a machine is ended", lambda: noted(at)[before:])
        load.wait_more(50)
        assert noted(at)[before:] == [f"end {drained}"]
        want(cluster, at, *MODELS)
        wait_answers(at)
        assert noted(at)[before:] == [f"end {drained}", f"start {drained}"]
    assert load.failed == []


def leaving(cluster: Any) -> str:
    """A node that is drained; empty for none."""
    return next((name for name, state in nodes(cluster).items() if state.startswith("drain")), "")

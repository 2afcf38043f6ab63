"""Machines that are cut off from the network of their cluster: in network namespaces."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from salver.cluster.processes import is_alive
from tests import onnx_models
from tests.integration.clusters import Load, Machines, needs_ray, nodes_of, status_of
from tests.integration.namespaces import Network, can_make_namespaces, inside, network
from tests.integration.ray_in_namespaces import separate_machines
from tests.integration.serving import eventually

pytestmark = [
    pytest.mark.stress,
    needs_ray,
    pytest.mark.filterwarnings("ignore"),
]

START_S = 240.0  # three Rays and three servers
GIVEN_UP_S = 13.0  # a machine that acknowledges nothing is given up after 10 s
RAY_GIVES_UP_S = 150.0  # a machine of which it has heard nothing for about a minute
ASK = """
import sys, urllib.request
body = b'{"instances": [1.0]}' if sys.argv[1].endswith(":predict") else None
with urllib.request.urlopen(urllib.request.Request(sys.argv[1], body), timeout=20) as answer:
    print(answer.headers["salver-model-version"])
"""


def publish(path: Path, version: int) -> None:
    partial = path / f".{version}"
    onnx_models.save(onnx_models.half_plus_two(), partial)
    partial.rename(path / str(version))


@pytest.fixture(scope="module")
def base_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "half"
    publish(path, 1)
    return path


@pytest.fixture(scope="module")
def cables() -> Iterator[Network]:
    if not can_make_namespaces() and "SALVER_CI" not in os.environ:
        pytest.skip("no network namespaces can be made here: that takes root and iproute2")
    with network() as made:
        yield made


@pytest.fixture(scope="module")
def hosts(cables: Network) -> list[str]:
    return [cables.add() for _ in range(3)]


@pytest.fixture(scope="module")
def at(
    tmp_path_factory: pytest.TempPathFactory, cables: Network, hosts: Sequence[str], base_path: Path
) -> Iterator[Machines]:
    with separate_machines(tmp_path_factory.mktemp("partitions"), cables, hosts) as made:
        write(made, base_path, stable=1)
        yield made


def write(at: Machines, base_path: Path, *, stable: int) -> Path:
    """A model of two replicas, and one that is everywhere and has a label."""
    two = {"base_path": str(base_path), "salver": {"replicas": {"min": 2, "max": 2}}}
    three = {
        "base_path": str(base_path),
        "model_version_policy": {"all": {}},
        "version_labels": {"stable": stable},
        "salver": {"replicas": {"min": 3}},
    }
    return at.write(two=two, three=three)


@pytest.fixture(scope="module")
def running(at: Machines) -> Iterator[Any]:
    import salver.cluster

    deployment = salver.cluster.up(at.file, wait_s=0)
    yield deployment
    with suppress(Exception):
        deployment.down()


@pytest.fixture
def cluster(running: Any, hosts: Sequence[str]) -> Any:
    wait_whole(running, hosts)
    return running


def names(cluster: Any) -> list[str]:
    return [each["name"] for each in cluster.status()["nodes"]]


def wait_whole(cluster: Any, hosts: Sequence[str]) -> None:
    eventually("all nodes are there", lambda: names(cluster) == hosts, within_s=START_S)
    assert cluster.wait_settled(START_S, lambda _status: None), cluster.status()


def holding(cluster: Any, model: str) -> list[str]:
    return sorted(nodes_of(cluster, model))


def label_of(cluster: Any, model: str) -> int:
    return int(status_of(cluster, model)["labels"].get("stable", 0))


def version_there(cables: Network, at: Machines, host: str) -> str:
    """The version by which a machine answers to itself for the label."""
    command = ["ip", "netns", "exec", cables.namespace(host), sys.executable, "-c", ASK]
    url = f"{at.url(host)}/v1/models/three/labels/stable:predict"
    return subprocess.run(
        [*command, url], capture_output=True, text=True, check=True
    ).stdout.strip()


def version_on_the_map(at: Machines, host: str, other: str) -> str:
    """The version of the label at a machine, once another one sends requests there."""
    placed = httpx.get(f"{at.url(other)}/cluster/v1/map").json()["models"]["three"]
    if host not in placed["nodes"]:
        return ""
    url = f"{at.url(host)}/v1/models/three/labels/stable:predict"
    answer = httpx.post(url, json={"instances": [1.0]})
    return str(answer.headers.get("salver-model-version", answer.text))


def holders(at: Machines, hosts: Sequence[str], model: str) -> list[str]:
    """The machines whose servers themselves say that they have a model."""
    listed = {host: httpx.get(f"{at.url(host)}/v1/models").json()["models"] for host in hosts}
    return [host for host in hosts if model in {each["name"] for each in listed[host]}]


def programs(cables: Network, host: str) -> set[str]:
    """The names of what runs on a machine."""
    found = set()
    for pid in cables.processes(host):
        with suppress(OSError):  # it has ended meanwhile
            found.add(Path(f"/proc/{pid}/comm").read_text().strip())
    return found


def test_a_machine_that_is_cut_off_is_done_without_until_it_is_back(
    cluster: Any, at: Machines, cables: Network, hosts: Sequence[str], base_path: Path
) -> None:
    import salver.cluster

    cut = next(host for host in nodes_of(cluster, "two") if host != hosts[0])
    others = [host for host in hosts if host != cut]
    server = at.server(cut)
    with Load(at, others, ["two"], clients=8) as load:
        load.wait_more(100)
        with cables.cut(cut):
            eventually("others have it", lambda: holding(cluster, "two") == others, within_s=15.0)
            assert names(cluster) == others
            publish(base_path, 2)
            salver.cluster.up(write(at, base_path, stable=2), wait_s=30)
            eventually("it has moved", lambda: label_of(cluster, "three") == 2)
            assert version_there(cables, at, cut) == "1"  # nobody could tell it
            load.wait_more(100)
        version = eventually("it is back", lambda: version_on_the_map(at, cut, others[0]))
        assert version == "2"
        wait_whole(cluster, hosts)
        load.wait_more(100)
    # What was under way there may have been begun, so that nobody else was asked.
    assert all("was asked and has not answered" in each for each in load.failed), load.failed
    assert len(load.failed) <= 8  # once for each client
    assert load.longest_s < GIVEN_UP_S
    assert at.server(cut) == server
    assert holders(at, hosts, "three") == hosts
    assert holders(at, hosts, "two") == holding(cluster, "two")


def test_a_machine_that_ray_has_given_up_serves_on_until_ray_is_started_there_again(
    cluster: Any, at: Machines, cables: Network, hosts: Sequence[str]
) -> None:
    import ray

    cut = hosts[2]
    server = at.server(cut)

    def is_given_up() -> bool:
        return any(each["NodeName"] == cut and not each["Alive"] for each in ray.nodes())

    with Load(at, hosts[:2], ["two", "three"]) as load:
        with cables.cut(cut):
            eventually("Ray has given it up", is_given_up, within_s=RAY_GIVES_UP_S)
            assert version_there(cables, at, cut) == "2"
        eventually("Ray has ended there", lambda: "raylet" not in programs(cables, cut))
        assert at.predict(cut, "three").status_code == httpx.codes.OK
        eventually("it is on no map", lambda: names(cluster) == hosts[:2])
        at.ray.add(cut)
        wait_whole(cluster, hosts)
        load.wait_more(20)
    assert len(load.failed) <= 2, load.failed
    assert at.server(cut) == server
    assert is_alive(server)
    assert holding(cluster, "three") == hosts


@contextmanager
def started_inside(cables: Network, host: str, load: Load) -> Iterator[Load]:
    """Have requests come from one of the machines."""
    with ExitStack() as stack:
        with inside(cables.namespace(host)):  # its threads stay there
            stack.enter_context(load)
        yield load


def test_the_head_is_cut_off_from_all_others_and_there_is_one_truth_again_afterwards(
    cluster: Any, at: Machines, cables: Network, hosts: Sequence[str], base_path: Path
) -> None:
    import salver.cluster

    head, others = hosts[0], hosts[1:]
    before = label_of(cluster, "three")
    after = before + 1
    servers = {host: at.server(host) for host in hosts}
    with (
        started_inside(cables, others[0], Load(at, others, ["two", "three"], clients=4)) as there,
        Load(at, [head], ["three"], clients=4) as here,
    ):
        there.wait_more(50)
        here.wait_more(50)
        with cables.cut(head):
            eventually("the others are done without", lambda: names(cluster) == [head])
            publish(base_path, after)
            salver.cluster.up(write(at, base_path, stable=after), wait_s=30)
            eventually("it has moved here", lambda: label_of(cluster, "three") == after)
            assert holding(cluster, "two") == [head]
            for host in others:
                assert version_there(cables, at, host) == str(before)
            there.wait_more(50)
            here.wait_more(50)
        wait_whole(cluster, hosts)
        eventually("two is at two", lambda: len(holding(cluster, "two")) == 2)
        for host in hosts:
            on_map = partial(version_on_the_map, at, host, others[0])
            assert eventually("it is on the map", on_map) == str(after)
        there.wait_more(50)
        here.wait_more(50)
    assert here.failed == []
    # What was under way to the head may have been begun there, so that nobody else was asked.
    assert all("was asked and has not answered" in each for each in there.failed), there.failed
    assert len(there.failed) <= 4  # once for each client
    assert {host: at.server(host) for host in hosts} == servers
    assert holders(at, hosts, "three") == hosts
    assert holders(at, hosts, "two") == holding(cluster, "two")
    assert status_of(cluster, "three")["labels"] == {"stable": after}

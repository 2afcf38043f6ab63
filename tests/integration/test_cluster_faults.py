"""Nodes that are slow, or have no room on their disks: three of them, on this machine."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import onnx_models
from tests.integration.clusters import Load, Machines, machines, needs_ray, nodes_of, status_of
from tests.integration.serving import PATIENCE_S, eventually
from tests.remote_stores import S3, moto

pytestmark = [needs_ray, pytest.mark.filterwarnings("ignore")]

HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
HALF_PLUS_TWO = {"predictions": [2.5, 3.0]}
CACHE = "cache"  # in each node's own directory
LITTLE, MUCH = "1m", "64m"
WEIGHTS = bytes(3 << 20)


@pytest.fixture(scope="module")
def store() -> Iterator[S3]:
    with moto() as made:
        yield made


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory, store: S3) -> Iterator[Machines]:
    path = tmp_path_factory.mktemp("models")
    onnx_models.save(onnx_models.half_plus_two(), path / "two" / "1")
    before = {name: os.environ.get(name) for name in store.environment}
    os.environ |= store.environment
    try:
        with machines(tmp_path_factory.mktemp("faults"), HOSTS) as made:
            made.flags |= {"model_cache": CACHE, "load_retry_interval_micros": 1_000_000}
            replicas = {"min": 2, "max": 2}
            made.write(two={"base_path": str(path / "two"), "salver": {"replicas": replicas}})
            yield made
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ |= {} if value is None else {name: value}


@pytest.fixture(scope="module")
def running(at: Machines) -> Iterator[Any]:
    import salver.cluster

    deployment = salver.cluster.up(at.file, wait_s=90)
    yield deployment
    with suppress(Exception):
        deployment.down()


@pytest.fixture
def cluster(running: Any) -> Any:
    wait_whole(running)
    return running


def wait_whole(cluster: Any) -> None:
    eventually("all nodes are there", lambda: set(conditions(cluster)) == {*HOSTS})
    assert cluster.wait_settled(PATIENCE_S, lambda _status: None), cluster.status()


def conditions(cluster: Any) -> dict[str, Any]:
    return {each["name"]: each["condition"] for each in cluster.status()["nodes"]}


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does nothing, while the system takes connections in its name."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_server_that_hangs_is_asked_no_more_and_others_take_its_place(
    cluster: Any, at: Machines
) -> None:
    slow = nodes_of(cluster, "two")[0]
    others = [host for host in HOSTS if host != slow]
    (without,) = {*HOSTS} - {*nodes_of(cluster, "two")}
    with stopped(at.server(slow).pid):
        with Load(at, [without], ["two"], clients=8, timeout_s=1.0) as load:
            eventually("it is off the map", lambda: slow not in nodes_of(cluster, "two"))
            load.wait_more(500)
        # Those that had been sent when it stopped; then one at a time finds out whether it is back.
        assert len(load.failed) <= 16, load.failed
        eventually("others have it", lambda: sorted(nodes_of(cluster, "two")) == others)
        assert "does not answer" in cluster.status()["problems"][f"the node {slow}"]
        for host in others:
            assert at.predict(host, "two").json() == HALF_PLUS_TWO
    wait_whole(cluster)
    assert cluster.status()["problems"] == {}
    assert at.predict(slow, "two").json() == HALF_PLUS_TWO


def test_a_server_whose_agent_hangs_goes_on(cluster: Any, at: Machines) -> None:
    before = status_of(cluster, "two")
    host = before["nodes"][0]
    with Load(at, HOSTS, ["two"]) as load, stopped(cluster.node_pid(host)):
        eventually("it says nothing for long", lambda: conditions(cluster)[host] is None)
        load.wait_more(20)
        now = status_of(cluster, "two")
    assert load.failed == []
    assert (now["nodes"], now["available"]) == (before["nodes"], before["available"])
    eventually("it says something", lambda: conditions(cluster)[host])


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """A file system of 1 MiB."""
    path.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={LITTLE}", "tmpfs", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def make_room(path: Path) -> None:
    command = ["mount", "-o", f"remount,size={MUCH}", str(path)]
    subprocess.run(command, capture_output=True, check=True)


def _is_answered(at: Machines, node: str, model: str) -> bool:
    return bool(at.predict(node, model).json() == HALF_PLUS_TWO)


def test_a_node_whose_disk_is_full_leaves_a_model_to_others_until_there_is_room(
    cluster: Any, at: Machines, store: S3, tmp_path: Path
) -> None:
    import salver.cluster

    full, others = HOSTS[2], list(HOSTS[:2])
    onnx_models.save(onnx_models.half_plus_two(), tmp_path)
    store.put_tree(tmp_path, "large/1")
    store.put("large/1/weights.bin", WEIGHTS)
    cache = at.directory / "state" / "nodes" / full / CACHE
    with small_disk(cache):
        large = {"base_path": "s3://models/large", "salver": {"replicas": {"min": 3}}}
        salver.cluster.up(at.write(large=large), wait_s=0)
        eventually("the others have it", lambda: sorted(nodes_of(cluster, "large")) == others)
        error = eventually("it is said why", lambda: status_of(cluster, "large")["error"])
        assert f"at {full}: " in error
        assert re.search(r"No room for \d+ bytes in the model cache .* are free on its disk", error)
        assert error.partition(f"at {full}: ")[2] in cluster.why("large")
        for model in ("large", "two"):  # its map of them comes within a second
            eventually(f"others answer for {model}", partial(_is_answered, at, full, model))
        make_room(cache)
        eventually("it has it too", lambda: sorted(nodes_of(cluster, "large")) == [*HOSTS])
        assert status_of(cluster, "large")["error"] == ""
        del at.models["large"]
        salver.cluster.up(at.write(), wait_s=60)

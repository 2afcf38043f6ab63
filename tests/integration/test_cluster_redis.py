"""A head of Ray whose state outlives it, in Redis: it comes back, and so does all that it knew."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import onnx_models
from tests.integration.clusters import Load, Machines, machines, needs_ray
from tests.integration.serving import eventually, free_port

pytestmark = [
    pytest.mark.stress,
    needs_ray,
    pytest.mark.skipif(
        shutil.which("redis-server") is None and "SALVER_CI" not in os.environ,
        reason="redis-server is not there",
    ),
    pytest.mark.filterwarnings("ignore"),
]

HOSTS = ("127.0.0.2", "127.0.0.3")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    words = ["redis-server", f"--port {port}", "--bind 127.0.0.1", "--save ''", "--appendonly no"]
    process = subprocess.Popen(
        [word for each in words for word in each.replace("''", "").split(" ")],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture
def at(tmp_path: Path, redis: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    monkeypatch.setenv("RAY_REDIS_ADDRESS", redis)
    onnx_models.save(onnx_models.half_plus_two(), tmp_path / "two" / "1")
    directory = tmp_path / "cluster"
    directory.mkdir()
    with machines(directory, HOSTS) as made:
        monkeypatch.delenv("RAY_REDIS_ADDRESS")  # it is for the daemons alone
        base_path = str(tmp_path / "two")
        made.write(two={"base_path": base_path, "salver": {"replicas": {"min": 2}}})
        yield made
    os.environ.pop("RAY_REDIS_ADDRESS", None)


def test_a_head_that_comes_back_goes_on_by_itself(at: Machines) -> None:
    import salver.cluster

    running = salver.cluster.up(at.file, wait_s=90)
    generation = running.status()["generation"]
    servers = {host: at.server(host) for host in HOSTS}
    running.disconnect()
    with Load(at, HOSTS, ["two"]) as load:
        at.ray.kill(HOSTS[0])
        load.wait_more(50)
        at.ray.add(HOSTS[0])
        again = eventually("the controller is back", lambda: _attached(at))
        load.wait_more(50)
    assert load.failed == []
    assert again.status()["generation"] >= generation
    assert {host: at.server(host) for host in HOSTS} == servers
    assert again.down() == []


def _attached(at: Machines) -> Any:
    """The cluster, once its controller knows of both nodes; nobody has said `up`."""
    import salver.cluster
    from salver.errors import ServingError

    with suppress(ServingError):
        found = salver.cluster.attach(at.file)
        if len(found.status()["nodes"]) == len(HOSTS):
            return found
        found.disconnect()
    return None

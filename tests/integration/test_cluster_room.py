"""Two nodes, each with memory for one model alone, whose process is far larger than its files."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import onnx_models
from tests.integration.clusters import Machines, machines, needs_ray, nodes_of, status_of
from tests.integration.serving import PATIENCE_S, eventually

pytestmark = [pytest.mark.stress, needs_ray, pytest.mark.filterwarnings("ignore")]

HOSTS = ("127.0.0.2", "127.0.0.3")
MODELS = ("one", "two")
ROOM_BYTES = 110 << 20  # less than two models are taken for while nobody knows, 64 MiB each
WAIT_S = 60.0


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Machines]:
    directory = tmp_path / "cluster"
    directory.mkdir()
    with machines(directory, HOSTS) as made:
        yield made


def write(at: Machines, base_path: Path, memory_bytes: int) -> Path:
    for name in MODELS:
        options = {"isolation": "process", "replicas": {"min": 1, "max": 1}}
        at.write(**{name: {"base_path": str(base_path), "salver": options}})
    document = yaml.safe_load(at.file.read_text())
    document["nodes"]["memory_bytes"] = memory_bytes
    at.file.write_text(yaml.safe_dump(document))
    return at.file


def test_servers_whose_models_fit_nowhere_else_get_other_flags_where_they_are(
    at: Machines, tmp_path: Path
) -> None:
    import salver.cluster

    base_path = tmp_path / "half"
    onnx_models.save(onnx_models.half_plus_two(), base_path / "1")
    cluster = salver.cluster.up(write(at, base_path, ROOM_BYTES), wait_s=120)
    eventually("both answer", lambda: all(nodes_of(cluster, name) for name in MODELS))
    homes = {name: nodes_of(cluster, name) for name in MODELS}
    assert sorted(host for hosts in homes.values() for host in hosts) == [*HOSTS]
    eventually("they are measured", lambda: status_of(cluster, "one")["bytes"] > 20 << 20)

    before = {host: at.server(host) for host in HOSTS}
    at.flags["max_request_bytes"] = 1 << 20
    salver.cluster.up(write(at, base_path, ROOM_BYTES), wait_s=0)
    notice = eventually("it is announced", lambda: announced(cluster))
    assert "no other node has room" in notice
    eventually(
        "all have other servers",
        lambda: all(at.server(host) != before[host] for host in HOSTS),
        within_s=2 * WAIT_S + 4 * PATIENCE_S,
    )
    eventually("both are back", lambda: {n: nodes_of(cluster, n) for n in MODELS} == homes)
    assert announced(cluster) == ""
    for name, (host,) in homes.items():
        assert at.predict(host, name).status_code == 200
    with suppress(Exception):
        cluster.down()


def announced(cluster: Any) -> str:
    problems = cluster.status()["problems"]
    return next((text for name, text in problems.items() if name.startswith("the restart of")), "")

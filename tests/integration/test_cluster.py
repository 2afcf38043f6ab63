"""A cluster of three nodes on this machine: real servers and models, and what ends in the middle.

The tests share the cluster; each leaves it whole.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from salver.cluster.processes import identify, is_alive, wait_end
from tests import onnx_models
from tests.integration.clusters import Load, Machines, machines, needs_ray, nodes_of, status_of
from tests.integration.manifests import container_of, one
from tests.integration.serving import PATIENCE_S, eventually

pytestmark = [needs_ray, pytest.mark.filterwarnings("ignore")]

HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
HALF_PLUS_TWO = {"predictions": [2.5, 3.0]}


def publish(path: Path, version: int) -> None:
    """The next version of a model, put in place whole."""
    partial = path / f".{version}"
    onnx_models.save(onnx_models.half_plus_two(), partial)
    partial.rename(path / str(version))


@pytest.fixture(scope="module")
def base_paths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    for name in ("one", "two", "three"):
        publish(path / name, 1)
    return path


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory, base_paths: Path) -> Iterator[Machines]:
    with machines(tmp_path_factory.mktemp("cluster"), HOSTS) as made:
        made.flags["drain_delay_seconds"] = 1
        made.write(
            one={"base_path": str(base_paths / "one"), "salver": {"replicas": {"min": 1}}},
            two={"base_path": str(base_paths / "two"), "salver": {"replicas": {"min": 2}}},
            three={"base_path": str(base_paths / "three"), "salver": {"replicas": {"min": 3}}},
        )
        yield made


@pytest.fixture(scope="module")
def running(at: Machines) -> Iterator[Any]:
    import salver.cluster

    deployment = salver.cluster.up(at.file, wait_s=90)
    yield deployment
    with suppress(Exception):
        deployment.down()


@pytest.fixture
def cluster(running: Any) -> Any:
    wait_settled(running)
    return running


def wait_settled(cluster: Any) -> None:
    eventually("all nodes are there", lambda: len(cluster.status()["nodes"]) == len(HOSTS))
    assert cluster.wait_settled(PATIENCE_S, lambda _status: None), cluster.status()


def state_of(cluster: Any, node: str) -> str:
    nodes = cluster.status()["nodes"]
    return next((each["state"] for each in nodes if each["name"] == node), "gone")


def process_of(actor: Any) -> int:
    import ray

    return int(ray.get(actor))


def kill(pid: int) -> None:
    """`kill -9`, and wait for the end."""
    process = identify(pid)
    assert process is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_end(process, PATIENCE_S)


def test_models_are_at_as_many_nodes_as_they_have_replicas(cluster: Any, at: Machines) -> None:
    nodes = {name: nodes_of(cluster, name) for name in ("one", "two", "three")}
    assert [len(each) for each in nodes.values()] == [1, 2, 3]
    for name, hosts in nodes.items():
        for host in hosts:
            assert at.predict(host, name).json() == HALF_PLUS_TWO


def test_a_server_belongs_to_the_system_and_not_to_ray(cluster: Any, at: Machines) -> None:
    server = at.server(HOSTS[0])
    status = Path(f"/proc/{server.pid}/status").read_text()
    environment = Path(f"/proc/{server.pid}/environ").read_text().split("\0")
    assert "\nPPid:\t1\n" in status
    assert os.getsid(server.pid) == server.pid
    assert os.getpriority(os.PRIO_PROCESS, server.pid) == 0
    assert Path(f"/proc/{server.pid}/oom_score_adj").read_text().strip() == "0"
    assert not [each for each in environment if each.startswith(("RAY_", "OMP_NUM_THREADS"))]


def test_the_same_file_again_changes_nothing(cluster: Any, at: Machines) -> None:
    import salver.cluster

    before, servers = cluster.status(), [at.server(host) for host in HOSTS]
    after = salver.cluster.up(at.file, wait_s=30).status()
    assert after["generation"] == before["generation"]
    assert [at.server(host) for host in HOSTS] == servers


def test_a_wrong_file_leaves_the_cluster_as_it_is(cluster: Any, at: Machines) -> None:
    import salver.cluster
    from salver.errors import InvalidArgument

    before, wrong = cluster.status(), at.directory / "wrong.yaml"
    wrong.write_text(at.file.read_text().replace("rest_api_port", "rest_api_prot"))
    with pytest.raises(InvalidArgument):
        salver.cluster.up(wrong)
    assert cluster.status()["generation"] == before["generation"]


def test_a_new_version_takes_the_place_of_the_old_one_at_every_replica(
    cluster: Any, at: Machines, base_paths: Path
) -> None:
    hosts = nodes_of(cluster, "two")
    with Load(at, hosts, ["two"]) as load:
        publish(base_paths / "two", 2)
        eventually("version 2 is served", lambda: status_of(cluster, "two")["versions"] == [2])
        wait_settled(cluster)
        load.wait_more(10)
    assert load.failed == []
    answers = [at.predict(host, "two") for host in nodes_of(cluster, "two")]
    assert [answer.headers["salver-model-version"] for answer in answers] == ["2", "2"]


def test_a_label_moves_with_the_file(cluster: Any, at: Machines, base_paths: Path) -> None:
    import salver.cluster

    publish(base_paths / "three", 2)

    def write(version: int) -> None:
        three = {
            "base_path": str(base_paths / "three"),
            "model_version_policy": {"all": {}},
            "version_labels": {"stable": version},
            "salver": {"replicas": {"min": 3}},
        }
        salver.cluster.up(at.write(three=three), wait_s=60)

    def answering() -> list[str]:
        url = "/v1/models/three/labels/stable:predict"
        answers = [httpx.post(at.url(host) + url, json={"instances": [1.0]}) for host in HOSTS]
        return [answer.headers.get("salver-model-version", answer.text) for answer in answers]

    write(1)
    eventually("the label is at version 1", lambda: answering() == ["1", "1", "1"])
    write(2)
    eventually("the label is at version 2", lambda: answering() == ["2", "2", "2"])


def test_a_server_that_was_killed_is_started_again(cluster: Any, at: Machines) -> None:
    (host,) = nodes_of(cluster, "one")
    before = at.kill_server(host)
    at.wait_answer(host, "three")
    wait_settled(cluster)
    assert at.server(host) != before


def test_an_actor_of_a_node_that_was_killed_takes_its_server_over(
    cluster: Any, at: Machines
) -> None:
    host = HOSTS[1]
    before = at.server(host)
    with Load(at, [host], ["three"]) as load:
        kill(cluster.node_pid(host))
        eventually("the node is looked after again", lambda: cluster.node_pid(host))
        load.wait_more(20)
        wait_settled(cluster)
    assert load.failed == []
    assert at.server(host) == before


def test_a_controller_that_was_killed_goes_on_by_its_journal(cluster: Any, at: Machines) -> None:
    before, servers = cluster.status(), [at.server(host) for host in HOSTS]
    with Load(at, HOSTS, ["three"]) as load:
        kill(cluster.controller_pid())
        eventually("the controller is back", lambda: is_back(cluster))
        wait_settled(cluster)
        load.wait_more(20)
    assert load.failed == []
    after = cluster.status()
    assert [at.server(host) for host in HOSTS] == servers
    assert [each["nodes"] for each in after["models"]] == [
        each["nodes"] for each in before["models"]
    ]


def is_back(cluster: Any) -> bool:
    from salver.errors import ServingError

    with suppress(ServingError):
        return len(cluster.status()["nodes"]) == len(HOSTS)
    return False


def test_logs_and_reasons_are_told(cluster: Any) -> None:
    assert "three" in cluster.logs(HOSTS[0], 200)
    assert "3 replicas" in cluster.why("three")
    from salver.errors import NotFound

    with pytest.raises(NotFound):
        cluster.logs("127.0.0.9")


def test_any_node_answers_for_any_model(cluster: Any, at: Machines) -> None:
    for host in HOSTS:
        for model in ("one", "two", "three"):
            assert at.predict(host, model).json() == HALF_PLUS_TWO


def test_metrics_of_all_nodes_are_one_page(cluster: Any, at: Machines) -> None:
    from salver.cluster.pages import page_of

    for host in HOSTS:
        at.predict(host, "three")
    pages = cluster.metrics_pages()
    assert sorted(pages) == sorted(HOSTS)
    summed = page_of("/metrics", cluster, list).body
    assert ':tensorflow:serving:request_count{model_name="three",status="OK"}' in summed


def test_a_node_is_drained_without_a_failed_request(cluster: Any, at: Machines) -> None:
    import salver.cluster

    (host,) = nodes_of(cluster, "one")
    others = [each for each in HOSTS if each != host]
    server = at.server(host)
    with Load(at, others, ["three"]) as load:
        cluster.drain(host)
        eventually("others have it", lambda: set(nodes_of(cluster, "one")) <= set(others))
        eventually("its server has ended", lambda: not is_alive(server))
        load.wait_more(20)
    assert load.failed == []
    assert at.predict(nodes_of(cluster, "one")[0], "one").json() == HALF_PLUS_TWO
    cluster.drain(host, is_draining=False)
    at.wait_answer(host, "three")
    salver.cluster.up(at.file, wait_s=60)


def test_the_hook_of_a_pod_that_is_deleted_waits_until_its_server_has_ended(
    cluster: Any, at: Machines, tmp_path: Path
) -> None:
    spec = one("kuberay/raycluster.yaml", "RayCluster")["spec"]
    (group,) = spec["workerGroupSpecs"]
    hook = container_of(group["template"]["spec"])["lifecycle"]["preStop"]["exec"]["command"]
    command = [word.replace("/etc/salver/cluster.yaml", str(at.file)) for word in hook]
    assert command != hook
    salver = tmp_path / "salver"
    main = "import sys; from salver.cli.salver import main; sys.exit(main())"
    salver.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{main}" "$@"\n')
    salver.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "POD_NAME": HOSTS[2]}
    server = at.server(HOSTS[2])
    with Load(at, HOSTS[:2], ["three"]) as load:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stderr
        assert not is_alive(server)
        load.wait_more(20)
    assert load.failed == []
    assert state_of(cluster, HOSTS[2]).startswith("drained")
    lines = done.stdout.splitlines()
    assert lines[-1] == f"{HOSTS[2]} is drained: it may be stopped"
    assert len(lines) == len({*lines})
    cluster.drain(HOSTS[2], is_draining=False)
    at.wait_answer(HOSTS[2], "three")


@pytest.mark.stress
def test_other_flags_restart_one_server_after_the_other_without_a_failed_request(
    cluster: Any, at: Machines
) -> None:
    import salver.cluster

    before = {host: at.server(host) for host in HOSTS}
    at.flags["max_request_bytes"] = 1 << 20
    with Load(at, HOSTS, ["two", "three"], tries_others=True) as load:
        salver.cluster.up(at.write(), wait_s=0)
        eventually(
            "all have other servers",
            lambda: all(at.server(host) != before[host] for host in HOSTS),
            within_s=5 * PATIENCE_S,
        )
        wait_settled(cluster)
        load.wait_more(20)
    assert load.failed == []


def test_a_controller_of_another_release_is_replaced_and_the_servers_taken_over(
    cluster: Any, at: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    import salver
    import salver.cluster

    servers = [at.server(host) for host in HOSTS]
    said: list[str] = []
    before = cluster.controller_pid(), [cluster.node_pid(host) for host in HOSTS]
    with Load(at, HOSTS, ["three"]) as load:
        with monkeypatch.context() as patched:
            patched.setattr(salver, "__version__", "0.0.1")
            salver.cluster.up(at.file, wait_s=60, tell=said.append)
        eventually("the controller is there", lambda: is_back(cluster))
        wait_settled(cluster)
        load.wait_more(20)
    assert said == [f"Replacing the controller of Salver {salver.__version__} ..."]
    assert load.failed == []
    assert [at.server(host) for host in HOSTS] == servers
    after = cluster.controller_pid(), [cluster.node_pid(host) for host in HOSTS]
    assert not {before[0], *before[1]} & {after[0], *after[1]}


def test_the_models_of_a_node_that_was_killed_are_elsewhere_within_ten_seconds(
    cluster: Any, at: Machines
) -> None:
    host = next(each for each in HOSTS[1:] if each in nodes_of(cluster, "two"))
    others = [each for each in HOSTS if each != host]
    at.kill_node(host)
    eventually(
        "the others have it",
        lambda: sorted(nodes_of(cluster, "two")) == sorted(others),
        within_s=10.0,
    )
    for other in others:
        assert at.predict(other, "two").json() == HALF_PLUS_TWO
    at.ray.add(host)
    at.wait_answer(host, "three")


def test_requests_go_on_without_the_head_and_a_new_one_takes_the_servers_over(
    cluster: Any, at: Machines
) -> None:
    import salver.cluster

    servers = {host: at.server(host) for host in HOSTS}
    cluster.disconnect()
    with Load(at, HOSTS, ["three"]) as load:
        for host in HOSTS:
            at.ray.kill(host)
        load.wait_more(50)
        for host in HOSTS:
            at.ray.add(host)
        again = salver.cluster.up(at.write(), wait_s=60)
        load.wait_more(20)
    assert load.failed == []
    assert {host: at.server(host) for host in HOSTS} == servers
    assert again.down() == []
    eventually("all servers have ended", lambda: not any(map(is_alive, servers.values())))

"""The actors without Ray's daemons: what they ask of Ray is answered by a stand-in."""

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.integration.serving import eventually, free_port

from salver.cluster.conditions import NodeCondition
from salver.cluster.journal_file import JournalFile
from salver.cluster.reports import NodeReport
from salver.cluster.server_launch import TOKEN, NodeSettings
from salver.cluster.service import ControllerService
from salver.cluster.spec import ClusterSpec, NodesSpec
from salver.cluster.wire import Message, answer_of, bytes_of_message

ray = pytest.importorskip("ray")

from salver.cluster.on_ray import controller_actor, node_actor  # noqa: E402 - they need Ray
from salver.cluster.on_ray.names import HEAD  # noqa: E402 - likewise

NODES = ["n1", "n2"]


class Ray:
    """As much of Ray as the actors use: nodes, of which each has an actor that lives on."""

    exceptions = ray.exceptions

    def __init__(self) -> None:
        self.stopped: list[str] = []
        self.killed: list[str] = []
        self.living: list[str] = []
        self.requests: list[list[dict[str, float]]] = []
        self.resources: list[dict[str, float]] = []
        self.asked = threading.Event()

    def nodes(self) -> list[Mapping[str, Any]]:
        return [
            {
                "NodeID": name.encode().hex().ljust(56, "0"),
                "NodeName": name,
                "NodeManagerAddress": "127.0.0.1",
                "Alive": True,
                "Resources": {
                    "CPU": 1.0,
                    f"node:{name}": 1.0,
                    **({HEAD: 1.0} if name == "n1" else {}),
                },
            }
            for name in NODES
        ]

    def remote(self, _actor: type) -> Any:
        return SimpleNamespace(options=self._options)

    def _options(self, **options: Any) -> Any:
        self.resources.append(options["resources"])
        return SimpleNamespace(remote=self._actor_of)

    def _actor_of(self, settings: NodeSettings, _namespace: str) -> Any:
        return self._handle(settings.name)

    def _handle(self, name: str) -> Any:
        stop = SimpleNamespace(remote=lambda: self.stopped.append(name))
        return SimpleNamespace(name=name, stop_server=stop)

    def get(self, _answer: Any, timeout: float) -> None:
        assert timeout

    def kill(self, actor: Any, no_restart: bool) -> None:
        assert no_restart
        self.killed.append(actor.name)

    def get_actor(self, name: str, namespace: str) -> Any:
        self.asked.set()
        for node in self.living:
            if name.startswith(f"node {node} "):
                return self._handle(node)
        raise ValueError(f"There is no controller in {namespace}")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Ray:
    made = Ray()
    for module in (controller_actor, node_actor):
        monkeypatch.setattr(module, "ray", made)
    monkeypatch.setattr(
        controller_actor, "request_resources", lambda bundles: made.requests.append(bundles)
    )
    monkeypatch.setattr(controller_actor, "_NODES_S", 1000.0)  # its thread has not had its turn
    monkeypatch.setattr(node_actor, "_AGAIN_S", 0.05)
    return made


@pytest.fixture
def controller(stand_in: Ray, tmp_path: Path) -> controller_actor.ControllerActor:
    """One that Ray has just started again."""
    journal = str(tmp_path / "journal.json")
    ControllerService(JournalFile(journal), lambda: 0.0).apply(ClusterSpec(name="shop"))
    assert stand_in.stopped == []
    return controller_actor.ControllerActor("shop", journal, "a-secret-of-these-tests")


def test_a_controller_that_was_just_started_again_stops_all_servers(
    controller: controller_actor.ControllerActor, stand_in: Ray
) -> None:
    assert controller.stop() == []
    assert (sorted(stand_in.stopped), sorted(stand_in.killed)) == (NODES, NODES)


def test_a_controller_that_was_just_started_again_ends_all_actors(
    controller: controller_actor.ControllerActor, stand_in: Ray
) -> None:
    controller.release()
    assert (stand_in.stopped, sorted(stand_in.killed)) == ([], NODES)


OLD = NodeCondition(server_pid=1, started_by="old", wanted="new")
NEW = NodeCondition(server_pid=2, started_by="new", wanted="new")


class Nodes:
    """What nodes without models say; they have what they were told."""

    def __init__(self) -> None:
        self.generations = dict.fromkeys(NODES, 0)

    def report(self, actor: controller_actor.ControllerActor, *conditions: NodeCondition) -> None:
        for name, condition in zip(NODES, conditions, strict=True):
            said = NodeReport(
                name=name,
                rest=f"{name}:8501",
                memory_bytes=1 << 30,
                incarnation="x",
                generation=self.generations[name],
            )
            answer = actor.report(bytes_of_message(Message(report=said, condition=condition)))
            self.generations[name] = answer_of(answer).desire.generation


def states(actor: controller_actor.ControllerActor) -> dict[str, str]:
    return {node["name"]: node["state"] for node in actor.status()["nodes"]}


@pytest.mark.usefixtures("stand_in")
def test_a_controller_that_is_started_again_ends_the_turn_that_it_finds(
    controller: controller_actor.ControllerActor, tmp_path: Path
) -> None:
    journal = JournalFile(str(tmp_path / "journal.json"))
    nodes = Nodes()

    def has_turn() -> bool:
        nodes.report(controller, OLD, NEW)
        written = journal.read()
        return written is not None and bool(written.get("restarting"))

    eventually("a node has its turn", has_turn)
    controller.drain("n2", is_draining=True)
    controller.release()
    again = controller_actor.ControllerActor(
        "shop", str(tmp_path / "journal.json"), "a-secret-of-these-tests"
    )
    try:
        assert (again.status()["restarting"], states(again)["n1"]) == ("n1", "drained")

        def is_over() -> bool:
            nodes.report(again, NEW, NEW)
            return not again.status()["restarting"]

        eventually("the turn is over", is_over)
        assert states(again) == {"n1": "live", "n2": "drained"}
    finally:
        again.release()


def test_a_node_with_fewer_processors_than_a_server_takes_gets_no_actor(
    stand_in: Ray, controller: controller_actor.ControllerActor
) -> None:
    controller.apply(ClusterSpec(name="shop", nodes=NodesSpec(cpus=2.0)))
    assert stand_in.resources == []
    controller.apply(ClusterSpec(name="shop", nodes=NodesSpec(cpus=1.0)))
    assert len(stand_in.resources) == 2
    controller.release()


STOPPED = NodeCondition(started_by="new", wanted="new")


def test_a_superfluous_node_loses_its_actor_when_its_server_has_ended_and_gets_no_other(
    stand_in: Ray, controller: controller_actor.ControllerActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ClusterSpec(name="shop", nodes=NodesSpec(idle_s=0.1))
    nodes = Nodes()
    controller.apply(spec)
    assert stand_in.resources == [{"node:n1": 0.001}, {"node:n2": 0.001}]

    def is_drained() -> bool:
        nodes.report(controller, NEW, NEW)
        return states(controller).get("n2") == "drained"

    def make_turn() -> None:
        controller.apply(spec)

    eventually("it is drained", is_drained)
    make_turn()
    assert stand_in.killed == []
    nodes.report(controller, NEW, STOPPED)
    make_turn()
    assert stand_in.killed == ["n2"]
    assert stand_in.requests[-1] == []
    assert states(controller) == {"n1": "live"}
    made = len(stand_in.resources)
    make_turn()
    assert len(stand_in.resources) == made
    controller.drain("n2", is_draining=False)
    make_turn()
    assert stand_in.resources[made:] == [{"node:n2": 0.001}]
    controller.release()


def test_a_controller_that_is_started_again_goes_on_giving_a_node_back(
    stand_in: Ray, controller: controller_actor.ControllerActor, tmp_path: Path
) -> None:
    spec = ClusterSpec(name="shop", nodes=NodesSpec(idle_s=0.1))
    journal = JournalFile(journal_path(tmp_path))
    nodes = Nodes()
    controller.apply(spec)

    def is_written() -> bool:
        nodes.report(controller, NEW, NEW)
        written = journal.read()
        return written is not None and bool(written["surplus"])

    eventually("it is drained", is_written)
    controller.release()
    stand_in.killed.clear()
    stand_in.resources.clear()
    stand_in.living = ["n2"]
    again = controller_actor.ControllerActor("shop", journal_path(tmp_path), "a-secret")
    nodes.report(again, NEW, NEW)
    again.apply(spec)
    assert (stand_in.resources, stand_in.killed) == ([{"node:n1": 0.001}], [])
    nodes.report(again, NEW, STOPPED)
    again.apply(spec)
    assert (stand_in.resources, stand_in.killed) == ([{"node:n1": 0.001}], ["n2"])
    again.release()


def test_a_controller_that_is_started_again_gives_a_node_back_whose_server_has_ended(
    stand_in: Ray, controller: controller_actor.ControllerActor, tmp_path: Path
) -> None:
    again = give_back_once_more(stand_in, controller, tmp_path)
    again.apply(SURPLUS)
    assert stand_in.killed == ["n2"]
    assert states(again) == {"n1": "live"}
    again.release()


def test_a_cluster_that_goes_down_ends_the_actor_of_a_node_whose_server_has_ended(
    stand_in: Ray, controller: controller_actor.ControllerActor, tmp_path: Path
) -> None:
    again = give_back_once_more(stand_in, controller, tmp_path)
    assert again.stop() == []
    assert sorted(stand_in.killed) == NODES


SURPLUS = ClusterSpec(name="shop", nodes=NodesSpec(idle_s=0.1))


def give_back_once_more(
    stand_in: Ray, controller: controller_actor.ControllerActor, directory: Path
) -> controller_actor.ControllerActor:
    """A controller that was started again, and finds a server ended at a superfluous node."""
    journal, nodes = JournalFile(journal_path(directory)), Nodes()
    controller.apply(SURPLUS)

    def is_written() -> bool:
        nodes.report(controller, NEW, NEW)
        written = journal.read()
        return written is not None and bool(written["surplus"])

    eventually("it is drained", is_written)
    controller.release()
    stand_in.killed.clear()
    stand_in.living = ["n2"]
    again = controller_actor.ControllerActor("shop", journal_path(directory), "a-secret")
    nodes.report(again, NEW, STOPPED)
    return again


def test_a_node_that_a_person_has_drained_is_no_room_for_one_that_is_asked_for(
    stand_in: Ray, controller: controller_actor.ControllerActor
) -> None:
    spec = ClusterSpec(name="shop", nodes=NodesSpec(min=2))
    nodes = Nodes()
    controller.apply(spec)
    nodes.report(controller, NEW, NEW)
    controller.drain("n2", is_draining=True)

    def is_asked() -> bool:
        nodes.report(controller, NEW, NEW)
        controller.apply(spec)
        return stand_in.requests[-1] == [{"CPU": 1.0}] * 3

    eventually("a third node is asked for", is_asked)
    controller.release()


def journal_path(directory: Path) -> str:
    return str(directory / "journal.json")


def no_directory(directory: Path) -> Callable[[], None]:
    directory.write_text("")
    return directory.unlink


def no_files(directory: Path) -> Callable[[], None]:
    (directory / TOKEN).mkdir(parents=True)
    return (directory / TOKEN).rmdir


@pytest.mark.parametrize("hinder", [no_directory, no_files])
def test_a_node_whose_disk_takes_nothing_at_first_reports_once_it_does(
    hinder: Callable[[Path], Callable[[], None]],
    stand_in: Ray,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    directory = tmp_path / "n1"
    mend = hinder(directory)
    settings = NodeSettings(
        name="n1",
        host="127.0.0.1",
        directory=directory,
        flags={"rest_api_port": str(free_port()), "port": "0", "no_such_flag": "1"},
        token="a-secret-of-these-tests",
    )
    with caplog.at_level(logging.WARNING):
        actor = node_actor.NodeActor(settings, "namespace")
        eventually("it is told", lambda: "is tried again" in caplog.text)
    mend()
    eventually("it reports", stand_in.asked.is_set)
    actor.stop_server()

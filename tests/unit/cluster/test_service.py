import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from salver.cluster.conditions import NodeCondition
from salver.cluster.growing import Wanted
from salver.cluster.journal_file import JournalFile
from salver.cluster.reports import ModelReport, NodeReport, VersionReport
from salver.cluster.service import ControllerService
from salver.cluster.spec import ClusterSpec, NodesSpec
from salver.cluster.wire import Answer, Message
from salver.config.model_options import ModelOptions, Replicas
from salver.config.models import ModelConfig
from salver.errors import NotFound

RUNNING = NodeCondition(server_pid=1, started_by="a", wanted="a")
LOST = NodeCondition(server_pid=1, problem="the server does not answer", is_lost=True)
OUTDATED = NodeCondition(server_pid=1, started_by="a", wanted="b")
SPEC = ClusterSpec(
    name="shop",
    models=(ModelConfig(name="m", base_path="/m", model_platform="tensorflow"),),
    flags={"workers": "2"},
)


KEPT = replace(SPEC.models[0], options=ModelOptions(replicas=Replicas(1)))

DRAIN = {"is_draining": True}


class Cluster:
    """A service, the time, and nodes that say what they were told."""

    def __init__(self, journal: Path) -> None:
        self.now_s = 0.0
        self.journal = journal
        self.service = ControllerService(JournalFile(str(journal)), lambda: self.now_s)
        self.has: dict[str, tuple[int, bool]] = {}  # generation, and whether m is there
        self.memory_bytes: dict[str, int] = {}

    def report(self, name: str, condition: NodeCondition = RUNNING) -> Answer:
        generation, has_model = self.has.get(name, (0, False))
        available = ModelReport(versions=(VersionReport(1, "AVAILABLE"),), found=(1,))
        report = NodeReport(
            name=name,
            rest=f"{name}:8501",
            memory_bytes=self.memory_bytes.get(name, 1 << 30),
            incarnation="x",
            generation=generation,
            models={"m": available} if has_model else {},
        )
        answer = self.service.report(Message(report=report, condition=condition))
        if answer.desire.config is not None:
            self.has[name] = answer.desire.generation, bool(answer.desire.config["models"])
        return answer

    def run(self, seconds: float, *names: str, condition: NodeCondition = RUNNING) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            for name in names:
                self.report(name, condition)
            self.service.tick()
            self.now_s += 0.5


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    made = Cluster(tmp_path / "journal.json")
    made.service.apply(SPEC)
    return made


@pytest.mark.parametrize(("most", "more"), [(0, 1), (3, 1), (2, 0)])
def test_a_node_that_a_person_has_drained_is_one_of_the_most(
    cluster: Cluster, most: int, more: int
) -> None:
    cluster.service.apply(replace(SPEC, nodes=NodesSpec(min=2, max=most)))
    cluster.run(6, "n1", "n2")
    cluster.service.drain("n2", is_draining=True)
    cluster.run(6, "n1", "n2")
    plan = cluster.service.see_nodes(["n1", "n2", "n3"], ["n1"])
    assert plan.wanted == Wanted(("n1",), more)
    assert plan.taken == {"n1", "n2"}


def test_a_superfluous_node_whose_server_is_lost_has_ended(cluster: Cluster) -> None:
    cluster.service.apply(replace(SPEC, nodes=NodesSpec(idle_s=5)))
    cluster.service.see_nodes(["n1", "n2"], ["n1"])
    cluster.run(30, "n1", "n2")
    assert not cluster.service.see_nodes(["n1", "n2"], ["n1"]).ended
    cluster.report("n2", LOST)
    plan = cluster.service.see_nodes(["n1", "n2"], ["n1"])
    assert plan.reporting == plan.ended == plan.surplus == {"n2"}
    cluster.service.give_back("n2")
    assert not cluster.service.see_nodes(["n1", "n2"], ["n1"]).reporting
    assert cluster.service.status()["problems"] == {}


def names(cluster: Cluster) -> list[str]:
    return [node["name"] for node in cluster.service.status()["nodes"]]


def test_nodes_are_told_what_they_should_have_and_by_which_flags(cluster: Cluster) -> None:
    assert cluster.report("n1").flags == {"workers": "2"}
    cluster.run(6, "n1", "n2")
    status = cluster.service.status()
    assert (status["name"], status["counts"]) == ("shop", {"available": 1})
    assert status["nodes"][0]["condition"]["server_pid"] == 1


def test_the_next_controller_goes_on_where_the_journal_ends(cluster: Cluster) -> None:
    cluster.run(6, "n1", "n2")
    before = cluster.service.status()["models"][0]["nodes"]
    following = ControllerService(JournalFile(str(cluster.journal)), lambda: 0.0)
    assert following.spec == SPEC
    assert following.status()["models"][0]["nodes"] == before


def test_a_journal_that_means_nothing_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    path.write_text('{"schema": 99}')
    assert ControllerService(JournalFile(str(path)), lambda: 0.0).spec is None
    assert (tmp_path / "journal.unreadable").exists()


def test_a_controller_that_knows_no_flags_tells_none(tmp_path: Path) -> None:
    assert Cluster(tmp_path / "journal.json").report("n1").flags is None


def test_a_node_that_says_nothing_is_dead_unless_somebody_vouches_for_it(cluster: Cluster) -> None:
    cluster.run(6, "n1", "n2")
    assert cluster.service.silent(2.0) == {}
    for _ in range(16):
        cluster.run(0.5, "n1")
        for name in cluster.service.silent(2.0):
            cluster.service.vouch(name)
    assert names(cluster) == ["n1", "n2"]
    cluster.run(8, "n1")
    assert names(cluster) == ["n1"]


def test_a_node_that_is_dead_comes_back_by_its_own_word_alone(cluster: Cluster) -> None:
    cluster.run(6, "n1", "n2")
    cluster.run(6, "n1")
    assert list(cluster.service.silent(2.0)) == ["n2"]
    cluster.service.vouch("n2")
    assert names(cluster) == ["n1"]
    cluster.run(1, "n1", "n2")
    assert names(cluster) == ["n1", "n2"]


def test_others_take_the_place_of_a_node_whose_server_does_not_answer(cluster: Cluster) -> None:
    cluster.run(6, "n1", "n2")
    (holder,) = cluster.service.status()["models"][0]["nodes"]
    (other,) = {"n1", "n2"} - {holder}
    for _ in range(8):
        assert cluster.report(holder, LOST).desire.config is None
        cluster.run(0.5, other)
    status = cluster.service.status()
    assert (names(cluster), status["models"][0]["available"]) == ([other], [other])
    assert list(status["problems"]) == [f"the node {holder}"]
    assert cluster.service.silent(0.0).keys() == {other}
    cluster.run(2, "n1", "n2")
    assert (names(cluster), cluster.service.status()["problems"]) == (["n1", "n2"], {})


def test_a_problem_of_a_node_that_has_gone_is_no_problem_any_more(cluster: Cluster) -> None:
    cluster.run(6, "n1", "n2")
    cluster.report("n2", LOST)
    cluster.run(11, "n1")
    assert cluster.service.status()["problems"] == {}


def test_nobody_is_vouched_for_for_ever(cluster: Cluster) -> None:
    cluster.run(6, "n1", "n2")
    for _ in range(100):
        cluster.run(0.5, "n1")
        for name in cluster.service.silent(2.0):
            cluster.service.vouch(name)
    assert names(cluster) == ["n1"]


def test_a_server_with_other_flags_is_restarted_once_its_node_is_drained(cluster: Cluster) -> None:
    cluster.run(8, "n1", "n2")
    told: list[tuple[str, bool, bool]] = []
    for _ in range(60):
        for name in ("n1", "n2"):
            answer = cluster.report(name, OUTDATED if name == "n1" else RUNNING)
            told.append((name, answer.must_restart, answer.desire.may_stop))
        cluster.service.tick()
        cluster.now_s += 0.5
        if told[-2][1]:
            break
    assert told[-2] == ("n1", True, True)
    assert not any(must_restart for name, must_restart, _ in told if name == "n2")
    cluster.run(6, "n1", "n2")
    assert cluster.service.status()["restarting"] == ""
    assert "draining" not in {node["state"] for node in cluster.service.status()["nodes"]}


def test_the_only_server_is_restarted_where_it_is(cluster: Cluster) -> None:
    cluster.run(8, "n1")
    answers = []
    for _ in range(6):
        answers.append(cluster.report("n1", OUTDATED).must_restart)
        cluster.service.tick()
        cluster.now_s += 0.5
    assert any(answers)


def restart(cluster: Cluster, node: str, others: tuple[str, ...], stop_s: float) -> Answer:
    """Have a node's server be stopped; what the first report of the next one is answered."""
    for _ in range(60):
        answer = cluster.report(node, OUTDATED)
        for name in others:
            assert not cluster.report(name, OUTDATED).must_restart
        cluster.service.tick()
        cluster.now_s += 0.5
        if answer.must_restart:
            cluster.run(stop_s, *others, condition=OUTDATED)
            return cluster.report(node, RUNNING)
    raise AssertionError(f"{node} is not restarted")


@pytest.mark.parametrize("others", [(), ("n2",)])
@pytest.mark.parametrize("stop_s", [1, 14])
def test_a_node_serves_again_however_long_its_server_takes_to_stop(
    cluster: Cluster, others: tuple[str, ...], stop_s: float
) -> None:
    cluster.run(8, "n1", *others)
    answer = restart(cluster, "n1", others, stop_s)
    assert (answer.must_restart, answer.desire.may_stop) == (False, False)
    cluster.service.tick()
    after = cluster.report("n1")
    assert (after.desire.is_draining, after.must_restart) == (False, False)


def test_while_a_server_takes_long_to_stop_no_other_one_is(cluster: Cluster) -> None:
    cluster.run(8, "n1", "n2")
    for _ in range(60):
        answer = cluster.report("n1", OUTDATED)
        cluster.report("n2", OUTDATED)
        cluster.service.tick()
        cluster.now_s += 0.5
        if answer.must_restart:
            break
    told = []
    for _ in range(28):
        told.append(cluster.report("n2", OUTDATED).must_restart)
        cluster.service.tick()
        cluster.now_s += 0.5
    assert not any(told)
    assert cluster.service.status()["restarting"] == "n1"


def test_a_server_that_could_not_start_with_its_new_flags_is_tried_again(cluster: Cluster) -> None:
    cluster.run(8, "n1", "n2")
    restart(cluster, "n1", ("n2",), 1)
    failed = cluster.report("n1", NodeCondition(wanted="b", problem="no such flag"))
    assert not failed.desire.may_stop


def test_a_node_that_does_not_come_back_has_had_its_turn(cluster: Cluster) -> None:
    cluster.run(8, "n1", "n2")
    for _ in range(20):
        for name in ("n1", "n2"):
            cluster.report(name, OUTDATED if name == "n1" else RUNNING)
        cluster.service.tick()
        cluster.now_s += 0.5
    assert cluster.service.status()["restarting"] == "n1"
    cluster.run(60, "n2")
    assert cluster.service.status()["restarting"] == "n1"
    cluster.run(300, "n2")
    assert cluster.service.status()["restarting"] == ""
    assert not cluster.report("n1").desire.is_draining


def starts_anew(cluster: Cluster, node: str, other: str, seconds: float) -> float | None:
    """Have two nodes report for so long; after how long the one is to start its server anew."""
    begin_s = cluster.now_s
    while cluster.now_s - begin_s < seconds:
        answer = cluster.report(node, OUTDATED)
        assert not cluster.report(other, OUTDATED).must_restart
        if answer.must_restart:
            assert "m" in cluster.service.why("m")
            return cluster.now_s - begin_s
        cluster.service.tick()
        cluster.now_s += 0.5
    return None


def stuck(cluster: Cluster) -> tuple[str, str]:
    """The node that has m, whose turn it is and which alone has room; and the other one."""
    cluster.memory_bytes["n2"] = 0
    cluster.memory_bytes["n1"] = 1 << 30
    cluster.service.apply(replace(SPEC, models=(KEPT,)))
    cluster.run(8, "n1", "n2")
    return "n1", "n2"


def test_a_server_whose_models_fit_nowhere_else_is_restarted_where_it_is(cluster: Cluster) -> None:
    node, other = stuck(cluster)
    after_s = starts_anew(cluster, node, other, 200)
    assert after_s is not None
    assert 60 <= after_s <= 65
    problems = cluster.service.status()["problems"]
    assert "m cannot be asked meanwhile" in problems["the restart of n1"]
    cluster.run(6, other, condition=OUTDATED)
    assert names(cluster) == [other]
    assert "is being started anew" in cluster.service.status()["problems"]["the restart of n1"]
    for _ in range(12):
        cluster.report(node)
        cluster.report(other, OUTDATED)
        assert cluster.has[node][1]  # it goes on with what its file says
        cluster.service.tick()
        cluster.now_s += 0.5
    assert cluster.service.status()["models"][0]["available"] == [node]


def test_what_a_person_has_drained_is_never_restarted_where_it_is(cluster: Cluster) -> None:
    node, other = stuck(cluster)
    starts_anew(cluster, node, other, 20)
    assert cluster.service.status()["restarting"] == node
    cluster.service.drain(node, is_draining=True)
    answers = []
    for _ in range(300):
        answers.append(cluster.report(node, OUTDATED).must_restart)
        cluster.report(other, OUTDATED)
        cluster.service.tick()
        cluster.now_s += 0.5
    assert not any(answers)
    assert cluster.service.status()["restarting"] != node
    assert cluster.service.status()["counts"] == {"available": 1}


def test_says_that_a_turn_waits_until_all_models_are_where_they_should_be(
    cluster: Cluster,
) -> None:
    cluster.service.apply(replace(SPEC, models=(replace(KEPT, name="other"), KEPT)))
    cluster.run(8, "n1", "n2")
    for _ in range(60):
        cluster.run(0.5, "n1", "n2", condition=OUTDATED)
    assert "restarts" not in cluster.service.status()["problems"]
    for _ in range(80):
        cluster.run(0.5, "n1", "n2", condition=OUTDATED)
    assert "n1 is to start its server anew" in cluster.service.status()["problems"]["restarts"]
    cluster.run(0.5, "n1", "n2")
    assert "restarts" not in cluster.service.status()["problems"]


def controller_that_was_restarted(cluster: Cluster) -> None:
    """Have the next controller go on where the journal ends, which is of a second ago."""
    cluster.now_s += 1.0
    cluster.service.tick()
    cluster.service = ControllerService(JournalFile(str(cluster.journal)), lambda: cluster.now_s)


def state_of(cluster: Cluster, node: str) -> str:
    found = {each["name"]: each["state"] for each in cluster.service.status()["nodes"]}
    return str(found.get(node, ""))


def has_turn(cluster: Cluster, node: str, *others: str) -> None:
    """Have a node be told to start its server anew."""
    cluster.run(8, node, *others)
    for _ in range(20):
        for name in (node, *others):
            cluster.report(name, OUTDATED if name == node else RUNNING)
        cluster.service.tick()
        cluster.now_s += 0.5
    assert cluster.service.status()["restarting"] == node
    assert state_of(cluster, node) == "drained"


def test_a_turn_outlives_the_controller(cluster: Cluster) -> None:
    has_turn(cluster, "n1", "n2")
    controller_that_was_restarted(cluster)
    assert cluster.service.status()["restarting"] == "n1"
    cluster.run(14, "n2")  # while the server of n1 ends
    assert cluster.service.status()["restarting"] == "n1"
    assert not cluster.report("n1").desire.may_stop
    cluster.run(2, "n1", "n2")
    assert cluster.service.status()["restarting"] == ""
    assert state_of(cluster, "n1") == "live"


def test_after_a_restart_of_the_controller_no_server_ends_before_others_took_over(
    cluster: Cluster,
) -> None:
    cluster.run(8, "n1", "n2")
    node: str = cluster.service.status()["models"][0]["nodes"][0]
    while cluster.service.status()["restarting"] != node:
        for name in ("n1", "n2"):
            cluster.report(name, OUTDATED if name == node else RUNNING)
        cluster.service.tick()
        cluster.now_s += 0.5
    controller_that_was_restarted(cluster)
    answer = cluster.report(node, OUTDATED)  # before the other one says anything
    assert answer.desire.is_draining
    assert (answer.must_restart, answer.desire.may_stop) == (False, False)


def test_a_node_of_a_journal_that_does_not_come_back_has_had_its_turn(cluster: Cluster) -> None:
    has_turn(cluster, "n1", "n2")
    controller_that_was_restarted(cluster)
    cluster.run(290, "n2")
    assert cluster.service.status()["restarting"] == "n1"
    cluster.run(20, "n2")
    assert cluster.service.status()["restarting"] == ""


def test_what_a_person_has_drained_stays_so_after_its_server_got_other_flags(
    cluster: Cluster,
) -> None:
    has_turn(cluster, "n1", "n2")
    cluster.service.drain("n1", is_draining=True)
    cluster.run(4, "n1", "n2")
    assert cluster.service.status()["restarting"] == ""
    assert state_of(cluster, "n1") == "drained"
    assert cluster.report("n1").desire.may_stop
    cluster.service.drain("n1", is_draining=False)
    assert state_of(cluster, "n1") == "live"


def test_to_undo_a_drain_does_not_end_a_turn(cluster: Cluster) -> None:
    has_turn(cluster, "n1", "n2")
    cluster.service.drain("n1", is_draining=False)
    assert cluster.report("n1", OUTDATED).desire.is_draining


def test_a_node_that_a_person_has_drained_gets_no_turn_and_can_take_nothing_over(
    cluster: Cluster,
) -> None:
    cluster.run(8, "n1", "n2")
    cluster.service.drain("n2", is_draining=True)
    answers = []
    for _ in range(40):
        answers.append(cluster.report("n1", OUTDATED).must_restart)
        assert not cluster.report("n2", OUTDATED).must_restart
        cluster.service.tick()
        cluster.now_s += 0.5
    assert any(answers)


def test_a_drain_of_a_node_that_is_away_can_be_undone(cluster: Cluster) -> None:
    cluster.run(6, "n1", "n2")
    cluster.service.drain("n1", is_draining=True)
    cluster.run(20, "n2")
    assert names(cluster) == ["n2"]
    with pytest.raises(NotFound):
        cluster.service.drain("n1", is_draining=True)
    cluster.service.drain("n1", is_draining=False)
    assert not cluster.report("n1").desire.is_draining
    with pytest.raises(NotFound):
        cluster.service.drain("n9", is_draining=False)


def test_what_there_is_not_is_told_of(cluster: Cluster) -> None:
    with pytest.raises(NotFound):
        cluster.service.drain("n9", is_draining=True)
    cluster.service.forget("n9")
    assert "m" in cluster.service.why("m")


def test_problems_stand_in_the_status_until_they_are_taken_back(cluster: Cluster) -> None:
    cluster.service.note("ray", "it is slow")
    assert cluster.service.status()["problems"] == {"ray": "it is slow"}
    cluster.service.note("ray", "")
    assert cluster.service.status()["problems"] == {}


class Disk:
    """A disk whose next write ends when it is let go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_writing = threading.Event()
        self.may_go_on = threading.Event()
        self._is_first = True
        self._sync = os.fsync
        monkeypatch.setattr(os, "fsync", self._wait)

    def _wait(self, descriptor: int) -> None:
        is_first, self._is_first = self._is_first, False
        if is_first:
            self.is_writing.set()
            assert self.may_go_on.wait(60)
        self._sync(descriptor)


def test_a_disk_that_takes_long_keeps_no_node_from_reporting(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.run(6, "n1", "n2")
    disk = Disk(monkeypatch)
    writing = threading.Thread(target=cluster.service.drain, args=("n1",), kwargs=DRAIN)
    writing.start()
    assert disk.is_writing.wait(60)

    def report() -> None:
        for _ in range(16):
            cluster.now_s += 0.5
            for name in ("n1", "n2"):
                cluster.report(name)

    reporting = threading.Thread(target=report)
    reporting.start()
    reporting.join(20)
    is_blocked = reporting.is_alive()
    disk.may_go_on.set()
    writing.join()
    reporting.join()
    cluster.service.tick()
    assert not is_blocked
    assert names(cluster) == ["n1", "n2"]


def test_an_older_journal_never_replaces_a_newer_one(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.run(6, "n1", "n2")
    disk = Disk(monkeypatch)
    drained = [threading.Thread(target=cluster.service.drain, args=("n1",), kwargs=DRAIN)]
    drained[0].start()
    assert disk.is_writing.wait(60)
    for name in ("n2", "n1"):
        undone = {"is_draining": name == "n2"}
        drained.append(threading.Thread(target=cluster.service.drain, args=(name,), kwargs=undone))
        drained[-1].start()
    disk.may_go_on.set()
    for each in drained:
        each.join()
    written = JournalFile(str(cluster.journal)).read()
    assert written is not None
    status = cluster.service.status()
    assert written["draining"] == [n["name"] for n in status["nodes"] if n["state"] == "draining"]


def test_an_answer_waits_until_its_journal_is_on_the_disk(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.run(6, "n1", "n2")
    disk = Disk(monkeypatch)
    threads = [
        threading.Thread(target=cluster.service.drain, args=(name,), kwargs=DRAIN)
        for name in ("n1", "n2")
    ]
    threads[0].start()
    assert disk.is_writing.wait(60)
    threads[1].start()
    threads[1].join(0.2)
    were_waiting = [each.is_alive() for each in threads]
    disk.may_go_on.set()
    for each in threads:
        each.join()
    assert were_waiting == [True, True]

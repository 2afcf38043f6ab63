import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.fleet import FakeWorker

from salver.config.model_options import LoadSettings
from salver.metrics.text import Distribution
from salver.vocabulary.servable import ServableId
from salver.workers.causes import MemoryKills
from salver.workers.deaths import Deaths
from salver.workers.group import WorkerGroup
from salver.workers.marks import Activity
from salver.workers.member import Member
from salver.workers.messages import Goodbye, Reading
from salver.workers.reports import ReportStore

A, B = ServableId("a", 1), ServableId("b", 1)


class World:
    """A group that serves two models, one worker of which ends."""

    def __init__(self, tmp_path: Path) -> None:
        self.died_of: list[tuple[int, dict[ServableId, int]]] = []
        self.vmstat = tmp_path / "vmstat"
        self.vmstat.write_text("oom_kill 3\n")
        self.group = WorkerGroup(lambda *_: None)
        worker = FakeWorker(on_end=self.group.remove).start()
        worker.member.start()
        self.group.admit(worker.member)
        self.worker = worker
        self.marks: dict[ServableId, int] = {}
        for id in (A, B):
            self.group.load(LoadSettings("tensorflow"), id, f"/{id.name}/1")
            self.group.publish(id)
            source = self.group.source_of(id)
            assert source is not None
            self.marks[id] = source.mark
        self.reports = ReportStore()
        kills = MemoryKills(self.vmstat)
        self.deaths = Deaths(self.group, self.reports, self.died, kills)

    def died(self, code: int, answers: Mapping[ServableId, int]) -> None:
        self.died_of.append((code, dict(answers)))

    def end(self, code: int, activity: Activity) -> Member:
        member = self.worker.member
        member.code, member.activity, member.cause = code, activity, "cause"
        self.deaths.examine(member)
        return member

    def running(self, *ids: ServableId) -> frozenset[int]:
        return frozenset(self.marks[id] for id in ids)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_ran_when_a_worker_aborted_is_named_with_its_answers(world: World) -> None:
    values = [(("a", "1", "predict"), Distribution([4, 2], 1.0))]
    world.reports.opened("w")
    world.reports.put("w", Reading(0, {"salver_request_seconds": list(values)}))
    member = world.end(-signal.SIGABRT, Activity(running=world.running(A, B)))
    assert world.died_of == [(-signal.SIGABRT, {A: 6, B: 0})]
    assert member.was_ended_by_model
    assert member.cause == (
        "cause, while it was running {name: a version: 1}, {name: b version: 1}"
    )


def test_an_end_in_which_nothing_ran_is_nobodys(world: World) -> None:
    assert not world.end(-signal.SIGABRT, Activity()).was_ended_by_model
    assert world.died_of == []


def test_a_load_may_have_been_the_cause_too(world: World) -> None:
    world.end(-signal.SIGSEGV, Activity(running=world.running(A), loading=world.running(A, B)))
    assert world.died_of == [(-signal.SIGSEGV, {A: 0, B: 0})]


def test_of_a_load_alone_others_judge_and_the_worker_did_nothing_wrong(world: World) -> None:
    assert world.end(-signal.SIGSEGV, Activity(loading=world.running(B))).was_ended_by_model
    assert world.died_of == []


def test_who_was_killed_by_somebody_has_not_died_of_a_model(world: World) -> None:
    for code in (-signal.SIGKILL, -signal.SIGTERM):
        assert not world.end(code, Activity(running=world.running(A))).was_ended_by_model
    assert world.died_of == []


def test_want_of_memory_counts_where_the_system_has_killed_for_it(world: World) -> None:
    world.vmstat.write_text("oom_kill 4\n")
    world.end(-signal.SIGKILL, Activity(running=world.running(A)))
    world.end(-signal.SIGKILL, Activity(running=world.running(A)))
    assert world.died_of == [(-signal.SIGKILL, {A: 0})]


def test_a_worker_whose_loop_stood_still_was_held_up_by_what_ran_in_it(world: World) -> None:
    world.worker.member.kill("its loop does not turn")
    activity = Activity(running=world.running(A, B), in_loop=world.marks[B])
    assert world.end(-signal.SIGKILL, activity).was_ended_by_model
    assert world.died_of == [(-signal.SIGKILL, {B: 0})]


def test_who_said_goodbye_has_ended_as_it_should(world: World) -> None:
    world.worker.member.goodbye = Goodbye(Reading(0, {}), 0, has_ended=True)
    world.end(0, Activity(running=world.running(A)))
    assert world.died_of == []

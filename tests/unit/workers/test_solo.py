import threading
from collections.abc import Callable

import pytest
from tests.fleet import WAIT_S, FakeWorker

from salver.config.model_options import LoadSettings
from salver.errors import InvalidArgument
from salver.lifecycle.loader import Deadly
from salver.vocabulary.servable import ServableId
from salver.workers.member import Member
from salver.workers.messages import Drain
from salver.workers.solo import SoloProcesses, load_alone
from salver.workers.versions import Source

ID = ServableId("m", 1)


def dies(worker: FakeWorker, _id: ServableId) -> None:
    worker.die(-11)
    threading.Event().wait(WAIT_S)


def refuses(_worker: FakeWorker, _id: ServableId) -> None:
    raise InvalidArgument("no model")


def test_a_load_that_goes_well_leaves_no_process() -> None:
    worker = FakeWorker().start()
    load_alone(worker.member, LoadSettings("tensorflow"), ID, "/m/1")
    assert worker.member.ended.is_set()
    assert worker.said_of(Drain) == [Drain(0.0)]


def test_a_load_that_fails_says_why_and_leaves_no_process() -> None:
    worker = FakeWorker(on_load=refuses).start()
    with pytest.raises(InvalidArgument, match="no model"):
        load_alone(worker.member, LoadSettings("tensorflow"), ID, "/m/1")
    assert worker.member.ended.is_set()


def test_a_load_that_kills_its_process_is_deadly() -> None:
    worker = FakeWorker(on_load=dies).start()
    with pytest.raises(Deadly, match=r"dies: SIGSEGV, while it was loading .*m version: 1"):
        load_alone(worker.member, LoadSettings("tensorflow"), ID, "/m/1")


class Fleet:
    """Processes without clients, which load what they are told to."""

    def __init__(self, on_load: Callable[[FakeWorker, ServableId], None]) -> None:
        self.started: list[FakeWorker] = []
        self._on_load = on_load
        self.solo = SoloProcesses(self._spawn)

    def _spawn(self, on_end: Callable[[Member], None]) -> Member:
        worker = FakeWorker(len(self.started), on_load=self._on_load, on_end=on_end).start()
        self.started.append(worker)
        return worker.member


def test_a_process_is_present_until_it_has_ended() -> None:
    fleet = Fleet(lambda _worker, _id: None)
    ended: list[Member] = []
    member = fleet.solo.start(ended.append)
    assert list(fleet.solo.present) == [member]
    member.start()
    fleet.started[0].die()
    assert member.ended.wait(WAIT_S)
    assert not fleet.solo.present
    assert ended == [member]


def test_a_version_is_tried_in_a_process_that_is_gone_afterwards() -> None:
    fleet = Fleet(refuses)
    with pytest.raises(InvalidArgument, match="no model"):
        fleet.solo.try_load(LoadSettings("tensorflow"), ID, "/m/1")
    assert fleet.solo.present == ()


def test_a_load_that_was_given_up_ends_its_process_and_no_other() -> None:
    begun, may_end = threading.Semaphore(0), threading.Event()

    def wait(_worker: FakeWorker, _id: ServableId) -> None:
        begun.release()
        may_end.wait(WAIT_S)

    fleet = Fleet(wait)
    stuck, other = fleet.solo.start(), fleet.solo.start()
    for member, id in ((stuck, ID), (other, ServableId("other", 1))):
        member.start()
        assert member.said_hello.wait(WAIT_S)
        member.load(id, Source(LoadSettings("tensorflow"), "/m/1"))
        assert begun.acquire(timeout=WAIT_S)
    fleet.solo.abandon(ID)
    assert stuck.ended.wait(WAIT_S)
    assert stuck.cause == "killed, as a load in it did not return"
    assert fleet.solo.present == (other,)
    fleet.solo.stop()
    assert other.ended.wait(WAIT_S)
    may_end.set()


def test_one_that_is_started_when_all_have_been_stopped_is_killed() -> None:
    fleet = Fleet(lambda _worker, _id: None)
    fleet.solo.stop()
    member = fleet.solo.start()
    member.start()
    assert member.ended.wait(WAIT_S)
    assert member.cause.startswith("SIGKILL")

import threading

import pytest
from tests.fleet import WAIT_S, FakeWorker

from salver.errors import InvalidArgument
from salver.lifecycle.loader import Deadly
from salver.servable import ServableId
from salver.workers.messages import Drain
from salver.workers.trial import try_alone

ID = ServableId("m", 1)


def dies(worker: FakeWorker, _id: ServableId) -> None:
    worker.die(-11)
    threading.Event().wait(WAIT_S)


def refuses(_worker: FakeWorker, _id: ServableId) -> None:
    raise InvalidArgument("no model")


def test_a_load_that_goes_well_leaves_no_process() -> None:
    worker = FakeWorker().start()
    try_alone(worker.member, "tensorflow", ID, "/m/1")
    assert worker.member.ended.is_set()
    assert worker.said_of(Drain) == [Drain(0.0)]


def test_a_load_that_fails_says_why_and_leaves_no_process() -> None:
    worker = FakeWorker(on_load=refuses).start()
    with pytest.raises(InvalidArgument, match="no model"):
        try_alone(worker.member, "tensorflow", ID, "/m/1")
    assert worker.member.ended.is_set()


def test_a_load_that_kills_its_process_is_deadly() -> None:
    worker = FakeWorker(on_load=dies).start()
    with pytest.raises(Deadly, match=r"dies: SIGSEGV, while it was loading .*m version: 1"):
        try_alone(worker.member, "tensorflow", ID, "/m/1")

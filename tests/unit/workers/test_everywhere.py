import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
from tests.fleet import WAIT_S, FakeWorker

from salver.errors import NotFound
from salver.servable import ServableId
from salver.workers.crew import Crew
from salver.workers.everywhere import BroadcastMap, load_everywhere
from salver.workers.messages import Close, Publish, SetLabels, Signatures, Sync, Withdraw

ID = ServableId("m", 1)
OTHER = ServableId("m", 2)


@pytest.fixture
def crew() -> Crew:
    return Crew(lambda *_: None)


@pytest.fixture
def worker(crew: Crew) -> Iterator[FakeWorker]:
    worker = FakeWorker(on_end=crew.remove).start()
    worker.member.start()
    crew.admit(worker.member)
    yield worker
    worker.die()


@pytest.fixture
def serving(crew: Crew) -> BroadcastMap:
    return BroadcastMap(crew)


def load(crew: Crew, id: ServableId = ID) -> Any:
    return load_everywhere(crew, "tensorflow", id, "/m")


def test_what_is_done_to_the_map_is_done_at_the_workers(
    crew: Crew, worker: FakeWorker, serving: BroadcastMap
) -> None:
    model = load(crew)
    serving.publish(ID, model)
    assert serving.acquire("m").model is model
    serving.assign_labels({"m": {"stable": 1}}, {"m": {"stable": 2}})
    drained = threading.Event()
    serving.withdraw(ID, drained.set)
    assert drained.wait(WAIT_S)
    with pytest.raises(NotFound):
        serving.acquire("m")
    model.close()
    kinds = [type(message) for message in worker.said]
    assert kinds[-4:] == [Publish, SetLabels, Withdraw, Close]


def test_a_label_that_moves_with_a_version_is_known_to_workers_that_come_later(
    crew: Crew, worker: FakeWorker, serving: BroadcastMap
) -> None:
    serving.publish(ID, load(crew))
    serving.assign_labels({"m": {"stable": 1}}, {"m": {"stable": 2}})
    serving.publish(OTHER, load(crew, OTHER))
    late = FakeWorker(1, on_end=crew.remove).start()
    late.member.start()
    crew.admit(late.member)
    late.member.ask(Sync()).result(WAIT_S)
    assert late.said_of(SetLabels) == [SetLabels({"m": {"stable": 2}}, {"m": {}})] or (
        late.said_of(SetLabels) == [SetLabels({"m": {"stable": 2}}, {})]
    )
    late.die()


def test_signatures_are_those_that_a_worker_tells(crew: Crew, worker: FakeWorker) -> None:
    model = load(crew)
    assert model.signatures is None  # as the fake answers
    assert worker.said_of(Signatures) == [Signatures(ID)]
    worker.die()
    assert worker.member.ended.wait(WAIT_S)
    assert model.signatures == {}


def test_what_is_lost_answers_nothing_and_can_be_withdrawn_all_the_same(
    crew: Crew, worker: FakeWorker, serving: BroadcastMap
) -> None:
    serving.publish(ID, cast("Any", load(crew)))
    serving.lose(ID)
    assert not serving.answers("m")
    drained = threading.Event()
    serving.withdraw(ID, drained.set)
    assert drained.is_set()

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
from tests.fleet import WAIT_S, FakeWorker

from salver.config.model_options import LoadSettings
from salver.errors import NotFound
from salver.vocabulary.servable import ServableId
from salver.workers.group import WorkerGroup
from salver.workers.messages import Close, Publish, SetLabels, Signatures, Sync, Withdraw
from salver.workers.replicated import ReplicatedMap, load_replicated

ID = ServableId("m", 1)
OTHER = ServableId("m", 2)


@pytest.fixture
def group() -> WorkerGroup:
    return WorkerGroup(lambda *_: None)


@pytest.fixture
def worker(group: WorkerGroup) -> Iterator[FakeWorker]:
    worker = FakeWorker(on_end=group.remove).start()
    worker.member.start()
    group.admit(worker.member)
    yield worker
    worker.die()


@pytest.fixture
def serving(group: WorkerGroup) -> ReplicatedMap:
    return ReplicatedMap(group)


def load(group: WorkerGroup, id: ServableId = ID) -> Any:
    return load_replicated(group, LoadSettings("tensorflow"), id, "/m")


def test_what_is_done_to_the_map_is_done_at_the_workers(
    group: WorkerGroup, worker: FakeWorker, serving: ReplicatedMap
) -> None:
    model = load(group)
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
    group: WorkerGroup, worker: FakeWorker, serving: ReplicatedMap
) -> None:
    serving.publish(ID, load(group))
    serving.assign_labels({"m": {"stable": 1}}, {"m": {"stable": 2}})
    serving.publish(OTHER, load(group, OTHER))
    late = FakeWorker(1, on_end=group.remove).start()
    late.member.start()
    group.admit(late.member)
    late.member.request(Sync()).result(WAIT_S)
    assert late.said_of(SetLabels) == [SetLabels({"m": {"stable": 2}}, {"m": {}})] or (
        late.said_of(SetLabels) == [SetLabels({"m": {"stable": 2}}, {})]
    )
    late.die()


def test_signatures_are_those_that_a_worker_tells(group: WorkerGroup, worker: FakeWorker) -> None:
    model = load(group)
    assert model.signatures is None  # as the fake answers
    assert worker.said_of(Signatures) == [Signatures(ID)]
    worker.die()
    assert worker.member.ended.wait(WAIT_S)
    assert model.signatures == {}


def test_what_is_lost_answers_nothing_and_can_be_withdrawn_all_the_same(
    group: WorkerGroup, worker: FakeWorker, serving: ReplicatedMap
) -> None:
    serving.publish(ID, cast("Any", load(group)))
    serving.lose(ID)
    assert not serving.answers("m")
    drained = threading.Event()
    serving.withdraw(ID, drained.set)
    assert drained.is_set()

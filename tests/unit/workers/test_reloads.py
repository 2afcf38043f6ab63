import threading
from collections.abc import Iterator

import pytest
from tests.fleet import WAIT_S, FakeWorker

from salver.config.models import ModelConfig
from salver.errors import Aborted, NotFound
from salver.lifecycle.callers import Caller
from salver.protocols.administration import Administered, AdminRequest, ReadModel
from salver.vocabulary.access import Actor
from salver.workers.member import Member
from salver.workers.messages import Administer, Apply, Leave, SetLoaded, Sync, Taken
from salver.workers.reloads import Reloads

MODELS = (ModelConfig(name="m", base_path="/m", model_platform="tensorflow"),)


class Core:
    """Waits for each configuration until its caller leaves."""

    def __init__(self) -> None:
        self.applied: list[tuple[tuple[ModelConfig, ...] | None, bool]] = []
        self.ends = 0
        self.reloads = Reloads(self, self.administer, self.end)

    def apply(
        self, models: tuple[ModelConfig, ...] | None, *, is_awaited: bool, caller: Caller
    ) -> None:
        self.applied.append((models, is_awaited))
        if models is None:
            raise NotFound("nothing to apply")
        caller.taken()
        left = threading.Event()
        caller.on_leave(left.set)
        assert left.wait(WAIT_S)
        raise Aborted("left")

    def set_loaded(self, name: str, *, is_loaded: bool, caller: Caller) -> None:
        caller.taken()
        raise NotFound(f"{name} is not there to be {'loaded' if is_loaded else 'unloaded'}")

    def administer(self, request: AdminRequest, caller: Caller) -> Administered:
        return Administered.of({"asked": repr(request), "by": caller.actor.name}, "tag")

    def end(self) -> None:
        self.ends += 1


@pytest.fixture
def worker() -> Iterator[FakeWorker]:
    worker = FakeWorker().start()
    worker.member.start()
    yield worker
    worker.die()
    assert worker.member.ended.wait(WAIT_S)


@pytest.fixture
def other() -> Member:
    return FakeWorker(1).member


@pytest.mark.parametrize("is_loaded", [True, False])
def test_what_becomes_of_a_load_or_an_unload_is_the_answer_once_all_know_it(
    worker: FakeWorker, is_loaded: bool
) -> None:
    core = Core()
    answer = core.reloads.begin(worker.member, SetLoaded("m", is_loaded, 3))
    with pytest.raises(NotFound, match="m is not there to be " + "un" * (not is_loaded) + "loaded"):
        answer.result(WAIT_S)
    assert core.ends == 1
    worker.member.request(Sync()).result(WAIT_S)
    assert Taken(3) in worker.said


def test_what_becomes_of_a_configuration_is_the_answer_once_all_know_it(
    worker: FakeWorker,
) -> None:
    core = Core()
    answer = core.reloads.begin(worker.member, Apply(None, False, 3))
    with pytest.raises(NotFound, match="nothing to apply"):
        answer.result(WAIT_S)
    assert core.applied == [(None, False)]
    assert core.ends == 1


def test_the_worker_is_told_when_its_configuration_is_in_effect_and_tells_who_leaves(
    worker: FakeWorker, other: Member
) -> None:
    core = Core()
    answer = core.reloads.begin(worker.member, Apply(MODELS, True, 3))
    while Taken(3) not in worker.said:
        worker.member.request(Sync()).result(WAIT_S)
    core.reloads.left(other, Leave(3))
    core.reloads.left(worker.member, Leave(4))
    assert not answer.done()
    core.reloads.left(worker.member, Leave(3))
    with pytest.raises(Aborted):
        answer.result(WAIT_S)
    core.reloads.left(worker.member, Leave(3))  # it is over


def test_with_a_worker_all_leave_who_waited_there(worker: FakeWorker, other: Member) -> None:
    core = Core()
    answers = [core.reloads.begin(worker.member, Apply(MODELS, True, n)) for n in range(2)]
    core.reloads.ended(other)
    assert not any(answer.done() for answer in answers)
    core.reloads.ended(worker.member)
    for answer in answers:
        with pytest.raises(Aborted):
            answer.result(WAIT_S)


def test_what_an_administrator_requests_is_answered_once_all_know_it(worker: FakeWorker) -> None:
    core = Core()
    answer = core.reloads.begin(worker.member, Administer(ReadModel("m"), 3, Actor("ann")))
    assert answer.result(WAIT_S) == Administered.of(
        {"asked": "ReadModel(name='m')", "by": "ann"}, "tag"
    )
    assert core.ends == 1

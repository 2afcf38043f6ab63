import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack

import pytest
from tests.fleet import DESCRIPTION, WAIT_S, FakeWorker

from salver.config.model_options import LoadSettings
from salver.errors import InvalidArgument, ServingError, Unavailable
from salver.inference.servable import ProgramNames
from salver.vocabulary.servable import ServableId
from salver.workers.channel import encode
from salver.workers.group import WorkerGroup
from salver.workers.isolation import Isolation
from salver.workers.member import Member
from salver.workers.messages import EndIsolation, Isolate, Load, Publish, Run, Sync

ID, OTHER = ServableId("bad", 1), ServableId("good", 1)
ABORT = -6
RUN = Run(ID, ProgramNames(("x",), ("y",)), encode([1]))


class World:
    """Two workers with two models, whose supervisor has time in its hand.

    Attributes:
        alone: the processes that were started to run one version, in order.
        quarantined: versions that the lifecycle was told to take away.
        is_complete: whether all workers are there.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.alone: list[FakeWorker] = []
        self.quarantined: dict[ServableId, ServingError] = {}
        self.is_complete = True
        self.start_errors: list[Exception] = []
        self.on_load: Callable[[FakeWorker, ServableId], None] = lambda _worker, _id: None
        self._now_s = 0.0
        self._changed = threading.Condition()
        self._stack = stack
        self.group = WorkerGroup(lambda *_: None)
        self.isolation = Isolation(
            self.group,
            self,
            self._start,
            is_complete=lambda: self.is_complete,
            clock=lambda: self._now_s,
            wait=self._wait,
        )
        stack.callback(self.isolation.stop)
        self.workers = [self._worker(slot) for slot in range(2)]
        for worker in self.workers:
            self.group.admit(worker.member)
        for id in (ID, OTHER):
            self.load(id)

    # -- the lifecycle, as far as it is asked --------------------------------------------------

    def load(self, id: ServableId) -> None:
        self.group.load(LoadSettings("tensorflow"), id, f"/{id.name}/1")
        self.group.publish(id)

    def quarantine(self, id: ServableId, error: ServingError) -> None:
        self.quarantined[id] = error
        drained = threading.Event()
        self.group.withdraw(id, drained.set)

        def unload() -> None:
            assert drained.wait(WAIT_S)
            self.group.unload(id)

        threading.Thread(target=unload, daemon=True).start()

    def load_again(self, id: ServableId) -> None:
        if self.quarantined.pop(id, None) is not None:
            self.load(id)

    def is_quarantined(self, id: ServableId) -> bool:
        return id in self.quarantined

    # -- time and processes --------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        with self._changed:
            self._now_s += seconds
            self._changed.notify_all()

    def _wait(self, event: threading.Event, seconds: float) -> None:
        event.wait(min(seconds, 0.002))

    def _worker(self, slot: int) -> FakeWorker:
        worker = FakeWorker(slot, on_end=self.group.remove).start()
        worker.member.start()
        self._stack.callback(worker.die)
        return worker

    def _start(self, on_end: Callable[[Member], None]) -> Member:
        if self.start_errors:
            raise self.start_errors.pop()
        worker = FakeWorker(
            9, on_load=lambda worker, id: self.on_load(worker, id), on_end=on_end
        ).start()
        self._stack.callback(worker.die)
        with self._changed:
            self.alone.append(worker)
        return worker.member

    # -- what tests do -------------------------------------------------------------------------

    def until(self, what: str, is_so: Callable[[], object]) -> None:
        until_s = time.monotonic() + WAIT_S
        turn = threading.Event()
        while not is_so():
            assert time.monotonic() < until_s, what
            turn.wait(0.002)

    def notices(self, worker: FakeWorker | None = None) -> list[object]:
        """What the first worker was told about versions that are isolated."""
        worker = worker or self.workers[0]
        worker.member.request(Sync()).result(WAIT_S)
        return [m for m in worker.said if isinstance(m, (Isolate, EndIsolation))]

    def last_notice(self) -> object:
        return self.notices()[-1]

    def die(self, *, answers: int = 0, beside: dict[ServableId, int] | None = None) -> None:
        self.isolation.died(ABORT, {ID: answers, **(beside or {})})

    def until_open(self, count: int = 1) -> FakeWorker:
        """The process that runs it, when requests may go there."""
        self.until(
            f"process {count} is open",
            lambda: (
                len(self.alone) >= count
                and isinstance(notice := self.last_notice(), Isolate)
                and notice.description == DESCRIPTION
            ),
        )
        return self.alone[count - 1]

    def ran(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.isolation.run(RUN).result(WAIT_S) == RUN.arrays


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        yield World(stack)


def dies(worker: FakeWorker, _id: ServableId) -> None:
    worker.die(-11)
    threading.Event().wait(WAIT_S)


def test_a_version_that_a_worker_died_of_is_run_by_a_process_of_its_own(world: World) -> None:
    world.die()
    reason = "Version 1 of model bad is isolated: 1 worker death (SIGABRT)"
    worker = world.until_open()
    assert world.notices() == [Isolate(ID, reason), Isolate(ID, reason, DESCRIPTION)]
    assert worker.said_of(Load) == [Load(LoadSettings("tensorflow"), ID, "/bad/1", is_alone=True)]
    world.ran()
    assert worker.said_of(Run) == [RUN]
    assert world.quarantined == {}
    assert world.isolation.quarantined() == {}


def test_it_waits_until_all_workers_are_there(world: World) -> None:
    world.is_complete = False
    world.die()
    world.until("it is told", lambda: world.notices())
    assert not world.alone
    with pytest.raises(Unavailable, match="is isolated: 1 worker death"):
        world.isolation.run(RUN)
    world.is_complete = True
    world.advance(1.0)
    world.until_open()


def test_one_that_has_answered_thousands_is_given_a_second_chance(world: World) -> None:
    world.die(answers=5000)
    assert world.notices() == []
    world.die(answers=5000)
    assert world.notices()[:1] == [
        Isolate(ID, "Version 1 of model bad is isolated: 2 worker deaths (SIGABRT)")
    ]


def test_who_ran_beside_it_by_chance_is_left_alone(world: World) -> None:
    for _ in range(3):
        world.die(beside={OTHER: 5000})
    assert {notice.id for notice in world.notices()} == {ID}  # type: ignore[attr-defined]
    assert world.quarantined.keys() == {ID}


def test_where_it_is_not_clear_which_it_was_nothing_is_done_yet(world: World) -> None:
    world.die(beside={OTHER: 0})
    assert world.notices() == []


def test_three_deaths_and_it_is_quarantined(world: World) -> None:
    for _ in range(3):
        world.die()
    reason = "Version 1 of model bad is quarantined: 3 worker deaths (SIGABRT)"
    error = world.quarantined[ID]
    assert (type(error), error.message) == (Unavailable, reason)
    assert world.last_notice() == Isolate(ID, reason)
    assert world.isolation.quarantined() == {"bad": 1}
    with pytest.raises(Unavailable, match="is quarantined: 3 worker deaths"):
        world.isolation.run(RUN)


def test_deaths_of_its_own_process_count_too(world: World) -> None:
    world.die()
    world.until_open(1).die(ABORT)
    world.until_open(2).die(-11)
    world.until("it is quarantined", lambda: ID in world.quarantined)
    assert world.quarantined[ID].message == (
        "Version 1 of model bad is quarantined: 3 worker deaths (SIGSEGV)"
    )
    assert len(world.alone) == 2
    assert world.notices()[-1] == Isolate(ID, world.quarantined[ID].message)


def test_what_a_dying_process_was_asked_is_refused_in_words(world: World) -> None:
    world.die()
    worker = world.until_open()
    worker.on_run = lambda _run: Future()
    answer = world.isolation.run(RUN)
    worker.die(ABORT)
    with pytest.raises(Unavailable, match="Version 1 of model bad is isolated: "):
        answer.result(WAIT_S)


def test_what_a_run_fails_with_is_told(world: World) -> None:
    def refuse(_run: Run) -> None:
        raise InvalidArgument("wrong shape")

    world.die()
    world.until_open().on_run = refuse
    with pytest.raises(InvalidArgument, match="wrong shape"):
        world.isolation.run(RUN).result(WAIT_S)


def test_only_so_many_requests_are_run_at_one_time(world: World) -> None:
    held: list[Future[bytes]] = []

    def hold(_run: Run) -> Future[bytes]:
        held.append(Future())
        return held[-1]

    world.die()
    world.until_open().on_run = hold
    answers = [world.isolation.run(RUN) for _ in range(32)]
    with pytest.raises(Unavailable, match="is isolated"):
        world.isolation.run(RUN)
    world.until("all run", lambda: len(held) == 32)
    for each in held:
        each.set_result(b"")
    assert [answer.result(WAIT_S) for answer in answers] == [b""] * 32
    world.until_open().on_run = lambda run: run.arrays
    world.ran()


def test_it_comes_back_when_it_has_behaved_for_long_enough(world: World) -> None:
    world.die()
    world.until_open()
    world.ran(99)
    world.advance(20.0)
    world.ran(1)
    world.until("it is back", lambda: world.last_notice() == EndIsolation(ID, True))
    assert not world.group.is_isolated(ID)
    world.until("its process ends", lambda: world.alone[0].member.ended.is_set())
    with pytest.raises(Unavailable, match="not isolated any more"):
        world.isolation.run(RUN)
    told = len(world.notices())
    world.die(answers=100)  # one death is remembered
    assert world.notices()[told] == Isolate(
        ID, "Version 1 of model bad is isolated: 2 worker deaths (SIGABRT)"
    )


def test_quick_answers_alone_are_no_proof(world: World) -> None:
    world.die()
    world.until_open()
    world.ran(200)
    world.advance(5.0)
    assert world.group.is_isolated(ID)


def test_few_answers_are_proof_after_ten_minutes(world: World) -> None:
    world.die()
    world.until_open()
    world.ran(1)
    world.advance(601.0)
    world.until("it is back", lambda: world.last_notice() == EndIsolation(ID, True))


def test_workers_that_came_meanwhile_load_it_before_it_is_back(world: World) -> None:
    world.die()
    world.until_open()
    late = world._worker(2)
    world.group.admit(late.member)
    assert [notice.id for notice in world.notices(late)] == [ID]  # type: ignore[attr-defined]
    assert [m.id for m in late.said_of(Load)] == [OTHER]
    assert [m.id for m in late.said_of(Publish)] == [OTHER]
    world.ran(100)
    world.advance(20.0)
    world.until("it is back", lambda: world.last_notice() == EndIsolation(ID, True))
    assert [m.id for m in late.said_of(Load)] == [OTHER, ID]
    assert world.notices(late)[-1] == EndIsolation(ID, True)


def test_if_a_worker_cannot_load_it_again_it_stays_apart(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.die()
    world.until_open()
    late = world._worker(2)
    late.on_load = lambda _worker, _id: (_ for _ in ()).throw(InvalidArgument("its files are gone"))
    late.member.loaded.add(OTHER)
    world.group.admit(late.member)
    world.ran(100)
    world.advance(20.0)
    world.until("it was tried", lambda: "cannot be brought back" in caplog.text)
    assert world.group.is_isolated(ID)
    world.ran()


def quarantined(world: World) -> None:
    world.is_complete = False  # so that no process of its own is started before
    for _ in range(3):
        world.die()
    world.is_complete = True
    world.until("it is taken away", lambda: not world.group.is_isolated(ID))


def test_after_a_pause_a_quarantined_version_is_tried_one_request_at_a_time(world: World) -> None:
    quarantined(world)
    world.advance(9.0)
    assert not world.alone
    world.advance(2.0)
    worker = world.until_open()
    held: Future[bytes] = Future()
    worker.on_run = lambda _run: held
    answer = world.isolation.run(RUN)
    with pytest.raises(Unavailable, match="is quarantined"):
        world.isolation.run(RUN)
    held.set_result(b"")
    assert answer.result(WAIT_S) == b""
    assert world.isolation.quarantined() == {"bad": 1}


def test_a_quarantined_version_that_behaves_is_loaded_again(world: World) -> None:
    quarantined(world)
    world.advance(11.0)
    world.until_open()
    world.ran(10)
    world.advance(6.0)
    world.until("it is back", lambda: world.last_notice() == EndIsolation(ID, True))
    assert world.quarantined == {}
    world.until(
        "nothing is quarantined",
        lambda: world.isolation.quarantined() == {"bad": 0},
    )
    assert world.workers[0].said_of(Publish)[-1] == Publish(ID)


def test_pauses_grow_with_each_try_that_fails(world: World) -> None:
    quarantined(world)
    world.advance(11.0)
    world.until_open(1).die(ABORT)
    world.until("it is closed", lambda: world.last_notice() == Isolate(ID, _reason(4)))
    world.advance(18.0)
    assert len(world.alone) == 1
    world.advance(3.0)
    world.until_open(2).die(ABORT)
    world.until("it is closed", lambda: world.last_notice() == Isolate(ID, _reason(5)))
    world.advance(38.0)
    assert len(world.alone) == 2
    world.advance(3.0)
    world.until_open(3)


def _reason(count: int) -> str:
    return f"Version 1 of model bad is quarantined: {count} worker deaths (SIGABRT)"


def test_a_version_whose_load_ends_its_process_is_charged_with_that_too(world: World) -> None:
    world.on_load = dies
    world.die()
    world.until("it is quarantined", lambda: ID in world.quarantined)
    assert len(world.alone) == 2
    assert "3 worker deaths (SIGSEGV)" in world.quarantined[ID].message


def test_a_version_that_cannot_be_loaded_is_tried_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_worker: FakeWorker, _id: ServableId) -> None:
        raise InvalidArgument("its files are gone")

    world.on_load = refuse
    world.die()
    world.until("it was tried", lambda: "cannot be loaded by a process of its own" in caplog.text)
    world.on_load = lambda _worker, _id: None
    world.advance(11.0)
    world.until_open(2)


def test_where_there_is_no_process_it_is_tried_again(world: World) -> None:
    world.start_errors = [OSError("no memory")]
    world.die()
    world.until("it was tried", lambda: not world.start_errors)
    world.advance(11.0)
    world.until_open()


def test_a_version_that_is_wanted_no_more_is_forgotten(world: World) -> None:
    world.die()
    worker = world.until_open()
    world.group.withdraw(ID, lambda: None)
    world.group.unload(ID)
    world.advance(2.0)
    world.until("its process ends", lambda: worker.member.ended.is_set())
    world.until("it is forgotten", lambda: world.last_notice() == EndIsolation(ID, False))
    world.load(ID)
    world.die(answers=5000)
    assert world.last_notice() == EndIsolation(ID, False)  # its past is forgotten too


def test_a_quarantined_version_that_was_loaded_anew_is_free(world: World) -> None:
    quarantined(world)
    world.load_again(ID)  # since its files have changed
    world.advance(2.0)
    world.until(
        "nothing is quarantined",
        lambda: world.isolation.quarantined() == {"bad": 0},
    )
    assert isinstance(world.last_notice(), EndIsolation)
    assert world.workers[0].said_of(Publish)[-1] == Publish(ID)
    world.advance(60.0)
    assert not world.alone


@pytest.mark.parametrize("deaths", [1, 3])
def test_all_are_brought_back_by_hand(world: World, deaths: int) -> None:
    for _ in range(deaths):
        world.die()
    world.isolation.clear()
    world.until("it is back", lambda: not world.group.is_isolated(ID) and not world.quarantined)
    assert world.last_notice() == EndIsolation(ID, deaths == 1)
    if deaths == 3:
        assert world.workers[0].said_of(Publish)[-1] == Publish(ID)
    world.die(answers=5000)
    assert isinstance(world.last_notice(), EndIsolation)


def test_where_no_other_model_is_served_it_is_not_set_apart_before_it_is_quarantined(
    world: World,
) -> None:
    world.group.withdraw(OTHER, lambda: None)
    world.group.unload(OTHER)
    world.die()
    world.die()
    assert world.notices() == []
    world.die()
    assert world.quarantined.keys() == {ID}


def test_a_version_that_does_not_answer_is_not_set_apart(world: World) -> None:
    world.group.withdraw(ID, lambda: None)
    for _ in range(3):
        world.die()
    assert world.notices() == []
    assert world.quarantined == {}


def test_once_the_server_stops_nothing_is_set_apart(world: World) -> None:
    world.isolation.stop()
    for _ in range(3):
        world.die()
    assert world.notices() == []
    assert world.quarantined == {}

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from tests.fleet import WAIT_S, FakeWorker

from salver.config.model_options import LoadSettings
from salver.errors import Cancelled, InvalidArgument, ServingError, Unavailable
from salver.lifecycle.loader import Deadly
from salver.vocabulary.servable import ServableId
from salver.workers.group import WorkerGroup
from salver.workers.member import Member
from salver.workers.messages import Drain
from salver.workers.slots import Slots, pause_s

ID = ServableId("m", 1)
Load = Callable[[FakeWorker, ServableId], None]


class Bench:
    """A slots of two slots, whose workers are fakes."""

    def __init__(self, stack: ExitStack) -> None:
        self.spawned: list[FakeWorker] = []
        self.on_load: Load = lambda _worker, _id: None
        self.greets = True
        self.spawn_error: Exception | None = None
        self.on_spawn: Callable[[], None] = lambda: None
        self.pauses: list[float] = []
        self.lost: list[tuple[ServableId, ServingError]] = []
        self.now_s = 0.0
        self._changed = threading.Condition()
        self.group = WorkerGroup(lambda *_: None)
        self.slots = Slots(
            self.group, self._spawn, 2, self._lose, clock=lambda: self.now_s, wait=self._wait
        )
        stack.callback(self._end)

    def worker(self, number: int) -> FakeWorker:
        """The one that was started as the so-manieth, waited for."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.spawned) > number, WAIT_S)
            return self.spawned[number]

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something holds; looked at whenever a worker is started or admitted."""
        turn = threading.Event()
        for _ in range(10_000):
            if is_so():
                return
            turn.wait(0.001)
        raise AssertionError("it never came to that")

    def serving(self) -> list[FakeWorker]:
        members = self.group.members
        return [worker for worker in self.spawned if worker.member in members]

    def _spawn(self, slot: int) -> Member:
        if self.spawn_error is not None:
            error, self.spawn_error = self.spawn_error, None
            raise error
        worker = FakeWorker(
            slot,
            on_load=lambda worker, id: self.on_load(worker, id),
            on_end=self.slots.ended,
            greets=self.greets,
        ).start()
        with self._changed:
            self.spawned.append(worker)
            self._changed.notify_all()
        self.on_spawn()
        if not self.greets:
            worker.die(3)
        return worker.member

    def _lose(self, id: ServableId, error: ServingError) -> bool:
        if not self.group.lose(id):
            return False
        self.lost.append((id, error))
        return True

    def _wait(self, _event: threading.Event, pause: float) -> None:
        if pause:
            self.pauses.append(pause)

    def _end(self) -> None:
        self.slots.stop()
        self.group.stop()
        for member in self.slots.present():
            member.kill()
        self.slots.join(WAIT_S)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(stack)


@pytest.fixture
def up(bench: Bench) -> Bench:
    bench.slots.start()
    bench.slots.wait_until_up()
    return bench


def refuses(_worker: FakeWorker, _id: ServableId) -> None:
    raise InvalidArgument("its files are gone")


def dies(worker: FakeWorker, _id: ServableId) -> None:
    worker.die(-11)
    threading.Event().wait(WAIT_S)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.0), (1, 0.0), (2, 0.5), (3, 1.0), (5, 4.0), (99, 30.0)]
)
def test_pauses_grow_with_the_failures_in_a_row(failures: int, seconds: float) -> None:
    assert pause_s(failures) == seconds


def test_every_slot_has_a_worker(up: Bench) -> None:
    assert sorted(member.slot for member in up.group.members) == [0, 1]
    assert set(up.slots.present()) == set(up.group.members)


def test_a_worker_that_a_model_ended_is_replaced_without_a_pause_however_often(up: Bench) -> None:
    for number in range(6):
        worker = up.worker(number + 1 if number else 0)
        up.until(lambda worker=worker: worker in up.serving())  # type: ignore[misc]
        worker.member.was_ended_by_model = True
        worker.die(-6)
        up.until(lambda number=number: len(up.spawned) == number + 3)  # type: ignore[misc]
    assert up.pauses == []


def test_a_worker_that_ends_is_replaced_and_named_with_its_cause(
    up: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    slot = up.worker(0).member.slot
    up.worker(0).die(-9)
    up.until(lambda: len(up.group.members) == 2 and len(up.spawned) == 3)
    assert up.worker(2).member.slot == slot
    named = f"Worker {slot} (process {1000 + slot}) has ended and is replaced: SIGKILL"
    assert named in caplog.text
    assert up.slots.deaths == 1
    assert up.pauses == []


def test_one_that_ends_again_and_again_is_replaced_later_and_later(up: Bench) -> None:
    worker = up.worker(0)
    for count in range(3, 7):
        worker.die()
        worker = up.worker(count - 1)
        up.until(lambda: len(up.group.members) == 2)
    assert up.pauses == [0.5, 1.0, 2.0]


def test_one_that_lived_long_is_replaced_at_once(up: Bench) -> None:
    up.worker(0).die()
    up.worker(2)
    up.until(lambda: len(up.group.members) == 2)
    up.now_s = 100.0
    up.worker(2).die()
    up.worker(3)
    assert up.pauses == []


@pytest.mark.parametrize(
    "error", [OSError("Resource temporarily unavailable"), RuntimeError("can't start new thread")]
)
def test_a_system_without_processes_or_threads_is_asked_again(
    bench: Bench, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    bench.spawn_error = error
    bench.slots.start()
    bench.slots.wait_until_up()
    assert f"A worker cannot be started: {error}" in caplog.text


def test_a_worker_that_is_started_while_all_stop_is_killed(up: Bench) -> None:
    up.on_spawn = up.slots.stop
    up.worker(0).die()
    late = up.worker(2)
    assert late.member.ended.wait(WAIT_S)
    assert late.member.cause.startswith("SIGKILL")


def test_a_predecessor_that_does_not_leave_is_killed(
    up: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salver.workers.slots._LEAVE_S", 0.01)
    before = up.serving()
    before[0].stays = True
    assert up.slots.replace(idle_s=0.0, timeout_s=0.0)
    assert before[0].member.ended.wait(WAIT_S)
    assert f"{before[0].member} does not leave within 0.01 s: it is killed" in caplog.text


def test_workers_that_never_come_up_end_the_start(bench: Bench) -> None:
    bench.greets = False
    bench.slots.start()
    with pytest.raises(Unavailable, match="end when they start: exit status 3"):
        bench.slots.wait_until_up()


def test_stopped_the_wait_for_workers_is_over(bench: Bench) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bench.slots.wait_until_up)
        bench.slots.stop()
        with pytest.raises(Cancelled):
            waiting.result(WAIT_S)


def test_a_renewal_brings_successors_up_before_the_others_leave(up: Bench) -> None:
    before = up.serving()
    up.group.load(LoadSettings("tensorflow"), ID, "/m/1")
    serving_at_loads: list[int] = []
    up.on_load = lambda _worker, _id: serving_at_loads.append(len(up.group.members))
    assert up.slots.replace(idle_s=5.0, timeout_s=30.0)
    assert serving_at_loads == [2, 2]
    for worker in before:
        assert worker.member.ended.wait(WAIT_S)
        assert worker.said_of(Drain) == [Drain(30.0, 5.0)]
    assert len(up.group.members) == 2
    assert up.slots.deaths == 0


def test_a_renewal_whose_successor_does_not_come_up_leaves_the_others_be(
    up: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    before = up.serving()
    up.group.load(LoadSettings("tensorflow"), ID, "/m/1")
    up.on_load = refuses
    assert not up.slots.replace(idle_s=5.0, timeout_s=30.0)
    assert up.serving() == before
    assert "its files are gone" in caplog.text
    assert "Worker 0 was not replaced: its successor does not come up" in caplog.text
    assert up.lost == []


def test_a_version_that_no_worker_can_load_any_more_is_given_up(up: Bench) -> None:
    before = up.serving()
    up.group.load(LoadSettings("tensorflow"), ID, "/m/1")
    up.on_load = refuses
    for worker in before:
        worker.die()
    up.until(lambda: len(up.serving()) == 2 and bool(up.lost))
    ((id, error),) = up.lost
    assert (id, error.message) == (ID, "its files are gone")


def test_a_version_of_which_new_workers_die_is_given_up_when_no_other_has_it(up: Bench) -> None:
    before = up.serving()
    up.group.load(LoadSettings("tensorflow"), ID, "/m/1")
    up.on_load = dies
    for worker in before:
        worker.die()
    up.until(lambda: len(up.serving()) == 2 and bool(up.lost))
    ((id, error),) = up.lost
    assert id == ID
    assert isinstance(error, Deadly)
    assert "SIGSEGV" in error.message


def test_while_another_worker_has_it_a_version_is_not_given_up(up: Bench) -> None:
    first, second = up.serving()
    up.group.load(LoadSettings("tensorflow"), ID, "/m/1")
    up.on_load = dies
    first.die()
    up.until(lambda: len(up.spawned) > 5)
    assert up.serving() == [second]
    assert up.lost == []
    up.on_load = lambda _worker, _id: None
    up.until(lambda: len(up.serving()) == 2)


def test_after_stop_renewals_are_refused(up: Bench) -> None:
    up.slots.stop()
    up.slots.join(WAIT_S)
    assert len(up.group.members) == 2


def test_single_workers_can_be_replaced(up: Bench) -> None:
    first, second = up.serving()
    assert up.slots.replace([second.member], idle_s=0.0, timeout_s=0.0)
    assert second.member.ended.wait(WAIT_S)
    assert first in up.serving()
    assert len(up.serving()) == 2
    assert second.said_of(Drain)
    assert up.slots.deaths == 0


def test_a_worker_that_has_been_replaced_is_not_replaced_again(up: Bench) -> None:
    first, second = up.serving()
    first.die()
    up.until(lambda: len(up.serving()) == 2 and first not in up.serving())
    before = up.serving()
    assert up.slots.replace([first.member], idle_s=0.0, timeout_s=0.0)
    assert up.serving() == before
    assert second in before

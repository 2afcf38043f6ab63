import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue

import pytest

from salver.errors import NotFound, ResourceExhausted, ServingError
from salver.instruments.files import Footprint
from salver.lifecycle import pools as pools_module
from salver.lifecycle.attempt import Attempt, Step
from salver.lifecycle.budget import Budget
from salver.lifecycle.loader import LoadOptions
from salver.lifecycle.mailbox import Message
from salver.lifecycle.monitor import Monitor, VersionState, VersionStatus
from salver.lifecycle.pools import Pools
from salver.vocabulary.servable import ServableId

WAIT_S = 10
V1, V2 = ServableId("m", 1), ServableId("m", 2)
SEEN = Footprint(1, 2, 3, 4)


class Body:
    def __init__(self, id: ServableId, error: Exception | None = None) -> None:
        self.id = id
        self.error = error
        self.thread = ""

    def close(self) -> None:
        self.thread = threading.current_thread().name
        if self.error is not None:
            raise self.error


@dataclass
class Loaded:
    attempt: Attempt
    model: Body


@dataclass
class Failed:
    attempt: Attempt
    error: ServingError


@dataclass
class NoRoom:
    attempt: Attempt
    files: Footprint


@dataclass
class Unloaded:
    id: ServableId


class Bench:
    def __init__(self, *, is_flushing: bool = True) -> None:
        self.failing: dict[ServableId, Exception] = {}
        self.gates: dict[ServableId, threading.Event] = {}
        self.began = threading.Event()
        self.missing: set[str] = set()
        self.monitor = Monitor()
        self.budget = Budget(limit_bytes=100)
        self.sizes: dict[str, int] = {}
        self.due_s: float | None = None
        self.told: SimpleQueue[object] = SimpleQueue()
        self.pools: Pools[Body] = Pools(
            self.load,
            self.look,
            LoadOptions(
                num_initial_load_threads=1,
                num_load_threads=2,
                flush_filesystem_caches=is_flushing,
            ),
            budget=self.budget,
            monitor=self.monitor,
            post=self.post,
            on_tried=self.tried,
        )

    def look(self, path: str) -> Footprint:
        if path in self.missing:
            raise NotFound(f"{path} is gone")
        return Footprint(1, self.sizes[path], 3, 4) if path in self.sizes else SEEN

    def load(self, id: ServableId, path: str) -> Body:
        self.due_s = self.pools.late.due_s
        self.began.set()
        if id in self.gates:
            assert self.gates[id].wait(WAIT_S)
        if id in self.failing:
            raise self.failing[id]
        return Body(id)

    def post(self, message: Message) -> None:
        assert not isinstance(message, threading.Event)
        message()

    def tried(self, attempt: Attempt, outcome: Body | ServingError | Footprint) -> None:
        match outcome:
            case ServingError():
                self.told.put(Failed(attempt, outcome))
            case Footprint():
                self.told.put(NoRoom(attempt, outcome))
            case Body():
                self.told.put(Loaded(attempt, outcome))

    def unload(self, id: ServableId, body: Body) -> None:
        self.pools.unload(id, body, lambda: self.told.put(Unloaded(id)))

    def next(self) -> object:
        """What was told next."""
        return self.told.get(timeout=WAIT_S)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    assert bench.pools.close(WAIT_S)


def refuse_to_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_load_publishes_that_it_loads_and_reports_the_model(bench: Bench) -> None:
    attempt = Attempt(V1, "/m/1")
    bench.pools.try_load(attempt)
    loaded = bench.next()
    assert isinstance(loaded, Loaded)
    assert (loaded.attempt, loaded.model.id) == (attempt, V1)
    assert bench.due_s is not None  # it is watched
    assert bench.pools.late.due_s is None
    assert bench.monitor.status(V1) == VersionStatus(V1, VersionState.LOADING)
    assert attempt.seen == SEEN


def test_directory_that_cannot_be_looked_at_fails_the_reservation(bench: Bench) -> None:
    bench.missing.add("/m/1")
    attempt = Attempt(V1, "/m/1")
    bench.pools.try_load(attempt)
    failed = bench.next()
    assert isinstance(failed, Failed)
    assert failed.error.status == "NOT_FOUND: /m/1 is gone"
    assert (attempt.step, attempt.tries, attempt.error) == (Step.RESERVE, 1, failed.error)
    assert bench.monitor.status(V1) is None


def test_load_that_fails_reports_why_and_looks_at_the_files_before_the_next_try(
    bench: Bench,
) -> None:
    bench.failing[V1] = KeyError("x")
    attempt = Attempt(V1, "/m/1")
    bench.pools.try_load(attempt)
    failed = bench.next()
    assert isinstance(failed, Failed)
    assert failed.error.status == "INTERNAL: KeyError: 'x'"
    bench.missing.add("/m/1")
    bench.pools.try_load(attempt)
    bench.next()
    assert (attempt.tries, attempt.seen) == (2, None)


def test_load_that_has_not_begun_can_be_taken_back(bench: Bench) -> None:
    bench.gates[V1] = threading.Event()
    bench.pools.try_load(Attempt(V1, "/m/1"))
    assert bench.began.wait(WAIT_S)
    bench.pools.try_load(Attempt(V2, "/m/2"))
    assert bench.pools.withdraw(V2)
    assert not bench.pools.withdraw(V2)
    assert not bench.pools.withdraw(V1)
    bench.gates[V1].set()
    assert isinstance(bench.next(), Loaded)
    assert bench.told.empty()


def test_more_loads_run_at_once_after_the_initial_ones(bench: Bench) -> None:
    bench.gates = {V1: threading.Event()}
    bench.pools.try_load(Attempt(V1, "/m/1"))
    bench.pools.end_initial_load()
    bench.pools.try_load(Attempt(V2, "/m/2"))
    loaded = bench.next()
    assert isinstance(loaded, Loaded)
    assert loaded.attempt.id == V2
    bench.gates[V1].set()


def test_unload_closes_the_model_and_reports_it_even_if_that_fails(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    body = Body(V1, RuntimeError("no"))
    bench.unload(V1, body)
    assert bench.next() == Unloaded(V1)
    assert body.thread == "salver-unload-0"
    assert "{name: m version: 1} could not give back what it held" in caplog.text


def test_load_that_does_not_return_is_made_up_for_until_it_does(bench: Bench) -> None:
    gate = bench.gates[V1] = threading.Event()
    bench.pools.try_load(Attempt(V1, "/m/1"))
    bench.pools.try_load(Attempt(V2, "/m/2"))
    bench.pools.loads.lend()
    loaded = bench.next()
    assert isinstance(loaded, Loaded)
    assert loaded.attempt.id == V2
    bench.pools.loads.take_back()
    gate.set()
    assert isinstance(bench.next(), Loaded)


def test_load_for_which_there_is_no_thread_fails_for_want_of_resources(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = Attempt(V1, "/m/1")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse_to_start)
        bench.pools.try_load(attempt)
    failed = bench.next()
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ResourceExhausted)
    assert attempt.tries == 1
    assert not bench.pools.withdraw(V1)
    bench.pools.try_load(attempt)
    assert isinstance(bench.next(), Loaded)


def test_unload_for_which_there_is_no_thread_is_done_by_the_caller(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = Body(V1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse_to_start)
        bench.unload(V1, body)
    assert bench.next() == Unloaded(V1)
    assert body.thread == threading.current_thread().name


def test_closing_gives_up_on_a_load_that_outlasts_it() -> None:
    bench = Bench()
    bench.gates[V1] = threading.Event()
    bench.pools.try_load(Attempt(V1, "/m/1"))
    assert not bench.pools.close(timeout_s=0)
    bench.gates[V1].set()
    assert bench.pools.close()


def test_load_for_which_there_is_no_memory_does_not_begin(bench: Bench) -> None:
    bench.sizes["/m/1"] = 85
    attempt = Attempt(V1, "/m/1")
    bench.pools.try_load(attempt)
    assert bench.next() == NoRoom(attempt, Footprint(1, 85, 3, 4))
    assert not bench.began.is_set()
    assert bench.monitor.status(V1) is None
    bench.sizes["/m/1"] = 84
    bench.pools.try_load(attempt)
    assert isinstance(bench.next(), Loaded)
    assert bench.budget.used_bytes == 100


def test_files_that_arrive_between_two_tries_count(bench: Bench) -> None:
    bench.failing[V1] = NotFound("half copied")
    attempt = Attempt(V1, "/m/1")
    bench.pools.try_load(attempt)
    assert isinstance(bench.next(), Failed)
    bench.sizes["/m/1"] = 85
    bench.pools.try_load(attempt)
    assert isinstance(bench.next(), NoRoom)


@pytest.mark.parametrize("is_failing", [False, True])
@pytest.mark.parametrize("is_flushing", [False, True])
def test_files_leave_the_cache_after_each_load_if_that_is_wanted(
    *, is_flushing: bool, is_failing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[str] = []
    monkeypatch.setattr(pools_module, "drop_from_cache", dropped.append)
    bench = Bench(is_flushing=is_flushing)
    if is_failing:
        bench.failing[V1] = NotFound("no saved_model.pb")
    bench.pools.try_load(Attempt(V1, "/m/1"))
    bench.next()
    assert dropped == (["/m/1"] if is_flushing else [])
    bench.pools.close()

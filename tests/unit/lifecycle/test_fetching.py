import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from salver.errors import DataLoss, NotFound, ServingError, Unavailable
from salver.instruments.files import Footprint, footprint
from salver.instruments.notices import NOTICE
from salver.lifecycle.attempt import Attempt
from salver.lifecycle.budget import Budget
from salver.lifecycle.fetching import AT_ONCE, SLOW_S, Fetch, Fetching, Stage
from salver.lifecycle.handles import ServingMap
from salver.lifecycle.lateness import WARN_S
from salver.lifecycle.loader import LoadOptions
from salver.lifecycle.manager import Manager
from salver.lifecycle.monitor import Monitor, VersionState, VersionStatus
from salver.vocabulary.servable import ServableId

WAIT_S = 10.0
START, LOADING, AVAILABLE = VersionState.START, VersionState.LOADING, VersionState.AVAILABLE
END = VersionState.END
V1, V2 = ServableId("m", 1), ServableId("m", 2)
MB = 10**6


class Local:
    """What was fetched, and whether it is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = str(path)
        self.is_kept = True

    def close(self) -> None:
        assert self.is_kept, "closed twice"
        self.is_kept = False


class Stores:
    """Versions at `SCHEME:NAME/NUMBER`, which are fetched when they are let."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.gates: dict[str, threading.Event] = {}
        self.failing: dict[str, Exception] = {}
        self.size_bytes: dict[str, int] = {}
        self.change = 0
        self.fetches: dict[str, Fetch] = {}
        self.begun: list[str] = []
        self.locals: list[Local] = []
        self.changed = threading.Condition()

    def lane(self, path: str) -> str | None:
        return None if path.startswith("/") else path.partition(":")[0]

    def look(self, path: str) -> Footprint:
        if self.lane(path) is None:
            return footprint(path)
        return Footprint(1, self.size_bytes.get(path, 10 * MB), self.change, 0)

    def fetch(self, number: int, path: str, stage: Stage) -> Local:
        assert path.endswith(f"/{number}")
        with self.changed:
            self.fetches[path] = cast("Fetch", stage)
            self.begun.append(path)
            self.changed.notify_all()
        if path in self.gates:
            assert self.gates[path].wait(WAIT_S)  # deaf
        if path in self.failing:
            raise self.failing[path]
        directory = self.root / path.replace(":", "-").replace("/", "-")
        directory.mkdir(exist_ok=True)
        local = Local(directory)
        with self.changed:
            self.locals.append(local)
            self.changed.notify_all()
        return local

    def until(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, WAIT_S)

    def hold(self, path: str) -> threading.Event:
        gate = self.gates[path] = threading.Event()
        return gate


class Model:
    def __init__(self, path: str, way: int) -> None:
        self.path = path
        self.way = way

    def close(self) -> None:
        pass


class Bench:
    """A manager over stores."""

    def __init__(self, root: Path, **options: int) -> None:
        self.root = root
        self.now_s = 0.0
        self.stores = Stores(root)
        self.failing: dict[str, Exception] = {}
        self.gates: dict[str, threading.Event] = {}
        self.loaded: list[str] = []
        self.way = 1  # in which versions are to be loaded
        self.serving: ServingMap[Model] = ServingMap()
        self.monitor = Monitor()
        self.manager: Manager[Model] = Manager(
            self.load,
            LoadOptions(**{"max_num_load_retries": 0, **options}),  # type: ignore[arg-type]
            serving=self.serving,
            monitor=self.monitor,
            is_current=lambda model: model.way == self.way,
            look=self.stores.look,
            fetcher=self.stores,
            clock=lambda: self.now_s,
        )

    def load(self, _id: ServableId, path: str) -> Model:
        self.loaded.append(path)
        if path in self.gates:
            assert self.gates[path].wait(WAIT_S)
        if path in self.failing:
            raise self.failing[path]
        return Model(path, self.way)

    def aspire(self, *paths: str, name: str = "m") -> None:
        self.manager.aspire(name, {int(path.rpartition("/")[2]): path for path in paths})
        self.manager.settle()

    def local(self, name: str, number: int = 1) -> str:
        path = self.root / name / str(number)
        path.mkdir(parents=True)
        return str(path)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.manager.wake()
        self.manager.settle()

    def until(self, condition: Callable[[], object]) -> None:
        """Until the manager has come so far."""
        end_s = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < end_s
            self.manager.settle()

    def until_retryable(self) -> None:
        """Until a try has failed."""
        self.until(lambda: self.manager._retryable)

    def until_begun(self, path: str, times: int = 1) -> Fetch:
        """Until a fetch runs, and the manager knows."""
        self.stores.until(lambda: self.stores.begun.count(path) >= times)
        self.manager.settle()
        return self.stores.fetches[path]

    def until_state(self, id: ServableId, state: VersionState) -> VersionStatus:
        def status() -> VersionStatus | None:
            return self.monitor.status(id)

        with self.monitor._changed:
            assert self.monitor._changed.wait_for(
                lambda: (found := status()) is not None and found.state is state, WAIT_S
            )
        self.manager.settle()
        found = status()
        assert found is not None
        return found

    def recheck(self) -> None:
        """Look at what failed, as the poll of the file system does, until that has rested."""
        for _ in range(3):
            self.manager.recheck()
            self.manager.settle()
            self.now_s += 1


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**options: int) -> Bench:
        made.append(Bench(tmp_path, **options))
        return made[-1]

    yield make
    for bench in made:
        for gate in (*bench.stores.gates.values(), *bench.gates.values()):
            gate.set()
        assert bench.manager.close(WAIT_S)
        assert not any(local.is_kept for local in bench.stores.locals)


@pytest.fixture
def bench(make: Callable[..., Bench]) -> Bench:
    return make()


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_a_version_is_fetched_then_loaded_and_kept_while_it_is_served(bench: Bench) -> None:
    bench.aspire("far:m/1")
    bench.until_state(V1, AVAILABLE)
    (local,) = bench.stores.locals
    assert bench.loaded == [str(local.path)]
    assert local.is_kept
    bench.aspire()
    assert bench.until_state(V1, END).directory is None
    assert not local.is_kept


def test_the_version_before_serves_while_its_successor_is_fetched(bench: Bench) -> None:
    bench.aspire("far:m/1")
    bench.until_state(V1, AVAILABLE)
    gate = bench.stores.hold("far:m/2")
    bench.aspire("far:m/2")
    bench.until_begun("far:m/2")
    kept = str(bench.stores.locals[0].path)
    assert bench.monitor.status(V1) == VersionStatus(V1, AVAILABLE, directory=kept)
    assert bench.monitor.status(V2) == VersionStatus(V2, LOADING)
    gate.set()
    bench.until_state(V2, AVAILABLE)
    bench.until_state(V1, END)


def test_only_a_slow_fetch_is_told_of(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    gate = bench.stores.hold("far:m/1")
    bench.aspire("far:m/1")
    stage = bench.until_begun("far:m/1")
    stage.progress(2 * MB)
    bench.advance(SLOW_S / 2)
    assert bench.monitor.status(V1) == VersionStatus(V1, LOADING)
    stage.progress(3 * MB)
    bench.advance(SLOW_S / 2)
    status = bench.monitor.status(V1)
    assert status is not None
    assert status.note == "fetching 3 of 10 MB"
    bench.advance(0.5)
    stage.progress(int(4.5 * MB))
    bench.advance(1.0)
    status = bench.monitor.status(V1)
    assert status is not None
    assert status.note == "fetching 4.5 of 10 MB, 1 MB/s, 6 s left"
    gate.set()
    assert bench.until_state(V1, AVAILABLE).note is None
    told = [r.getMessage() for r in caplog.records if r.levelno == NOTICE]
    assert told == [f"{V1}: fetching 3 of 10 MB", f"Fetched servable version {V1} in 3.5 s"]


def test_a_quick_fetch_is_no_news(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.aspire("far:m/1")
    bench.until_state(V1, AVAILABLE)
    assert not [record for record in caplog.records if record.levelno >= NOTICE]


@pytest.mark.parametrize(
    ("size_bytes", "done_bytes", "text"),
    [
        (0, 1_500_000, "fetching, 1.5 MB so far"),
        (999, 5, "fetching 5 of 999 bytes"),
        (2_500_000_000, 250_000_000, "fetching 0.25 of 2.5 GB"),
        (5000, 0, "fetching 0 of 5 kB"),
        (0, 0, "fetching, 0 bytes so far"),
    ],
)
def test_how_far_it_is_is_told_in_one_unit(size_bytes: int, done_bytes: int, text: str) -> None:
    fetch = Fetch(Attempt(V1, "far:m/1"), "far", lambda: False)
    fetch.files = Footprint(1, size_bytes, 0, 0)
    fetch.progress(done_bytes)
    assert fetch.description == text


def test_stores_that_hang_hold_up_neither_other_stores_nor_local_models(bench: Bench) -> None:
    for number in range(AT_ONCE):
        bench.stores.hold(f"dead:d{number}/1")
        bench.aspire(f"dead:d{number}/1", name=f"d{number}")
    bench.aspire("far:m/1")
    bench.aspire(bench.local("near"), name="near")
    bench.until_state(V1, AVAILABLE)
    bench.until_state(ServableId("near", 1), AVAILABLE)


def test_fetches_that_do_not_go_on_hold_up_others_of_their_store_for_a_while_only(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(AT_ONCE):
        bench.stores.hold(f"far:d{number}/1")
        bench.aspire(f"far:d{number}/1", name=f"d{number}")
        bench.until_begun(f"far:d{number}/1")
    bench.aspire("far:m/1")
    for _ in range(int(WARN_S) + 3):
        bench.stores.fetches["far:d0/1"].done_bytes += 1
        bench.advance(1.0)
    bench.until_state(V1, AVAILABLE)
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == AT_ONCE - 1
    assert "has not gone on for 60 s: fetching 0 of 10 MB. Other fetches go on" in warned[0]


def test_what_nobody_wants_any_more_ends_at_once_though_its_fetch_hangs(bench: Bench) -> None:
    gates = [bench.stores.hold(f"far:m/{number}") for number in range(1, AT_ONCE + 1)]
    bench.aspire(*(f"far:m/{number}" for number in range(1, AT_ONCE + 1)))
    for number in range(1, AT_ONCE + 1):
        bench.until_begun(f"far:m/{number}")
    stage = bench.stores.fetches["far:m/1"]
    bench.aspire("far:m/99")
    assert bench.until_state(V1, END).error is not None
    bench.until_state(ServableId("m", 99), AVAILABLE)  # by another thread of the same store
    with pytest.raises(ServingError, match="Loading of servable cancelled"):
        stage.check()
    for gate in gates:
        gate.set()
    bench.stores.until(lambda: len(bench.stores.locals) == AT_ONCE + 1)
    bench.until(lambda: sum(local.is_kept for local in bench.stores.locals) == 1)
    assert len(bench.loaded) == 1


def test_a_fetch_that_waits_for_a_thread_can_be_taken_back(bench: Bench) -> None:
    for number in range(AT_ONCE):
        bench.stores.hold(f"far:d{number}/1")
        bench.aspire(f"far:d{number}/1", name=f"d{number}")
    bench.aspire("far:m/1")
    assert bench.monitor.status(V1) == VersionStatus(V1, START)
    bench.aspire()
    bench.until_state(V1, END)
    assert "far:m/1" not in bench.stores.begun


def test_a_wait_of_a_fetch_ends_when_it_is_cancelled(bench: Bench) -> None:
    errors: list[ServingError] = []
    is_waiting = threading.Event()
    real = bench.stores.fetch

    def waiting(number: int, path: str, stage: Stage) -> Local:
        real(number, path, stage).close()
        stage.wait(0)
        is_waiting.set()
        try:
            stage.wait(3600)
        except ServingError as error:
            errors.append(error)
            raise
        raise AssertionError(path)

    bench.stores.fetch = waiting  # type: ignore[method-assign]
    bench.aspire("far:m/1")
    assert is_waiting.wait(WAIT_S)
    bench.aspire()
    assert bench.manager.close(WAIT_S)
    assert len(errors) == 1


def test_a_fetch_that_failed_is_tried_again_as_often_as_a_load(
    make: Callable[..., Bench],
) -> None:
    bench = make(max_num_load_retries=2, load_retry_interval_micros=5_000_000)
    bench.stores.failing["far:m/1"] = Unavailable("away")
    bench.aspire("far:m/1")
    for times in (1, 2, 3):
        bench.until_begun("far:m/1", times)
        bench.until_retryable()
        bench.manager.recheck()  # its files have not changed
        bench.advance(5 if times < 3 else 0)
    assert bench.until_state(V1, END).error == bench.stores.failing["far:m/1"]
    assert len(bench.stores.begun) == 3


def test_a_fetch_that_failed_for_good_is_tried_again_while_it_is_wanted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.stores.failing["far:m/1"] = Unavailable("away")
    bench.aspire("far:m/1")
    bench.until_state(V1, END)
    bench.recheck()
    bench.until_begun("far:m/1", 2)
    bench.until_state(V1, END)
    del bench.stores.failing["far:m/1"]
    bench.now_s += 5
    bench.recheck()
    bench.until_state(V1, AVAILABLE)
    assert f"Servable version {V1} is to be fetched again" in caplog.messages


def test_an_error_that_is_final_waits_for_other_files(bench: Bench) -> None:
    error = DataLoss("its sums are wrong")
    error.is_final = True
    bench.stores.failing["far:m/1"] = error
    bench.aspire("far:m/1")
    bench.until_state(V1, END)
    bench.now_s += 100
    bench.recheck()
    assert bench.stores.begun == ["far:m/1"]
    del bench.stores.failing["far:m/1"]
    bench.stores.change = 1
    bench.recheck()
    bench.until_state(V1, AVAILABLE)


def test_whatever_a_fetcher_raises_is_its_versions_error_alone(bench: Bench) -> None:
    bench.stores.failing["far:m/1"] = KeyError("x")
    bench.aspire("far:m/1")
    bench.aspire("far:n/1", name="n")
    error = bench.until_state(V1, END).error
    assert error is not None
    assert error.status == "INTERNAL: KeyError: 'x'"
    bench.until_state(ServableId("n", 1), AVAILABLE)


def test_what_never_fits_into_memory_is_not_fetched(make: Callable[..., Bench]) -> None:
    bench = make(max_model_memory_bytes=11 * MB)
    bench.aspire("far:m/1")
    error = bench.until_state(V1, END).error
    assert error is not None
    assert error.message == f"Insufficient resources to load servable {V1}"
    assert bench.stores.begun == []


def test_a_load_that_failed_is_tried_again_without_another_fetch_until_files_change(
    make: Callable[..., Bench], tmp_path: Path
) -> None:
    bench = make(max_num_load_retries=1, load_retry_interval_micros=5_000_000)
    bench.failing[str(tmp_path / "far-m-1")] = NotFound("no graph")
    bench.aspire("far:m/1")
    bench.until_retryable()
    bench.advance(5)
    bench.until_state(V1, END)
    assert (len(bench.stores.begun), len(bench.loaded)) == (1, 2)
    bench.failing.clear()
    bench.stores.change = 1
    bench.recheck()
    bench.until_state(V1, AVAILABLE)
    assert len(bench.stores.begun) == 2


def test_what_is_to_be_loaded_in_another_way_is_fetched_again(bench: Bench) -> None:
    bench.aspire("far:m/1")
    bench.until_state(V1, AVAILABLE)
    bench.manager.reload("m")
    bench.manager.settle()
    assert len(bench.loaded) == 1
    bench.way = 2
    bench.manager.reload("m")
    bench.until(lambda: len(bench.loaded) == 2)
    bench.until_state(V1, AVAILABLE)
    assert [local.is_kept for local in bench.stores.locals] == [False, True]


def test_a_load_that_waits_for_its_retry_is_tried_at_once_in_another_way(
    make: Callable[..., Bench], tmp_path: Path
) -> None:
    bench = make(max_num_load_retries=1, load_retry_interval_micros=5_000_000)
    bench.failing[str(tmp_path / "far-m-1")] = NotFound("no graph")
    bench.aspire("far:m/1")
    bench.until_retryable()
    bench.failing.clear()
    bench.manager.reload("m")
    bench.until_state(V1, AVAILABLE)
    assert [local.is_kept for local in bench.stores.locals] == [False, True]


def test_files_are_kept_for_a_load_that_was_given_up_until_it_returns(
    make: Callable[..., Bench], tmp_path: Path
) -> None:
    bench = make(load_timeout_s=5)
    gate = bench.gates[str(tmp_path / "far-m-1")] = threading.Event()
    bench.aspire("far:m/1")
    bench.stores.until(lambda: bool(bench.stores.locals))
    bench.until(lambda: bench.loaded)
    bench.manager.settle()  # it knows when the load began
    bench.advance(6)
    bench.until_state(V1, END)
    (local,) = bench.stores.locals
    assert local.is_kept
    gate.set()
    bench.until(lambda: not local.is_kept)


def test_a_stop_waits_for_no_fetch_that_hangs(bench: Bench) -> None:
    gate = bench.stores.hold("far:m/1")
    bench.aspire("far:m/1")
    stage = bench.until_begun("far:m/1")
    bench.manager.interrupt()
    with pytest.raises(Unavailable, match="The server is stopping"):
        stage.progress(1)
    assert not bench.manager.close(WAIT_S, load_grace_s=0)
    bench.until_state(V1, END)
    gate.set()
    assert bench.manager.close(WAIT_S)


def test_where_no_thread_can_be_had_the_fetch_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        bench.aspire("far:m/1")
        error = bench.until_state(V1, END).error
    assert error is not None
    assert "Could not start thread salver-fetch-far-0" in error.message


def test_a_fetch_that_is_cancelled_as_it_begins_takes_no_thread_from_others(tmp_path: Path) -> None:
    told: list[object] = []  # and read by nobody
    stores, monitor = Stores(tmp_path), Monitor()
    fetching = Fetching(
        stores,
        stores.look,
        budget=Budget(),
        monitor=monitor,
        post=told.append,
        on_end=lambda _fetch: None,
        clock=lambda: 0.0,
    )
    for number in range(AT_ONCE):
        stores.hold(f"far:m/{number}")
        assert fetching.begin(Attempt(ServableId("m", number), f"far:m/{number}"))
    stores.until(lambda: len(stores.begun) == AT_ONCE)
    assert fetching.begin(Attempt(ServableId("n", 1), "far:n/1"))
    assert fetching.cancel(ServableId("m", 0))
    stores.until(lambda: "far:n/1" in stores.begun)
    for gate in stores.gates.values():
        gate.set()
    assert fetching.close(WAIT_S)

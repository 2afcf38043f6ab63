import gc
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from salver.errors import (
    Code,
    InvalidArgument,
    NotFound,
    NotInstalled,
    ServingError,
    Unavailable,
)
from salver.instruments.files import Footprint
from salver.lifecycle.handles import ServingMap
from salver.lifecycle.loader import Deadly, LoadOptions, followed_by
from salver.lifecycle.machine import Instruction
from salver.lifecycle.manager import Manager
from salver.lifecycle.monitor import Monitor, VersionState, VersionStatus
from salver.lifecycle.state import State
from salver.vocabulary.servable import TRY_FAILED, ServableId

START, LOADING, AVAILABLE = VersionState.START, VersionState.LOADING, VersionState.AVAILABLE
UNLOADING, END = VersionState.UNLOADING, VersionState.END
V1, V2, V3 = (ServableId("m", number) for number in (1, 2, 3))
OTHER = ServableId("other", 1)
WAIT_S = 10
ROUNDS = int(os.environ.get("SALVER_STRESS_ROUNDS", "60"))


class Body:
    """What a version loads to here."""

    def __init__(self, id: ServableId) -> None:
        self.id = id
        self.is_open = True
        self.breaks = False
        self.closing: threading.Event | None = None

    def close(self) -> None:
        if self.closing is not None:
            assert self.closing.wait(WAIT_S)
        assert self.is_open, "closed twice"
        self.is_open = False
        if self.breaks:
            raise RuntimeError("close failed")


class Bench:
    """A manager, its directories, and a loader that can be told to fail or to wait."""

    def __init__(self, root: Path, **options: int) -> None:
        self.root = root
        self.now_s = 0.0
        self.failing: dict[ServableId, Exception] = {}
        self.gates: dict[ServableId, threading.Event] = {}
        self.begun: list[ServableId] = []
        self.abandoned: list[ServableId] = []
        self.keeps_bodies = False
        self.bodies: list[Body] = []
        self.began = threading.Condition()
        self.threads: set[str] = set()
        self.changes = 0
        self.serving: ServingMap[Body] = ServingMap()
        self.monitor = Monitor()
        self.manager: Manager[Body] = Manager(
            self.load,
            LoadOptions(**{"num_initial_load_threads": 2, **options}),  # type: ignore[arg-type]
            serving=self.serving,
            monitor=self.monitor,
            after_change=self.count_change,
            abandon=self.abandoned.append,
            clock=lambda: self.now_s,
        )

    def count_change(self) -> None:
        self.changes += 1

    def load(self, id: ServableId, path: str) -> Body:
        assert os.path.isdir(path)
        with self.began:
            self.begun.append(id)
            self.threads.add(threading.current_thread().name)
            self.began.notify_all()
        if id in self.gates:
            assert self.gates[id].wait(WAIT_S)
        if id in self.failing:
            raise self.failing[id]
        body = Body(id)
        if self.keeps_bodies:
            self.bodies.append(body)
        return body

    def body(self, version: int | None = None) -> Body:
        """What answers now, held no longer."""
        entry = self.serving.acquire("m", version)
        entry.release()
        return entry.model

    def path(self, id: ServableId) -> str:
        path = self.root / id.name / str(id.version)
        path.mkdir(parents=True, exist_ok=True)
        return str(path)

    def aspire(self, *versions: ServableId, name: str = "m") -> None:
        self.manager.aspire(name, {id.version: self.path(id) for id in versions})
        self.manager.settle()

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.manager.wake()
        self.manager.settle()

    def until(self, condition: Callable[[], bool]) -> None:
        with self.monitor._changed:
            assert self.monitor._changed.wait_for(condition, WAIT_S)

    def until_state(self, id: ServableId, state: VersionState) -> VersionStatus:
        def is_there() -> bool:
            status = self.monitor.status(id)
            return status is not None and status.state is state

        self.until(is_there)
        status = self.monitor.status(id)
        assert status is not None
        return status

    def until_gone(self, id: ServableId) -> None:
        """Until a version that was quarantined is unloaded."""
        end = time.monotonic() + WAIT_S
        while self.manager._machine.state(id) is not State.ERROR:
            assert time.monotonic() < end
            self.manager.settle()

    def until_begun(self, id: ServableId, times: int = 1) -> None:
        with self.began:
            assert self.began.wait_for(lambda: self.begun.count(id) >= times, WAIT_S)

    def until_waiting(self) -> None:
        """Until a load waits for its next try, or has failed for good."""
        end = time.monotonic() + WAIT_S
        while not self.manager._retryable:
            self.manager.settle()
            assert time.monotonic() < end

    def rest(self, seconds: float = 1) -> None:
        """Let the files look for so long as they do now."""
        self.manager.recheck()
        self.advance(seconds)
        self.manager.recheck()
        self.manager.settle()

    def serve(self, *versions: ServableId, name: str = "m") -> None:
        self.aspire(*versions, name=name)
        for id in versions:
            self.until_state(id, AVAILABLE)
        self.manager.settle()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for gate in bench.gates.values():
        gate.set()
    assert bench.manager.close(WAIT_S)


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_version_aspired_to_is_loaded_and_published(bench: Bench) -> None:
    bench.serve(V1)
    assert bench.body().id == V1
    assert bench.changes == 1


def test_log_tells_each_step_of_a_life_in_the_words_users_search_for(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.serve(V1)
    bench.aspire()
    bench.until_state(V1, END)
    assert lines(caplog) == [
        "Successfully reserved resources to load servable {name: m version: 1}",
        "Approving load for servable version {name: m version: 1}",
        "Loading servable version {name: m version: 1}",
        "Successfully loaded servable version {name: m version: 1}",
        "Quiescing servable version {name: m version: 1}",
        "Done quiescing servable version {name: m version: 1}",
        "Unloading just-loaded servable version {name: m version: 1}",
        "Done unloading servable version {name: m version: 1}",
    ]


def test_each_state_is_published_in_its_turn(bench: Bench) -> None:
    seen: list[VersionState] = []
    publish = bench.monitor.publish

    def record(id: ServableId, state: VersionState, error: ServingError | None = None) -> None:
        seen.append(state)
        publish(id, state, error)

    bench.monitor.publish = record  # type: ignore[method-assign]
    bench.serve(V1)
    bench.aspire()
    bench.until_state(V1, END)
    assert seen == [START, LOADING, AVAILABLE, UNLOADING, END]


def test_old_version_serves_until_the_new_one_is_available(bench: Bench) -> None:
    bench.serve(V1)
    bench.gates[V2] = threading.Event()
    bench.aspire(V2)
    bench.until_begun(V2)
    assert bench.body().id == V1
    bench.gates[V2].set()
    bench.until_state(V2, AVAILABLE)
    assert bench.body().id == V2


def test_unload_waits_for_the_requests_inside(bench: Bench) -> None:
    bench.serve(V1)
    entry = bench.serving.acquire("m")
    bench.aspire()
    bench.until_state(V1, UNLOADING)
    assert entry.model.is_open
    entry.release()
    bench.until_state(V1, END)
    bench.manager.settle()
    assert bench.changes == 2
    assert [body.is_open for body in [entry.model]] == [False]


def test_several_versions_load_highest_first(bench: Bench) -> None:
    bench.manager.end_initial_load()
    bench.serve(V1, V3, V2)
    assert bench.begun == [V3, V2, V1]


def test_start_up_loads_on_many_threads_and_ordinary_times_one_by_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, num_initial_load_threads=3)
    bench.gates = {id: threading.Event() for id in (V1, V2, V3)}
    bench.aspire(V1, V2, V3)
    for id in bench.gates:
        bench.until_begun(id)
    bench.manager.end_initial_load()
    for gate in bench.gates.values():
        gate.set()
    for id in bench.gates:
        bench.until_state(id, AVAILABLE)
    assert len(bench.threads) == 3
    bench.threads.clear()
    bench.serve(ServableId("m", 4), ServableId("m", 5))
    assert len(bench.threads) == 1
    assert bench.manager.close(WAIT_S)


def test_failed_load_is_tried_again_after_the_interval_and_holds_no_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, num_initial_load_threads=1)
    caplog.set_level(logging.INFO)
    bench.failing[V1] = NotFound("no saved_model.pb")
    bench.aspire(V1)
    bench.until_waiting()
    bench.aspire(OTHER, name="other")
    bench.until_state(OTHER, AVAILABLE)  # by the only thread
    bench.advance(59)
    assert bench.begun.count(V1) == 1
    waiting = bench.monitor.status(V1)
    assert waiting is not None
    assert waiting.error is None
    assert waiting.note == TRY_FAILED + "no saved_model.pb"
    del bench.failing[V1]
    bench.advance(1)
    assert bench.until_state(V1, AVAILABLE).note is None
    text = lines(caplog)
    assert "Loading servable: {name: m version: 1} failed: NOT_FOUND: no saved_model.pb" in text
    assert "Retrying of Loading servable: {name: m version: 1} retry: 1" in text
    assert bench.manager.close(WAIT_S)


def test_load_gives_up_after_its_last_retry_and_ends_with_its_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, max_num_load_retries=5, load_retry_interval_micros=-1)
    bench.failing[V1] = NotFound("no saved_model.pb")
    bench.aspire(V1)
    assert bench.until_state(V1, END).error is bench.failing[V1]
    assert bench.begun == [V1] * 6
    bench.manager.settle()
    text = lines(caplog)
    assert [line for line in text if "retry: " in line] == [
        f"Retrying of Loading servable: {{name: m version: 1}} retry: {k}" for k in range(1, 6)
    ]
    assert text[-2:] == [
        "Retrying of Loading servable: {name: m version: 1} exhausted max_num_retries: 5",
        "Encountered an error for servable version {name: m version: 1}: "
        "NOT_FOUND: no saved_model.pb",
    ]
    assert bench.changes == 0
    assert bench.manager.close(WAIT_S)


def refused() -> ServingError:
    error = InvalidArgument("the graph ends every process")
    error.is_final = True
    return error


@pytest.mark.parametrize("error", [Deadly("the process dies"), refused()])
def test_load_that_can_only_fail_again_is_not_tried_again_by_itself(
    bench: Bench, error: ServingError
) -> None:
    bench.failing[V1] = error
    bench.aspire(V1)
    status = bench.until_state(V1, END)
    assert status.error is bench.failing[V1]
    assert bench.begun == [V1]


def test_load_that_needs_what_is_not_installed_is_not_tried_again_by_itself(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.failing[V1] = NotInstalled("install it")
    bench.aspire(V1)
    bench.until_state(V1, END)
    bench.advance(3600)
    assert bench.begun == [V1]
    assert "exhausted" not in caplog.text
    del bench.failing[V1]
    Path(bench.path(V1), "saved_model.pb").touch()
    bench.rest()
    bench.until_state(V1, AVAILABLE)


def test_directory_that_is_gone_fails_while_reserving_and_never_shows_loading(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, max_num_load_retries=0)
    bench.manager.aspire("m", {1: str(tmp_path / "gone")})
    error = bench.until_state(V1, END).error
    assert error is not None
    assert error.status == (
        "NOT_FOUND: Error while attempting to reserve resources to load servable "
        f"{{name: m version: 1}}: {tmp_path / 'gone'}; No such file or directory"
    )
    assert bench.begun == []
    assert bench.manager.close(WAIT_S)


def test_reservation_is_retried_like_a_load(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    bench.manager.aspire("m", {1: str(tmp_path / "m" / "1")})
    bench.until_waiting()
    status = bench.monitor.status(V1)
    assert status is not None
    assert status.state is START
    bench.path(V1)
    bench.advance(60)
    bench.until_state(V1, AVAILABLE)
    expected = "Retrying of Reserving resources for servable: {name: m version: 1} retry: 1"
    assert expected in lines(caplog)
    assert bench.manager.close(WAIT_S)


def test_what_is_no_serving_error_is_shown_as_an_internal_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_num_load_retries=0)
    bench.failing[V1] = KeyError("x")
    bench.aspire(V1)
    error = bench.until_state(V1, END).error
    assert error is not None
    assert error.status == "INTERNAL: KeyError: 'x'"
    assert bench.manager.close(WAIT_S)


def test_load_that_waits_is_cancelled_when_nobody_wants_it_any_more(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.failing[V1] = NotFound("no saved_model.pb")
    bench.aspire(V1)
    bench.until_waiting()
    bench.aspire()
    assert bench.until_state(V1, END).error is bench.failing[V1]
    text = "Retrying of Loading servable: {name: m version: 1} was cancelled."
    assert text in lines(caplog)
    bench.advance(60)
    assert bench.begun == [V1]


def test_running_load_that_fails_when_nobody_wants_it_is_not_tried_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.gates[V1], bench.failing[V1] = threading.Event(), NotFound("no saved_model.pb")
    bench.aspire(V1)
    bench.until_begun(V1)
    bench.aspire()
    bench.gates[V1].set()
    assert bench.until_state(V1, END).error is bench.failing[V1]
    bench.manager.settle()
    text = "Retrying of Loading servable: {name: m version: 1} was cancelled."
    assert text in lines(caplog)


def test_load_that_finishes_when_nobody_wants_it_is_unloaded_and_ends_cancelled(
    bench: Bench,
) -> None:
    bench.gates[V1] = threading.Event()
    bench.aspire(V1)
    bench.until_begun(V1)
    bench.aspire()
    bench.gates[V1].set()
    error = bench.until_state(V1, END).error
    assert error is not None
    assert error.status == "CANCELLED: Loading of servable cancelled"
    with pytest.raises(NotFound):
        bench.serving.acquire("m")


def test_load_still_queued_is_dropped_when_nobody_wants_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, num_initial_load_threads=1)
    bench.gates[V2] = threading.Event()
    bench.aspire(V1, V2)
    bench.until_begun(V2)
    bench.aspire(V2)
    error = bench.until_state(V1, END).error
    assert error is not None
    assert error.status == "CANCELLED: Loading of servable cancelled"
    bench.gates[V2].set()
    bench.until_state(V2, AVAILABLE)
    assert bench.begun == [V2]
    assert bench.manager.close(WAIT_S)


def test_version_given_up_before_its_load_was_even_queued_is_never_seen(bench: Bench) -> None:
    # Both reach the manager in one batch: it is busy with what follows the load of another.
    busy, go = threading.Event(), threading.Event()

    def be_busy() -> None:
        busy.set()
        assert go.wait(WAIT_S)

    bench.manager._changed = be_busy
    bench.aspire(OTHER, name="other")
    assert busy.wait(WAIT_S)
    bench.manager.aspire("m", {1: bench.path(V1)})
    bench.manager.aspire("m", {})
    go.set()
    bench.manager.settle()
    assert bench.monitor.status(V1) is None
    assert bench.begun == [OTHER]


def test_version_wanted_again_while_it_loads_is_published(bench: Bench) -> None:
    bench.gates[V1] = threading.Event()
    bench.aspire(V1)
    bench.until_begun(V1)
    bench.aspire()
    bench.aspire(V1)
    bench.gates[V1].set()
    bench.until_state(V1, AVAILABLE)
    assert bench.begun == [V1]


def test_version_cancelled_and_wanted_again_in_one_breath_goes_on_loading(bench: Bench) -> None:
    busy, go = threading.Event(), threading.Event()
    bench.gates[V1] = threading.Event()
    bench.aspire(V1)
    bench.until_begun(V1)

    def be_busy() -> None:
        busy.set()
        assert go.wait(WAIT_S)

    bench.manager._changed = be_busy
    bench.aspire(OTHER, name="other")
    assert busy.wait(WAIT_S)
    bench.manager.aspire("m", {})
    bench.manager.aspire("m", {1: bench.path(V1)})
    go.set()
    bench.gates[V1].set()
    bench.until_state(V1, AVAILABLE)
    assert bench.begun.count(V1) == 1


def test_version_that_returns_while_it_unloads_is_loaded_afresh_once_gone(bench: Bench) -> None:
    bench.serve(V1)
    entry = bench.serving.acquire("m")
    bench.aspire()
    bench.until_state(V1, UNLOADING)
    bench.aspire(V1)
    assert bench.begun == [V1]
    entry.release()
    bench.until_state(V1, AVAILABLE)
    assert bench.begun == [V1, V1]
    assert bench.body() is not entry.model


def test_rolling_back_while_the_successor_fails_keeps_the_version_that_serves(
    bench: Bench,
) -> None:
    bench.serve(V1)
    body = bench.body()
    bench.gates[V2], bench.failing[V2] = threading.Event(), NotFound("no saved_model.pb")
    bench.aspire(V2)
    bench.until_begun(V2)
    bench.aspire(V1)
    bench.gates[V2].set()
    bench.until_state(V2, END)
    bench.manager.settle()
    assert bench.body() is body
    bench.serve(V3)  # and the stream still moves
    assert bench.body().id == V3


def test_failed_version_is_tried_again_when_its_files_change(bench: Bench) -> None:
    bench.manager._tries._options = LoadOptions(max_num_load_retries=0)
    bench.failing[V1] = NotFound("no saved_model.pb")
    bench.aspire(V1)
    bench.until_state(V1, END)
    bench.until_waiting()
    bench.rest()
    assert bench.manager.recheck().directories == (bench.path(V1),)
    assert bench.begun == [V1]
    del bench.failing[V1]
    Path(bench.path(V1), "saved_model.pb").touch()
    bench.rest()
    bench.until_state(V1, AVAILABLE)
    bench.manager.settle()
    assert bench.manager.recheck().directories == ()


HARM = Unavailable("it ends the process")


def quarantined(bench: Bench) -> None:
    bench.serve(V1)
    bench.manager.quarantine(V1, HARM)
    bench.until_gone(V1)


def test_condemned_version_ends_with_its_error_and_is_loaded_again_when_told_to(
    bench: Bench,
) -> None:
    quarantined(bench)
    assert bench.manager.is_quarantined(V1)
    status = bench.until_state(V1, END)
    assert status.error is HARM
    with pytest.raises(NotFound):
        bench.body()
    assert bench.manager.recheck().directories == (bench.path(V1),)
    bench.manager.again(V1)
    bench.until_state(V1, AVAILABLE)
    bench.manager.settle()
    assert bench.body().id == V1
    assert not bench.manager.is_quarantined(V1)


def test_condemned_version_is_loaded_again_when_its_files_change(bench: Bench) -> None:
    quarantined(bench)
    bench.rest()
    assert bench.begun == [V1]
    Path(bench.path(V1), "saved_model.pb").touch()
    bench.rest()
    bench.until_state(V1, AVAILABLE)
    bench.manager.settle()
    assert not bench.manager.is_quarantined(V1)


def test_version_that_is_called_back_before_it_is_gone_is_loaded_again_then(
    bench: Bench,
) -> None:
    bench.serve(V1)
    entry = bench.serving.acquire("m", 1)
    bench.manager.quarantine(V1, HARM)
    bench.manager.again(V1)
    bench.manager.settle()
    assert bench.begun == [V1]
    entry.release()
    bench.until_begun(V1, 2)
    bench.until_state(V1, AVAILABLE)


def test_condemned_version_that_is_not_wanted_any_more_is_forgotten(bench: Bench) -> None:
    quarantined(bench)
    bench.serve(V2)
    bench.manager.settle()
    assert not bench.manager.is_quarantined(V1)
    bench.manager.again(V1)
    bench.manager.settle()
    assert bench.begun == [V1, V2]


def test_version_that_is_not_available_cannot_be_quarantined(bench: Bench) -> None:
    bench.failing[V1] = NotFound("no saved_model.pb")
    bench.aspire(V1)
    bench.until_waiting()
    bench.manager.quarantine(V1, HARM)
    bench.manager.settle()
    assert not bench.manager.is_quarantined(V1)


def test_version_whose_files_keep_changing_is_not_tried_before_they_rest(bench: Bench) -> None:
    bench.failing[V1] = NotFound("half written")
    bench.aspire(V1)
    bench.until_waiting()
    for number in range(50):
        Path(bench.path(V1), f"data-{number}").touch()
        bench.manager.recheck()
        bench.advance(0.9)
    assert bench.begun == [V1]
    del bench.failing[V1]
    bench.rest()
    bench.until_state(V1, AVAILABLE)


def test_changes_of_the_files_keep_no_version_from_giving_up(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_num_load_retries=2)
    bench.failing[V1] = NotFound("no saved_model.pb")
    bench.aspire(V1)
    for number in range(1, 4):
        bench.until_begun(V1, number)
        bench.until_waiting()
        Path(bench.path(V1), f"data-{number}").touch()
        if number < 3:
            bench.rest(4)
    assert bench.until_state(V1, END).error is bench.failing[V1]
    bench.manager.settle()
    bench.rest(4)  # after the second change; and now the change revives it
    bench.until_begun(V1, 4)
    assert bench.manager.close(WAIT_S)


def test_pause_between_tries_that_changes_cause_grows_over_the_ends_of_a_version(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, max_num_load_retries=0)
    bench.failing[V1] = NotFound("no saved_model.pb")
    bench.aspire(V1)
    for number, pause_s in enumerate((1, 2, 4, 8, 16, 32, 60, 60), 1):
        bench.until_begun(V1, number)
        bench.until_waiting()
        Path(bench.path(V1), f"data-{number}").touch()
        bench.rest(pause_s - 0.5)
        assert bench.begun == [V1] * number
        bench.rest(0.5)
    bench.until_begun(V1, 9)
    bench.until_waiting()
    bench.aspire()
    bench.aspire(V1)  # a new life begins without a past
    bench.until_begun(V1, 10)
    bench.until_waiting()
    (trouble,) = bench.manager._retryable
    assert trouble.restarts == 0
    assert bench.manager.close(WAIT_S)


def test_load_that_waits_is_tried_before_its_time_when_its_files_change(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.failing[V1] = NotFound("no saved_model.pb")
    bench.aspire(V1)
    bench.until_waiting()
    del bench.failing[V1]
    Path(bench.path(V1), "saved_model.pb").touch()
    bench.rest()
    bench.until_state(V1, AVAILABLE)
    text = "Files of servable version {name: m version: 1} have changed: trying again"
    assert text in lines(caplog)


def test_change_during_a_failing_try_is_not_missed(bench: Bench) -> None:
    bench.gates[V1], bench.failing[V1] = threading.Event(), NotFound("half written")
    bench.aspire(V1)
    bench.until_begun(V1)
    Path(bench.path(V1), "saved_model.pb").touch()
    bench.gates[V1].set()
    bench.until_waiting()
    del bench.failing[V1]
    bench.rest()
    bench.until_state(V1, AVAILABLE)


def test_retried_load_looks_at_the_files_anew(bench: Bench) -> None:
    bench.failing[V1] = NotFound("half written")
    bench.aspire(V1)
    bench.until_waiting()
    Path(bench.path(V1), "saved_model.pb").touch()
    bench.advance(60)
    bench.until_begun(V1, 2)
    bench.until_waiting()
    bench.rest()
    assert bench.begun == [V1, V1]


def test_news_of_files_comes_too_late_for_a_version_that_moved_on(bench: Bench) -> None:
    bench.failing[V1] = NotFound("half written")
    bench.aspire(V1)
    bench.until_waiting()
    (trouble,) = bench.manager._retryable
    del bench.failing[V1]
    bench.advance(60)
    bench.until_state(V1, AVAILABLE)
    bench.manager.settle()  # whose step ends by forgetting what was retryable
    bench.manager._retryable = (trouble,)  # what a poll that began earlier still holds
    Path(bench.path(V1), "saved_model.pb").touch()
    bench.manager.recheck()
    bench.now_s += 1
    assert bench.manager.recheck().rested == (trouble,)
    bench.manager.settle()
    assert bench.begun == [V1, V1]


def test_directory_deleted_while_its_load_waits_is_no_change_to_act_on_twice(
    bench: Bench,
) -> None:
    bench.failing[V1] = NotFound("half written")
    bench.aspire(V1)
    bench.until_waiting()
    Path(bench.path(V1)).rmdir()
    bench.rest()  # changed: it is gone, and the try says so
    bench.until_waiting()
    bench.rest()
    (trouble,) = bench.manager._retryable
    assert trouble.seen is None


def test_unloading_goes_on_when_a_model_cannot_be_closed(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.serve(V1)
    bench.body().breaks = True
    bench.aspire()
    assert bench.until_state(V1, END).error is None
    assert "{name: m version: 1} could not give back what it held" in caplog.text


def test_failure_of_what_follows_a_load_harms_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    bench.manager._changed = followed_by(fail)
    bench.serve(V1)
    assert "What follows a load or unload failed" in caplog.text


def test_manager_outlives_a_step_that_fails(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> float:
        bench.manager._clock = lambda: bench.now_s
        raise OSError("no clock")

    bench.manager._clock = broken
    bench.manager.settle()
    bench.serve(V1)
    assert "The manager failed to take a step" in caplog.text


def test_instruction_that_fails_keeps_no_other_from_being_carried_out(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    withdraw = bench.serving.withdraw

    def stumble(id: ServableId, on_drained: Callable[[], None]) -> None:
        withdraw(id, on_drained)
        if id == V1:
            raise RuntimeError("no")

    bench.serving.withdraw = stumble  # type: ignore[method-assign]
    bench.serve(V1, V2)
    bench.aspire()
    bench.until_state(V1, END)
    bench.until_state(V2, END)
    assert "The manager failed to take a step" in caplog.text


def test_message_that_fails_keeps_no_other_from_being_heard(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    # Both reach the manager in one batch: it is busy with what follows the load of another.
    busy, go = threading.Event(), threading.Event()
    aspired = bench.manager._aspired

    def be_busy() -> None:
        busy.set()
        assert go.wait(WAIT_S)

    def stumble(name: str, paths: Mapping[int, str]) -> list[Instruction]:
        raise RuntimeError("no")

    bench.manager._changed = be_busy
    bench.aspire(OTHER, name="other")
    assert busy.wait(WAIT_S)
    bench.manager._aspired = stumble  # type: ignore[method-assign]
    bench.manager.aspire("m", {1: bench.path(V1)})
    bench.manager._aspired = aspired  # type: ignore[method-assign]
    bench.manager.aspire("m", {2: bench.path(V2)})
    go.set()
    bench.until_state(V2, AVAILABLE)
    assert bench.monitor.status(V1) is None
    assert "The manager failed to take a step" in caplog.text


def refuse_to_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_load_without_a_thread_fails_and_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse_to_start)
        bench.aspire(V1, V2)
        bench.until_waiting()
    error = bench.monitor.last_error("m")
    assert error is not None
    assert error.code is Code.RESOURCE_EXHAUSTED
    assert error.message.endswith(": can't start new thread")
    bench.advance(60)
    bench.until_state(V1, AVAILABLE)
    bench.until_state(V2, AVAILABLE)


def test_model_is_closed_even_when_no_thread_is_left_for_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.serve(V1, V2)
    bodies = [bench.body(number) for number in (1, 2)]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse_to_start)
        bench.aspire()
        bench.until_state(V1, END)
        bench.until_state(V2, END)
    assert not any(body.is_open for body in bodies)


def test_last_error_is_known_while_more_tries_follow_and_forgotten_once_available(
    bench: Bench,
) -> None:
    bench.failing[V1] = NotFound("no saved_model.pb")
    bench.aspire(V1)
    assert bench.monitor.wait_until_settled(["m"], WAIT_S)
    assert bench.monitor.last_error("m") is bench.failing[V1]
    bench.until_waiting()
    status = bench.monitor.status(V1)
    assert status == VersionStatus(V1, LOADING, note=TRY_FAILED + "no saved_model.pb")
    del bench.failing[V1]
    bench.advance(60)
    bench.until_state(V1, AVAILABLE)
    assert bench.monitor.last_error("m") is None


def test_close_unloads_everything_and_joins_every_thread(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.serve(V1, V2)
    bodies = [bench.body(number) for number in (1, 2)]
    assert bench.manager.close(WAIT_S)
    assert not any(body.is_open for body in bodies)
    assert not [t for t in bench.manager._pools.loads._threads if t.is_alive()]
    assert not bench.manager._thread.is_alive()


def test_close_cancels_loads_that_wait_and_ignores_what_is_aspired_to_later(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    bench.failing[V1] = Unavailable("later")
    bench.aspire(V1)
    bench.until_waiting()
    assert bench.manager.close()
    bench.manager.aspire("m", {2: bench.path(V2)})
    bench.manager.settle()
    assert bench.monitor.status(V2) is None


def test_what_is_aspired_to_while_closing_is_ignored(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.serve(V1)
    entry = bench.serving.acquire("m")
    assert not bench.manager.close(timeout_s=0)
    bench.aspire(V2)
    assert bench.monitor.status(V2) is None
    entry.release()
    assert bench.manager.close(WAIT_S)


def test_close_gives_up_on_a_request_that_never_ends_and_leaves_its_model_open(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    bench.serve(V1)
    entry = bench.serving.acquire("m")
    assert not bench.manager.close(timeout_s=0.01)
    assert entry.model.is_open
    entry.release()
    assert bench.manager.close(WAIT_S)
    assert [body.is_open for body in [entry.model]] == [False]


def test_close_waits_for_a_load_that_runs_no_longer_than_its_grace(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.serve(V1)
    body = bench.body()
    bench.gates[V2] = threading.Event()
    bench.aspire(V1, V2)
    bench.until_begun(V2)
    assert not bench.manager.close(load_grace_s=0)
    assert not body.is_open
    bench.gates[V2].set()
    assert bench.manager.close(WAIT_S, load_grace_s=WAIT_S)


def test_close_waits_for_requests_beyond_the_grace_of_loads(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.serve(V1)
    entry = bench.serving.acquire("m")
    bench.gates[V2] = threading.Event()
    bench.aspire(V1, V2)
    bench.until_begun(V2)
    outcomes: list[bool] = []
    closer = threading.Thread(target=lambda: outcomes.append(bench.manager.close(WAIT_S, 0)))
    closer.start()
    bench.until_state(V1, UNLOADING)
    bench.manager.settle()
    assert entry.model.is_open
    assert closer.is_alive()
    entry.release()
    closer.join(WAIT_S)
    assert outcomes == [False]
    assert [body.is_open for body in [entry.model]] == [False]
    bench.gates[V2].set()
    assert bench.manager.close(WAIT_S)


def test_grace_of_loads_is_part_of_the_time_to_close(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.gates[V1] = threading.Event()
    bench.aspire(V1)
    bench.until_begun(V1)
    assert not bench.manager.close(0.01, load_grace_s=WAIT_S)
    bench.gates[V1].set()
    assert bench.manager.close(WAIT_S)


def test_settle_returns_once_the_manager_has_ended(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.manager.close(WAIT_S)
    bench.manager.settle()


def test_wait_for_the_next_try_ends_by_itself_on_the_real_clock(tmp_path: Path) -> None:
    bench = Bench(tmp_path, load_retry_interval_micros=1000)
    bench.manager._clock = bench.manager._tries._clock = time.monotonic
    bench.failing[V1] = NotFound("no")
    bench.aspire(V1)
    bench.until_state(V1, END)
    assert bench.begun == [V1] * 6
    assert bench.manager.close(WAIT_S)


def test_retry_interval_longer_than_any_wait_is_waited_for_in_parts(tmp_path: Path) -> None:
    bench = Bench(tmp_path, load_retry_interval_micros=2**63 - 1)
    bench.failing[V1] = NotFound("no")
    bench.aspire(V1)
    bench.until_waiting()
    bench.serve(OTHER, name="other")
    assert bench.begun == [V1, OTHER]
    assert bench.manager.close(WAIT_S)


def test_unloaded_models_are_let_go_of(bench: Bench) -> None:
    bench.serve(V1)
    body = weakref.ref(bench.body())
    bench.aspire()
    bench.until_state(V1, END)
    bench.serve(V2)  # the threads have gone on to something else
    gc.collect()
    assert body() is None


def test_no_request_sees_a_closed_model_while_versions_come_and_go(bench: Bench) -> None:
    chance = random.Random(20171)
    stop, wrong, counts = threading.Event(), list[ServableId](), list[int]()
    bench.serve(V1)

    def ask() -> None:
        count = 0
        while not stop.is_set():
            entry = bench.serving.acquire("m")
            if not entry.model.is_open:
                wrong.append(entry.id)
            entry.release()
            count += 1
        counts.append(count)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for _ in range(ROUNDS):
        wanted = [ServableId("m", n) for n in sorted(chance.sample(range(1, 6), 2))]
        bench.manager.aspire("m", {id.version: bench.path(id) for id in wanted})
        if chance.random() < 0.5:
            bench.until_state(wanted[-1], AVAILABLE)
    stop.set()
    for asker in askers:
        asker.join()
    assert wrong == []
    assert min(counts) > 0


def fill(bench: Bench, id: ServableId, size_bytes: int) -> None:
    """Give a version files of so many bytes."""
    Path(bench.path(id), "weights").write_bytes(bytes(size_bytes))


def refusal(bench: Bench, id: ServableId) -> ServingError:
    error = bench.until_state(id, END).error
    assert error is not None
    return error


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Bench]:
    """Room for 1000 bytes of files."""
    bench = Bench(tmp_path, max_model_memory_bytes=1200)
    yield bench
    for gate in bench.gates.values():
        gate.set()
    assert bench.manager.close(WAIT_S)


def test_version_that_does_not_fit_is_refused_with_the_numbers_and_not_tried_again(
    narrow: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    fill(narrow, V1, 600)
    fill(narrow, V2, 401)
    narrow.serve(V1)
    narrow.aspire(V2)
    error = refusal(narrow, V2)
    assert error.status == (
        "RESOURCE_EXHAUSTED: Insufficient resources to load servable {name: m version: 2}"
    )
    assert error.hint is not None
    assert "needs 481 bytes" in error.hint
    assert "720 of the 1200 of --max_model_memory_bytes are taken" in error.hint
    assert narrow.body().id == V1  # the old version goes on
    assert narrow.begun == [V1]
    narrow.manager.settle()
    assert any(line.startswith(error.status) for line in lines(caplog))
    assert (
        f"Encountered an error for servable version {{name: m version: 2}}: {error.status}"
        in lines(caplog)
    )
    assert sum(narrow.manager.reserved.values()) == 720


def test_version_that_was_refused_is_loaded_when_room_is_made(narrow: Bench) -> None:
    fill(narrow, OTHER, 600)
    fill(narrow, V1, 700)
    narrow.serve(OTHER, name="other")
    narrow.aspire(V1)
    refusal(narrow, V1)
    narrow.aspire(name="other")
    narrow.until_state(V1, AVAILABLE)
    assert sum(narrow.manager.reserved.values()) == 840


def test_version_refused_and_no_longer_wanted_stays_away_when_room_is_made(narrow: Bench) -> None:
    fill(narrow, OTHER, 600)
    fill(narrow, V1, 700)
    narrow.serve(OTHER, name="other")
    narrow.aspire(V1)
    refusal(narrow, V1)
    narrow.aspire()
    narrow.aspire(name="other")
    narrow.until_state(OTHER, END)
    narrow.manager.settle()
    assert narrow.begun == [OTHER]


def test_another_version_loads_where_one_was_refused(narrow: Bench) -> None:
    fill(narrow, V1, 1001)
    fill(narrow, V2, 1000)
    narrow.aspire(V1)
    refusal(narrow, V1)
    narrow.aspire(V2)
    narrow.until_state(V2, AVAILABLE)


def test_while_another_unloads_a_version_waits_for_its_room(narrow: Bench) -> None:
    fill(narrow, OTHER, 1000)
    fill(narrow, V1, 1000)
    narrow.serve(OTHER, name="other")
    entry = narrow.serving.acquire("other")
    narrow.aspire(name="other")
    narrow.until_state(OTHER, UNLOADING)
    narrow.aspire(V1)
    narrow.until_state(V1, START)
    entry.release()
    narrow.until_state(V1, AVAILABLE)


def test_while_another_loads_a_version_waits_and_is_refused_once_that_stays(narrow: Bench) -> None:
    fill(narrow, OTHER, 600)
    fill(narrow, V1, 600)
    narrow.gates[OTHER] = threading.Event()
    narrow.aspire(OTHER, name="other")
    narrow.until_begun(OTHER)
    narrow.aspire(V1)
    narrow.until_state(V1, START)
    narrow.gates[OTHER].set()
    refusal(narrow, V1)


def test_load_that_waits_for_its_next_try_takes_no_room(narrow: Bench) -> None:
    narrow.failing[OTHER] = NotFound("not yet")
    fill(narrow, OTHER, 600)
    fill(narrow, V1, 600)
    narrow.aspire(OTHER, name="other")
    narrow.until(lambda: narrow.monitor.last_error("other") is not None)
    narrow.aspire(V1)
    narrow.until_state(V1, AVAILABLE)
    narrow.failing.clear()
    narrow.advance(3600)
    assert "Insufficient resources" in refusal(narrow, OTHER).message
    narrow.aspire()
    narrow.until_state(OTHER, AVAILABLE)


def test_load_that_fails_for_good_makes_room_for_those_that_wait(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_model_memory_bytes=1200, max_num_load_retries=0)
    fill(bench, OTHER, 600)
    fill(bench, V1, 600)
    bench.gates[OTHER] = threading.Event()
    bench.failing[OTHER] = NotFound("no saved_model.pb")
    bench.aspire(OTHER, name="other")
    bench.until_begun(OTHER)
    bench.aspire(V1)
    bench.until_state(V1, START)
    bench.gates[OTHER].set()
    bench.until_state(V1, AVAILABLE)
    assert bench.manager.close(WAIT_S)


def test_version_that_waits_for_room_and_is_no_longer_wanted_ends_at_once(narrow: Bench) -> None:
    fill(narrow, OTHER, 600)
    fill(narrow, V1, 600)
    narrow.gates[OTHER] = threading.Event()
    narrow.aspire(OTHER, name="other")
    narrow.until_begun(OTHER)
    narrow.aspire(V1)
    narrow.until_state(V1, START)
    while (
        V1 not in narrow.manager._tries._queue.waiting
    ):  # a load thread has to look at its files first
        narrow.manager.settle()
    narrow.aspire()
    assert refusal(narrow, V1).status == "CANCELLED: Loading of servable cancelled"
    narrow.gates[OTHER].set()


def test_several_that_find_no_room_are_all_refused(narrow: Bench) -> None:
    fill(narrow, V1, 1001)
    fill(narrow, V2, 1001)
    narrow.aspire(V1, V2)
    refusal(narrow, V1)
    refusal(narrow, V2)


def test_what_only_the_load_takes_is_given_back_after_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_model_memory_bytes=1000, transient_load_bytes=500)
    fill(bench, V1, 250)
    fill(bench, V2, 150)
    bench.serve(V1, V2)  # 300 and 180, one after the other with 500
    assert sum(bench.manager.reserved.values()) == 480
    assert bench.manager.close(WAIT_S)


def test_version_no_longer_wanted_when_it_finds_no_room_is_cancelled() -> None:
    looking, let_go = threading.Event(), threading.Event()

    def look(path: str) -> Footprint:
        looking.set()
        assert let_go.wait(WAIT_S)
        return Footprint(1, 2000, 0, 0)

    def load(id: ServableId, path: str) -> Body:
        raise NotImplementedError

    monitor = Monitor()
    manager: Manager[Body] = Manager(
        load,
        LoadOptions(max_model_memory_bytes=1200),
        serving=ServingMap(),
        monitor=monitor,
        look=look,
    )
    manager.aspire("m", {1: "/m/1"})
    assert looking.wait(WAIT_S)
    manager.aspire("m", {})
    manager.settle()
    let_go.set()
    assert manager.close(WAIT_S)
    status = monitor.status(V1)
    assert status is not None
    assert status.error is not None
    assert status.error.status == "CANCELLED: Loading of servable cancelled"


# -- loads that do not return ----------------------------------------------------------------------

NO_TIME_TO_LOAD = "Loading servable: {name: m version: 1} has not returned for 30 s"


@pytest.fixture
def stuck(bench: Bench) -> Bench:
    """Version 1 of `m` loads, and does not return; loads have one thread."""
    bench.manager.end_initial_load()
    bench.gates[V1] = threading.Event()
    bench.aspire(V1)
    bench.until_begun(V1)
    bench.manager.settle()
    return bench


def test_load_that_does_not_return_is_told_of_and_keeps_no_other_waiting(
    stuck: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    stuck.aspire(OTHER, name="other")
    stuck.advance(59)
    assert OTHER not in stuck.begun
    stuck.advance(1)
    stuck.until_state(OTHER, AVAILABLE)
    warning = "Loading servable: {name: m version: 1} has not returned for 60 s, "
    (line,) = [line for line in lines(caplog) if line.startswith(warning)]
    assert line.endswith(" UTC. Other loads go on")
    status = stuck.monitor.status(V1)
    assert status is not None
    assert status.state is LOADING
    assert status.note is not None
    assert status.note in line
    assert status.note.startswith("still loading since ")
    stuck.advance(60)
    assert any("has not returned for 120 s" in line for line in lines(caplog))
    stuck.gates[V1].set()
    assert stuck.until_state(V1, AVAILABLE).note is None
    stuck.manager.settle()
    assert stuck.manager._pools.loads._lent == 0


def test_as_many_loads_as_do_not_return_are_made_up_for(stuck: Bench) -> None:
    stuck.gates[OTHER] = threading.Event()
    stuck.aspire(OTHER, name="other")
    third = ServableId("third", 1)
    stuck.aspire(third, name="third")
    stuck.advance(60)
    stuck.until_begun(OTHER)
    stuck.manager.settle()
    stuck.advance(60)
    stuck.until_state(third, AVAILABLE)


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Bench]:
    """The same, and loads are given up after half a minute."""
    bench = Bench(tmp_path, load_timeout_s=30, num_initial_load_threads=1)
    bench.keeps_bodies = True
    bench.gates[V1] = threading.Event()
    bench.aspire(V1)
    bench.until_begun(V1)
    bench.manager.settle()
    yield bench
    for gate in bench.gates.values():
        gate.set()
    assert bench.manager.close(WAIT_S)


def test_load_is_given_up_when_its_time_is_over_and_not_tried_again(impatient: Bench) -> None:
    impatient.aspire(OTHER, name="other")
    impatient.advance(29)
    assert impatient.monitor.statuses("m")[0].state is LOADING
    impatient.advance(1)
    error = impatient.until_state(V1, END).error
    assert error is not None
    assert error.status == f"DEADLINE_EXCEEDED: {NO_TIME_TO_LOAD}"
    assert error.hint is not None
    assert "--load_timeout_seconds" in error.hint
    assert impatient.monitor.last_error("m") is error
    impatient.until_state(OTHER, AVAILABLE)
    impatient.advance(3600)
    assert impatient.begun == [V1, OTHER]
    assert impatient.abandoned == [V1]


def test_what_returns_after_it_was_given_up_is_closed_and_never_answers(
    impatient: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    impatient.advance(30)
    impatient.until_state(V1, END)
    changes = impatient.changes
    impatient.gates.pop(V1).set()
    until(lambda: impatient.changes > changes)
    (body,) = impatient.bodies
    assert not body.is_open
    with pytest.raises(NotFound):
        impatient.body()
    status = impatient.monitor.status(V1)
    assert status is not None
    assert status.state is END
    assert "{name: m version: 1} has returned after it was given up" in caplog.text


def test_what_fails_after_it_was_given_up_changes_nothing(impatient: Bench) -> None:
    impatient.advance(30)
    impatient.until_state(V1, END)
    impatient.failing[V1] = NotFound("at last")
    impatient.gates.pop(V1).set()
    until(lambda: impatient.manager._pools.late.num_abandoned == 0)
    error = impatient.monitor.last_error("m")
    assert error is not None
    assert error.message == NO_TIME_TO_LOAD


def test_version_that_was_given_up_is_tried_again_when_its_files_change(impatient: Bench) -> None:
    impatient.advance(30)
    impatient.until_state(V1, END)
    late = impatient.gates.pop(V1)
    Path(impatient.path(V1), "saved_model.pb").touch()
    impatient.rest()
    impatient.until_state(V1, AVAILABLE)
    served = impatient.body()
    late.set()  # the first load returns after the second
    until(lambda: impatient.manager._pools.late.num_abandoned == 0)
    impatient.manager.settle()
    until(lambda: [body.is_open for body in impatient.bodies].count(False) == 1)
    assert served.is_open
    assert impatient.body() is served


def test_load_that_nobody_wants_any_more_is_given_up_once_it_is_late(stuck: Bench) -> None:
    stuck.aspire()
    stuck.advance(59)
    assert stuck.monitor.statuses("m")[0].state is LOADING
    stuck.advance(1)
    error = stuck.until_state(V1, END).error
    assert error is not None
    assert error.status == "CANCELLED: Loading of servable cancelled"
    late = stuck.gates.pop(V1)
    stuck.serve(V1)  # as it is wanted again, it is loaded anew
    late.set()
    assert stuck.begun == [V1, V1]


def test_late_load_is_given_up_as_soon_as_nobody_wants_it(stuck: Bench) -> None:
    stuck.advance(61)
    stuck.aspire()
    stuck.until_state(V1, END)


def test_memory_of_a_load_that_was_given_up_is_not_given_away_before_it_returns(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, load_timeout_s=30, max_model_memory_bytes=1200)
    bench.gates[V1] = threading.Event()
    fill(bench, V1, 600)
    fill(bench, OTHER, 600)
    bench.aspire(V1)
    bench.until_begun(V1)
    bench.manager.settle()
    bench.advance(30)
    bench.until_state(V1, END)
    bench.aspire(OTHER, name="other")
    assert bench.until_state(OTHER, END).error is not None
    bench.gates[V1].set()
    bench.until_state(OTHER, AVAILABLE)
    assert bench.manager.close(WAIT_S)


def test_closing_does_not_wait_for_a_load_that_was_given_up(tmp_path: Path) -> None:
    bench = Bench(tmp_path, load_timeout_s=30)
    bench.gates[V1] = threading.Event()
    bench.aspire(V1)
    bench.until_begun(V1)
    bench.manager.settle()
    bench.advance(30)
    assert not bench.manager.close(3600, load_grace_s=0.01)
    bench.gates[V1].set()


def test_unload_that_does_not_return_is_told_of_and_keeps_no_other_waiting(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.serve(V1)
    bench.serve(OTHER, name="other")
    gate = bench.body().closing = threading.Event()
    bench.aspire()
    bench.until_state(V1, UNLOADING)
    until(lambda: bench.manager._pools.late_unloads.due_s is not None)
    bench.aspire(name="other")
    bench.advance(60)
    bench.until_state(OTHER, END)
    assert (
        "Unloading servable version {name: m version: 1} has not returned for 60 s" in caplog.text
    )
    gate.set()
    bench.until_state(V1, END)
    bench.manager.settle()
    assert bench.manager._pools._unloads._lent == 0


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    end = time.monotonic() + WAIT_S
    while not condition():
        threading.Event().wait(0.001)
        assert time.monotonic() < end

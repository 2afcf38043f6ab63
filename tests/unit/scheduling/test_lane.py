import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

import pytest

from salver.errors import Overloaded
from salver.scheduling.priorities import BATCH_TURN
from salver.scheduling.run_pool import Lane, RunPool
from salver.vocabulary.access import Priority, current_priority

LONG_S = 30.0


@pytest.fixture
def pool() -> Iterator[RunPool]:
    made = RunPool(1, name="test-lane", most_running_per_lane=1, most_queued_per_lane=1000)
    yield made
    made.abandon()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


def in_batch(lane: Lane, call: Callable[[], Any], timeout_s: float | None = None) -> Future[Any]:
    token = current_priority.set(Priority.BATCH)
    try:
        return lane.submit(call, timeout_s)
    finally:
        current_priority.reset(token)


def hold(lane: Lane, gate: threading.Event) -> Future[Any]:
    """Keep the lane's only slot, until the gate is opened."""
    entered = threading.Event()

    def call() -> None:
        entered.set()
        assert gate.wait(LONG_S)

    future = lane.submit(call)
    assert entered.wait(LONG_S)
    return future


def test_batch_work_waits_behind_interactive_requests_and_gets_its_turns(
    pool: RunPool, gate: threading.Event
) -> None:
    lane = pool.lane("m")
    order: list[str] = []
    futures = [hold(lane, gate)]
    futures += [in_batch(lane, partial(order.append, "b")) for _ in range(30)]
    futures += [lane.submit(partial(order.append, "i")) for _ in range(30)]
    gate.set()
    assert not wait(futures, LONG_S).not_done
    turn = "i" * (BATCH_TURN - 1) + "b"
    assert "".join(order) == turn * 4 + "ii" + "b" * 26
    assert pool.batch_waiting == 0


def test_a_model_whose_batch_work_waits_lets_other_models_go_first_but_is_not_starved(
    gate: threading.Event,
) -> None:
    pool = RunPool(1, name="test-lane", most_running_per_lane=1)
    order: list[str] = []
    # All threads there may be: one, and one more for a model that has nothing under way.
    futures = [hold(pool.lane(name), gate) for name in ("x", "y")]
    lanes = {name: pool.lane(name) for name in ("bulk", "chat")}
    futures += [in_batch(lanes["bulk"], partial(order.append, "b")) for _ in range(20)]
    futures += [lanes["chat"].submit(partial(order.append, "c")) for _ in range(40)]
    gate.set()
    assert not wait(futures, LONG_S).not_done
    first = "".join(order[:40])
    assert 3 <= first.count("b") <= 10  # there are two threads
    pool.close()


def test_batch_work_that_is_given_up_is_counted_no_more(
    pool: RunPool, gate: threading.Event
) -> None:
    lane = pool.lane("m")
    hold(lane, gate)
    futures = [in_batch(lane, print) for _ in range(50)]
    assert pool.batch_waiting == 50
    for future in futures:
        assert future.cancel()
    assert pool.batch_waiting == 0
    assert len(lane.runs()) < 50


def test_batch_work_does_not_fill_the_queue_for_interactive_requests(
    gate: threading.Event,
) -> None:
    pool = RunPool(1, name="test-lane", most_running_per_lane=1, most_queued_per_lane=16)
    lane = pool.lane("m")
    held = hold(lane, gate)
    futures = [in_batch(lane, list) for _ in range(14)]
    with pytest.raises(Overloaded):
        in_batch(lane, list)
    futures += [lane.submit(list) for _ in range(2)]
    with pytest.raises(Overloaded):
        lane.submit(list)
    gate.set()
    assert not wait([held, *futures], LONG_S).not_done
    pool.close()


@pytest.fixture
def slow(pool: RunPool, gate: threading.Event) -> Lane:
    """A lane that knows that its runs take some 20 ms, with one under way that does not end."""
    lane = pool.lane("slow")
    ended = [lane.submit(_take_20_ms) for _ in range(6)]
    assert not wait(ended, LONG_S).not_done
    hold(lane, gate)
    return lane


def _take_20_ms() -> None:
    until_s = time.perf_counter() + 0.02
    while time.perf_counter() < until_s:
        pass


def test_a_run_whose_time_is_over_before_its_turn_is_refused_at_once(
    pool: RunPool, slow: Lane
) -> None:
    for _ in range(50):
        slow.submit(list, 100.0)
    with pytest.raises(Overloaded) as refused:
        slow.submit(list, 0.5)
    assert refused.value.retry_after_s >= 1
    assert pool.too_late == {"slow": 1}
    assert pool.rejected == {}
    slow.submit(list, 100.0)
    slow.submit(list)


def test_an_interactive_request_is_not_refused_for_the_batch_work_behind_it(
    pool: RunPool, slow: Lane
) -> None:
    for _ in range(50):
        in_batch(slow, list)
    slow.submit(list, 0.5)
    with pytest.raises(Overloaded):
        in_batch(slow, list, 0.5)


def test_who_is_next_is_never_refused_however_long_runs_took(pool: RunPool, slow: Lane) -> None:
    slow.submit(list, 1e-6)
    assert pool.too_late == {}


def test_a_burst_is_not_refused_for_runs_that_are_about_to_begin() -> None:
    pool = RunPool(4, name="test-lane", most_running_per_lane=4)
    lane = pool.lane("m")
    for _ in range(6):
        lane.submit(_take_20_ms).result(LONG_S)
    futures = [lane.submit(_take_20_ms, 5.0) for _ in range(8)]
    assert not wait(futures, LONG_S).not_done
    assert pool.too_late == {}
    pool.close()

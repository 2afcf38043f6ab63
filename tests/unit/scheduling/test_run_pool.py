import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

import pytest
from tests.integration.serving import eventually

from salver.errors import Code, Overloaded, Unavailable
from salver.scheduling.run_pool import Lane, RunLimits, RunPool

LONG_S = 30.0


class Gate:
    """A call that waits until it is let through, and says when it has begun."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self) -> str:
        self.entered.release()
        assert self.open.wait(LONG_S)
        return threading.current_thread().name

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.entered.acquire(timeout=LONG_S)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


@pytest.fixture
def pool() -> Iterator[RunPool]:
    made = RunPool(4, name="test-run", most_running_per_lane=2, most_queued_per_lane=3)
    yield made
    made.abandon()


def threads() -> set[str]:
    return {each.name for each in threading.enumerate() if each.name.startswith("test-run")}


def fill(lane: Lane, gate: Gate, running: int, queued: int) -> list[Future[Any]]:
    futures = [lane.submit(gate) for _ in range(running + queued)]
    gate.wait_for(running)
    return futures


def test_a_model_has_its_part_of_the_threads_and_no_more(pool: RunPool, gate: Gate) -> None:
    slow = pool.lane("slow")
    futures = fill(slow, gate, 2, 3)
    assert pool.running == 2
    assert not gate.entered.acquire(blocking=False)
    assert pool.lane("quick").submit(lambda: "done").result(LONG_S) == "done"
    gate.open.set()
    assert not wait(futures, LONG_S).not_done
    assert pool.running == 0


def test_a_queue_that_is_full_takes_no_more(pool: RunPool, gate: Gate) -> None:
    slow = pool.lane("slow")
    futures = fill(slow, gate, 2, 3)
    with pytest.raises(Overloaded) as raised:
        slow.submit(gate)
    assert raised.value.code is Code.RESOURCE_EXHAUSTED
    assert raised.value.message == "3 requests wait for runs of model slow already"
    assert pool.rejected == {"slow": 1}
    futures[-1].cancel()
    slow.submit(gate)  # where one has left, there is room for another


def test_models_take_turns(gate: Gate) -> None:
    pool = RunPool(1, name="test-run", most_running_per_lane=1)
    order: list[str] = []
    blockers: list[Future[Any]] = [
        pool.lane(name).submit(gate) for name in "ab"
    ]  # all threads that there may be
    gate.wait_for(2)
    futures: list[Future[Any]] = [
        pool.lane("c").submit(partial(order.append, "c")) for _ in range(9)
    ]
    futures += [pool.lane("d").submit(partial(order.append, "d")) for _ in range(9)]
    gate.open.set()
    assert not wait([*blockers, *futures], LONG_S).not_done
    ahead = [order[:n].count("c") - order[:n].count("d") for n in range(len(order))]
    assert set(ahead) <= {-1, 0, 1, 2}  # there are two threads
    pool.close()


def test_a_model_with_nothing_under_way_gets_a_thread_where_all_are_busy(gate: Gate) -> None:
    pool = RunPool(2, name="test-run", most_running_per_lane=1)
    slow = [pool.lane(f"slow{number}").submit(gate) for number in range(2)]
    gate.wait_for(2)
    assert pool.lane("quick").submit(lambda: "done").result(LONG_S) == "done"
    extra = [pool.lane(f"slow{number}").submit(gate) for number in range(2, 9)]
    gate.wait_for(2)  # twice as many as there are to be, and no more
    assert len(threads()) == 4
    gate.open.set()
    assert not wait([*slow, *extra], LONG_S).not_done
    assert pool.lane("quick").submit(lambda: "done").result(LONG_S) == "done"
    pool.close()
    assert not threads()


def test_threads_that_are_too_many_end_when_they_have_nothing_to_do(gate: Gate) -> None:
    pool = RunPool(1, name="test-run", most_running_per_lane=1)
    futures = [pool.lane(name).submit(gate) for name in "ab"]
    gate.wait_for(2)
    extra = threads()
    assert len(extra) == 2
    gate.open.set()
    assert not wait(futures, LONG_S).not_done
    for each in threading.enumerate():
        if each.name in extra:
            each.join(0.2)
    assert len(threads()) <= 1
    assert pool.lane("c").submit(lambda: 1).result(LONG_S) == 1
    pool.close()


def test_what_is_cancelled_while_it_waits_is_let_go_at_once(pool: RunPool, gate: Gate) -> None:
    class Feeds:
        pass

    slow = pool.lane("slow")
    fill(slow, gate, 2, 0)
    feeds = Feeds()
    held = weakref.ref(feeds)
    run = slow.submit(partial(id, feeds))
    del feeds
    assert held() is not None
    assert run.cancel()
    gc.collect()
    assert held() is None
    gate.open.set()


def test_cancelled_runs_take_no_place_however_many_there_are(pool: RunPool, gate: Gate) -> None:
    slow = pool.lane("slow")
    fill(slow, gate, 2, 0)
    for _ in range(1000):
        assert slow.submit(gate).cancel()
    assert len(slow.runs()) < 30
    last = slow.submit(lambda: "last")
    gate.open.set()
    assert last.result(LONG_S) == "last"


def test_runs_that_are_cancelled_and_begun_at_once_end_once() -> None:
    pool = RunPool(2, name="test-run", most_running_per_lane=2)
    lane = pool.lane("m")
    done = 0
    for _ in range(3000):
        run = lane.submit(lambda: None)
        done += not run.cancel()
    ends = [lane.submit(lambda: None) for _ in range(4)]
    assert not wait(ends, LONG_S).not_done
    eventually("the threads have counted their ends", lambda: pool.running == 0)
    assert 0 <= done <= 3000
    pool.close()


def test_an_error_is_the_callers_and_the_thread_goes_on(pool: RunPool) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        pool.lane("m").submit(fail).result(LONG_S)
    assert pool.lane("m").submit(lambda: 1).result(LONG_S) == 1


def test_a_lane_is_the_same_for_all_versions_of_a_model_and_goes_with_the_last(
    pool: RunPool,
) -> None:
    lane = pool.lane("m")
    assert pool.lane("m") is lane
    gone = weakref.ref(lane)
    del lane
    gc.collect()
    assert gone() is None


def test_what_waits_when_the_pool_ends_is_cancelled(pool: RunPool, gate: Gate) -> None:
    futures = fill(pool.lane("slow"), gate, 2, 3)
    pool.abandon()
    assert [future.cancelled() for future in futures] == [False, False, True, True, True]
    with pytest.raises(Unavailable):
        pool.lane("slow").submit(gate)


def test_a_model_may_have_limits_of_its_own(pool: RunPool, gate: Gate) -> None:
    pool.limit({"m": RunLimits(most_running=1, most_queued=1)})
    futures = fill(pool.lane("m"), gate, 1, 1)
    with pytest.raises(Overloaded):
        pool.lane("m").submit(gate)
    others = fill(pool.lane("other"), gate, 2, 3)
    gate.open.set()
    wait([*futures, *others], LONG_S)


def test_no_model_has_more_runs_than_there_are_threads(pool: RunPool, gate: Gate) -> None:
    pool.limit({"m": RunLimits(most_running=100, most_queued=0)})
    futures = fill(pool.lane("m"), gate, 4, 50)
    assert not gate.entered.acquire(timeout=0.05)
    assert pool.running == 4
    gate.open.set()
    wait(futures, LONG_S)


def test_a_limit_that_is_raised_lets_runs_begin_that_wait(pool: RunPool, gate: Gate) -> None:
    futures = fill(pool.lane("m"), gate, 2, 3)
    pool.limit({"m": RunLimits(most_running=4)})
    gate.wait_for(2)
    assert pool.running == 4
    gate.open.set()
    wait(futures, LONG_S)
    assert all(future.done() for future in futures)


def test_a_limit_that_is_lowered_holds_once_the_runs_under_way_are_over(pool: RunPool) -> None:
    first, second = Gate(), Gate()
    lane = pool.lane("m")
    begun = fill(lane, first, 2, 0)
    queued = fill(lane, second, 0, 3)
    pool.limit({"m": RunLimits(most_running=1)})
    first.open.set()
    wait(begun, LONG_S)
    second.wait_for(1)
    assert not second.entered.acquire(timeout=0.05)
    second.open.set()
    wait(queued, LONG_S)
    assert all(future.result() for future in queued)


def test_a_limit_that_goes_is_that_of_all_models_again(pool: RunPool, gate: Gate) -> None:
    lane = pool.lane("m")
    pool.limit({"m": RunLimits(most_running=1, most_queued=1)})
    pool.limit({})
    futures = fill(lane, gate, 2, 3)
    gate.open.set()
    wait(futures, LONG_S)

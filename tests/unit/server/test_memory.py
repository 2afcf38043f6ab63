import gc
import weakref
from collections.abc import Iterator

import pytest

from salver.server.memory import Settling, freeze_at_start

OFTEN = 1024  # after so many changes everything is collected


class Ring:
    """What only the collector frees."""

    def __init__(self) -> None:
        self.me = self


class Clock:
    """Seconds that pass at each look, and when a test says so."""

    def __init__(self, step_s: float) -> None:
        self.now_s = 0.0
        self.step_s = step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    """Leave nothing frozen behind, nor the collector off."""
    yield
    gc.enable()
    gc.unfreeze()


def frozen_garbage(settling: Settling) -> "weakref.ref[Ring]":
    """Something that was alive at one change and is garbage at the next."""
    ring = Ring()
    settling.settle()
    return weakref.ref(ring)


def settle(settling: Settling, times: int) -> None:
    for _ in range(times):
        settling.settle()


def test_what_is_alive_after_a_change_is_frozen() -> None:
    before = gc.get_freeze_count()
    kept = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    Settling().settle()
    assert gc.get_freeze_count() >= before + len(kept)


def test_garbage_made_since_the_last_change_is_collected() -> None:
    settling = Settling()
    settling.settle()
    ring = weakref.ref(Ring())
    settling.settle()
    assert ring() is None


def test_garbage_of_frozen_things_is_collected_after_many_changes() -> None:
    settling = Settling(Clock(0.0))
    ring = frozen_garbage(settling)
    settle(settling, OFTEN - 2)
    assert ring() is not None
    settling.settle()
    assert ring() is None


def test_collections_of_everything_take_a_thousandth_of_the_time_at_most() -> None:
    clock = Clock(step_s=1.0)  # a collection of everything takes a second
    settling = Settling(clock)
    settle(settling, OFTEN)
    ring = frozen_garbage(settling)
    clock.step_s = 0.0
    clock.now_s += 998.0
    settle(settling, 2 * OFTEN)
    assert ring() is not None
    clock.now_s += 1.0
    settling.settle()
    assert ring() is None


def test_the_end_of_a_start_freezes_what_is_alive_and_lets_the_collector_work() -> None:
    gc.disable()
    before = gc.get_freeze_count()
    freeze_at_start()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before

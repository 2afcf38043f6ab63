import threading
from collections.abc import Iterator
from typing import Any

import pytest

from salver.workers.spare import Spare

WAIT_S = 10.0


class Process:
    """A process that waits to become a worker."""

    def __init__(self) -> None:
        self.has_ended = False
        self.dismissals = 0

    def dismiss(self) -> None:
        self.dismissals += 1
        self.has_ended = True


class Bench:
    def __init__(self) -> None:
        self.made: list[Process] = []
        self.is_wanted = True
        self.error: OSError | None = None
        self.looks = threading.Semaphore(0)
        self.spare = Spare(self._prepare, lambda: self.is_wanted, wait=self._wait)

    def _prepare(self) -> Any:
        if self.error is not None:
            raise self.error
        self.made.append(Process())
        return self.made[-1]

    def _wait(self, stopping: threading.Event, seconds: float) -> None:
        self.looks.release()
        stopping.wait(0.002)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.spare.stop()


def test_one_is_kept_where_it_is_wanted_and_taken_once(bench: Bench) -> None:
    bench.spare.check()
    bench.spare.check()
    assert len(bench.made) == 1
    taken: object = bench.spare.take()
    assert taken is bench.made[0]
    assert bench.spare.take() is None
    bench.spare.check()
    assert len(bench.made) == 2


def test_one_that_has_ended_is_replaced_and_not_given_away(bench: Bench) -> None:
    bench.spare.check()
    bench.made[0].has_ended = True
    assert bench.spare.take() is None
    assert bench.made[0].dismissals == 1
    bench.spare.check()
    bench.made[1].has_ended = True
    bench.spare.check()
    assert [each.dismissals for each in bench.made] == [1, 1, 0]


def test_it_is_ended_when_it_is_not_wanted_any_more(bench: Bench) -> None:
    bench.spare.check()
    bench.is_wanted = False
    bench.spare.check()
    assert bench.made[0].dismissals == 1
    assert bench.spare.take() is None


def test_where_the_system_gives_no_process_there_is_none(bench: Bench) -> None:
    bench.error = OSError("no memory")
    bench.spare.check()
    assert bench.spare.take() is None


def test_it_looks_again_and_again_until_it_is_stopped(bench: Bench) -> None:
    bench.spare.start()
    for _ in range(3):
        assert bench.looks.acquire(timeout=WAIT_S)
    bench.spare.stop()
    assert [each.dismissals for each in bench.made] == [1]
    bench.spare.check()
    assert bench.made[-1].dismissals == 1

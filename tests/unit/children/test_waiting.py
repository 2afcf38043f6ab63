import numpy as np
import pytest

from salver.children.run import Run
from salver.children.waiting import WaitingRuns, is_large, kind_of_end
from salver.errors import Overloaded
from salver.scheduling.lane import TooLate
from salver.vocabulary.access import Priority, current_priority


def _runs(count: int) -> list[Run]:
    return [Run((number,), [np.zeros(1)]) for number in range(count)]


def _give_up(waiting: WaitingRuns, run: Run) -> None:
    run.is_given_up = True
    waiting.gave_up(run)


def test_runs_are_taken_in_their_order_but_for_those_that_were_given_up() -> None:
    waiting, runs = WaitingRuns(), _runs(4)
    for run in runs:
        waiting.append(run)
    _give_up(waiting, runs[1])
    assert len(waiting) == 3
    assert waiting.take() is runs[0]
    assert waiting.take() is runs[2]
    assert waiting.take_all() == [runs[3]]
    assert len(waiting) == 0


def test_those_that_were_given_up_keep_nothing() -> None:
    waiting, runs = WaitingRuns(), _runs(1000)
    for run in runs:
        waiting.append(run)
    for run in runs[1:]:
        _give_up(waiting, run)
        assert run.feeds == []
    assert len(waiting) == 1
    assert len(waiting._queue) < 50


def _batch_run(number: int = 0, timeout_s: float | None = None) -> Run:
    run = Run((number,), [])
    run.is_batch, run.timeout_s = True, timeout_s
    return run


def test_a_run_is_batch_work_if_the_request_is_that_is_being_handled() -> None:
    token = current_priority.set(Priority.BATCH)
    made = Run((), [])
    current_priority.reset(token)
    assert made.is_batch
    assert not Run((), []).is_batch


def test_batch_work_waits_behind_the_others_and_is_not_starved() -> None:
    waiting, runs = WaitingRuns(), _runs(20)
    bulk = [_batch_run() for _ in range(3)]
    for run in (*bulk, *runs):
        waiting.append(run)
    order = [waiting.take() for _ in range(len(waiting))]
    assert [order.index(run) for run in bulk] == [7, 15, 22]
    assert [run for run in order if not run.is_batch] == runs


def test_batch_work_that_was_given_up_is_not_taken() -> None:
    waiting, bulk = WaitingRuns(), [_batch_run(number) for number in range(100)]
    for run in bulk:
        waiting.append(run)
    for run in bulk[:-1]:
        _give_up(waiting, run)
    assert len(waiting) == 1
    assert waiting.take() is bulk[-1]
    waiting.append(bulk[-1])
    assert waiting.take_all() == [bulk[-1]]
    assert len(waiting) == 0


def test_batch_work_does_not_fill_the_queue() -> None:
    waiting = WaitingRuns()
    for run in (_batch_run() for _ in range(7)):
        waiting.check(run, 8, 1, "m")
        waiting.append(run)
    with pytest.raises(Overloaded, match="7 requests wait for runs of model m already"):
        waiting.check(_batch_run(), 8, 1, "m")
    (run,) = _runs(1)
    waiting.check(run, 8, 1, "m")


def test_a_run_whose_time_is_over_before_its_turn_is_refused() -> None:
    waiting = WaitingRuns()
    for _ in range(4):
        waiting.ran(2.0)
    for run in _runs(10):
        waiting.append(run)
    (run,) = _runs(1)
    waiting.check(run, 1000, 2, "m")
    run.timeout_s = 9.0
    with pytest.raises(TooLate) as late:
        waiting.check(run, 1000, 2, "m")
    assert late.value.error.retry_after_s == 10
    run.timeout_s = 11.0
    waiting.check(run, 1000, 2, "m")


def test_what_takes_long_to_copy_is_large() -> None:
    assert not is_large([np.zeros(1000), np.array([b"a"], object)])
    assert is_large([np.zeros(200_000)])
    assert is_large([np.full(1000, b"a", object)])


def test_ends_are_of_a_few_kinds() -> None:
    kinds = [kind_of_end(code) for code in (0, 3, -9, -15, -11, -6)]
    assert kinds == ["exit", "exit", "killed", "killed", "crash", "crash"]

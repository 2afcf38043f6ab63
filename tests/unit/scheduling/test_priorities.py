from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.errors import Code
from salver.scheduling.priorities import (
    BATCH_TURN,
    QueueEstimate,
    Turns,
    ahead_of_batch,
    ahead_of_interactive,
    places_for_batch,
    too_late,
)


def test_batch_work_has_one_turn_of_eight_while_others_wait() -> None:
    turns = Turns()
    taken = [turns.takes_batch(has_interactive=True) for _ in range(4 * BATCH_TURN)]
    assert taken == ([False] * (BATCH_TURN - 1) + [True]) * 4


def test_batch_work_has_every_turn_where_nothing_else_waits() -> None:
    turns = Turns()
    assert all(turns.takes_batch(has_interactive=False) for _ in range(20))


@given(st.integers(0, 500), st.integers(0, 500), st.booleans())
def test_what_is_said_to_be_ahead_is_what_goes_before(
    interactive: int, batch: int, is_batch: bool
) -> None:
    said = (ahead_of_batch if is_batch else ahead_of_interactive)(interactive, batch)
    left = {False: interactive, True: batch}
    turns = Turns()
    went = 0
    while left[is_batch]:
        takes = left[True] > 0 and turns.takes_batch(has_interactive=left[False] > 0)
        left[takes] -= 1
        went += 1
    assert abs(said - went) <= BATCH_TURN


@pytest.mark.parametrize(("places", "for_batch"), [(inf, inf), (1, 0), (3, 2), (10_000, 8750)])
def test_batch_work_never_fills_a_queue(places: float, for_batch: float) -> None:
    assert places_for_batch(places) == for_batch


def test_an_estimate_says_nothing_before_it_knows_some_runs() -> None:
    estimate = QueueEstimate()
    for _ in range(3):
        estimate.ran(5.0)
        assert estimate.wait_s(100, 1) == 0.0
    estimate.ran(5.0)
    assert estimate.wait_s(100, 2) == 250.0


def test_slow_first_runs_are_not_taken_for_the_usual() -> None:
    estimate = QueueEstimate()
    for seconds in (9.0, 8.0, 0.1, 7.0):
        estimate.ran(seconds)
    assert estimate.wait_s(1, 1) == 0.1


def test_one_run_that_takes_very_long_changes_little() -> None:
    estimate = QueueEstimate()
    for _ in range(20):
        estimate.ran(0.1)
    estimate.ran(1000.0)
    assert estimate.wait_s(1, 1) < 0.12


@pytest.mark.parametrize("before_s", [0.0, 1e-6, 0.1])
def test_an_estimate_follows_when_runs_become_longer(before_s: float) -> None:
    estimate = QueueEstimate()
    for _ in range(100):
        estimate.ran(before_s)
    for _ in range(100):
        estimate.ran(1.0)
    assert estimate.wait_s(1, 1) > 0.9


def test_an_estimate_forgets_what_has_changed() -> None:
    estimate = QueueEstimate()
    for _ in range(100):
        estimate.ran(10.0)
    for _ in range(100):
        estimate.ran(0.01)
    assert estimate.wait_s(1, 1) < 0.05


def test_who_comes_too_late_is_told_how_long_it_takes_and_when_to_come_again() -> None:
    error = too_late(2.345, 0.5, waiting=7, name="m")
    assert error.code is Code.RESOURCE_EXHAUSTED
    assert error.message == (
        "7 requests wait for runs of model m already, which takes about 2.3 s: "
        "longer than the 0.5 s that this request may take"
    )
    assert error.retry_after_s == 3
    assert too_late(1e9, 0.5, waiting=7, name="m").retry_after_s == 60

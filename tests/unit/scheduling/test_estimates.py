import pytest

from salver.scheduling.estimates import (
    Estimate,
    LoopBudget,
    cooldown_s,
    is_excused,
    was_stopped,
)
from salver.scheduling.usage import Usage


def proven() -> Estimate:
    estimate = Estimate()
    for _ in range(5):
        estimate.ran_in_pool(50e-6)
    return estimate


def test_five_short_runs_of_which_the_first_does_not_count_prove_a_size_short() -> None:
    estimate = Estimate()
    known = []
    for _ in range(6):
        known.append(estimate.is_inline)
        estimate.ran_in_pool(50e-6)
    assert known == [False] * 5 + [True]


def test_what_is_to_prove_itself_again_needs_as_many_runs_as_before() -> None:
    estimate = proven()
    estimate.prove_again()
    assert estimate.is_short  # as far as anybody knows
    for _ in range(5):
        assert not estimate.is_inline
        estimate.ran_in_pool(50e-6)
    assert estimate.is_inline


def test_runs_in_the_loop_are_known_by_the_shortest_of_late() -> None:
    estimate = proven()
    assert estimate.inline_s == 0.0
    for seconds in (30e-6, 20e-6, 900e-6):
        estimate.ran_inline(seconds)
    assert estimate.inline_s == pytest.approx(20.2e-6)
    for _ in range(500):
        estimate.ran_inline(900e-6)
    assert estimate.inline_s == pytest.approx(900e-6)


@pytest.mark.parametrize(
    ("seconds", "short_runs", "used", "excused"),
    [
        (10e-3, 100, Usage(5e-3, 1), True),
        (10e-3, 99, Usage(5e-3, 1), False),
        (10e-3, 10_000, Usage(6e-3, 1), True),
        (10e-3, 9_999, Usage(6e-3, 1), False),
        (10e-3, 9_999, Usage(6e-3, 0), False),
        (10e-3, 99, Usage(1.1e-3, 0), False),
        (2.5, 10**9, Usage(1.0, 0), False),
        (0.19, 10**9, Usage(0.19, 0), True),
        (0.2, 10**9, Usage(0.2, 0), False),
        (0.2, 10**9, Usage(0.0, 1), False),
    ],
)
def test_a_long_run_is_excused_where_it_is_rare(
    seconds: float, short_runs: int, used: Usage, excused: bool
) -> None:
    assert is_excused(seconds, short_runs, used) is excused


@pytest.mark.parametrize(
    ("used", "stopped"),
    [
        (Usage(0.0, 0), True),
        (Usage(1e-3, 0), True),
        (Usage(1.1e-3, 0), False),
        (Usage(0.0, 1), False),
    ],
)
def test_a_thread_that_neither_waited_nor_computed_for_long_was_stopped(
    used: Usage, stopped: bool
) -> None:
    assert was_stopped(used) is stopped


def test_a_cooldown_is_ten_times_the_run_and_then_four_times_the_last_up_to_a_bound() -> None:
    last_s, taken = 0.0, []
    for _ in range(8):
        last_s = cooldown_s(last_s, 10e-3)
        taken.append(last_s)
    assert taken == pytest.approx([0.1, 0.4, 1.6, 6.4, 25.6, 102.4, 409.6, 600.0])
    assert cooldown_s(0.1, 0.1) == 1.0


def test_after_a_run_longer_than_any_pause_a_program_stays_out_until_that_was_its_share() -> None:
    assert cooldown_s(0.0, 1.0) == 250.0
    assert cooldown_s(0.0, 3600.0) == 900_000.0
    assert cooldown_s(100.0, 1.0) == 400.0


def test_a_budget_that_is_overdrawn_closes_the_loop_until_a_fiftieth_of_the_time_has_paid() -> None:
    budget = LoopBudget()
    budget.spend(80e-3, 100.0)
    assert budget.closed_until_s < 100.0
    budget.spend(40e-3, 100.0)
    assert budget.closed_until_s == pytest.approx(101.0)
    budget.spend(20e-3, 103.0)  # 60 ms more in it by then
    assert budget.closed_until_s == pytest.approx(101.0)
    budget.spend(3600.0, 200.0)  # which counts as 0.15 s
    assert budget.closed_until_s == pytest.approx(202.5)


def test_what_a_thread_has_used_is_told_since_the_last_look() -> None:
    budget = LoopBudget()
    budget.look(10.0, Usage(5.0, 3))
    assert budget.look_at_s == pytest.approx(10.0 + 0.4e-3)
    assert budget.look(11.0, Usage(5.25, 5)) == (0.25, 2)
    assert budget.look_at_s == pytest.approx(11.0 + 0.4e-3)

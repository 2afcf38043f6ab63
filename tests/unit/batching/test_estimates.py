import pytest

from salver.batching.estimates import Estimate, LoopGuard


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


def test_a_frozen_pool_run_begins_the_proof_again() -> None:
    estimate = Estimate()
    for seconds in (9.0, 50e-6, 50e-6, 50e-6, 20e-3, 50e-6, 50e-6, 50e-6):
        estimate.ran_in_pool(seconds)
    assert not estimate.is_inline
    estimate.ran_in_pool(50e-6)
    assert estimate.is_inline


def test_a_frozen_pool_run_takes_back_the_proof_of_a_size_that_is_kept_out_for_others() -> None:
    estimate = proven()
    estimate.ran_in_pool(50e-6)
    estimate.ran_in_pool(20e-3)
    assert not estimate.is_inline


def test_what_proves_itself_again_has_earned_nothing_yet() -> None:
    estimate = proven()
    estimate.inline_runs = 10
    assert estimate.has_earned(1e-3)
    assert not estimate.has_earned(1.1e-3)
    estimate.prove_again(7)
    assert not estimate.has_earned(1e-3)
    for _ in range(8):
        assert not estimate.is_inline
        estimate.ran_in_pool(50e-6)
    assert estimate.is_inline


def test_short_runs_pay_for_one_long_run_of_any_program() -> None:
    guard = LoopGuard()
    guard.runs = 100
    assert guard.is_paid(10e-3)
    assert not guard.is_paid(2e-3)
    guard.runs = 100
    assert not guard.is_paid(10.1e-3)


def test_no_number_of_short_runs_pays_for_a_very_long_one() -> None:
    guard = LoopGuard()
    guard.runs = 10**9
    assert not guard.is_paid(0.2)


@pytest.mark.parametrize(
    ("seconds", "computed_s", "has_computed"),
    [
        (2e-3, 2e-3, True),
        (2e-3, 1.01e-3, True),
        (2e-3, 0.99e-3, False),
        (20e-3, 0.4e-3, False),
        (0.19, 0.09, False),
        (0.19, 0.1, True),
        (0.2, 0.0, True),
    ],
)
def test_a_run_was_long_by_its_own_doing_if_it_computed_or_took_longer_than_any_quota_keeps_it(
    seconds: float, computed_s: float, has_computed: bool
) -> None:
    guard = LoopGuard()
    guard.look(0.0, 5.0)
    assert guard.look_at_s == 0.4e-3
    assert guard.has_computed(seconds, 5.0 + computed_s) is has_computed


def test_what_is_owed_closes_the_loop_until_a_fiftieth_of_the_time_has_paid_for_it() -> None:
    guard = LoopGuard()
    guard.owe(40e-3, 100.0)
    assert guard.closed_until_s < 100.0
    guard.owe(20e-3, 100.0)
    assert guard.closed_until_s == pytest.approx(100.5)
    guard.owe(20e-3, 101.5)  # 30 ms less by then
    assert guard.closed_until_s == pytest.approx(100.5)
    guard.owe(3600.0, 110.0)  # which counts as 0.1 s
    assert guard.closed_until_s == pytest.approx(112.5)
    guard.owe(0.199, 120.0)  # which may have been the machine's doing, and counts as 50 ms
    assert guard.closed_until_s < 120.0
    guard.owe(1e-3, 120.0)
    assert guard.closed_until_s == pytest.approx(120.05)

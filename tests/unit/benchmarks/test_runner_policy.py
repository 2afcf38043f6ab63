"""The promises of the runner's policy, played with a clock of its own."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def policy(module_named: Callable[[str], Any]) -> Any:
    return module_named("runner_policy")


def played(policy: Any, machine: Any, *models: Any, seconds: float = 5.0) -> Any:
    return policy.World(policy.Scenario("", models, machine, seconds), seed=7).play()


def test_a_short_model_stays_in_the_loop_where_busy_processes_take_the_processor_away(
    policy: Any,
) -> None:
    machine = policy.Machine(policy.freezes(50, 3e-3, 5), hop_s=1e-3)
    seen = played(policy, machine, policy.short(2000))
    assert seen.pooled < 0.01 * seen.inline


def test_a_short_model_stays_in_the_loop_of_a_container_that_is_stopped_again_and_again(
    policy: Any,
) -> None:
    stops = [policy.Freeze(0.1 * n + 0.06, 0.1 * (n + 1)) for n in range(50)]
    seen = played(policy, policy.Machine(stops), policy.short(2000, 50e-6))
    assert seen.pooled < 0.01 * seen.inline


def test_a_short_model_stays_in_the_loop_where_a_host_steals_time_that_counts_as_computing(
    policy: Any,
) -> None:
    machine = policy.Machine(policy.freezes(2, 3e-3, 5), is_stolen=True)
    seen = played(policy, machine, policy.short(5000))
    assert seen.pooled < 0.01 * seen.inline


def test_a_model_that_is_long_for_some_values_has_little_of_the_loop(policy: Any) -> None:
    values = policy.sometimes(500, 0.01, 10e-3)
    seen = played(policy, policy.Machine(), values, policy.short(500), seconds=20.0)
    assert 0 < seen.held_s < 0.005 * 20.0
    assert seen.pooled < 0.05 * seen.inline


def test_many_models_that_turn_long_together_do_not_hold_the_loop_in_a_row(policy: Any) -> None:
    models = [policy.turning(20, 2.0, 50e-3) for _ in range(30)]
    seen = played(policy, policy.Machine(), policy.short(500), *models)
    assert 0 < seen.held_s <= 4 * 50e-3


def test_the_same_seed_gives_the_same_figures(policy: Any) -> None:
    def once() -> Any:
        machine = policy.Machine(policy.freezes(50, 3e-3, 1), hop_s=1e-3)
        return played(policy, machine, policy.short(500), seconds=1.0)

    assert once().latencies_s == once().latencies_s


def test_what_can_be_left_out_is_there(policy: Any) -> None:
    for parts in policy.LEFT_OUT.values():
        assert all(hasattr(owner, attribute) for owner, attribute, _ in parts)

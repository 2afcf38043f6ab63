from collections.abc import Callable
from typing import Any

import pytest

from salver._pb import message_class


@pytest.fixture(scope="module")
def endurance(module_named: Callable[[str], Any]) -> Any:
    return module_named("endurance")


def answer(*values: float) -> bytes:
    response = message_class("tensorflow.serving.PredictResponse")()
    response.outputs["y"].float_val.extend(values)
    sent: bytes = response.SerializeToString()
    return sent


def phase(endurance: Any, *, seconds: int = 120, leak: float = 0.0, **seen: Any) -> Any:
    made = endurance.Phase("client", seconds=float(seconds), **seen)
    made.memory.samples += [(float(at), 300 + leak * at) for at in range(seconds)]
    return made


def test_an_answer_with_the_right_values_has_nothing_wrong(endurance: Any) -> None:
    assert endurance.checked(answer(2.5, 3.0, 4.5)) == []


@pytest.mark.parametrize("values", [(2.5, 3.0), (2.5, 3.0, 4.0), ()])
def test_an_answer_with_other_values_is_wrong_and_shown(
    endurance: Any, values: tuple[float, ...]
) -> None:
    assert endurance.checked(answer(*values)) == [f"answered {[*map(float, values)]}"]


def test_a_client_without_a_failure_and_flat_memory_is_good(endurance: Any) -> None:
    assert phase(endurance, answers=10).is_good


def test_a_failure_a_leak_or_no_answer_is_not_good(endurance: Any) -> None:
    assert not phase(endurance, answers=10, failed=1).is_good
    assert not phase(endurance, answers=10, leak=0.5).is_good
    assert not phase(endurance, answers=0).is_good


def test_memory_of_a_short_run_is_not_judged(endurance: Any) -> None:
    assert phase(endurance, answers=10, seconds=30, leak=5.0).is_good


def test_the_figures_have_failures_and_growth_with_their_bounds(endurance: Any) -> None:
    result = endurance.result_of([phase(endurance, answers=1000, failed=1, leak=0.5)])
    aimed = [each for each in result.figures if each.goal is not None]
    assert [each.is_met for each in aimed] == [False, False]
    short = endurance.result_of([phase(endurance, answers=1000, seconds=30)])
    assert [each.is_met for each in short.figures if each.goal is not None] == [True]

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def turns(module_named: Callable[[str], Any]) -> Any:
    return module_named("turns")


def lane(turns: Any, name: str, asked: list[tuple[str, float]]) -> Callable[[float], Any]:
    def run(seconds: float) -> Any:
        asked.append((name, seconds))
        return turns.Sample(rate=float(len(asked)), cpu_ms=0.5)

    return run


def test_lanes_are_warmed_and_then_take_turns_in_an_order_drawn_anew(turns: Any) -> None:
    asked: list[tuple[str, float]] = []
    lanes = {name: lane(turns, name, asked) for name in ("a", "b")}
    orders = iter([["b", "a"], ["a", "b"]])

    def draw(order: list[str]) -> None:
        order[:] = next(orders)

    race = turns.take_turns(lanes, 2, 3.0, warm_s=1.0, shuffle=draw)
    assert asked == [("a", 1.0), ("b", 1.0), ("b", 3.0), ("a", 3.0), ("a", 3.0), ("b", 3.0)]
    assert race.of("a") == (4.0, 5.0)
    assert race.of("b") == (3.0, 6.0)


def test_a_ratio_is_of_two_lanes_within_a_turn(turns: Any) -> None:
    race = turns.Race(
        {
            "ours": [turns.Sample(10.0, 1.0), turns.Sample(40.0, 3.0)],
            "bare": [turns.Sample(20.0, 2.0), turns.Sample(20.0, 1.0)],
        }
    )
    assert race.ratio("ours", "bare") == (0.5, 2.0)
    assert race.ratio("ours", "bare", "cpu_ms") == (0.5, 3.0)


def test_bars_are_of_the_lanes_asked_for(turns: Any, module_named: Callable[[str], Any]) -> None:
    race = turns.Race({name: [turns.Sample(10.0)] for name in ("ours", "bare", "other")})
    bar = module_named("figures").Bar
    assert race.bars({"ours": 0, "bare": 1}) == (bar("ours", (10.0,), 0), bar("bare", (10.0,), 1))

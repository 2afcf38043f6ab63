import math
import runpy
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def load() -> dict[str, Any]:
    """The names of a module that is no part of the package."""
    return runpy.run_path(str(BENCHMARKS / "load.py"))


def test_percentiles_are_values_that_were_seen(load: dict[str, Any]) -> None:
    ordered = [float(value) for value in range(1, 201)]
    assert load["percentile"](ordered, 50) == 100
    assert load["percentile"](ordered, 99) == 198
    assert load["percentile"](ordered, 100) == 200
    assert load["percentile"](ordered, 0) == 1


def test_nothing_has_no_percentile(load: dict[str, Any]) -> None:
    assert math.isnan(load["percentile"]([], 99))


def test_the_slope_of_a_line_is_its_own_and_noise_around_it_cancels(load: dict[str, Any]) -> None:
    points = [(x, 5 + 3 * x + noise) for x in range(10) for noise in (-1, 1)]
    assert load["slope"](points) == pytest.approx(3)


@pytest.mark.parametrize("points", [[], [(1.0, 4.0)], [(1.0, 4.0), (1.0, 5.0)]])
def test_points_above_one_another_have_no_slope(
    load: dict[str, Any], points: list[tuple[float, float]]
) -> None:
    assert load["slope"](points) == 0


def test_floors_leave_out_what_comes_and_goes_and_keep_what_stays(load: dict[str, Any]) -> None:
    swaps = [(float(x), 500.0 + (150 if x % 3 == 0 else 0)) for x in range(30)]
    assert {y for _, y in load["floors"](swaps, 5)} == {500.0}
    leak = [(x, y + x) for x, y in swaps]
    assert load["slope"](load["floors"](leak, 5)) == pytest.approx(1, rel=0.1)


def test_free_ports_differ(load: dict[str, Any]) -> None:
    assert len(set(load["free_ports"](20))) == 20

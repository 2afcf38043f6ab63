from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def memory(module_named: Callable[[str], Any]) -> Any:
    return module_named("memory")


def sawtooth(leak: float) -> list[tuple[float, float]]:
    """Minutes in which something comes and goes, and so many MiB a second that stay."""
    return [(float(at), 300.0 + at % 5 * 40 + leak * at) for at in range(300)]


def test_what_comes_and_goes_is_no_growth(memory: Any) -> None:
    assert memory.Memory(sawtooth(0.0)).growth() == pytest.approx(0, abs=0.001)


def test_what_stays_is_growth(memory: Any) -> None:
    growth = memory.Memory(sawtooth(1.0)).growth()
    assert growth == pytest.approx(150 / 450, abs=0.05)
    assert growth > memory.FLAT


def test_the_first_half_may_fill_what_is_kept(memory: Any) -> None:
    samples = [(float(at), 300.0 + min(at, 20)) for at in range(60)]
    assert memory.Memory(samples).growth() < memory.FLAT


def test_the_report_says_the_criterion_of_flat(memory: Any) -> None:
    lines = list(memory.Memory(sawtooth(0.0)).report())
    assert "flat: less than 2 %" in lines[1]
    assert "2 %" in memory.CRITERION

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

# When requests were due, how long they took, and whether they were answered rightly.
SEEN = np.array(
    [(0.5, 9.0, 1), (1.5, 0.1, 1), (2.5, 0.3, 1), (3.5, 0.7, 1), (5.5, 0.2, 1), (6.5, 0.4, 1)]
)


@pytest.fixture(scope="module")
def swaps(module_named: Callable[[str], Any]) -> Any:
    return module_named("swaps")


@pytest.fixture(scope="module")
def machine(module_named: Callable[[str], Any]) -> Any:
    return module_named("machine")


@pytest.fixture(scope="module")
def stretches(swaps: Any) -> tuple[Any, ...]:
    return (
        swaps.Stretch("rest", 0.0, 1.0),
        swaps.Stretch("quiet", 1.0, 2.0),
        swaps.Stretch("load", 2.0, 4.0),
        swaps.Stretch("quiet", 5.0, 6.0),
        swaps.Stretch("load", 6.0, 7.0),
    )


def test_each_p99_is_taken_over_that_of_the_quiet_stretch_before_it(
    swaps: Any, stretches: Any
) -> None:
    found = swaps.judge(SEEN, stretches)
    assert list(found) == ["quiet", "load"]
    load = found["load"]
    assert [load[key] for key in ("lowest", "ratio", "highest")] == pytest.approx([2.0, 4.5, 7.0])
    assert (load["times"], load["n"], load["seconds"]) == (2, 3, 1.5)
    assert load["max_ms"] == pytest.approx(700.0)
    assert "still_ms" not in load


def test_what_was_under_way_while_the_machine_stood_still_is_left_out_of_a_second_ratio(
    swaps: Any, stretches: Any
) -> None:
    still = np.array([(3.9, 4.1), (6.95, 7.5), (3.95, 4.05), (6.96, 6.97)])  # of two processors
    load = swaps.judge(SEEN, stretches, still)["load"]
    assert load["ratio"] == pytest.approx(4.5)
    # (3.5, 0.7) ended at 4.2; (6.5, 0.4) at 6.9, before anything stood still.
    assert (load["moving_lowest"], load["moving_highest"]) == pytest.approx((2.0, 3.0))
    assert load["still_ms"] == pytest.approx(1e3 * (0.1 + 0.05) / 2)


def test_the_table_says_whether_anybody_looked_at_the_machine(swaps: Any, stretches: Any) -> None:
    head = {"rate": 1.0, "requests": 6, "failed": 0, "cpu_share": 0.1}
    for still, text in ((None, "not looked"), (np.empty((0, 2)), "0.0 ms | 4.50 (2.00 to 7.00)")):
        lines = list(swaps.report({**head, "disturbances": swaps.judge(SEEN, stretches, still)}))
        assert text in next(line for line in lines if line.startswith("| load |"))
        assert len({line.count("|") for line in lines[1:]}) == 1


def test_a_watch_gives_stretches_of_time_in_which_it_was_late(machine: Any) -> None:
    begun_s = time.monotonic()
    with machine.watched([0]) as found:
        pass
    if not found:
        pytest.skip("threads of real-time priority are not allowed here")
    (still,) = found
    assert still.shape[1] == 2
    assert ((still[:, 1] - still[:, 0]) > machine.LATE_S).all()
    assert ((still >= begun_s) & (still <= time.monotonic())).all()


def test_ballast_can_be_taken_and_dropped_again_and_again(machine: Any) -> None:
    ballast = machine.Ballast(3 << 20)
    for _ in range(2):
        ballast.take()
        ballast.take()
        ballast.drop()
        ballast.drop()

import math
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def load(module_named: Callable[[str], Any]) -> Any:
    return module_named("load")


def test_percentiles_are_values_that_were_seen(load: Any) -> None:
    ordered = [float(value) for value in range(1, 201)]
    assert load.percentile(ordered, 50) == 100
    assert load.percentile(ordered, 99) == 198
    assert load.percentile(ordered, 100) == 200
    assert load.percentile(ordered, 0) == 1


def test_nothing_has_no_percentile(load: Any) -> None:
    assert math.isnan(load.percentile([], 99))


def test_the_slope_of_a_line_is_its_own_and_noise_around_it_cancels(load: Any) -> None:
    points = [(x, 5 + 3 * x + noise) for x in range(10) for noise in (-1, 1)]
    assert load.slope(points) == pytest.approx(3)


@pytest.mark.parametrize("points", [[], [(1.0, 4.0)], [(1.0, 4.0), (1.0, 5.0)]])
def test_points_above_one_another_have_no_slope(
    load: Any, points: list[tuple[float, float]]
) -> None:
    assert load.slope(points) == 0


def test_floors_leave_out_what_comes_and_goes_and_keep_what_stays(load: Any) -> None:
    swaps = [(float(x), 500.0 + (150 if x % 3 == 0 else 0)) for x in range(30)]
    assert {y for _, y in load.floors(swaps, 5)} == {500.0}
    leak = [(x, y + x) for x, y in swaps]
    assert load.slope(load.floors(leak, 5)) == pytest.approx(1, rel=0.1)


def test_of_what_wrk_said_refused_answers_are_no_part_of_the_rate(load: Any) -> None:
    seen = load.wrk_said("Running 2s test\n  ...\nRESULT 1000 2000000 100 1500 9000\n")
    assert seen == load.Measured(rate=450.0, p50_ms=1.5, p99_ms=9.0, answers=1000, refused=100)


def test_what_is_no_result_of_wrk_is_an_error_that_shows_it(load: Any) -> None:
    with pytest.raises(RuntimeError, match="unable to connect"):
        load.wrk_said("unable to connect to 127.0.0.1")


H2LOAD = """
finished in 2.00s, 50.00 req/s, 5.18KB/s
requests: {total} total, {total} started, {total} done, {good} succeeded, {failed} failed, \
{errored} errored, 0 timeout
traffic: 10.36KB (10612) total, 3.00KB (3072) headers (space savings 80.00%), 1.5KB ({data}) data
"""


def test_h2load_counts_what_failed_and_what_broke_off(load: Any) -> None:
    said = H2LOAD.format(total=100, good=90, failed=7, errored=3, data=90 * 25)
    seen = load.h2load_said(said, answer_bytes=20, seconds=2)
    assert (seen.rate, seen.answers, seen.refused) == (45.0, 100, 10)
    assert math.isnan(seen.p99_ms)


def test_a_grpc_error_in_a_trailer_shows_in_the_bytes_of_the_answers(load: Any) -> None:
    said = H2LOAD.format(total=100, good=100, failed=0, errored=0, data=60 * 25)
    seen = load.h2load_said(said, answer_bytes=20, seconds=2)
    assert (seen.rate, seen.refused) == (30.0, 40)


def test_percentiles_are_of_the_logged_calls_that_succeeded(load: Any) -> None:
    said = H2LOAD.format(total=4, good=3, failed=1, errored=0, data=3 * 25)
    log = "1\t200\t1000\n2\t200\t3000\n3\t503\t9\n4\t200\t2000\n"
    seen = load.h2load_said(said, answer_bytes=20, seconds=1, log=log)
    assert (seen.p50_ms, seen.p99_ms) == (2.0, 3.0)


def test_what_is_no_result_of_h2load_is_an_error_that_shows_it(load: Any) -> None:
    with pytest.raises(RuntimeError, match="usage"):
        load.h2load_said("usage: h2load", answer_bytes=20, seconds=1)


def test_a_framed_message_has_a_flag_and_its_length_before_it(load: Any) -> None:
    assert load.framed(b"abc") == b"\0\0\0\0\x03abc"

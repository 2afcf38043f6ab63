import math

import pytest
from tests.unit.bench.test_results import tally

from salver.bench.latencies import Latencies
from salver.bench.loops import Failure, Tally
from salver.bench.results import Level, Measured, Report
from salver.bench.terminal import duration_text, report_lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00000123, "1.23 us"), (0.0000456, "45.6 us"), (0.000999, "999 us"),
        (0.0009996, "1.00 ms"), (0.0123, "12.3 ms"), (1.5, "1.50 s"), (123.4, "123 s"),
        (math.nan, "-"),
    ],
)  # fmt: skip
def test_durations_have_three_digits(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def lines(report: Report, width: int = 60, *, is_ascii: bool = False) -> list[str]:
    return list(report_lines(report, width, is_ascii=is_ascii))


def test_one_target_is_a_table_and_a_histogram() -> None:
    spread = Tally(Latencies([0.001] * 75 + [0.1] * 25), answered=100, seconds=2, cpu_s=0.5)
    spread.received_bytes = 4_000_000
    found = lines(Report({"here": "x float [1]"}, [[Measured("here", Level(4), [spread])]]))
    assert found[0] == "here: x float [1]"
    assert found[2].split() == [
        "requests/s", "mean", "p50", "p90", "p99", "p99.9", "max", "in", "MB/s", "failed",
    ]  # fmt: skip
    assert found[3].startswith("4 clients        50.0  25.8 ms  1.00 ms  ")
    assert found[3].endswith("100 ms     2.00       0")
    assert found[5] == "4 clients: latencies, and the generator used 25% of a CPU"
    bars = found[6:]
    assert len(bars) <= 16
    assert bars[0].split()[-1] == "75"
    assert bars[0].count("█") == 3 * bars[-1].count("█") + (bars[0].count("█") % 3)
    assert all(len(line) <= 60 for line in bars)


def test_ascii_is_nothing_else() -> None:
    failed = tally(1, 0.01, 3, failures={"500": Failure(2, "größer\nnoch")})
    found = lines(Report({"hé": "x"}, [[Measured("hé", Level(1), [failed])]]), 5, is_ascii=True)
    assert all(line.isascii() for line in found)
    assert found[0] == "h?: x"
    assert "1 client: 2 failed with 500, first: gr??er noch" in found
    assert found[-1].split() == ["9.97", "ms", "#", "3"]


def test_rivals_have_letters_ratios_and_their_spread() -> None:
    first = Measured("one", Level(1), [tally(1, 0.01, 100), tally(1, 0.01, 100)])
    other = Measured("two", Level(1), [tally(1, 0.02, 50), tally(1, 0.02, 200, loop_s=2.0)])
    late = Measured("three", Level(1))
    dead = Measured("four", Level(1), [Tally(seconds=1.0)])
    report = Report(
        dict.fromkeys(["one", "two", "three", "four"], "x"), [[first, other, late, dead]]
    )
    found = lines(report)
    assert found[:2] == ["A  one: x", "B  two: x"]
    (ratio,) = [line for line in found if line.startswith("B / A")]
    assert ratio.startswith(
        "B / A  1 client: rate 1.25 (0.50 to 2.00), p50 2.00 (2.00 to 2.00), p99"
    )
    assert ratio.endswith("; median of 2 turns, least to most")
    assert any(
        line.startswith("B  1 client: careful, the generator's own thread") for line in found
    )
    assert not any(line.startswith("C  ") for line in found[4:])


def test_beside_a_target_that_answered_nothing_there_is_no_ratio() -> None:
    dead = Measured("one", Level(1), [Tally(seconds=1.0)])
    alive = Measured("two", Level(1), [tally(1, 0.02, 50)])
    found = lines(Report({"one": "x", "two": "x"}, [[dead, alive]]))
    assert not any(line.startswith("B / A") for line in found)
    assert found[-1].endswith(" 50")


def test_a_run_that_was_stopped_at_once_says_so() -> None:
    report = Report({"one": "x"}, [[Measured("one", Level(1))]])
    assert lines(report) == ["one: x", "nothing was measured"]

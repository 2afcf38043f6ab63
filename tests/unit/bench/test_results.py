import json
import math

import pytest

from salver.bench.latencies import Latencies
from salver.bench.loops import Failure, Tally
from salver.bench.results import Level, Measured, Ratio, Report


def tally(seconds: float, latency_s: float, answered: int, **more: object) -> Tally:
    made = Tally(Latencies([latency_s] * answered), answered=answered, seconds=seconds)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_levels_speak() -> None:
    assert [Level(1).text, Level(4).text, Level(9, 250.0).text] == [
        "1 client",
        "4 clients",
        "250/s",
    ]


def test_ratios_are_those_of_turns() -> None:
    first = Measured("a", Level(1), [tally(1, 0.01, 100), tally(1, 0.01, 50), tally(1, 0.01, 80)])
    other = Measured("b", Level(1), [tally(1, 0.02, 150), tally(1, 0.03, 100), tally(1, 0.02, 80)])
    ratios = other.ratios(first)
    assert ratios["rate"] == Ratio(1.5, 1.0, 2.0)
    assert ratios["p50"].median == pytest.approx(2.0)
    assert ratios["p99"].most == pytest.approx(3.0)


def test_without_answers_there_is_no_ratio() -> None:
    first = Measured("a", Level(1), [tally(1, 0.01, 0)])
    other = Measured("b", Level(1), [tally(1, 0.02, 5)])
    assert all(math.isnan(ratio.median) for ratio in other.ratios(first).values())


def test_what_may_be_the_generators_fault_is_said() -> None:
    measured = Measured("a", Level(1, 200.0))
    assert measured.doubts(tally(1, 0.01, 200, loop_s=0.5)) == []
    assert "busy 95% of the time" in measured.doubts(tally(1, 0.01, 200, loop_s=0.95))[0]
    late = tally(1, 0.01, 200, late=Latencies([0.004]))
    assert "4 ms late" in measured.doubts(late)[0]
    assert measured.doubts(tally(1, 0.01, 100)) == ["of 200 requests per second 100 were answered"]
    failing = tally(1, 0.01, 100, failures={"503": Failure(100, "")})
    assert measured.doubts(failing) == []  # the failures say it


def test_the_document_is_json_and_knows_no_nan() -> None:
    good = Measured("a", Level(2), [tally(2, 0.01, 10, failures={"404": Failure(1, "no")})])
    empty = Measured("b", Level(2), [Tally()])
    report = Report({"a": "x", "b": "x"}, [[good, empty, Measured("c", Level(2))]])
    document = json.loads(json.dumps(report.document(), allow_nan=False))
    first, second = document["results"]
    assert (first["target"], first["loop"], first["rate"], first["clients"]) == (
        "a",
        "closed",
        5,
        2,
    )
    assert first["latency_s"]["p99.9"] == first["latency_s"]["max"] == 0.01
    assert first["failures"] == {"404": {"count": 1, "first": "no"}}
    assert sum(count for _, _, count in first["histogram"]) == 10
    assert "ratio_to_first" not in first
    assert second["latency_s"]["p50"] is None
    assert second["ratio_to_first"]["rate"]["median"] is None
    assert document["is_complete"] is False

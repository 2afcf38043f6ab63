import json
import math
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def figures(module_named: Callable[[str], Any]) -> Any:
    return module_named("figures")


def test_a_goal_counts_by_the_median_and_its_bound_is_met(figures: Any) -> None:
    values = (0.5, 0.8, 3.0)
    assert figures.Figure("c", "n", values, goal=figures.least(0.8)).is_met
    assert not figures.Figure("c", "n", values, goal=figures.least(0.81)).is_met
    assert figures.Figure("c", "n", values, goal=figures.most(0.8)).is_met
    assert not figures.Figure("c", "n", values, goal=figures.most(0.79)).is_met
    assert figures.Figure("c", "n", values).is_met is None


def test_what_could_not_be_computed_meets_no_goal(figures: Any) -> None:
    for goal in (figures.least(0.8), figures.most(0.8)):
        assert figures.Figure("c", "n", (math.nan,), goal=goal).is_met is False


def test_a_figure_without_values_cannot_be(figures: Any) -> None:
    with pytest.raises(ValueError, match="c, n: no values"):
        figures.Figure("c", "n", ())


@pytest.mark.parametrize(
    ("value", "is_least", "score"),
    [
        *((0.4, True, 0.5), (1.6, True, 2.0), (80.0, True, 5.0), (-1.0, True, 0.0)),
        *((0.4, False, 2.0), (1.6, False, 0.5), (0.0, False, 5.0), (-3.0, False, 5.0)),
    ],
)
def test_a_score_is_above_1_on_the_good_side_of_the_bound(
    figures: Any, value: float, is_least: bool, score: float
) -> None:
    assert figures.Goal(0.8, is_least).score(value) == pytest.approx(score)


def test_ratios_are_taken_turn_by_turn(figures: Any) -> None:
    assert figures.ratios([10, 30], [5, 10]) == (2.0, 3.0)
    assert math.isnan(figures.ratios([10], [0])[0])


def test_ratios_of_different_numbers_of_turns_are_refused(figures: Any) -> None:
    with pytest.raises(ValueError, match="shorter"):
        figures.ratios([1, 2], [1])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (0.81234, "0.812"), (1.30, "1.30"), (13.579, "13.6"), (71234.5, "71,234")),
        *((0.0241, "0.0241"), (0.00001, "0.0000"), (math.nan, "–"), (-12.34, "-12.3")),
    ],
)
def test_numbers_have_three_digits_that_matter(figures: Any, value: float, text: str) -> None:
    assert figures.number_text(value) == text


def test_the_table_shows_median_range_bound_and_whether_it_is_met(figures: Any) -> None:
    made = [
        figures.Figure("c", "rate", (0.7, 0.9, 0.8), goal=figures.least(0.8)),
        figures.Figure("c", "start", (1.5,), "s", figures.most(1.0)),
        figures.Figure("c", "known", (12345.0, 12345.0), "/s"),
    ]
    assert figures.table(made).splitlines()[2:] == [
        "| rate | 0.800 × (0.700 to 0.900) | ≥ 0.8 × | met |",
        "| start | 1.50 s | ≤ 1 s | **not met** |",
        "| known | 12,345 /s |  |  |",
    ]


def test_a_document_gives_back_what_was_measured(figures: Any) -> None:
    result = figures.Result("rest", notes=["a note"], failed="no", took_s=1.5)
    result.add("rate", [0.7, 0.9], goal=figures.least(0.8))
    result.add("start", [1.0], "s")
    bars = {"16": (figures.Bar("ours", (1.0, 2.0)), figures.Bar("bare", (3.0,), 1))}
    result.charts.append(figures.Chart("performance-x", "title", "unit", bars, "note"))
    document = json.loads(json.dumps(figures.as_document([result], {"cores": 2})))
    assert figures.from_document(document) == ([result], {"cores": 2})


def test_the_chart_of_targets_has_what_has_one_grouped_by_case(figures: Any) -> None:
    made = [
        figures.Figure("a", "good", (1.0, 1.6), goal=figures.least(0.8)),
        figures.Figure("a", "none", (1.0,)),
        figures.Figure("b", "bad", (4.0,), goal=figures.most(2.0)),
        figures.Figure("b", "zero", (0.0,), goal=figures.most(0.0)),
    ]
    assert figures.goals_chart(made).groups == {
        "a": (figures.Bar("good", (1.25, 2.0), 0),),
        "b": (figures.Bar("bad", (0.5,), 1),),
    }

"""What the suite has measured: figures with their goals, charts, and both as JSON. Pure.

A figure is a list of values, one of each turn: the median counts, and the lowest and the highest
say how sure it is. A ratio is taken within a turn, so that what slows the machine for a while slows
both sides of it.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

RATIO = "×"
MOST_SCORE = 5.0  # of a chart of scores; what is further on the good side does not matter


@dataclass(frozen=True)
class Goal:
    """A bound on the median of a figure."""

    limit: float
    is_least: bool  # else the most

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.is_least else value <= self.limit

    def score(self, value: float) -> float:
        """1 at the bound, more on the good side of it, to `MOST_SCORE`; nan where none can be."""
        if not math.isfinite(value) or not self.limit > 0:
            return math.nan
        if self.is_least:
            return min(max(value, 0.0) / self.limit, MOST_SCORE)
        return min(self.limit / value, MOST_SCORE) if value > 0 else MOST_SCORE


def least(limit: float) -> Goal:
    return Goal(limit, is_least=True)


def most(limit: float) -> Goal:
    return Goal(limit, is_least=False)


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        case: the entry of the suite that measured it.
        name: what was measured.
        values: one per turn.
        unit: `RATIO`, or the unit of an absolute value.
        goal: None for what is there to be known.
    """

    case: str
    name: str
    values: tuple[float, ...]
    unit: str = RATIO
    goal: Goal | None = None

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.case}, {self.name}: no values")

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool | None:
        return None if self.goal is None else self.goal.is_met(self.median)


@dataclass(frozen=True)
class Bar:
    """One bar of a chart: the median of its values is its length, their range its whisker.

    Attributes:
        kind: 0 for ours, 1 for a yardstick, 2 for another server.
    """

    label: str
    values: tuple[float, ...]
    kind: int = 0


@dataclass(frozen=True)
class Chart:
    """Bars in groups, one group under the other.

    Attributes:
        name: of its file, without the ending.
        note: what to know when reading it.
    """

    name: str
    title: str
    unit: str
    groups: dict[str, tuple[Bar, ...]]
    note: str = ""


@dataclass
class Result:
    """What one case gives.

    Attributes:
        failed: what went wrong; a case that fails does not end the suite.
    """

    case: str
    figures: list[Figure] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: str = ""
    took_s: float = 0.0

    def add(
        self, name: str, values: Iterable[float], unit: str = RATIO, goal: Goal | None = None
    ) -> None:
        self.figures.append(Figure(self.case, name, tuple(values), unit, goal))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
    """Turn by turn; nan where there is nothing to compare with."""
    pairs = zip(ours, theirs, strict=True)
    return tuple(one / other if other else math.nan for one, other in pairs)


def number_text(value: float) -> str:
    """Three digits that matter, and no more than are known."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 100 or value == 0:
        return f"{value:,.0f}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(max(digits, 0), 4)}f}"


def value_text(figure: Figure) -> str:
    """The median, and in brackets the lowest and the highest where they differ."""
    unit = f" {figure.unit}" if figure.unit else ""
    text = f"{number_text(figure.median)}{unit}"
    low, high = number_text(min(figure.values)), number_text(max(figure.values))
    return text if low == high else f"{text} ({low} to {high})"


def goal_text(figure: Figure) -> tuple[str, str]:
    """The bound, and whether it is met."""
    if figure.goal is None:
        return "", ""
    sign = "≥" if figure.goal.is_least else "≤"
    unit = f" {figure.unit}" if figure.unit else ""
    return f"{sign} {figure.goal.limit:g}{unit}", "met" if figure.is_met else "**not met**"


def table(figures: Iterable[Figure]) -> str:
    """A table in Markdown."""
    lines = ["| | measured | target | |", "|---|---|---|---|"]
    for figure in figures:
        cells = (figure.name, value_text(figure), *goal_text(figure))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def goals_chart(figures: Iterable[Figure]) -> Chart:
    """How far each figure is on the good side of its bound."""
    groups: dict[str, list[Bar]] = {}
    for figure in figures:
        if figure.goal is not None and not math.isnan(figure.goal.score(figure.median)):
            scores = tuple(
                score for value in figure.values
                if not math.isnan(score := figure.goal.score(value))
            )  # fmt: skip
            kind = 0 if figure.is_met else 1
            groups.setdefault(figure.case, []).append(Bar(figure.name, scores, kind))
    return Chart(
        "performance-targets",
        "How far from its target",
        "times the target; 1 and more is met",
        {case: tuple(bars) for case, bars in groups.items()},
        f"blue: met; grey: not met; {MOST_SCORE:g} stands for all that is more",
    )


def as_document(results: Iterable[Result], environment: dict[str, Any]) -> dict[str, Any]:
    return {"environment": environment, "results": [asdict(result) for result in results]}


def from_document(document: dict[str, Any]) -> tuple[list[Result], dict[str, Any]]:
    results = [
        Result(
            case=one["case"],
            figures=[_figure(each) for each in one["figures"]],
            charts=[_chart(each) for each in one["charts"]],
            notes=list(one["notes"]),
            failed=one["failed"],
            took_s=one["took_s"],
        )
        for one in document["results"]
    ]
    return results, document["environment"]


def _figure(saved: dict[str, Any]) -> Figure:
    goal = saved["goal"]
    return Figure(
        saved["case"],
        saved["name"],
        tuple(saved["values"]),
        saved["unit"],
        None if goal is None else Goal(**goal),
    )


def _chart(saved: dict[str, Any]) -> Chart:
    groups = {
        name: tuple(Bar(bar["label"], tuple(bar["values"]), bar["kind"]) for bar in bars)
        for name, bars in saved["groups"].items()
    }
    return Chart(saved["name"], saved["title"], saved["unit"], groups, saved["note"])

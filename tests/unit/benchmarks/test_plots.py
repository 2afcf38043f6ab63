import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def plots(module_named: Callable[[str], Any]) -> Any:
    return module_named("plots")


@pytest.fixture(scope="module")
def figures(module_named: Callable[[str], Any]) -> Any:
    return module_named("figures")


def chart(figures: Any, *values: tuple[float, ...], name: str = "performance-x") -> Any:
    bars = tuple(figures.Bar(f"bar {at}", each, at % 3) for at, each in enumerate(values))
    return figures.Chart(name, "a <title> & more", "ms", {"group": bars}, "a note")


def widths(tree: ET.Element) -> list[float]:
    return [float(rect.get("width") or "nan") for rect in tree.iter(f"{SVG}rect")]


def test_bars_are_as_long_as_their_medians(plots: Any, figures: Any) -> None:
    tree = ET.fromstring(plots.svg(chart(figures, (1.0, 2.0, 9.0), (4.0,), (8.0, 8.0))))
    first, second, third = widths(tree)
    assert second == pytest.approx(2 * first, abs=0.2)
    assert third == pytest.approx(4 * first, abs=0.2)


def test_whiskers_reach_from_the_lowest_to_the_highest(plots: Any, figures: Any) -> None:
    tree = ET.fromstring(plots.svg(chart(figures, (1.0, 2.0, 8.0), (8.0,))))
    (path,) = [each for each in tree.iter(f"{SVG}path") if each.get("class") == "range"]
    left = float(next(tree.iter(f"{SVG}rect")).get("x") or "nan")
    low, high = map(float, re.findall(r"M([\d.]+) .*H([\d.]+)m", path.get("d") or "")[0])
    assert high - left == pytest.approx(8 * (low - left), abs=1)


def test_texts_are_there_and_safe(plots: Any, figures: Any) -> None:
    tree = ET.fromstring(plots.svg(chart(figures, (1.0,), (20000.0,))))
    texts = [each.text for each in tree.iter(f"{SVG}text")]
    assert {"a <title> & more", "ms, logarithmic", "group", "bar 0", "20,000", "a note"} <= {*texts}


def test_bars_far_apart_are_drawn_on_a_logarithmic_axis(plots: Any, figures: Any) -> None:
    tree = ET.fromstring(plots.svg(chart(figures, (10.0,), (100.0,), (10000.0,))))
    first, second, third = widths(tree)
    assert third - second == pytest.approx(2 * (second - first), abs=0.3)


def test_an_axis_has_a_few_ticks_within_its_range(plots: Any) -> None:
    for most in (0.7, 1.0, 3.3, 99.0, 123456.0):
        ticks = plots.Axis([most], 100).ticks()
        assert 3 <= len(ticks) <= 12
        assert ticks[0] == 0
        assert ticks[-1] <= most


def test_what_cannot_be_drawn_has_no_length(plots: Any, figures: Any) -> None:
    tree = ET.fromstring(plots.svg(chart(figures, (math.nan,), (5.0,), (0.0,))))
    first, second, third = widths(tree)
    assert first == third == 1.0
    assert second > 100


def test_only_the_chart_of_targets_has_a_line_at_one(plots: Any, figures: Any) -> None:
    of_targets = chart(figures, (0.5,), (2.0,), name="performance-targets")
    assert plots.svg(of_targets).count('class="one"') == 1
    assert plots.svg(chart(figures, (0.5,), (2.0,))).count('class="one"') == 0


def test_light_and_dark_colour_the_same_things(plots: Any, figures: Any) -> None:
    light, _, dark = plots.svg(chart(figures, (1.0,))).partition("@media")
    for kind in (".k0", ".k1", ".k2", ".range", ".grid", ".one", "svg {"):
        assert kind in light
        assert kind in dark

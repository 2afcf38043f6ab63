from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = """# Title

<!-- figures: environment -->
old
<!-- end of figures -->

<!-- figures: targets -->
<!-- end of figures -->

<!-- figures: rest -->
old, too
<!-- end of figures -->
between
<!-- figures: grpc -->
kept
<!-- end of figures -->
"""
ENVIRONMENT = {
    "cpu": "Some CPU",
    "cores": 2,
    "memory_gib": 16,
    "system": "Linux 6.1 x86_64",
    "python": "3.11.7",
    "versions": {"wrk": "4.1"},
    "turns": 5,
    "seconds": 2.0,
}


@pytest.fixture(scope="module")
def report(module_named: Callable[[str], Any]) -> Any:
    return module_named("report")


@pytest.fixture(scope="module")
def figures(module_named: Callable[[str], Any]) -> Any:
    return module_named("figures")


def document(figures: Any, case: str, value: float) -> Any:
    result = figures.Result(case, notes=["a note"])
    result.add(f"rate of {case}", [value], goal=figures.least(0.8))
    bars = {"": (figures.Bar("ours", (value,)),)}
    result.charts.append(figures.Chart(f"performance-{case}", "Chart", "unit", bars))
    return figures.as_document([result], ENVIRONMENT)


def test_what_stands_between_the_markers_is_replaced_and_all_else_kept(
    report: Any, figures: Any, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    report.write([document(figures, "rest", 0.9)], page)
    text = page.read_text()
    assert "old" not in text
    assert "| rate of rest | 0.900 × | ≥ 0.8 × | met |" in text
    assert "![Chart](images/performance-rest.svg)" in text
    assert "a note" in text
    assert "Some CPU, 2 cores" in text
    assert "5 turns of 2 s" in text
    assert text.startswith("# Title\n")
    assert "between\n<!-- figures: grpc -->\nkept\n" in text


def test_writing_again_changes_nothing(report: Any, figures: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    report.write([document(figures, "rest", 0.9)], page)
    first = page.read_text()
    report.write([document(figures, "rest", 0.9)], page)
    assert page.read_text() == first


def test_charts_are_drawn_beside_the_page(report: Any, figures: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    written = report.write([document(figures, "rest", 0.9)], page)
    images = tmp_path / "images"
    drawn = [images / "performance-rest.svg", images / "performance-targets.svg"]
    assert written == [page, *drawn]
    assert all(each.read_text().startswith("<svg") for each in drawn)


def test_of_a_case_measured_twice_the_last_counts(report: Any, figures: Any) -> None:
    documents = [document(figures, "rest", 0.5), document(figures, "grpc", 0.6)]
    results, _ = report.merged([*documents, document(figures, "rest", 0.7)])
    assert {each.case: each.figures[0].median for each in results} == {"rest": 0.7, "grpc": 0.6}


def test_a_case_that_failed_says_so(report: Any, figures: Any) -> None:
    result = figures.Result("rest", failed="no such flag")
    assert report.case_text(result) == "Not measured: no such flag"


def test_figures_without_a_place_on_the_page_are_an_error(report: Any) -> None:
    with pytest.raises(ValueError, match="no markers for swaps"):
        report.filled(PAGE, {"rest": "x", "swaps": "y"})


def test_the_page_has_a_place_for_every_case(
    report: Any, module_named: Callable[[str], Any]
) -> None:
    marked = [found["name"] for found in report.MARKED.finditer(report.PAGE.read_text())]
    cases = module_named("suite").CASES
    others = [f"oip-{case}" for case in module_named("open_inference").CASES]
    assert sorted(marked) == sorted([*cases, *others, "endurance", "environment", "targets"])


def test_one_case_alone_leaves_the_rest_of_the_page_as_it_is(
    report: Any, figures: Any, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    documents = [document(figures, "rest", 0.9)]
    report.write_case(documents, "rest", page)
    text = page.read_text()
    assert "| rate of rest | 0.900 × | ≥ 0.8 × | met |" in text
    assert "old, too" not in text
    assert "<!-- figures: environment -->\nold\n" in text
    assert "<!-- figures: targets -->\n<!-- end of figures -->" in text
    assert [each.name for each in (tmp_path / "images").iterdir()] == ["performance-rest.svg"]
    with pytest.raises(ValueError, match="no document has the case grpc"):
        report.write_case(documents, "grpc", page)

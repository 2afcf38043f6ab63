"""The documentation and the dashboard against the catalogue."""

import json
import re
from pathlib import Path

import pytest

from salver.metrics.catalogue import CATALOGUE, Kind, Metric
from salver.metrics.text import exported_name

_ROOT = Path(__file__).parents[3]
_HEAD = "| metric | kind | labels | meaning |"
_DASHBOARD = json.loads((_ROOT / "deploy" / "grafana" / "salver.json").read_text(encoding="utf-8"))


def _row(metric: Metric) -> str:
    """The row that documents a metric; paste it into the table when a metric changes."""
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
    return f"| `{exported_name(metric.name)}` | {metric.kind.value} | {labels} | {metric.meaning} |"


def _documented() -> list[str]:
    text = (_ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    tables = text.split(_HEAD)[1:]
    return [line for part in tables for line in part.partition("\n\n")[0].splitlines()[2:]]


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_every_metric_is_documented_as_the_catalogue_has_it(metric: Metric) -> None:
    assert _row(metric) in _documented()


def test_no_other_metric_is_documented_and_the_order_is_the_same() -> None:
    assert _documented() == [_row(metric) for metric in CATALOGUE]


def _asked() -> dict[str, set[str]]:
    """Metric → labels that the dashboard asks for, with the suffixes of histograms."""
    asked: dict[str, set[str]] = {}
    queries = [
        target["expr"] for panel in _DASHBOARD["panels"] for target in panel.get("targets", ())
    ]
    queries += [v["query"] for v in _DASHBOARD["templating"]["list"] if v["type"] == "query"]
    for query in queries:
        for name, labels in re.findall(r"((?::tensorflow:|salver_)[\w:]+)(?:\{([^}]*)\})?", query):
            found = set(re.findall(r"(\w+)(?:!=|=~|=)", labels))
            asked.setdefault(name, set()).update(found - {"instance"})
    return asked


def _served() -> dict[str, set[str]]:
    served: dict[str, set[str]] = {}
    for metric in CATALOGUE:
        is_histogram = metric.kind is Kind.HISTOGRAM
        for suffix in ("_bucket", "_sum", "_count") if is_histogram else ("",):
            served[exported_name(metric.name) + suffix] = set(metric.labels)
    return served


def test_every_metric_and_label_of_the_dashboard_is_served() -> None:
    served = _served()
    assert _asked()
    for name, labels in _asked().items():
        assert name in served
        assert labels <= served[name], name


def test_every_name_in_a_legend_is_a_label_the_query_keeps() -> None:
    for panel in _DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
            if "by (" not in target["expr"]:
                names = re.findall(r"(?::tensorflow:|salver_)[\w:]+", target["expr"])
                kept = {"instance"}.union(*(_served()[name] for name in names))
            assert shown <= kept, panel["title"]


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in _DASHBOARD["panels"]:
        at = panel["gridPos"]
        columns, lines = range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        cells = {(x, y) for x in columns for y in lines}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in _DASHBOARD["panels"]}) == len(_DASHBOARD["panels"])

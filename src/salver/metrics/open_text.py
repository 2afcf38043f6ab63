"""The page as OpenMetrics: the same samples, and the traces of some requests as examples.

Names of samples stay those of the other form, so that nobody's queries change with the form that a
scraper asks for. A counter of the reference's whose name does not end in `_total`, as OpenMetrics
wants it to, is of the type `unknown` therefore.

Source: https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Final

from salver.metrics.catalogue import Kind, Metric
from salver.metrics.text import (
    Distribution,
    Exemplar,
    Family,
    exported_name,
    label_name,
    label_value,
)

__all__ = ["CONTENT_TYPE", "open_page"]

CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_TOTAL: Final = "_total"


def _hold_on() -> None:
    """Go on without a rest."""


def open_page(families: Iterable[Family], breathe: Callable[[], object] = _hold_on) -> bytes:
    """All families, sorted as in the other form.

    Args:
        families: what to write.
        breathe: called after each cell.
    """
    parts: list[str] = []
    for family in sorted(families, key=lambda family: family.metric.name):
        metric = family.metric
        if not family.cells:
            continue
        parts.append(_type_line(metric))
        for labels, value in sorted(family.cells, key=lambda cell: cell[0]):
            said = _labels(metric, labels)
            if isinstance(value, Distribution):
                parts += _histogram(metric, said, value)
            else:
                parts.append(f"{exported_name(metric.name)}{_in_braces(said)} {value!r}\n")
            breathe()
    parts.append("# EOF\n")
    return "".join(parts).encode(errors="replace")


def _type_line(metric: Metric) -> str:
    name = exported_name(metric.name)
    if metric.kind is not Kind.COUNTER:
        return f"# TYPE {name} {metric.kind.value}\n"
    if name.endswith(_TOTAL):
        return f"# TYPE {name.removesuffix(_TOTAL)} counter\n"
    return f"# TYPE {name} unknown\n"


def _histogram(metric: Metric, labels: str, value: Distribution) -> list[str]:
    name = exported_name(metric.name)
    bounds = [*map(_number, metric.bounds), "+Inf"]
    before = f"{labels}," if labels else ""
    examples = dict(value.exemplars)
    lines = []
    running = tuple(accumulate(value.counts))
    for bucket, (bound, count) in enumerate(zip(bounds, running, strict=True)):
        example = _exemplar(examples.get(bucket))
        lines.append(f'{name}_bucket{{{before}le="{bound}"}} {count}{example}\n')
    said = _in_braces(labels)
    lines.append(f"{name}_sum{said} {float(value.total)!r}\n{name}_count{said} {running[-1]}\n")
    return lines


def _exemplar(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    trace = f'{{trace_id="{exemplar.trace_id:032x}"}}'
    return f" # {trace} {exemplar.value!r} {exemplar.moment:.3f}"


def _number(bound: float) -> str:
    """A bound as OpenMetrics wants it: 1.0, not 1."""
    text = format(bound, "g")
    return text if any(sign in text for sign in ".en") else f"{text}.0"


def _labels(metric: Metric, values: tuple[str, ...]) -> str:
    pairs = zip(metric.labels, values, strict=True)
    return ",".join(f'{label_name(name)}="{label_value(value)}"' for name, value in pairs)


def _in_braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""

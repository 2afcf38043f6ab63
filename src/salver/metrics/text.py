r"""The page as text, in the form of Prometheus as the reference writes it.

Source: TensorFlow Serving `util/prometheus_exporter.cc`. One deviation: a line feed in the value
of a label is written `\n`, as the format wants; the reference leaves it, and the whole page
becomes unreadable.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import TypeAlias

from salver.metrics.catalogue import Kind, Metric

__all__ = [
    "Cell",
    "Distribution",
    "Exemplar",
    "Family",
    "exported_name",
    "label_name",
    "label_value",
    "page",
]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One of the values of a bucket, and what it is an example of.

    Attributes:
        trace_id: of the request whose value it is.
        value: itself.
        moment: when it was, in seconds since the epoch.
    """

    trace_id: int
    value: float
    moment: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """The value of a histogram.

    Attributes:
        counts: how many values each bucket has by itself, the last one up to infinity.
        total: their sum.
        exemplars: number of a bucket and one of its values, of those for which there is one.
    """

    counts: Sequence[int]
    total: float
    exemplars: tuple[tuple[int, Exemplar], ...] = ()


Cell: TypeAlias = "tuple[tuple[str, ...], int | float | Distribution]"
"""The values of the labels, and of the metric."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with all its cells."""

    metric: Metric
    cells: list[Cell] = field(default_factory=list)


@lru_cache(maxsize=256)
def exported_name(name: str) -> str:
    """`/tensorflow/serving/request_count` → `:tensorflow:serving:request_count`."""
    return _without_digit_first(re.sub(r"[^a-zA-Z0-9_]", ":", name))


def label_name(name: str) -> str:
    """A label's name as the page shows it."""
    return _without_digit_first(re.sub(r"[^a-zA-Z0-9]", "_", name))


def label_value(value: str) -> str:
    """A label's value, escaped."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _without_digit_first(name: str) -> str:
    return f"_{name}" if re.match("[0-9]", name) else name


def _hold_on() -> None:
    """Go on without a rest."""


def page(families: Iterable[Family], breathe: Callable[[], object] = _hold_on) -> bytes:
    """All families, sorted by their internal names, each with its cells sorted by their labels.

    Args:
        families: what to write.
        breathe: called after each cell.
    """
    parts: list[str] = []
    for family in sorted(families, key=lambda family: family.metric.name):
        metric = family.metric
        if metric.is_silent_when_unused and not family.cells:
            continue
        parts.append(f"# TYPE {exported_name(metric.name)} {metric.kind.value}\n")
        write = _histogram if metric.kind is Kind.HISTOGRAM else _scalar
        for cell in sorted(family.cells, key=lambda cell: cell[0]):
            parts.append(write(metric, *cell))
            breathe()
    return "".join(parts).encode(errors="replace")


def _scalar(metric: Metric, values: tuple[str, ...], value: object) -> str:
    return f"{_scalar_start(metric)}{_labels(metric, values)}}} {value!r}\n"


def _histogram(metric: Metric, values: tuple[str, ...], value: object) -> str:
    assert isinstance(value, Distribution)
    labels = _labels(metric, values)
    before_le = f"{labels}," if labels else ""
    total = repr(float(value.total)) if metric.is_ours else format(value.total, "g")
    running = tuple(accumulate(value.counts))
    name = exported_name(metric.name)
    # The numbers first, since a label may hold a percent sign; one pass, since it may hold a NUL.
    buckets = (_bucket_form(metric) % running).replace("\0", before_le)
    return f"{buckets}{name}_sum{{{labels}}} {total}\n{name}_count{{{labels}}} {running[-1]}\n"


@lru_cache(maxsize=256)
def _scalar_start(metric: Metric) -> str:
    return f"{exported_name(metric.name)}{{"


@lru_cache(maxsize=256)
def _bucket_form(metric: Metric) -> str:
    """The bucket lines of a cell, with a NUL where its labels go and `%d` for the numbers."""
    name = exported_name(metric.name)
    bounds = [*(format(bound, "g") for bound in metric.bounds), "+Inf"]
    return "".join([f'{name}_bucket{{\0le="{bound}"}} %d\n' for bound in bounds])


@lru_cache(maxsize=256)
def _label_starts(metric: Metric) -> tuple[str, ...]:
    return tuple(f'{label_name(name)}="' for name in metric.labels)


def _labels(metric: Metric, values: tuple[str, ...]) -> str:
    pairs = zip(_label_starts(metric), values, strict=True)
    return ",".join([f'{start}{label_value(value)}"' for start, value in pairs])

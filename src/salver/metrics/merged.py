"""What several processes of one server have counted, made into one.

Counters and histograms add up. Each gauge has a rule of its own: what is of a process adds up too,
what every process says alike is said once.

Pure: who is asked, and when, is the affair of `workers`.
"""

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from salver.metrics.catalogue import BY_NAME, CATALOGUE, Kind
from salver.metrics.text import Cell, Distribution, Family

__all__ = ["GAUGES", "Report", "Rule", "families_of", "kept_after", "merge", "report_of"]

Value: TypeAlias = "int | float | Distribution"

Report: TypeAlias = "dict[str, list[Cell]]"
"""Internal name of a metric → its cells, as one process has counted them."""

_MOST_LEFT: Final = 2000  # cells by paths or of the kind that are kept of processes that have ended
_UNKNOWN_VERSION: Final = ""


class Rule(enum.Enum):
    """How the values of a gauge become one."""

    SUM = enum.auto()
    FIRST = enum.auto()  # of the reports, which say the same
    MOST = enum.auto()
    LEAST = enum.auto()


GAUGES: Final[Mapping[str, Rule]] = {
    "salver_in_flight_requests": Rule.SUM,
    "salver_last_request_timestamp_seconds": Rule.MOST,
    "salver_versions": Rule.FIRST,
    "salver_last_load_seconds": Rule.MOST,  # loaded is what the slowest has loaded
    "salver_reserved_memory_bytes": Rule.SUM,
    "salver_child_resident_memory_bytes": Rule.SUM,
    "salver_resident_versions": Rule.SUM,
    "salver_model_cache_bytes": Rule.MOST,  # of all processes it is the same
    "salver_connections": Rule.SUM,
    "salver_memory_in_flight_bytes": Rule.SUM,
    "salver_build_info": Rule.FIRST,
    "salver_process_resident_memory_bytes": Rule.SUM,
    "salver_process_open_fds": Rule.SUM,
    "salver_process_max_fds": Rule.SUM,
    "salver_process_threads": Rule.SUM,
    "salver_process_start_time_seconds": Rule.LEAST,
    "salver_workers": Rule.FIRST,
    "salver_quarantined_versions": Rule.FIRST,
    "salver_worker_resident_memory_bytes": Rule.FIRST,
    "salver_peer_outstanding_requests": Rule.SUM,
    "salver_peer_connections": Rule.SUM,
    "salver_peers_put_aside": Rule.MOST,
    "salver_peer_map_generation": Rule.LEAST,  # of the process that is behind
}
"""The rule of each gauge in the catalogue."""


def report_of(families: Iterable[Family]) -> Report:
    """What a process tells of itself."""
    return {family.metric.name: family.cells for family in families if family.cells}


def families_of(report: Report) -> list[Family]:
    """Every metric of the catalogue, once, as the page shows them."""
    return [Family(metric, report.get(metric.name, [])) for metric in CATALOGUE]


def merge(reports: Sequence[Report]) -> Report:
    """The sums, or what the rules make of gauges.

    Args:
        reports: the first of them counts for what all say alike.
    """
    merged: Report = {}
    for name in dict.fromkeys(name for report in reports for name in report):
        joined = _joined(name)
        cells: dict[tuple[str, ...], Value] = {}
        for report in reports:
            for labels, value in report.get(name, ()):
                cells[labels] = joined(cells[labels], value) if labels in cells else value
        merged[name] = list(cells.items())
    return merged


def kept_after(report: Report, forgotten: Iterable[tuple[str, int]] = ()) -> Report:
    """What counts for ever, though the process that counted it has ended: all but gauges.

    Args:
        report: its last one.
        forgotten: (model, version) of those that are unloaded, which are listed no more; as in a
            process that lives, sums of which they are a part stay.
    """
    gone = {(model, str(version)) for model, version in forgotten}
    kept = {}
    for name, cells in report.items():
        if BY_NAME[name].kind is not Kind.GAUGE:
            kept[name] = _without(name, cells, gone)
    return kept


def _without(name: str, cells: list[Cell], gone: set[tuple[str, str]]) -> list[Cell]:
    metric = BY_NAME[name]
    if metric.labels[:1] == ("model_path",):
        return cells[-_MOST_LEFT:]
    if metric.labels[:2] != ("model_name", "version") or not gone:
        return cells
    if name != "salver_failed_requests_total":
        return [cell for cell in cells if cell[0][:2] not in gone]
    renamed: list[Cell] = [
        ((labels[0], _UNKNOWN_VERSION, *labels[2:]) if labels[:2] in gone else labels, value)
        for labels, value in cells
    ]
    return merge([{name: [cell]} for cell in renamed])[name] if renamed else []


def _joined(name: str) -> "Callable[[Value, Value], Value]":
    if BY_NAME[name].kind is not Kind.GAUGE:
        return _added
    match GAUGES[name]:
        case Rule.SUM:
            return _added
        case Rule.FIRST:
            return lambda first, _other: first
        case Rule.MOST:
            return lambda one, other: max(_number(one), _number(other))
        case Rule.LEAST:  # pragma: no branch - the last one there is
            return lambda one, other: min(_number(one), _number(other))


def _added(one: Value, other: Value) -> Value:
    if isinstance(one, Distribution):
        assert isinstance(other, Distribution)
        counts = [a + b for a, b in zip(one.counts, other.counts, strict=True)]
        exemplars = dict(one.exemplars)
        for bucket, exemplar in other.exemplars:
            known = exemplars.get(bucket)
            if known is None or known.moment < exemplar.moment:
                exemplars[bucket] = exemplar
        return Distribution(counts, one.total + other.total, tuple(sorted(exemplars.items())))
    return _number(one) + _number(other)


def _number(value: Value) -> int | float:
    assert not isinstance(value, Distribution)
    return value

"""Triton's statistics of models, made of what the server counts anyhow.

What is counted here is counted by whole requests, and not by their rows or stages. So these are
approximations, as `docs/open-inference.md` says:

- `inference_count` is the number of answered requests, or of rows in batches where requests are
  merged; `execution_count` that of runs, or of batches.
- `fail` has no time; `cache_hit` and `cache_miss` are always 0.
- `compute_infer` is the run without the wait for a batch; `compute_input` all the rest, since
  reading a request and writing its answer are not told apart, and `compute_output` has no time.
- `batch_stats` go by the bounds of the histogram of batch sizes, with time shared by the batches.
- `last_inference` is when the last request was answered that did not fail; 0 for none.

Requests of both APIs count. Source: Triton's `docs/protocol/extension_statistics.md`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from salver.errors import NotFound
from salver.inference.serving import Serving
from salver.lifecycle.monitor import VersionState
from salver.metrics.catalogue import BY_NAME
from salver.metrics.merged import Report
from salver.metrics.text import Distribution

__all__ = ["model_statistics"]

_ROWS = "salver_batch_rows"
_Key = tuple[str, str]


@dataclass(slots=True)
class _Counted:
    """Of one version, in seconds."""

    requests: int = 0
    request_s: float = 0.0
    run_s: float = 0.0
    failures: int = 0
    queue_s: float = 0.0
    last_s: float = 0.0  # since the epoch
    rows: float = 0.0
    batches: list[int] = field(default_factory=list)  # by the bounds of `_ROWS`


def model_statistics(
    serving: Serving,
    report: Report,
    name: str = "",
    version: int | None = None,
    *,
    is_shown: Callable[[str], bool] = lambda _name: True,
) -> list[dict[str, Any]]:
    """The `ModelStatistics` of the versions that answer; those of `model_stats`.

    Args:
        serving: tells which they are.
        report: what all processes have counted; see `ApiParts.read_report`.
        name: of a model; empty for all.
        version: of it; None for all.
        is_shown: whether a model is to be told of.

    Raises:
        NotFound: the model, or the version, does not answer.
    """
    names = [name] if name else list(serving.model_names())
    counted = _counted(report)
    found = [
        _statistics(each, number, counted.get((each, str(number)), _Counted()))
        for each in names
        if is_shown(each)
        for number in _available(serving, each)
        if version is None or number == version
    ]
    if name and not found:
        if version is None:
            raise NotFound(f"requested model '{name}' is not available")
        raise NotFound(f"requested model version is not available for model '{name}'")
    return found


def _available(serving: Serving, name: str) -> list[int]:
    try:
        statuses = serving.statuses(name)
    except NotFound:
        return []
    return sorted(of.id.version for of in statuses if of.state is VersionState.AVAILABLE)


def _counted(report: Report) -> Mapping[_Key, _Counted]:
    found: dict[_Key, _Counted] = {}

    def of(labels: tuple[str, ...]) -> _Counted:
        return found.setdefault((labels[0], labels[1]), _Counted())

    for labels, value in _distributions(report, "salver_request_seconds"):
        of(labels).requests += sum(value.counts)
        of(labels).request_s += value.total
    for labels, value in _distributions(report, "salver_run_seconds"):
        of(labels).run_s += value.total
    for labels, value in _distributions(report, "salver_batch_queue_seconds"):
        of(labels).queue_s += value.total
    for labels, value in _distributions(report, _ROWS):
        of(labels).rows, of(labels).batches = value.total, list(value.counts)
    for labels, moment_s in report.get("salver_last_request_timestamp_seconds", ()):
        assert not isinstance(moment_s, Distribution)
        of(labels).last_s = moment_s
    for labels, count in report.get("salver_failed_requests_total", ()):
        assert not isinstance(count, Distribution)
        of(labels).failures += int(count)
    return found


def _distributions(report: Report, name: str) -> Iterator[tuple[tuple[str, ...], Distribution]]:
    for labels, value in report.get(name, ()):
        assert isinstance(value, Distribution)
        yield labels, value


def _statistics(name: str, version: int, of: _Counted) -> dict[str, Any]:
    n_batches = sum(of.batches)
    queue_s = min(of.queue_s, of.run_s)
    infer_s, input_s = of.run_s - queue_s, max(0.0, of.request_s - of.run_s)
    return {
        "name": name,
        "version": str(version),
        "last_inference": round(of.last_s * 1000),
        "inference_count": round(of.rows) if n_batches else of.requests,
        "execution_count": n_batches or of.requests,
        "inference_stats": {
            "success": _duration(of.requests, of.request_s),
            "fail": _duration(of.failures, 0.0),
            "queue": _duration(of.requests, queue_s),
            "compute_input": _duration(of.requests, input_s),
            "compute_infer": _duration(of.requests, infer_s),
            "compute_output": _duration(of.requests, 0.0),
            "cache_hit": _duration(0, 0.0),
            "cache_miss": _duration(0, 0.0),
        },
        "response_stats": {},
        "batch_stats": _batch_stats(of, input_s, infer_s),
        "memory_usage": [],
    }


def _batch_stats(of: _Counted, input_s: float, infer_s: float) -> list[dict[str, Any]]:
    n_batches = sum(of.batches)
    if not n_batches:
        sizes = {1: of.requests} if of.requests else {}
    else:
        bounds = [*map(int, BY_NAME[_ROWS].bounds), int(BY_NAME[_ROWS].bounds[-1]) * 2]
        sizes = {size: n for size, n in zip(bounds, of.batches, strict=False) if n}
    total = sum(sizes.values())
    return [
        {
            "batch_size": size,
            "compute_input": _duration(count, input_s * count / total),
            "compute_infer": _duration(count, infer_s * count / total),
            "compute_output": _duration(count, 0.0),
        }
        for size, count in sizes.items()
    ]


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(seconds * 1e9)}

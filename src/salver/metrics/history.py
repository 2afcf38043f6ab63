"""What happened lately, in steps, for a dashboard that was closed meanwhile.

Counters only ever grow; a step keeps by how much, so that it stays true when a version goes. The
ring is bounded whatever is served: steps are few and kept compressed, a step names the busiest
versions and adds the others up, and totals are kept of so many models only.

Pure but for a lock; who reads the counters, and when, is the affair of `server` and `workers`.
"""

import json
import threading
import zlib
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from math import ceil
from typing import Final, TypeAlias

from salver.metrics.catalogue import BY_NAME
from salver.metrics.merged import Report
from salver.metrics.text import Distribution

__all__ = ["History"]

_MOST_STEPS: Final = 360
_LEAST_STEP_S: Final = 5.0
_MOST_VERSIONS: Final = 64  # named in a step
_MOST_MODELS: Final = 1000  # that totals are kept of
_MOST_BYTES: Final = 32 << 20  # of all steps as text, where names are very long
_REST: Final = ("", "")  # the key of what is added up

_REQUESTS: Final = "salver_request_seconds"
_FAILURES: Final = "salver_failed_requests_total"
_BATCHES: Final = "salver_batch_rows"
_MEMORY: Final = "salver_process_resident_memory_bytes"

Breathe: TypeAlias = Callable[[], object]


def _hold_on() -> None:
    """Go on without a rest."""


_Key = tuple[str, str]
"""Model and version; the version is empty of requests for which none was found."""


@dataclass(slots=True)
class _Counts:
    """Of one version.

    Attributes:
        latency: answered requests by the buckets of `salver_request_seconds`.
        failures: by code.
        batches: by the buckets of `salver_batch_rows`.
        rows: in all batches together.
    """

    latency: Sequence[int] = ()
    failures: Counter[str] = field(default_factory=Counter)
    batches: Sequence[int] = ()
    rows: float = 0.0

    @property
    def requests(self) -> int:
        return sum(self.latency) + self.failures.total()


class History:
    """A ring of steps. Safe to use from any thread.

    Attributes:
        step_s: how often `record` is to be called.
    """

    def __init__(self, seconds: float, now_s: float) -> None:
        """Begin with nothing.

        Args:
            seconds: how long a step is kept.
            now_s: of a monotonic clock, as everywhere here.
        """
        self.step_s = max(_LEAST_STEP_S, seconds / _MOST_STEPS)
        self._lock = threading.Lock()  # guards what follows
        # Compressed, with the size of the text.
        self._steps: deque[tuple[bytes, int]] = deque()
        self._most_steps = max(1, ceil(seconds / self.step_s))
        self._size = 0
        self._began_s = self._last_s = now_s
        self._last: dict[_Key, _Counts] = {}
        self._totals: dict[str, list[int]] = {}

    def record(self, report: Report, now_s: float, breathe: Breathe = _hold_on) -> None:
        """End a step.

        Args:
            report: all that was counted by now.
            now_s: later than of the step before.
            breathe: called again and again while this computes.
        """
        counts = _counts_of(report, breathe)
        with self._lock:
            gains = _gains(self._last, counts, breathe)
            self._keep(_step(self._last_s, now_s, report, gains))
            _add_totals(self._totals, gains)
            self._last, self._last_s = counts, now_s

    def document(self, report: Report, now_s: float, breathe: Breathe = _hold_on) -> bytes:
        """JSON of all steps, the last of which ends now and is not kept.

        Args:
            report: all that was counted by now.
            now_s: the time.
            breathe: called again and again while this computes.
        """
        counts = _counts_of(report, breathe)
        with self._lock:
            steps, began_s, last_s = tuple(self._steps), self._began_s, self._last_s
            gains = _gains(self._last, counts, breathe)
            totals = {model: list(total) for model, total in self._totals.items()}
        _add_totals(totals, gains)
        head = {
            "schema": 1,
            "now": round(now_s, 3),
            "began": round(began_s, 3),
            "step_seconds": self.step_s,
            "latency_bounds": BY_NAME[_REQUESTS].bounds,
            "batch_bounds": BY_NAME[_BATCHES].bounds,
            "totals": [[model, *total] for model, total in totals.items()],
        }
        kept = [zlib.decompress(step) for step, _ in steps]
        parts = [*kept, _step(last_s, now_s, report, gains)]
        return json.dumps(head).encode()[:-1] + b', "steps": [' + b", ".join(parts) + b"]}"

    def _keep(self, step: bytes) -> None:
        self._steps.append((zlib.compress(step, 1), len(step)))
        self._size += len(step)
        while len(self._steps) > self._most_steps or self._size > _MOST_BYTES:
            self._size -= self._steps.popleft()[1]


def _step(from_s: float, to_s: float, report: Report, gains: Mapping[_Key, _Counts]) -> bytes:
    """JSON of a step; see `docs/metrics.md`."""
    memory = next((value for _, value in report.get(_MEMORY, ())), None)
    versions = [
        [*key, of.latency, of.failures, of.batches, round(of.rows)]
        for key, of in _busiest(gains).items()
    ]
    step = {
        "from": round(from_s, 3),
        "to": round(to_s, 3),
        "memory": memory,
        "versions": versions,
    }
    return json.dumps(step, separators=(",", ":")).encode()


def _counts_of(report: Report, breathe: Breathe) -> dict[_Key, _Counts]:
    found: dict[_Key, _Counts] = {}
    for name in (_REQUESTS, _BATCHES):
        for (model, version, *_), value in report.get(name, ()):
            assert isinstance(value, Distribution)
            breathe()
            of = found.setdefault((model, version), _Counts())
            if name == _REQUESTS:
                of.latency = _summed(of.latency, value.counts)
            else:
                of.batches = _summed(of.batches, value.counts)
                of.rows += value.total
    for (model, version, code, *_), failures in report.get(_FAILURES, ()):
        assert isinstance(failures, (int, float))
        found.setdefault((model, version), _Counts()).failures[code] += int(failures)
    return found


def _gains(
    before: Mapping[_Key, _Counts], now: Mapping[_Key, _Counts], breathe: Breathe
) -> dict[_Key, _Counts]:
    """What has come in between, without what has not changed."""
    gains = {}
    for key, of in now.items():
        breathe()
        if key[1]:
            gains[key] = _gain(before.get(key, _Counts()), of)
    # What failed at a version counts as that of none when the version goes: of those only what
    # the model as a whole has more of is new.
    was, is_now, known = (_failures_by_model(counts) for counts in (before, now, gains))
    for model, failures in is_now.items():
        fresh = failures - was.get(model, Counter()) - known.get(model, Counter())
        if fresh:
            gains[model, ""] = _Counts(failures=fresh)
    return {key: of for key, of in gains.items() if of.requests or any(of.batches)}


def _gain(before: _Counts, now: _Counts) -> _Counts:
    """A version that was loaded again counts from nothing."""
    is_anew = any(a < b for a, b in zip(now.latency, before.latency, strict=False))
    was = _Counts() if is_anew else before
    return _Counts(
        latency=_difference(now.latency, was.latency),
        failures=now.failures - was.failures,
        batches=_difference(now.batches, was.batches),
        rows=max(0.0, now.rows - was.rows),
    )


def _failures_by_model(counts: Mapping[_Key, _Counts]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for (model, _), of in counts.items():
        if of.failures:
            found.setdefault(model, Counter()).update(of.failures)
    return found


def _busiest(gains: Mapping[_Key, _Counts]) -> dict[_Key, _Counts]:
    """Those with most requests by name, the others together."""
    if len(gains) <= _MOST_VERSIONS:
        return dict(gains)
    ordered = sorted(gains.items(), key=lambda item: item[1].requests, reverse=True)
    kept = dict(ordered[:_MOST_VERSIONS])
    rest = kept.pop(_REST, _Counts())
    for _, of in ordered[_MOST_VERSIONS:]:
        rest = _Counts(
            _summed(rest.latency, of.latency),
            rest.failures + of.failures,
            _summed(rest.batches, of.batches),
            rest.rows + of.rows,
        )
    return {**kept, _REST: rest}


def _add_totals(totals: dict[str, list[int]], gains: Mapping[_Key, _Counts]) -> None:
    """Add up requests and errors by model; past a number of models under the empty name."""
    for (model, _), of in gains.items():
        name = model if model in totals or len(totals) < _MOST_MODELS else _REST[0]
        total = totals.setdefault(name, [0, 0])
        total[0] += of.requests
        total[1] += of.failures.total()


def _summed(one: Sequence[int], other: Sequence[int]) -> list[int]:
    return [a + b for a, b in zip_longest(one, other, fillvalue=0)]


def _difference(now: Sequence[int], before: Sequence[int]) -> list[int]:
    return [max(0, a - b) for a, b in zip_longest(now, before, fillvalue=0)]

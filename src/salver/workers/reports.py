"""The last report of each worker, and what those have counted that have ended."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from salver.metrics.catalogue import BY_NAME
from salver.metrics.merged import Report, kept_after, merge, report_of
from salver.metrics.process import process_families
from salver.metrics.text import Distribution, Family
from salver.vocabulary.servable import ServableId
from salver.workers.messages import Reading

__all__ = ["ReportStore", "WorkerFacts", "supervisor_report"]


class ReportStore:
    """The last report of each worker, by any key. Safe to use from any thread."""

    def __init__(self) -> None:
        """Begin with no worker."""
        self._lock = threading.Lock()  # guards what follows
        self._last: dict[object, Reading] = {}
        self._left: Report = {}

    def opened(self, key: object) -> None:
        """A worker is there."""
        with self._lock:
            self._last[key] = Reading(-1, {})

    def put(self, key: object, reading: Reading) -> None:
        """A worker reports what it has counted. What comes late, or after its end, is dropped."""
        with self._lock:
            last = self._last.get(key)
            if last is not None and last.number < reading.number:
                self._last[key] = reading

    def closed(self, key: object) -> None:
        """A worker has ended: its counts stay."""
        with self._lock:
            last = self._last.pop(key, None)
            if last is not None:
                self._left = merge([self._left, kept_after(last.report)])

    def forget(self, id: ServableId) -> None:
        """List a version no more that is unloaded, of workers that have ended."""
        with self._lock:
            self._left = kept_after(self._left, [(id.name, id.version)])

    def answers(self, id: ServableId) -> int:
        """How many requests a version has answered, as far as workers have reported."""
        with self._lock:
            reports = [*(reading.report for reading in self._last.values()), self._left]
        own = (id.name, str(id.version))
        return sum(
            sum(value.counts)
            for report in reports
            for labels, value in report.get("salver_request_seconds", ())
            if labels[:2] == own and isinstance(value, Distribution)
        )

    def others(self, key: object) -> list[Report]:
        """What all but one worker have counted, and those that have ended."""
        with self._lock:
            return [*(r.report for k, r in self._last.items() if k is not key), self._left]


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What the supervisor knows of a worker that serves.

    Attributes:
        resident_bytes: memory of its process in RAM; None where the system does not say.
    """

    slot: int
    resident_bytes: int | None


def supervisor_report(
    workers: "list[WorkerFacts]",
    *,
    deaths: int,
    reserved: "dict[ServableId, int]",
    quarantined: "Mapping[str, int] | None" = None,
    families: Callable[[], list[Family]] = process_families,
) -> Report:
    """What the supervisor itself has to add to the page.

    Args:
        workers: that serve.
        deaths: of workers so far.
        reserved: version → memory set aside at all workers.
        quarantined: model → how many of its versions are quarantined.
        families: what the system says of the supervisor's own process.
    """
    memory = [
        ((str(worker.slot),), worker.resident_bytes)
        for worker in workers
        if worker.resident_bytes is not None
    ]
    set_aside = [((id.name, str(id.version)), n) for id, n in reserved.items()]
    quarantines = [((name,), count) for name, count in (quarantined or {}).items()]
    own = [
        Family(BY_NAME["salver_workers"], [((), len(workers))]),
        Family(BY_NAME["salver_quarantined_versions"], list(quarantines)),
        Family(BY_NAME["salver_worker_deaths_total"], [((), deaths)]),
        Family(BY_NAME["salver_worker_resident_memory_bytes"], list(memory)),
        Family(BY_NAME["salver_reserved_memory_bytes"], list(set_aside)),
    ]
    return report_of([*own, *families()])

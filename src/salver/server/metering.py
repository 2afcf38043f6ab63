"""What the metrics page asks the server when it is read: models, connections, the process."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Protocol

from salver import __version__
from salver.errors import Cancelled, NotFound
from salver.lifecycle.monitor import VersionState, VersionStatus
from salver.metrics.catalogue import BY_NAME
from salver.metrics.installed import installed_version
from salver.metrics.process import build_family, process_families
from salver.metrics.text import Cell, Family
from salver.scheduling.run_pool import RunCounts
from salver.transport.in_flight import UNLIMITED, MemoryInFlight
from salver.vocabulary.servable import ServableId

__all__ = ["Meterable", "ServerReadings", "child_families", "run_families"]

_FAILED: Final = "FAILED"


class Meterable(Protocol):
    """The part of `ServerCore` that is asked, from any thread."""

    def model_names(self) -> Sequence[str]: ...
    def statuses(self, name: str) -> Sequence[VersionStatus]: ...
    def in_flight(self) -> Mapping[ServableId, int]: ...
    @property
    def reserved(self) -> Mapping[ServableId, int]: ...


@dataclass(frozen=True, slots=True)
class ServerReadings:
    """A collector for `Metrics.add_collector`.

    Attributes:
        core: the models.
        connections: how many the REST API has.
        dropped_lines: how many the access log has lost.
        memory: that requests hold.
        rejected_runs: model → requests that found the queue of its runs full.
        late_runs: model → requests whose time would have been over before their turn.
        refused: limit → requests of principals that had had theirs.
    """

    core: Meterable
    connections: Callable[[], int] = lambda: 0
    dropped_lines: Callable[[], int] = lambda: 0
    memory: MemoryInFlight = UNLIMITED
    rejected_runs: Callable[[], Mapping[str, int]] = dict
    late_runs: Callable[[], Mapping[str, int]] = dict
    refused: Callable[[], Mapping[str, int]] = dict

    def __call__(self) -> Iterable[Family]:
        """Ask."""
        dropped = self.dropped_lines()
        yield _by_version("salver_in_flight_requests", self.core.in_flight())
        yield _versions(self.core)
        yield _by_version("salver_reserved_memory_bytes", self.core.reserved)
        yield Family(BY_NAME["salver_connections"], [(("REST",), self.connections())])
        yield Family(BY_NAME["salver_memory_in_flight_bytes"], [((), self.memory.held_bytes)])
        rejected: list[Cell] = [((name, "queue"), n) for name, n in self.rejected_runs().items()]
        rejected += [((name, "deadline"), n) for name, n in self.late_runs().items()]
        rejected += [(("", limit), number) for limit, number in self.refused().items()]
        if self.memory.rejected:
            rejected.append((("", "memory"), self.memory.rejected))
        if rejected:
            yield Family(BY_NAME["salver_rejected_requests_total"], rejected)
        if dropped:
            labels = ("access", "disk")
            yield Family(BY_NAME["salver_dropped_log_records_total"], [(labels, dropped)])
        yield build_family(__version__, _tensorflow_version())
        yield from process_families()


def run_families(counts: Mapping[str, RunCounts]) -> Iterable[Family]:
    """What is told of the runs of models.

    Args:
        counts: model → its runs.
    """
    runs: list[Cell] = []
    demotions: list[Cell] = []
    for name, of_model in counts.items():
        runs += [((name, placement), n) for placement, n in of_model.by_placement().items() if n]
        if of_model.demotions:
            demotions.append(((name,), of_model.demotions))
    yield Family(BY_NAME["salver_runs_total"], runs)
    yield Family(BY_NAME["salver_inline_demotions_total"], demotions)


def child_families(
    restarts: Mapping[tuple[str, str], int], resident: Mapping[ServableId, int]
) -> Iterable[Family]:
    """What is told of models in processes of their own.

    Args:
        restarts: (model, cause) → processes that were replaced.
        resident: version → memory of its processes in bytes.
    """
    if restarts:
        yield Family(BY_NAME["salver_child_restarts_total"], list(restarts.items()))
    if resident:
        yield _by_version("salver_child_resident_memory_bytes", resident)


@cache
def _tensorflow_version() -> str:
    return installed_version()


def _by_version(metric: str, values: Mapping[ServableId, int]) -> Family:
    cells = [((id.name, str(id.version)), n) for id, n in values.items()]
    return Family(BY_NAME[metric], list(cells))


def _versions(core: Meterable) -> Family:
    family = Family(BY_NAME["salver_versions"])
    for name in core.model_names():
        # There also when it is 0: a model that cannot be asked is what alerts are made for.
        counts = Counter({VersionState.AVAILABLE.name: 0, _FAILED: 0})
        counts.update(filter(None, map(_state, _statuses(core, name))))
        family.cells.extend(((name, state), n) for state, n in counts.items())
    return family


def _statuses(core: Meterable, name: str) -> Sequence[VersionStatus]:
    try:
        return core.statuses(name)
    except NotFound:  # configured, but nothing on disk yet
        return ()


def _state(status: VersionStatus) -> str | None:
    """What a version counts as; None for one that has ended as it should."""
    if status.state is not VersionState.END:
        return status.state.name
    is_failure = status.error is not None and not isinstance(status.error, Cancelled)
    return _FAILED if is_failure else None

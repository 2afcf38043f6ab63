from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from salver import __version__
from salver.errors import Cancelled, Internal, NotFound, ServingError
from salver.lifecycle.monitor import Monitor, VersionState, VersionStatus
from salver.metrics.text import Distribution
from salver.scheduling.run_pool import RunCounts
from salver.server.metering import ServerReadings, run_families
from salver.vocabulary.servable import ServableId


@dataclass
class Models:
    """Models without anything behind them."""

    names: list[str] = field(default_factory=list)
    monitor: Monitor = field(default_factory=Monitor)
    pins: dict[ServableId, int] = field(default_factory=dict)
    reserved: dict[ServableId, int] = field(default_factory=dict)

    def model_names(self) -> Sequence[str]:
        return self.names

    def statuses(self, name: str) -> Sequence[VersionStatus]:
        if found := self.monitor.statuses(name):
            return found
        raise NotFound(name)

    def in_flight(self) -> Mapping[ServableId, int]:
        return self.pins

    def put(
        self, name: str, version: int, state: VersionState, error: ServingError | None = None
    ) -> None:
        self.monitor.publish(ServableId(name, version), state, error)


def read(readings: ServerReadings) -> dict[str, dict[tuple[str, ...], object]]:
    found: dict[str, dict[tuple[str, ...], object]] = {}
    for family in readings():
        assert not any(isinstance(value, Distribution) for _, value in family.cells)
        found[family.metric.name] = dict(family.cells)
    return found


def test_versions_are_counted_by_state() -> None:
    models = Models(names=["m", "empty"])
    models.put("m", 1, VersionState.AVAILABLE)
    models.put("m", 2, VersionState.AVAILABLE)
    models.put("m", 3, VersionState.LOADING)
    models.put("m", 4, VersionState.END, Internal("broken"))
    models.put("m", 5, VersionState.END)
    models.put("m", 6, VersionState.END, Cancelled("not wanted"))
    models.put("gone", 1, VersionState.AVAILABLE)
    assert read(ServerReadings(models))["salver_versions"] == {
        ("m", "AVAILABLE"): 2,
        ("m", "LOADING"): 1,
        ("m", "FAILED"): 1,
        ("empty", "AVAILABLE"): 0,
        ("empty", "FAILED"): 0,
    }


def test_what_is_in_flight_and_reserved_is_told() -> None:
    id = ServableId("m", 1)
    found = read(ServerReadings(Models(pins={id: 3}, reserved={id: 99})))
    assert found["salver_in_flight_requests"] == {("m", "1"): 3}
    assert found["salver_reserved_memory_bytes"] == {("m", "1"): 99}


def test_connections_and_memory_are_asked_for() -> None:
    found = read(ServerReadings(Models(), connections=lambda: 5, dropped_lines=lambda: 2))
    assert found["salver_connections"] == {("REST",): 5}
    assert found["salver_dropped_log_records_total"] == {("access", "disk"): 2}


def test_where_runs_are_made_is_told_by_model() -> None:
    small, silent = RunCounts(), RunCounts()
    small.inline, small.pool, small.demotions = 9, 5, 2
    small.ran_batch()
    runs, demotions = run_families({"small": small, "silent": silent})
    assert (runs.metric.name, demotions.metric.name) == (
        "salver_runs_total",
        "salver_inline_demotions_total",
    )
    assert dict(runs.cells) == {
        ("small", "inline"): 9,
        ("small", "pool"): 5,
        ("small", "batch"): 1,
    }
    assert dict(demotions.cells) == {("small",): 2}


def test_a_log_that_lost_nothing_says_nothing() -> None:
    assert "salver_dropped_log_records_total" not in read(ServerReadings(Models()))


def test_the_process_and_the_build_are_told() -> None:
    found = read(ServerReadings(Models()))
    assert found["salver_process_cpu_seconds_total"]
    ((version, _, _),) = found["salver_build_info"]
    assert version == __version__


def test_what_was_refused_is_counted_by_its_reason() -> None:
    readings = ServerReadings(
        Models(),
        rejected_runs=lambda: {"m": 1},
        late_runs=lambda: {"m": 2},
        refused=lambda: {"rate": 3, "concurrency": 4},
    )
    assert read(readings)["salver_rejected_requests_total"] == {
        ("m", "queue"): 1,
        ("m", "deadline"): 2,
        ("", "rate"): 3,
        ("", "concurrency"): 4,
    }

"""All metrics of a server: where to count, and what the page shows.

What the loop counts is copied on the loop; the page is made of the copy in any other thread, so
that neither disturbs the other.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from salver.errors import Code
from salver.instruments.threads import Breather
from salver.metrics import request_families
from salver.metrics.batches import BatchMetrics
from salver.metrics.catalogue import BY_NAME, CATALOGUE
from salver.metrics.cells import Counters, Histograms
from salver.metrics.fetches import FetchMetrics
from salver.metrics.loads import LoadMetrics
from salver.metrics.logs import LogMetrics
from salver.metrics.loop_lag import LoopLag
from salver.metrics.meters import Meter, MeterKey, Meters, Readings
from salver.metrics.outcomes import OutcomeReadings, Outcomes
from salver.metrics.principals import PrincipalRequests
from salver.metrics.process import process_families
from salver.metrics.text import Cell, Distribution, Family, page

__all__ = ["Collector", "Metrics"]

Collector = Callable[[], Iterable[Family]]
"""Tells what is known only when it is asked for. Called from any thread, several at once."""

_SERVING: Final = "/tensorflow/serving/"


class Metrics:
    """The instruments of one server, made by whoever assembles it.

    Attributes:
        outcomes: for the APIs; on the loop only.
        batches: for the batch threads.
        loads: for the load threads.
        loop_lag: to be started with the loop.
        logs: for the request logs.
        fetches: for the sources of models.
        principals: for what lets requests pass by whose they are; on the loop only.
    """

    def __init__(self, is_configured: Callable[[str], bool] = lambda _name: False) -> None:
        """Start at nothing.

        Args:
            is_configured: whether a model of this name is served, or is to be.
        """
        self.outcomes = Outcomes(is_configured)
        self.batches = BatchMetrics()
        self.loads = LoadMetrics()
        self.loop_lag = LoopLag()
        self.logs = LogMetrics()
        self.fetches = FetchMetrics()
        self.principals = PrincipalRequests(is_configured)
        self._meters = Meters()
        self._examples = Histograms(BY_NAME[f"{_SERVING}request_example_counts"])
        self._example_count = Counters(BY_NAME[f"{_SERVING}request_example_count_total"])
        self._collectors: list[Collector] = []

    # -- counting --------------------------------------------------------------------------------

    def meter_factory(
        self, model: str, version: int, *, is_batched: bool = False
    ) -> Callable[[str, str, str], Meter]:
        """What makes the meters of a version: (signature, method, entrypoint) → meter.

        Args:
            model: its name.
            version: its number.
            is_batched: its runs are reported by the batch, through `batches`.

        Returns:
            A function for any thread.
        """
        # By plain names, because to find a meter by its key takes ten times as long.
        made: dict[tuple[str, str, str], Meter] = {}

        def make(signature: str, method: str, entrypoint: str) -> Meter:
            names = (signature, method, entrypoint)
            meter = made.get(names)
            if meter is None:
                key = MeterKey(model, version, *names, is_batched)
                meter = made[names] = self._meters.meter(key)
            return meter

        return make

    def examples_seen(self, model: str, count: int) -> None:
        """A MultiInference request had so many examples. From any thread."""
        self._examples.observe(model, value=count)
        self._example_count.add(model, by=count)

    def forget(self, model: str, version: int) -> None:
        """List a version no more: it is unloaded. Sums of which it is a part stay.

        From any thread, once no more requests find it.
        """
        self._meters.forget(model, version)
        self.outcomes.forget(model, version)
        self.batches.forget(model, version)

    def add_collector(self, collector: Collector) -> None:
        """Ask this too from here on. While the server is made."""
        self._collectors.append(collector)

    # -- reading ---------------------------------------------------------------------------------

    def draw(self) -> Callable[[], bytes]:
        """Take down what the loop has counted, on the loop.

        Returns:
            A function that makes the page; for any thread, as it may take long: 0.1 s for
            thousands of versions.
        """
        families = self.read()
        return lambda: page(families(), Breather())

    def read(self) -> Callable[[], list[Family]]:
        """The same, for who makes something else of it: every metric of the catalogue, once."""
        readings, outcomes = self._meters.read(), self.outcomes.read()
        return lambda: self._families(readings, outcomes)

    def read_recent(self) -> Callable[[], list[Family]]:
        """The same of what `History` keeps alone, which takes a fraction of the time."""
        readings, outcomes = self._meters.read(), self.outcomes.read()
        failures = Family(BY_NAME["salver_failed_requests_total"], _failures(outcomes))
        return lambda: [
            *request_families.ours(readings),
            failures,
            self.batches.rows(),
            *process_families(),
        ]

    def mark(self) -> tuple[int, ...]:
        """What is another one when requests have been counted meanwhile. On the loop."""
        readings, outcomes = self._meters.read(), self.outcomes.read()
        return (
            int(readings.counts.sum()),
            sum(outcomes.failures.values()),
            sum(sum(latencies.counts) for latencies in outcomes.answers.values()),
        )

    def totals(self) -> dict[str, int]:
        """Internal name → the sum of all cells, of the counters kept here. On the loop."""
        readings, outcomes = self._meters.read(), self.outcomes.read()
        kept = self._families(readings, outcomes, is_collecting=False)
        return {
            family.metric.name: int(
                sum(value for _, value in family.cells if not isinstance(value, Distribution))
            )
            for family in kept
        }

    def _families(
        self, readings: Readings, outcomes: OutcomeReadings, *, is_collecting: bool = True
    ) -> list[Family]:
        """Every metric of the catalogue, once."""
        found: dict[str, Family] = {}
        mine = [
            *self._request_families(readings, outcomes),
            *request_families.graph_families(readings, self.batches.graph_runs()),
            *self.batches.families(),
            *self.loads.families(),
            *(self._examples.family(), self._example_count.family()),
            *self.logs.families(),
            *self.fetches.families(),
            self.loop_lag.family(),
            self.principals.family(),
        ]
        for family in mine:
            found[family.metric.name] = family
        for collect in self._collectors if is_collecting else ():
            for family in collect():
                found.setdefault(family.metric.name, Family(family.metric)).cells.extend(
                    family.cells
                )
        return [found.get(metric.name) or Family(metric) for metric in CATALOGUE]

    def _request_families(self, readings: Readings, outcomes: OutcomeReadings) -> list[Family]:
        return [
            Family(BY_NAME[f"{_SERVING}request_count"], _request_count(readings, outcomes)),
            Family(BY_NAME[f"{_SERVING}request_latency"], _request_latency(readings, outcomes)),
            Family(
                BY_NAME[f"{_SERVING}runtime_latency"], request_families.runtime_latency(readings)
            ),
            Family(BY_NAME["salver_failed_requests_total"], _failures(outcomes)),
            *request_families.ours(readings),
            request_families.last_requests(readings),
        ]


def _request_count(readings: Readings, outcomes: OutcomeReadings) -> list[Cell]:
    counts = {(model, "OK"): n for model, n in request_families.ok_counts(readings).items()}
    for model, latencies in outcomes.answers.items():
        counts[model, "OK"] = counts.get((model, "OK"), 0) + sum(latencies.counts)
    for (model, _, code, _, protocol), n in outcomes.failures.items():
        if protocol == "tfs":
            counts[model, code.name] = counts.get((model, code.name), 0) + n
    return list(counts.items())


def _request_latency(readings: Readings, outcomes: OutcomeReadings) -> list[Cell]:
    quiet: Sequence[Cell] = [
        ((model, "", "REST"), latencies) for model, latencies in outcomes.answers.items()
    ]
    return [*request_families.request_latency(readings), *quiet]


def _failures(outcomes: OutcomeReadings) -> list[Cell]:
    return [
        ((model, "" if version is None else str(version), Code(code).name, *came_by), n)
        for (model, version, code, *came_by), n in outcomes.failures.items()
    ]

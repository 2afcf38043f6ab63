"""Sends a log to a server and says where the answers differ."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from salver.errors import ServingError
from salver.request_log.answers import Answer, Comparison, Tolerance, compare
from salver.request_log.reading import LoggedRecord, Unreadable

__all__ = ["Outcome", "ReplayPlan", "Report", "replay"]

Ask = Callable[[LoggedRecord], Answer]
"""Where an answer comes from; raises ServingError."""

_PERCENTILES: Final = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """How a log is sent.

    Attributes:
        concurrency: calls at the same time.
        rate: calls begun per second; 0 for as fast as answers come.
        limit: of calls; 0 for all.
        tolerance: of numbers.
    """

    concurrency: int = 4
    rate: float = 0.0
    limit: int = 0
    tolerance: Tolerance = field(default_factory=Tolerance)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one call.

    Attributes:
        index: place in the replay, from 0.
        where: file and number of the record.
        model: that was named in the log; empty where the record cannot be read.
        seconds: until the answer; None where there is none.
        comparisons: of the outputs; empty where there was nothing to compare with.
        failure: why there is no answer; empty where there is one.
    """

    index: int
    where: str
    model: str
    seconds: float | None
    comparisons: tuple[Comparison, ...] = ()
    failure: str = ""

    @property
    def differs(self) -> bool:
        return any(comparison.problem for comparison in self.comparisons)


@dataclass(slots=True)
class Report:
    """What came of all of them, as it grows.

    Attributes:
        sent: calls that were answered, or to which the server said an error.
        same: answers as expected.
        different: answers with at least one output that differs.
        uncompared: answers with nothing to compare with.
        failed: calls without an answer, and records that cannot be read.
        largest: model and output → largest difference of numbers.
        seconds: of each answer.
    """

    sent: int = 0
    same: int = 0
    different: int = 0
    uncompared: int = 0
    failed: int = 0
    largest: dict[tuple[str, str], float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Calls and records so far."""
        return self.same + self.different + self.uncompared + self.failed

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        if outcome.seconds is not None:
            self.sent += 1
            self.seconds.append(outcome.seconds)
        if outcome.failure:
            self.failed += 1
        elif not outcome.comparisons:
            self.uncompared += 1
        elif outcome.differs:
            self.different += 1
        else:
            self.same += 1
        for comparison in outcome.comparisons:
            key = (outcome.model, comparison.output)
            self.largest[key] = max(self.largest.get(key, 0.0), comparison.largest)

    def percentiles(self) -> dict[str, float]:
        """Seconds until the answer: the usual percentiles, and the longest."""
        ordered = sorted(self.seconds)
        if not ordered:
            return {}
        last = len(ordered) - 1
        found = {f"p{rank}": ordered[round(last * rank / 100)] for rank in _PERCENTILES}
        return {**found, "max": ordered[-1]}


def replay(
    records: Iterable[LoggedRecord | Unreadable],
    ask: Ask,
    expected: Ask | None,
    plan: ReplayPlan,
    on_outcome: Callable[[Outcome, Report], None],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Send each call and compare the answers.

    Args:
        records: the log.
        ask: the server; called from several threads.
        expected: another server whose answers are expected; None for those in the log.
        plan: how.
        on_outcome: told of each call when it is over, in the order they end, one at a time.
        clock: seconds, monotonic.
    """
    run = _Run(records, ask, expected, plan, on_outcome, clock)
    threads = [
        threading.Thread(target=run.work, name=f"salver-replay-{number}", daemon=True)
        for number in range(max(1, plan.concurrency))
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        run.stop()
    if run.error is not None:
        raise run.error
    return run.report


class _Run:
    """One replay, worked off by several threads."""

    def __init__(
        self,
        records: Iterable[LoggedRecord | Unreadable],
        ask: Ask,
        expected: Ask | None,
        plan: ReplayPlan,
        on_outcome: Callable[[Outcome, Report], None],
        clock: Callable[[], float],
    ) -> None:
        self._records: Iterator[LoggedRecord | Unreadable] = iter(records)
        self._ask = ask
        self._expected = expected
        self._plan = plan
        self._on_outcome = on_outcome
        self._taking = threading.Lock()
        self._telling = threading.Lock()
        self._stopped = threading.Event()
        self._taken = 0
        self._clock = clock
        self._begun = clock()
        self.report = Report()
        self.error: BaseException | None = None

    def stop(self) -> None:
        """Begin no more calls."""
        self._stopped.set()

    def work(self) -> None:
        """Send calls until there are none."""
        try:
            while (taken := self._take()) is not None:
                outcome = self._outcome(*taken)
                with self._telling:
                    self.report.add(outcome)
                    self._on_outcome(outcome, self.report)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self.error = error
            self.stop()

    def _take(self) -> tuple[int, LoggedRecord | Unreadable] | None:
        with self._taking:
            index = self._taken
            if self._plan.limit and index >= self._plan.limit:
                return None
            if self._plan.rate > 0:
                due = self._begun + index / self._plan.rate
                self._stopped.wait(max(0.0, due - self._clock()))
            if self._stopped.is_set():
                return None
            record = next(self._records, None)
            self._taken += 1
            return None if record is None else (index, record)

    def _outcome(self, index: int, record: LoggedRecord | Unreadable) -> Outcome:
        if isinstance(record, Unreadable):
            return Outcome(index, record.where, "", None, failure=record.problem)
        model = record.spec.name
        begun = self._clock()
        try:
            answer = self._ask(record)
            seconds = self._clock() - begun
            wanted = record.response if self._expected is None else self._expected(record)
        except ServingError as error:
            seconds = self._clock() - begun
            return Outcome(index, record.where, model, seconds, failure=error.status)
        comparisons: tuple[Comparison, ...] = ()
        if wanted is not None:
            comparisons = tuple(compare(wanted, answer, self._plan.tolerance))
        return Outcome(index, record.where, model, seconds, comparisons)

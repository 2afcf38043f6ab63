import logging
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from salver.tracing.environment import ExportSettings
from salver.tracing.exporting import Exporting
from salver.tracing.request import RequestTrace
from salver.tracing.spans import Span, Work

SOON = ExportSettings(delay_s=0.01)
WAIT_S = 10.0


def request() -> RequestTrace:
    trace = RequestTrace()
    trace.begun_s, trace.ended_s = 1.0, 2.0
    trace.trace_id, trace.span_id, trace.protocol, trace.target = 1, 2, "GRPC", "/a.B/C"
    return trace


class Collector:
    """An exporter that may hang or fail."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.sizes: list[int] = []
        self.changed = threading.Condition()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_asked = threading.Event()
        self.fails: bool | Exception = False
        self.is_shut = False

    def export(self, spans: Sequence[Span]) -> bool:
        self.is_asked.set()
        self.may_go_on.wait(WAIT_S)
        with self.changed:
            self.sizes.append(len(spans))
            if not self.fails:
                self.spans += spans
            self.changed.notify_all()
        if isinstance(self.fails, Exception):
            raise self.fails
        return not self.fails

    def shutdown(self) -> None:
        self.is_shut = True
        self.may_go_on.set()

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.spans) >= count, WAIT_S)

    def wait_for_exports(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.sizes) >= count, WAIT_S)


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def start(collector: Collector) -> Iterator[Callable[[ExportSettings], Exporting]]:
    started: list[Exporting] = []

    def begin(settings: ExportSettings = SOON) -> Exporting:
        started.append(Exporting(lambda: collector, settings))
        return started[-1]

    yield begin
    collector.may_go_on.set()
    for each in started:
        each.close(WAIT_S)


Start = Callable[[ExportSettings], Exporting]


def test_spans_arrive_soon(collector: Collector, start: Start) -> None:
    start(SOON).put(request())
    collector.wait_for(1)
    assert collector.spans[0].name == "a.B/C"


def test_what_the_server_does_of_itself_arrives_too(collector: Collector, start: Start) -> None:
    start(SOON).put_work(Work("load", 1.0, 2.0, False, {}))
    collector.wait_for(1)
    assert collector.spans[0].name == "load"


def test_they_arrive_at_once_where_there_are_enough(collector: Collector, start: Start) -> None:
    exporting = start(ExportSettings(delay_s=3600, most_at_once=10))
    for _ in range(10):
        exporting.put(request())
    collector.wait_for(1)


def test_one_export_has_only_so_many(collector: Collector, start: Start) -> None:
    collector.may_go_on.clear()
    exporting = start(ExportSettings(delay_s=0.01, most_at_once=8))
    for _ in range(40):
        exporting.put(request())
    collector.may_go_on.set()
    collector.wait_for(40)
    assert max(collector.sizes) == 8


def test_a_collector_that_hangs_costs_spans_and_nobody_waits(
    collector: Collector, start: Start
) -> None:
    collector.may_go_on.clear()
    exporting = start(ExportSettings(delay_s=0.01, most_queued=50, most_at_once=5))
    exporting.put(request())
    assert collector.is_asked.wait(WAIT_S)
    for _ in range(1000):
        exporting.put(request())
    assert exporting.dropped_spans == 990 * 5
    collector.may_go_on.set()
    collector.wait_for(11)


def test_a_collector_that_is_away_costs_spans_and_is_told_of_once(
    collector: Collector, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    collector.fails = True
    exporting = start(SOON)
    with caplog.at_level(logging.INFO, "salver"):
        for count in (1, 2, 3):
            exporting.put(request())
            collector.wait_for_exports(count)
        collector.fails = False
        exporting.put(request())
        collector.wait_for(1)
        exporting.close(WAIT_S)
    assert exporting.dropped_spans == 3
    told = [record.getMessage() for record in caplog.records]
    assert sum("Traces cannot be exported" in line for line in told) == 1
    assert "Traces are exported again" in told


def test_an_exporter_that_raises_does_not_end_the_thread(
    collector: Collector, start: Start
) -> None:
    collector.fails = ValueError("no")
    exporting = start(SOON)
    exporting.put(request())
    collector.wait_for_exports(1)
    collector.fails = False
    exporting.put(request())
    collector.wait_for(1)


def test_what_waits_is_sent_at_the_end(collector: Collector, start: Start) -> None:
    exporting = start(ExportSettings(delay_s=3600))
    exporting.put(request())
    exporting.close(WAIT_S)
    assert len(collector.spans) == 1
    assert collector.is_shut
    exporting.put(request())
    assert exporting.dropped_spans == 5


def test_the_end_does_not_wait_for_a_collector_that_hangs(
    collector: Collector, start: Start
) -> None:
    collector.may_go_on.clear()
    exporting = start(SOON)
    exporting.put(request())
    assert collector.is_asked.wait(WAIT_S)
    exporting.close(0.01)
    assert collector.is_shut


def test_an_exporter_that_cannot_be_made_costs_the_spans_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def make() -> Collector:
        raise ImportError("No module named 'x'")

    exporting = Exporting(make, SOON)
    exporting.close(WAIT_S)
    exporting.put(request())
    assert exporting.dropped_spans == 5
    assert "No module named 'x'" in caplog.text

import json
import threading

import pytest
from tests.fleet import WAIT_S, FakeWorker

from salver.errors import Unavailable
from salver.metrics.history import History
from salver.metrics.merged import Report
from salver.workers.messages import Reading
from salver.workers.reports import ReportStore
from salver.workers.server_metrics import HistoryRecorder, ServerMetrics


def test_steps_are_recorded_in_a_thread_until_it_is_stopped() -> None:
    history = History(60, 0.0)
    history.step_s = 0.001
    enough = threading.Event()
    times = iter(range(5, 10_000, 5))
    made: list[Report] = []

    def report() -> Report:
        made.append(
            {"salver_failed_requests_total": [(("m", "1", "INTERNAL", "REST", "tfs"), len(made))]}
        )
        if len(made) == 4:
            recorder.stop()
            enough.set()
        return made[-1]

    recorder = HistoryRecorder(history, report, clock=lambda: float(next(times)))
    recorder.start()
    assert enough.wait(10)
    recorder._thread.join(10)
    document = json.loads(recorder.document())
    assert [step["to"] for step in document["steps"]][:3] == [5.0, 10.0, 15.0]
    assert document["totals"] == [["m", len(made) - 1, len(made) - 1]]


COUNT = "/tensorflow/serving/request_count"


def test_the_others_are_those_that_have_greeted_and_the_supervisor() -> None:
    scraping, other, new = FakeWorker(0), FakeWorker(1), FakeWorker(2, greets=False)
    workers = (scraping, other, new)
    reports = ReportStore()
    for worker in workers:
        worker.start().member.start()
        reports.opened(worker.member)
    for worker in (scraping, other):
        assert worker.member.said_hello.wait(WAIT_S)
    other.on_reading = lambda: Reading(1, {COUNT: [(("m", "OK"), 5)]})
    own: Report = {"salver_workers": [((), 2)]}
    metrics = ServerMetrics(reports, lambda: [w.member for w in workers], lambda: own, None)
    found = metrics.scrape_others(scraping.member)
    assert [report for report in found if report] == [{COUNT: [(("m", "OK"), 5)]}, own]
    for worker in workers:
        worker.die()


def test_without_a_ring_there_is_no_history() -> None:
    metrics = ServerMetrics(ReportStore(), list, dict, None)
    metrics.start()
    with pytest.raises(Unavailable, match="Nothing is remembered here"):
        metrics.history()
    metrics.stop()

from salver.metrics.catalogue import BY_NAME
from salver.metrics.merged import Report, merge
from salver.metrics.text import Distribution, Family
from salver.vocabulary.servable import ServableId
from salver.workers.messages import Reading
from salver.workers.reports import ReportStore, WorkerFacts, supervisor_report

COUNT = "/tensorflow/serving/request_count"
RUNS = "salver_failed_requests_total"


def reading(number: int, count: int) -> Reading:
    return Reading(number, {COUNT: [(("m", "OK"), count)], "salver_connections": [(("REST",), 1)]})


def total(reports: list[Report]) -> object:
    return dict(merge(reports).get(COUNT, [])).get(("m", "OK"), 0)


def test_everybody_but_the_one_who_asks_is_told_of() -> None:
    reports = ReportStore()
    for key, count in (("a", 1), ("b", 2), ("c", 4)):
        reports.opened(key)
        reports.put(key, reading(0, count))
    assert total(reports.others("a")) == 6


def test_a_reading_that_comes_late_changes_nothing() -> None:
    reports = ReportStore()
    reports.opened("a")
    reports.put("a", reading(2, 7))
    reports.put("a", reading(1, 5))
    assert total(reports.others(None)) == 7


def test_counts_of_those_that_ended_stay_and_their_gauges_do_not() -> None:
    reports = ReportStore()
    reports.opened("a")
    reports.put("a", reading(0, 3))
    reports.closed("a")
    reports.closed("a")
    reports.put("a", reading(1, 100))
    reports.opened("b")
    reports.put("b", reading(0, 4))
    reports.closed("b")
    assert total(reports.others(None)) == 7
    assert "salver_connections" not in merge(reports.others(None))


def test_versions_that_are_unloaded_are_forgotten_of_those_that_ended() -> None:
    reports = ReportStore()
    reports.opened("a")
    reports.put("a", Reading(0, {RUNS: [(("m", "1", "INTERNAL", "REST", "tfs"), 2)]}))
    reports.closed("a")
    reports.forget(ServableId("m", 1))
    assert merge(reports.others(None))[RUNS] == [(("m", "", "INTERNAL", "REST", "tfs"), 2)]


def test_answers_of_a_version_are_those_of_all_workers_also_of_those_that_ended() -> None:
    def answered(*counts: int) -> Reading:
        series = "salver_request_seconds"
        other = (("m", "2", "predict"), Distribution([100], 1.0))
        return Reading(0, {series: [(("m", "1", "predict"), Distribution(counts, 1.0)), other]})

    reports = ReportStore()
    for key, reading_ in (("a", answered(1, 2)), ("b", answered(4))):
        reports.opened(key)
        reports.put(key, reading_)
    reports.closed("a")
    assert reports.answers(ServableId("m", 1)) == 7
    assert reports.answers(ServableId("x", 1)) == 0


def test_the_supervisor_tells_of_its_workers_and_of_itself() -> None:
    report = supervisor_report(
        [WorkerFacts(0, 100), WorkerFacts(1, None)],
        deaths=3,
        reserved={ServableId("m", 1): 50},
        quarantined={"m": 1},
        families=lambda: [Family(BY_NAME["salver_process_threads"], [((), 9)])],
    )
    assert report == {
        "salver_workers": [((), 2)],
        "salver_worker_deaths_total": [((), 3)],
        "salver_quarantined_versions": [(("m",), 1)],
        "salver_worker_resident_memory_bytes": [(("0",), 100)],
        "salver_reserved_memory_bytes": [(("m", "1"), 50)],
        "salver_process_threads": [((), 9)],
    }

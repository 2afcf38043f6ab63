from salver.metrics.catalogue import BY_NAME
from salver.metrics.merged import Report, merge
from salver.metrics.text import Distribution, Family
from salver.servable import ServableId
from salver.workers.ledger import Ledger, WorkerFacts, supervisor_report
from salver.workers.messages import Reading

COUNT = "/tensorflow/serving/request_count"
RUNS = "salver_failed_requests_total"


def reading(number: int, count: int) -> Reading:
    return Reading(number, {COUNT: [(("m", "OK"), count)], "salver_connections": [(("REST",), 1)]})


def total(reports: list[Report]) -> object:
    return dict(merge(reports).get(COUNT, [])).get(("m", "OK"), 0)


def test_everybody_but_the_one_who_asks_is_told_of() -> None:
    ledger = Ledger()
    for key, count in (("a", 1), ("b", 2), ("c", 4)):
        ledger.opened(key)
        ledger.put(key, reading(0, count))
    assert total(ledger.others("a")) == 6


def test_a_reading_that_comes_late_changes_nothing() -> None:
    ledger = Ledger()
    ledger.opened("a")
    ledger.put("a", reading(2, 7))
    ledger.put("a", reading(1, 5))
    assert total(ledger.others(None)) == 7


def test_counts_of_those_that_ended_stay_and_their_gauges_do_not() -> None:
    ledger = Ledger()
    ledger.opened("a")
    ledger.put("a", reading(0, 3))
    ledger.closed("a")
    ledger.closed("a")
    ledger.put("a", reading(1, 100))
    ledger.opened("b")
    ledger.put("b", reading(0, 4))
    ledger.closed("b")
    assert total(ledger.others(None)) == 7
    assert "salver_connections" not in merge(ledger.others(None))


def test_versions_that_are_unloaded_are_forgotten_of_those_that_ended() -> None:
    ledger = Ledger()
    ledger.opened("a")
    ledger.put("a", Reading(0, {RUNS: [(("m", "1", "INTERNAL", "REST"), 2)]}))
    ledger.closed("a")
    ledger.forget(ServableId("m", 1))
    assert merge(ledger.others(None))[RUNS] == [(("m", "", "INTERNAL", "REST"), 2)]


def test_answers_of_a_version_are_those_of_all_workers_also_of_those_that_ended() -> None:
    def answered(*counts: int) -> Reading:
        series = "salver_request_seconds"
        other = (("m", "2", "predict"), Distribution([100], 1.0))
        return Reading(0, {series: [(("m", "1", "predict"), Distribution(counts, 1.0)), other]})

    ledger = Ledger()
    for key, reading_ in (("a", answered(1, 2)), ("b", answered(4))):
        ledger.opened(key)
        ledger.put(key, reading_)
    ledger.closed("a")
    assert ledger.answers(ServableId("m", 1)) == 7
    assert ledger.answers(ServableId("x", 1)) == 0


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

import pytest

from salver.metrics.catalogue import BY_NAME, CATALOGUE, Kind
from salver.metrics.merged import GAUGES, Report, families_of, kept_after, merge, report_of
from salver.metrics.text import Distribution, Exemplar, Family

COUNT = "/tensorflow/serving/request_count"
SECONDS = "salver_request_seconds"
FAILED = "salver_failed_requests_total"
CALL = ("m", "1", "s", "predict", "REST", "tfs")


def test_every_gauge_has_a_rule_and_nothing_else_has() -> None:
    gauges = {metric.name for metric in CATALOGUE if metric.kind is Kind.GAUGE}
    assert gauges == GAUGES.keys()


def test_counters_add_up_by_their_labels() -> None:
    merged = merge(
        [
            {COUNT: [(("m", "OK"), 3), (("m", "NOT_FOUND"), 1)]},
            {COUNT: [(("m", "OK"), 4), (("n", "OK"), 5)]},
        ]
    )
    assert dict(merged[COUNT]) == {("m", "OK"): 7, ("m", "NOT_FOUND"): 1, ("n", "OK"): 5}


def test_histograms_add_up_bucket_by_bucket() -> None:
    merged = merge(
        [
            {SECONDS: [(CALL, Distribution((1, 0, 2), 0.5))]},
            {SECONDS: [(CALL, Distribution([0, 4, 1], 1.5))]},
        ]
    )
    assert merged[SECONDS] == [(CALL, Distribution([1, 4, 3], 2.0))]


@pytest.mark.parametrize(
    ("name", "labels", "result"),
    [
        ("salver_connections", ("REST",), 5),
        ("salver_versions", ("m", "AVAILABLE"), 2),
        ("salver_last_load_seconds", ("m",), 3),
        ("salver_last_request_timestamp_seconds", ("m", "1"), 3),
        ("salver_process_start_time_seconds", (), 2),
        ("salver_process_resident_memory_bytes", (), 5),
    ],
)
def test_gauges_become_one_by_their_rules(name: str, labels: tuple[str, ...], result: int) -> None:
    assert merge([{name: [(labels, 2)]}, {name: [(labels, 3)]}])[name] == [(labels, result)]


def test_what_is_merged_is_not_changed() -> None:
    one: Report = {COUNT: [(("m", "OK"), 3)]}
    merge([one, {COUNT: [(("m", "OK"), 4)]}])
    assert one == {COUNT: [(("m", "OK"), 3)]}


def test_nothing_merged_is_nothing() -> None:
    assert merge([]) == {}


def test_families_become_a_report_and_a_report_all_families() -> None:
    report = report_of([Family(BY_NAME[COUNT], [(("m", "OK"), 3)]), Family(BY_NAME[SECONDS])])
    assert report == {COUNT: [(("m", "OK"), 3)]}
    families = families_of(report)
    assert [family.metric for family in families] == list(CATALOGUE)
    assert [family.cells for family in families if family.cells] == [[(("m", "OK"), 3)]]


def test_of_a_process_that_has_ended_counts_stay_and_gauges_go() -> None:
    report: Report = {COUNT: [(("m", "OK"), 3)], "salver_connections": [(("REST",), 2)]}
    assert kept_after(report) == {COUNT: [(("m", "OK"), 3)]}


def test_versions_that_are_forgotten_are_listed_no_more_but_their_failures_count() -> None:
    kept = kept_after(
        {
            COUNT: [(("m", "OK"), 3)],
            SECONDS: [(CALL, Distribution((1,), 0.1)), (("m", "2", *CALL[2:]), 1)],
            FAILED: [
                (("m", "1", "INTERNAL", "REST", "tfs"), 1),
                (("m", "", "INTERNAL", "REST", "tfs"), 2),
                (("m", "2", "INTERNAL", "REST", "tfs"), 4),
            ],
        },
        [("m", 1)],
    )
    assert kept[COUNT] == [(("m", "OK"), 3)]
    assert kept[SECONDS] == [(("m", "2", *CALL[2:]), 1)]
    assert dict(kept[FAILED]) == {
        ("m", "", "INTERNAL", "REST", "tfs"): 3,
        ("m", "2", "INTERNAL", "REST", "tfs"): 4,
    }


def test_no_failures_are_none_when_a_version_is_forgotten() -> None:
    assert kept_after({FAILED: []}, [("m", 1)]) == {FAILED: []}


def test_paths_of_those_that_ended_are_bounded() -> None:
    name = "/tensorflow/cc/saved_model/load_latency"
    cells = [((f"/models/{number}",), number) for number in range(3000)]
    kept = kept_after({name: list(cells)})[name]
    assert kept == cells[-2000:]


def test_of_the_examples_of_a_bucket_the_newest_stays() -> None:
    def of(*exemplars: tuple[int, int, float]) -> Report:
        made = tuple((at, Exemplar(trace, 0.1, moment)) for at, trace, moment in exemplars)
        labels = ("m", "1", "s", "predict", "REST", "tfs")
        return {"salver_request_seconds": [(labels, Distribution([1, 2], 1.0, made))]}

    merged = merge([of((0, 1, 5.0), (1, 2, 5.0)), of((0, 3, 4.0), (1, 4, 6.0))])
    ((_, value),) = merged["salver_request_seconds"]
    assert isinstance(value, Distribution)
    assert [(at, each.trace_id) for at, each in value.exemplars] == [(0, 1), (1, 4)]

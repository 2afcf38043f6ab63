import json
from typing import Any

import pytest

from salver.metrics.buckets import P14, SECONDS
from salver.metrics.history import History
from salver.metrics.merged import Report
from salver.metrics.text import Distribution

Answered = dict[tuple[str, str], int]
Failed = dict[tuple[str, str, str], int]


def report(
    answered: Answered, failed: Failed | None = None, memory: int | None = None, batch: int = 0
) -> Report:
    """Counts, each answer in the third bucket of the latencies."""

    def latency(count: int) -> Distribution:
        return Distribution([0, 0, count, *[0] * (len(SECONDS) - 2)], count * 1e-4)

    found: Report = {
        "salver_request_seconds": [
            ((model, version, "serving_default", "predict", "REST", "tfs"), latency(count))
            for (model, version), count in answered.items()
        ],
        "salver_failed_requests_total": [
            ((model, version, code, "REST", "tfs"), count)
            for (model, version, code), count in (failed or {}).items()
        ],
        "salver_batch_rows": [],
    }
    if batch:
        counts = [0, batch, *[0] * (len(P14) - 1)]
        found["salver_batch_rows"] = [(("m", "1"), Distribution(counts, 2.0 * batch))]
    if memory is not None:
        found["salver_process_resident_memory_bytes"] = [((), memory)]
    return found


def told(history: History, now: Report, now_s: float) -> Any:
    return json.loads(history.document(now, now_s))


def requests(step: Any) -> dict[tuple[str, str], int]:
    return {
        (model, version): sum(latency) + sum(failures.values())
        for model, version, latency, failures, _, _ in step["versions"]
    }


def test_a_step_has_what_was_counted_in_it() -> None:
    history = History(3600, 100.0)
    history.record(report({("m", "1"): 5}, memory=7), 110.0)
    history.record(report({("m", "1"): 8}, {("m", "1", "INTERNAL"): 2}, batch=3), 120.0)
    document = told(history, report({("m", "1"): 9}, {("m", "1", "INTERNAL"): 2}, batch=3), 123.0)
    first, second, last = document["steps"]
    assert (first["from"], first["to"], first["memory"]) == (100.0, 110.0, 7)
    assert requests(first) == {("m", "1"): 5}
    assert second["memory"] is None
    ((model, version, latency, failures, batches, rows),) = second["versions"]
    assert (model, version, latency[:4], failures) == ("m", "1", [0, 0, 3, 0], {"INTERNAL": 2})
    assert (batches[:3], rows) == ([0, 3, 0], 6)
    assert (last["from"], last["to"], requests(last)) == (120.0, 123.0, {("m", "1"): 1})
    assert document["totals"] == [["m", 11, 2]]
    assert (document["now"], document["began"], document["step_seconds"]) == (123.0, 100.0, 10.0)
    assert document["latency_bounds"] == list(SECONDS)
    assert document["batch_bounds"] == list(P14)


def test_to_be_asked_changes_nothing() -> None:
    history = History(3600, 0.0)
    now = report({("m", "1"): 5})
    assert told(history, now, 3.0) == told(history, now, 3.0)
    history.record(now, 10.0)
    assert requests(told(history, now, 12.0)["steps"][-1]) == {}


def test_where_nothing_happens_a_step_is_empty() -> None:
    history = History(3600, 0.0)
    now = report({("m", "1"): 5})
    history.record(now, 10.0)
    history.record(now, 20.0)
    assert [len(step["versions"]) for step in told(history, now, 21.0)["steps"]] == [1, 0, 0]


def test_a_version_that_was_loaded_again_counts_from_nothing() -> None:
    history = History(3600, 0.0)
    history.record(report({("m", "1"): 5}), 10.0)
    history.record(report({}), 20.0)
    history.record(report({("m", "1"): 2}), 30.0)
    history.record(report({("m", "1"): 1}), 40.0)
    steps = told(history, report({("m", "1"): 1}), 41.0)["steps"]
    assert [requests(step).get(("m", "1"), 0) for step in steps] == [5, 0, 2, 1, 0]
    assert told(history, report({}), 41.0)["totals"] == [["m", 8, 0]]


def test_failures_of_a_version_that_goes_are_not_counted_twice() -> None:
    history = History(3600, 0.0)
    history.record(report({}, {("m", "1", "INTERNAL"): 4, ("m", "", "NOT_FOUND"): 1}), 10.0)
    # Version 1 is forgotten: what failed there is listed without a version from here on.
    history.record(report({}, {("m", "", "INTERNAL"): 4, ("m", "", "NOT_FOUND"): 3}), 20.0)
    document = told(history, report({}, {("m", "", "INTERNAL"): 5, ("m", "", "NOT_FOUND"): 3}), 21)
    assert [requests(step) for step in document["steps"]] == [
        {("m", "1"): 4, ("m", ""): 1}, {("m", ""): 2}, {("m", ""): 1},
    ]  # fmt: skip
    assert document["totals"] == [["m", 8, 8]]


def test_what_is_older_than_asked_for_is_forgotten_but_not_the_totals() -> None:
    history = History(60, 0.0)
    assert history.step_s == 5.0
    for step in range(1, 21):
        history.record(report({("m", "1"): step}), step * 5.0)
    document = told(history, report({("m", "1"): 20}), 101.0)
    assert [step["from"] for step in document["steps"]] == [*range(40, 101, 5)]
    assert document["totals"] == [["m", 20, 0]]


@pytest.mark.parametrize(("seconds", "step_s"), [(1, 5), (1800, 5), (3600, 10), (86400, 240)])
def test_steps_are_longer_where_more_is_remembered(seconds: float, step_s: float) -> None:
    assert History(seconds, 0.0).step_s == step_s


def test_of_many_versions_the_busiest_are_named_and_the_others_added_up() -> None:
    history = History(3600, 0.0)
    answered = {("m", str(version)): version for version in range(1, 101)}
    failed = {("", "", "NOT_FOUND"): 1000}
    history.record(report(answered, failed), 10.0)
    step, _ = told(history, report(answered, failed), 11.0)["steps"]
    found = requests(step)
    assert len(found) == 65 - 1  # what could not be read is among the others
    assert found["m", "100"] == 100
    assert found["", ""] == 1000 + sum(range(1, 38))
    assert sum(found.values()) == 1000 + sum(answered.values())


def test_totals_are_kept_of_so_many_models_only() -> None:
    history = History(3600, 0.0)
    answered = {(f"m{number}", "1"): 1 for number in range(1500)}
    history.record(report(answered), 10.0)
    totals = told(history, report(answered), 11.0)["totals"]
    assert len(totals) == 1001
    assert [total for total in totals if total[0] == ""] == [["", 500, 0]]


def test_an_hour_with_a_thousand_busy_versions_takes_few_megabytes() -> None:
    history = History(3600, 0.0)
    name = "m" * 2000
    for step in range(1, 800):
        answered = {(f"{name}{number}", "1"): step * number for number in range(1, 80)}
        history.record(report(answered), step * 10.0)
    assert sum(len(step) for step, _ in history._steps) < 8 << 20
    assert len(history._steps) <= 360
    assert len(history.document(report({}), 8000.0)) < 33 << 20


def test_names_may_hold_anything() -> None:
    history = History(3600, 0.0)
    now = report({('"\\\n\udcff', "1"): 1})
    history.record(now, 10.0)
    assert requests(told(history, now, 11.0)["steps"][0]) == {('"\\\n\udcff', "1"): 1}


def test_it_rests_while_it_computes() -> None:
    history = History(3600, 0.0)
    rests: list[int] = []
    now = report({("m", str(version)): 1 for version in range(50)})
    history.record(now, 10.0, lambda: rests.append(1))
    assert len(rests) == 100
    history.document(now, 11.0, lambda: rests.append(1))
    assert len(rests) == 200

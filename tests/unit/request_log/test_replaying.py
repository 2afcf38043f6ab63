import itertools
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.prediction_log import LogKind
from salver.errors import Unavailable
from salver.request_log.answers import Answer, Comparison
from salver.request_log.reading import LoggedRecord, Unreadable
from salver.request_log.replaying import Outcome, ReplayPlan, Report, replay


def answer(value: float) -> Answer:
    return Answer({"y": np.array([value])}, is_typed=True)


def record(number: int, response: Answer | None = None) -> LoggedRecord:
    return LoggedRecord(f"log:{number}", LogKind.PREDICT, ModelSpec("m"), b"", response)


def ask(given: LoggedRecord) -> Answer:
    """Half of the record's number, but for a few."""
    number = int(given.where.partition(":")[2])
    if number == 13:
        raise Unavailable("gone")
    return answer(number / 2)


def test_each_call_is_counted_for_what_came_of_it() -> None:
    records: list[LoggedRecord | Unreadable] = [
        record(1, answer(0.5)),
        record(2, answer(1.25)),
        record(3),
        record(13, answer(1.0)),
        Unreadable("log:5", "broken"),
        record(6, answer(4.0)),
    ]
    outcomes: dict[int, Outcome] = {}
    dones = []

    def keep(outcome: Outcome, report: Report) -> None:
        outcomes[outcome.index] = outcome
        dones.append(report.done)

    report = replay(records, ask, None, ReplayPlan(concurrency=3), keep)
    assert (report.same, report.different, report.uncompared, report.failed) == (1, 2, 1, 2)
    assert (report.sent, report.done) == (5, 6)
    assert report.largest == {("m", "y"): 1.0}
    assert dones == [1, 2, 3, 4, 5, 6]
    assert outcomes[1].differs
    assert outcomes[3].failure == "UNAVAILABLE: gone"
    assert (outcomes[4].failure, outcomes[4].seconds) == ("broken", None)
    assert outcomes[5].comparisons[0] == Comparison("y", 1.0, "is 3.0, not 4.0 at [0]")


def nothing(_outcome: Outcome, _report: Report) -> None: ...


def test_another_server_may_say_what_is_expected() -> None:
    records = [record(1, answer(99.0)), record(2)]
    report = replay(records, ask, ask, ReplayPlan(), nothing)
    assert (report.same, report.different) == (2, 0)


def test_no_more_calls_are_sent_than_the_limit_says() -> None:
    def endless() -> Iterator[LoggedRecord]:
        number = 20
        while True:
            yield record(number)
            number += 1

    assert replay(endless(), ask, None, ReplayPlan(limit=7), nothing).done == 7


def test_calls_are_begun_at_the_rate() -> None:
    begun: list[float] = []

    def note(given: LoggedRecord) -> Answer:
        begun.append(time.monotonic())
        return ask(given)

    plan = ReplayPlan(concurrency=1, rate=500)
    start = time.monotonic()
    replay(map(record, range(4)), note, None, plan, nothing)
    for index, moment in enumerate(begun):
        assert moment - start >= index / 500 - 1e-4


def test_calls_run_at_the_same_time() -> None:
    both = threading.Barrier(2)

    def meet(given: LoggedRecord) -> Answer:
        both.wait(10)
        return ask(given)

    plan = ReplayPlan(concurrency=2)
    assert replay(map(record, range(2)), meet, None, plan, nothing).done == 2


def test_an_error_of_ours_ends_it() -> None:
    def fail(_record: LoggedRecord) -> Answer:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        replay(map(record, range(2)), fail, None, ReplayPlan(concurrency=1), nothing)


def test_percentiles_are_those_of_the_answers() -> None:
    report = Report()
    assert report.percentiles() == {}
    report.seconds = [float(number) for number in range(101)]
    assert report.percentiles() == {"p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}


def test_a_thread_that_fails_stops_the_others() -> None:
    def fail_once(given: LoggedRecord) -> Answer:
        if given.where == "log:0":
            raise ZeroDivisionError
        return ask(given)

    records = itertools.chain([record(0)], map(record, itertools.count(20)))
    with pytest.raises(ZeroDivisionError):
        replay(records, fail_once, None, ReplayPlan(concurrency=2), nothing)

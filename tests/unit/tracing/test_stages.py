from itertools import pairwise

from salver.tracing.request import RequestTrace
from salver.tracing.stages import stages_of
from salver.vocabulary.servable import ServableId

ID = ServableId("m", 1)


def trace_of(**noted: object) -> RequestTrace:
    trace = RequestTrace()
    trace.begun_s, trace.ended_s = 1.0, 2.0
    for name, value in noted.items():
        setattr(trace, name, value)
    return trace


def told(trace: RequestTrace) -> list[tuple[str, float]]:
    stages = stages_of(trace)
    for earlier, later in pairwise(stages):
        assert earlier.end_s == later.begin_s
    return [(each.name, round(each.end_s - each.begin_s, 3)) for each in stages]


def test_a_run_in_the_loop_is_read_run_and_written() -> None:
    trace = trace_of(ran=(ID, 1.0, 1.2, 1.9))
    assert told(trace) == [("read", 0.2), ("run", 0.7), ("write", 0.1)]


def test_what_stands_before_the_message_is_a_wait() -> None:
    trace = trace_of(ran=(ID, 1.1, 1.2, 1.9))
    assert told(trace)[:2] == [("wait", 0.1), ("read", 0.1)]


def test_the_wait_for_a_model_is_its_load() -> None:
    trace = trace_of(ran=(ID, 1.5, 1.6, 1.9), waits_for_load=True)
    assert told(trace)[:2] == [("load", 0.5), ("read", 0.1)]


def test_a_load_that_fails_takes_all_of_the_time() -> None:
    assert told(trace_of(waits_for_load=True)) == [("load", 1.0)]


def test_a_run_elsewhere_waits_in_a_queue_first() -> None:
    trace = trace_of(ran=(ID, 1.0, 1.2, 0.0), taken_s=1.5, outputs_s=1.75)
    assert told(trace) == [("read", 0.2), ("queue", 0.3), ("run", 0.25), ("write", 0.25)]


def test_the_last_stage_lasts_to_the_end_where_a_request_fails() -> None:
    assert told(trace_of(ran=(ID, 1.0, 1.2, 0.0))) == [("read", 0.2), ("run", 0.8)]
    taken = trace_of(ran=(ID, 1.0, 1.2, 0.0), taken_s=1.5)
    assert told(taken) == [("read", 0.2), ("queue", 0.3), ("run", 0.5)]


def test_a_request_for_which_nothing_is_run_has_none() -> None:
    assert told(trace_of()) == []

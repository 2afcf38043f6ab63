from itertools import pairwise

import pytest

from salver.tracing.request import RequestTrace
from salver.tracing.sampling import NEVER, Sampling
from salver.tracing.tracer import Tracer

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01".encode()
UNSAMPLED = f"00-{TRACE}-b7ad6b7169203331-00".encode()


class Sink:
    def __init__(self) -> None:
        self.taken: list[RequestTrace] = []

    def put(self, trace: RequestTrace) -> None:
        self.taken.append(trace)


@pytest.fixture
def sink() -> Sink:
    return Sink()


def end(
    tracer: Tracer, trace: RequestTrace, after_s: float = 0.001, *, is_failure: bool = False
) -> str:
    trace.ended_s = trace.begun_s + after_s
    trace.is_failure = is_failure
    return tracer.ended(trace)


def test_what_is_sampled_is_exported_with_a_trace_of_its_own(sink: Sink) -> None:
    tracer = Tracer(sampling=Sampling(1.0), sink=sink)
    first, second = tracer.begin(None), tracer.begin(None)
    assert end(tracer, first) == f"{first.trace_id:032x}"
    end(tracer, second)
    assert sink.taken == [first, second]
    assert first.trace_id != second.trace_id
    assert first.span_id != second.span_id
    assert first.parent is None


def test_a_part_of_the_requests_is_sampled(sink: Sink) -> None:
    tracer = Tracer(sampling=Sampling(0.25), sink=sink)
    found = sum(tracer.begin(None).is_sampled for _ in range(4000))
    assert 800 < found < 1200


@pytest.mark.parametrize("sampling", [Sampling(0.0), Sampling(0.0, follows_parent=False)])
def test_a_request_with_a_sampled_parent_is_always_traced(sink: Sink, sampling: Sampling) -> None:
    tracer = Tracer(sampling=sampling, sink=sink)
    trace = tracer.begin(SAMPLED)
    assert end(tracer, trace) == TRACE
    assert trace.parent is not None
    assert trace.parent.span_id == 0xB7AD6B7169203331
    assert trace.span_id not in (0, trace.parent.span_id)


def test_a_parent_that_is_not_sampled_is_followed(sink: Sink) -> None:
    tracer = Tracer(sampling=Sampling(1.0), sink=sink)
    assert not tracer.begin(UNSAMPLED).is_sampled


@pytest.mark.parametrize("value", [b"", b"nonsense", b"00-" + b"0" * 32 + b"-" + b"0" * 16])
def test_a_parent_that_cannot_be_read_counts_for_nothing(sink: Sink, value: bytes) -> None:
    tracer = Tracer(sampling=Sampling(1.0), sink=sink)
    trace = tracer.begin(value)
    assert trace.is_sampled
    assert trace.parent is None


def test_parents_count_for_nothing_where_nobody_is_to_follow_them(sink: Sink) -> None:
    tracer = Tracer(sampling=Sampling(0.0), sink=sink, has_parents=False)
    trace = tracer.begin(SAMPLED)
    assert not trace.is_sampled
    assert trace.parent is None


def test_without_a_sink_nothing_is_sampled() -> None:
    tracer = Tracer(slow_s=1, sampling=Sampling(1.0))
    assert not tracer.begin(SAMPLED).is_sampled
    assert not tracer.is_exporting


def test_slow_and_failed_requests_are_exported_though_they_were_not_sampled(sink: Sink) -> None:
    tracer = Tracer(slow_s=1, sampling=Sampling(0.0), sink=sink)
    quick, slow, failed = (tracer.begin(None) for _ in range(3))
    assert end(tracer, quick) == ""
    assert end(tracer, slow, 1.5) == f"{slow.trace_id:032x}" != "0" * 32
    assert end(tracer, failed, is_failure=True)
    assert sink.taken == [slow, failed]
    assert [each.reason for each in sink.taken] == ["slow", "failed"]


def test_they_stay_in_the_trace_of_their_client(sink: Sink) -> None:
    tracer = Tracer(sampling=Sampling(0.0), sink=sink)
    assert end(tracer, tracer.begin(UNSAMPLED), is_failure=True) == TRACE


def test_a_storm_of_failures_is_not_exported_whole(sink: Sink) -> None:
    tracer = Tracer(sampling=Sampling(0.0), sink=sink)
    for _ in range(5000):
        end(tracer, tracer.begin(None), is_failure=True)
    assert 100 <= len(sink.taken) <= 200
    later = tracer.begin(None)
    assert end(tracer, later, after_s=60, is_failure=True)  # when it has passed


def test_slow_requests_are_told_where_nothing_is_exported() -> None:
    tracer = Tracer(slow_s=1, clock=lambda: 0.0)
    quick, slow = tracer.begin(None), tracer.begin(SAMPLED)
    end(tracer, quick)
    assert end(tracer, slow, 2.0) == ""
    assert [each["seconds"] for each in tracer.slow.told()] == [2.0]


def test_where_all_is_off_not_even_failures_are_exported(sink: Sink) -> None:
    tracer = Tracer(sampling=NEVER, sink=sink)
    assert end(tracer, tracer.begin(SAMPLED), is_failure=True) == ""
    assert sink.taken == []


def test_sampling_changes_while_the_server_runs(sink: Sink) -> None:
    tracer = Tracer(sampling=Sampling(0.0), sink=sink)
    tracer.sample(Sampling(1.0))
    assert tracer.begin(None).is_sampled
    tracer.sample(NEVER)
    assert not tracer.begin(None).is_sampled


def test_whether_one_is_sampled_says_nothing_of_the_next(sink: Sink) -> None:
    tracer = Tracer(sampling=Sampling(0.5), sink=sink)
    taken = [tracer.begin(None).is_sampled for _ in range(4000)]
    alike = sum(one == other for one, other in pairwise(taken))
    assert 1800 < alike < 2200


def test_another_ratio_counts_from_the_next_request_on(sink: Sink) -> None:
    tracer = Tracer(sampling=Sampling(1e-300), sink=sink)
    assert not any(tracer.begin(None).is_sampled for _ in range(100))
    tracer.sample(Sampling(1.0))
    assert all(tracer.begin(None).is_sampled for _ in range(100))
    tracer.sample(Sampling(0.0))
    assert not any(tracer.begin(None).is_sampled for _ in range(100))

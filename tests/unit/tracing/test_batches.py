from salver.tracing.batches import note_batch
from salver.tracing.request import RequestTrace


def trace(trace_id: int = 0) -> RequestTrace:
    made = RequestTrace()
    if trace_id:
        made.is_sampled, made.trace_id, made.span_id = True, trace_id, trace_id + 100
    return made


def test_a_batch_of_which_nobody_takes_notes_is_none() -> None:
    assert note_batch([None, None], 1.0, 2, 4) is None


def test_all_requests_of_a_batch_know_it_and_when_it_began() -> None:
    traces = [trace(), trace(), None]
    batch = note_batch(traces, 1.5, 3, 4)
    assert batch is not None
    assert (batch.tasks, batch.rows, batch.execution_rows) == (3, 3, 4)
    for each in traces[:2]:
        assert each is not None
        assert each.batches == (batch,)
        assert each.taken_s == 1.5


def test_a_batch_without_a_sampled_request_has_no_span() -> None:
    batch = note_batch([trace()], 1.0, 1, 1)
    assert batch is not None
    assert (batch.trace_id, batch.span_id, batch.links) == (0, 0, ())


def test_a_batch_is_told_with_its_first_sampled_request_and_linked_to_all() -> None:
    batch = note_batch([trace(), trace(7), trace(8)], 1.0, 3, 3)
    assert batch is not None
    assert batch.trace_id == 7
    assert batch.span_id
    assert batch.links == ((7, 107), (8, 108))


def test_of_a_request_that_is_split_the_first_run_begins_it() -> None:
    one = trace()
    for begun_s in (1.0, 2.0):
        note_batch([one], begun_s, 1, 1)
    assert one.taken_s == 1.0
    assert len(one.batches) == 2


def test_only_so_many_batches_of_a_request_are_noted() -> None:
    one = trace()
    for _ in range(1000):
        note_batch([one], 1.0, 1, 1)
    assert len(one.batches) == 16

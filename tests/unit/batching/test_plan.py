import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.batching.plan import BatchQueue, BatchRules, Piece, split_rows
from salver.config.batching import BatchingParameters
from salver.errors import InvalidArgument, ServingError, Unavailable


def queue(**rules: object) -> BatchQueue[str]:
    return BatchQueue(BatchRules(**rules))  # type: ignore[arg-type]


def limited(rows: int, **more: object) -> BatchQueue[str]:
    return queue(max_task_rows=rows, max_batch_rows=rows, **more)


def splitting(task_rows: int, batch_rows: int, **more: object) -> BatchQueue[str]:
    return queue(max_task_rows=task_rows, max_batch_rows=batch_rows, is_splitting=True, **more)


def tasks(batch: list[Piece[str]] | None) -> list[str]:
    assert batch is not None
    return [piece.task for piece in batch]


def cut(batch: list[Piece[str]] | None) -> list[tuple[str, int, int]]:
    assert batch is not None
    return [(piece.task, piece.begin, piece.end) for piece in batch]


class TestRules:
    def test_defaults_are_those_of_the_reference(self) -> None:
        assert BatchRules.of(BatchingParameters()) == BatchRules(
            max_task_rows=1000,
            max_batch_rows=1000,
            timeout_s=0.0,
            max_enqueued_batches=10,
            allowed_rows=(),
            is_padding=False,
            is_splitting=False,
        )

    def test_every_parameter_counts(self) -> None:
        rules = BatchRules.of(
            BatchingParameters(
                max_batch_size=8,
                batch_timeout_micros=1500,
                max_enqueued_batches=3,
                allowed_batch_sizes=(2, 8),
                pad_variable_length_inputs=True,
                enable_large_batch_splitting=True,
                max_execution_batch_size=4,
            )
        )
        assert rules == BatchRules(
            max_task_rows=8,
            max_batch_rows=4,
            timeout_s=0.0015,
            max_enqueued_batches=3,
            allowed_rows=(2, 8),
            is_padding=True,
            is_splitting=True,
        )

    def test_the_execution_size_counts_with_splitting_only(self) -> None:
        rules = BatchRules.of(BatchingParameters(max_batch_size=8, max_execution_batch_size=4))
        assert rules.max_batch_rows == 8

    @pytest.mark.parametrize(("size", "rows"), [(12, 12), (None, 1000)])
    def test_splitting_runs_batches_as_large_as_a_task_unless_told(
        self, size: int | None, rows: int
    ) -> None:
        parameters = BatchingParameters(max_batch_size=size, enable_large_batch_splitting=True)
        assert BatchRules.of(parameters).max_batch_rows == rows

    def test_no_batch_in_the_queue_means_one_without_splitting(self) -> None:
        assert BatchRules.of(BatchingParameters(max_enqueued_batches=0)).max_enqueued_batches == 1

    def test_negative_limits_are_none(self) -> None:
        rules = BatchRules.of(BatchingParameters(max_batch_size=-1, max_enqueued_batches=-1))
        assert rules.max_task_rows == rules.max_enqueued_batches == 2**64 - 1

    @pytest.mark.parametrize(
        ("parameters", "text"),
        [
            (
                BatchingParameters(max_batch_size=0),
                "input_batch_size_limit must be positive; was 0",
            ),
            (
                BatchingParameters(batch_timeout_micros=-7),
                "batch_timeout_micros must be non-negative; was -7",
            ),
            (
                BatchingParameters(
                    max_batch_size=4, max_enqueued_batches=0, enable_large_batch_splitting=True
                ),
                "max_enqueued_batches must be positive; was 0",
            ),
            (
                BatchingParameters(
                    max_batch_size=10,
                    max_execution_batch_size=14,
                    enable_large_batch_splitting=True,
                ),
                "When enable_large_batch_splitting is true, input_batch_size_limit must be "
                "greater than or equal to max_execution_batch_size.11014",
            ),
            (
                BatchingParameters(allowed_batch_sizes=(2, 4)),
                "Last entry in allowed_batch_sizes must match max_batch_size; "
                "last entry was 4; expected 1000",
            ),
            (
                BatchingParameters(
                    max_batch_size=10,
                    max_execution_batch_size=4,
                    allowed_batch_sizes=(4,),
                    enable_large_batch_splitting=True,
                ),
                "Last entry in allowed_batch_sizes must match max_batch_size; "
                "last entry was 4; expected 10",
            ),
        ],
    )
    def test_what_cannot_work_is_refused(self, parameters: BatchingParameters, text: str) -> None:
        with pytest.raises(InvalidArgument) as caught:
            BatchRules.of(parameters)
        assert caught.value.message == text

    def test_rows_are_rounded_up_to_an_allowed_size(self) -> None:
        rules = BatchRules(allowed_rows=(2, 4))
        assert [rules.execution_rows(rows) for rows in (1, 2, 3, 4)] == [2, 2, 4, 4]
        assert BatchRules().execution_rows(3) == 3


class TestWorkedExamples:
    def test_a_task_that_does_not_fit_closes_the_batch_before_it(self) -> None:
        waiting = limited(4, timeout_s=0.010)
        waiting.offer("a", 1, 0.0)
        waiting.offer("b", 2, 0.0)
        assert waiting.ready_at_s() == pytest.approx(0.010)
        waiting.offer("c", 3, 0.001)
        assert tasks(waiting.take(0.001)) == ["a", "b"]
        assert waiting.take(0.0109) is None
        assert waiting.ready_at_s() == pytest.approx(0.011)
        assert tasks(waiting.take(0.011)) == ["c"]

    def test_three_rows_are_run_as_four(self) -> None:
        rules = BatchRules.of(BatchingParameters(max_batch_size=4, allowed_batch_sizes=(2, 4)))
        assert rules.execution_rows(3) == 4

    def test_a_large_task_fills_the_open_batch_and_goes_on(self) -> None:
        waiting = splitting(10, 4)
        waiting.offer("a", 3, 0.0)
        pieces = waiting.offer("b", 6, 0.0)
        assert [piece.rows for piece in pieces] == [1, 4, 1]
        assert cut(waiting.take(0.0)) == [("a", 0, 3), ("b", 0, 1)]
        assert cut(waiting.take(0.0)) == [("b", 1, 5)]
        assert cut(waiting.take(0.0)) == [("b", 5, 6)]

    def test_a_full_queue_refuses(self) -> None:
        waiting = limited(2, max_enqueued_batches=2)
        waiting.offer("a", 2, 0.0)
        waiting.offer("b", 2, 0.0)
        with pytest.raises(Unavailable) as caught:
            waiting.offer("c", 1, 0.0)
        assert caught.value.message == (
            "The batch scheduling queue to which this task was submitted is full; "
            "currently 2 batches enqueued and max_enqueued_batches is 2"
        )


def test_a_task_larger_than_a_batch_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        limited(4).offer("a", 5, 0.0)
    assert caught.value.message == "Task size 5 is larger than maximum input batch size 4"


def test_with_splitting_too_the_limit_of_one_task_holds() -> None:
    with pytest.raises(InvalidArgument, match="Task size 11 is larger than maximum"):
        splitting(10, 4).offer("a", 11, 0.0)


def test_with_splitting_a_task_needs_room_for_all_of_it() -> None:
    waiting = splitting(10, 4, max_enqueued_batches=2)
    waiting.offer("a", 3, 0.0)
    with pytest.raises(Unavailable) as caught:
        waiting.offer("b", 6, 0.0)
    assert caught.value.message == (
        "The batch scheduling queue to which this task was submitted is full; task size is 6 but "
        "scheduling capacity is only 5 (num_enqueued_batches=1, max_enqueued_batches=2, "
        "open_batch_size=3, max_execution_batch_size=4)"
    )
    assert len(waiting.offer("c", 5, 0.0)) == 2


def test_batches_of_no_rows_take_nothing() -> None:
    with pytest.raises(Unavailable, match="scheduling capacity is only 0 "):
        splitting(10, 0).offer("a", 1, 0.0)


def test_a_task_that_fits_is_not_split() -> None:
    waiting = splitting(10, 4)
    waiting.offer("a", 2, 0.0)
    assert [piece.rows for piece in waiting.offer("b", 2, 0.0)] == [2]
    assert [piece.rows for piece in waiting.offer("c", 4, 0.0)] == [4]


def test_a_full_batch_waits_for_nothing() -> None:
    waiting = limited(4, timeout_s=1.0)
    waiting.offer("a", 4, 5.0)
    assert tasks(waiting.take(5.0)) == ["a"]
    assert waiting.is_empty
    assert waiting.take(9.0) is None


def test_a_queue_that_is_flushed_waits_for_nothing() -> None:
    waiting = limited(4, timeout_s=1.0)
    waiting.offer("a", 1, 5.0)
    assert waiting.take(5.0) is None
    waiting.flush()
    assert tasks(waiting.take(5.0)) == ["a"]


class TestWithdrawing:
    def test_a_task_that_is_withdrawn_frees_its_rows(self) -> None:
        waiting = limited(4, max_enqueued_batches=1)
        pieces = waiting.offer("a", 3, 0.0)
        waiting.offer("b", 1, 0.0)
        with pytest.raises(Unavailable):
            waiting.offer("c", 3, 0.0)
        assert waiting.withdraw(pieces) == 3
        waiting.offer("c", 3, 0.0)
        assert tasks(waiting.take(0.0)) == ["b", "c"]

    def test_a_closed_batch_left_by_all_is_no_batch(self) -> None:
        waiting = limited(2, max_enqueued_batches=2)
        pieces = waiting.offer("a", 2, 0.0)
        waiting.offer("b", 2, 0.0)
        assert waiting.num_batches == 2
        assert waiting.withdraw(pieces) == 2
        assert waiting.num_batches == 1
        assert tasks(waiting.take(0.0)) == ["b"]

    def test_what_was_taken_cannot_be_withdrawn(self) -> None:
        waiting = splitting(10, 4)
        pieces = waiting.offer("a", 6, 0.0)
        waiting.take(0.0)
        assert [piece.is_queued for piece in pieces] == [False, True]
        assert waiting.withdraw(pieces) == 2
        assert waiting.withdraw(pieces) == 0
        assert waiting.is_empty

    def test_an_open_batch_left_by_all_starts_anew_with_the_next_task(self) -> None:
        waiting = limited(4, timeout_s=1.0)
        waiting.withdraw(waiting.offer("a", 1, 0.0))
        assert waiting.ready_at_s() is None
        waiting.offer("b", 1, 5.0)
        assert waiting.ready_at_s() == pytest.approx(6.0)


@given(rows=st.integers(1, 100), batch=st.integers(1, 20), data=st.data())
def test_pieces_of_a_task_are_as_large_as_they_can_be(
    rows: int, batch: int, data: st.DataObject
) -> None:
    free = data.draw(st.integers(0, batch))
    sizes = split_rows(rows, free, batch)
    assert sum(sizes) == rows
    assert all(0 < size <= batch for size in sizes)
    if free:
        assert sizes[0] == min(rows, free)
        sizes = sizes[1:]
    assert all(size == batch for size in sizes[:-1])


@given(
    is_splitting=st.booleans(),
    batch_rows=st.integers(1, 8),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("offer"), st.integers(1, 12)),
            st.tuples(st.just("take"), st.integers(0, 3)),
            st.tuples(st.just("withdraw"), st.integers(0, 20)),
        ),
        max_size=60,
    ),
)
def test_rows_leave_once_and_in_order_and_no_batch_is_too_large(
    is_splitting: bool, batch_rows: int, steps: list[tuple[str, int]]
) -> None:
    rules = BatchRules(
        max_task_rows=12 if is_splitting else batch_rows,
        max_batch_rows=batch_rows,
        max_enqueued_batches=4,
        timeout_s=1.0,
        is_splitting=is_splitting,
    )
    waiting: BatchQueue[int] = BatchQueue(rules)
    serials = itertools.count()
    offered: dict[int, list[Piece[int]]] = {}
    expected: list[tuple[int, int]] = []  # (task, row) in the order of arrival
    left: list[tuple[int, int]] = []
    now_s = 0.0

    def take() -> None:
        while batch := waiting.take(now_s):
            assert 0 < sum(piece.rows for piece in batch) <= batch_rows
            left.extend((p.task, row) for p in batch for row in range(p.begin, p.end))

    for step, number in steps:
        if step == "offer":
            task = next(serials)
            try:
                offered[task] = waiting.offer(task, number, now_s)
            except ServingError:
                continue
            expected.extend((task, row) for row in range(number))
        elif step == "take":
            now_s += number / 2
            take()
        elif number in offered:
            gone = {
                (number, row)
                for piece in offered[number]
                if piece.is_queued
                for row in range(piece.begin, piece.end)
            }
            assert waiting.withdraw(offered[number]) == len(gone)
            expected = [row for row in expected if row not in gone]
        assert waiting.num_batches <= 4
    waiting.flush()
    take()
    assert left == expected
    assert waiting.is_empty

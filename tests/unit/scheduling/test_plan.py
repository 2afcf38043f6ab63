import itertools
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.config.batching import BatchingParameters
from salver.errors import InvalidArgument, ServingError, Unavailable
from salver.scheduling.plan import BatchQueue, BatchRules, Piece, split_rows
from salver.scheduling.priorities import BATCH_TURN
from salver.vocabulary.access import Priority


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


class TestPriorities:
    def test_batch_work_waits_behind_interactive_tasks(self) -> None:
        waiting = limited(2)
        waiting.offer("b1", 2, 0.0, is_batch=True)
        waiting.offer("i1", 2, 1.0)
        waiting.offer("i2", 2, 2.0)
        assert [tasks(waiting.take(3.0)) for _ in range(3)] == [["i1"], ["i2"], ["b1"]]

    def test_batch_work_has_one_turn_of_eight(self) -> None:
        waiting = limited(1, max_enqueued_batches=100)
        waiting.offer("b", 1, 0.0, is_batch=True)
        for _ in range(20):
            waiting.offer("i", 1, 0.0)
        order = [*itertools.chain.from_iterable(tasks(waiting.take(0.0)) for _ in range(10))]
        assert order.index("b") == BATCH_TURN - 1

    def test_the_two_are_never_merged(self) -> None:
        waiting = limited(10)
        waiting.offer("i", 1, 0.0)
        waiting.offer("b", 1, 0.0, is_batch=True)
        assert tasks(waiting.take(0.0)) == ["i"]
        assert tasks(waiting.take(0.0)) == ["b"]

    def test_an_open_interactive_batch_that_waits_for_company_holds_up_no_batch_work(self) -> None:
        waiting = limited(4, timeout_s=10.0)
        waiting.offer("i", 1, 0.0)
        waiting.offer("b", 4, 0.0, is_batch=True)
        assert waiting.ready_at_s() == 0.0
        assert waiting.ready_priority(1.0) is Priority.BATCH
        assert tasks(waiting.take(1.0)) == ["b"]
        assert waiting.take(1.0) is None
        assert waiting.ready_priority(10.0) is Priority.INTERACTIVE

    @pytest.mark.parametrize("is_splitting", [False, True])
    def test_batch_work_does_not_fill_the_queue(self, is_splitting: bool) -> None:
        waiting = queue(
            max_task_rows=2, max_batch_rows=2, max_enqueued_batches=8, is_splitting=is_splitting
        )
        for _ in range(6):
            waiting.offer("b", 2, 0.0, is_batch=True)
        with pytest.raises(Unavailable):
            waiting.offer("b", 2, 0.0, is_batch=True)
        waiting.offer("i", 2, 0.0)

    def test_batch_work_has_a_place_also_where_there_is_one_alone(self) -> None:
        waiting = limited(2, max_enqueued_batches=1)
        waiting.offer("b", 2, 0.0, is_batch=True)
        assert tasks(waiting.take(0.0)) == ["b"]

    def test_a_task_of_batch_work_can_be_withdrawn(self) -> None:
        waiting = limited(1)
        pieces = [waiting.offer("b", 1, 0.0, is_batch=True) for _ in range(3)]
        assert waiting.withdraw(pieces[0]) == 1
        assert waiting.withdraw(pieces[2]) == 1
        assert waiting.num_batches == 2
        assert tasks(waiting.take(0.0)) == ["b"]
        assert waiting.is_empty


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["offer", "take", "withdraw"]), st.integers(1, 4), st.booleans()),
        max_size=60,
    )
)
def test_tasks_of_each_priority_leave_once_and_in_order(
    steps: list[tuple[str, int, bool]],
) -> None:
    waiting: BatchQueue[tuple[int, bool]] = BatchQueue(
        BatchRules(max_task_rows=4, max_batch_rows=4, max_enqueued_batches=9, timeout_s=1.0)
    )
    expected: dict[bool, list[int]] = {False: [], True: []}
    left: dict[bool, list[int]] = {False: [], True: []}
    pieces: list[tuple[int, bool, list[Piece[tuple[int, bool]]]]] = []

    def take(now_s: float) -> None:
        batch = waiting.take(now_s) or []
        assert len({piece.task[1] for piece in batch}) <= 1
        for piece in batch:
            left[piece.task[1]].append(piece.task[0])

    for number, (step, rows, is_batch) in enumerate(steps):
        if step == "offer":
            with suppress(Unavailable):
                offered = waiting.offer((number, is_batch), rows, float(number), is_batch=is_batch)
                expected[is_batch].append(number)
                pieces.append((number, is_batch, offered))
        elif step == "take":
            take(float(number))
        elif pieces:
            task, was_batch, offered = pieces.pop(rows % len(pieces))
            if waiting.withdraw(offered):
                expected[was_batch].remove(task)
    waiting.flush()
    while not waiting.is_empty:
        take(1e3)
    assert left == expected

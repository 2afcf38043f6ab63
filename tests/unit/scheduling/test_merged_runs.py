import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.batch_programs import (
    LONG_S,
    Counted,
    Doubling,
    Ends,
    answer_of,
    error_of,
    row,
    rows,
    until,
)

from salver.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    OutOfRange,
    Overloaded,
    ResourceExhausted,
    ServingError,
    Unavailable,
)
from salver.scheduling.merged_runs import MergedRuns
from salver.scheduling.plan import BatchRules
from salver.scheduling.run_pool import RunPool
from salver.scheduling.runner import MeasuredProgram
from salver.scheduling.scheduler import BatchScheduler
from salver.vocabulary.access import Priority, current_priority
from salver.vocabulary.requests import Array

Make = Callable[..., MergedRuns]


@pytest.fixture
def scheduler() -> BatchScheduler:
    return BatchScheduler(1, thread_pool_name="test-batch")


@pytest.fixture
def pool() -> RunPool:
    return RunPool(1)


@pytest.fixture
def program() -> Doubling:
    return Doubling()


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
async def make(
    scheduler: BatchScheduler, pool: RunPool, program: Doubling, counted: Counted
) -> AsyncIterator[Make]:
    def make(
        rules: BatchRules | None = None,
        *,
        of: Doubling = program,
        feeds: Sequence[str] = ("x:0",),
    ) -> MergedRuns:
        return MergedRuns(
            of, feeds, ["y:0"], MeasuredProgram(of, pool), rules or BatchRules(), scheduler, counted
        )

    yield make
    program.gate.set()
    scheduler.close()
    pool.close()


def start(
    runs: MergedRuns,
    feeds: Sequence[Array],
    ends: Ends | None = None,
    timeout_s: float | None = None,
) -> "asyncio.Future[list[Array]]":
    return runs.start(feeds, len(feeds[0]), None, timeout_s, ends or Ends())


def occupy(runs: MergedRuns, program: Doubling) -> "asyncio.Future[list[Array]]":
    """Keep the batch thread busy until the gate opens."""
    first = start(runs, rows(0))
    assert program.entered.wait(LONG_S)
    return first


async def test_tasks_that_wait_are_run_together_and_told_apart(
    make: Make, program: Doubling
) -> None:
    runs = make()
    first = occupy(runs, program)
    ends = Ends()
    others = [start(runs, rows(n, n + 0.5), ends) for n in range(3)]
    program.gate.set()
    assert [await answer_of(other) for other in others] == [
        [[0, 1]], [[2, 3]], [[4, 5]]
    ]  # fmt: skip
    assert await answer_of(first) == [[0]]
    assert program.runs == [1, 6]
    assert ends.count == 3


async def test_only_the_outputs_wanted_are_given_in_the_order_wanted(
    make: Make, program: Doubling
) -> None:
    program.gate.set()
    feeds = [np.array([1.0]), np.array([5.0])]
    answer = make(feeds=("x:0", "z:0")).start(feeds, 1, [1, 0, 1], None, Ends())
    assert await answer_of(answer) == [[10], [2], [10]]


async def test_batches_are_rounded_up_and_padding_is_not_seen(
    make: Make, program: Doubling, counted: Counted
) -> None:
    program.gate.set()
    runs = make(BatchRules(max_task_rows=4, max_batch_rows=4, allowed_rows=(2, 4)))
    assert await answer_of(start(runs, rows(1, 2, 3))) == [[2, 4, 6]]
    assert program.fed[0][0].tolist() == [1, 2, 3, 1]
    assert counted.merged == [(1, 3, 4)]
    assert (counted.taken, counted.ran) == ([1], 1)


async def test_the_pieces_of_a_large_task_come_back_in_order(make: Make, program: Doubling) -> None:
    runs = make(BatchRules(max_task_rows=10, max_batch_rows=4, is_splitting=True))
    occupy(runs, program)
    small = start(runs, rows(9, 9, 9))
    ends = Ends()
    large = start(runs, rows(*range(6)), ends)
    program.gate.set()
    assert await answer_of(large) == [[0, 2, 4, 6, 8, 10]]
    assert await answer_of(small) == [[18, 18, 18]]
    assert program.runs == [1, 4, 4, 1]
    assert ends.count == 1


async def test_a_piece_that_fails_fails_its_task_with_the_first_error(
    make: Make, program: Doubling
) -> None:
    program.gate.set()
    runs = make(BatchRules(max_task_rows=9, max_batch_rows=2, is_splitting=True))
    ends = Ends()
    error = await error_of(start(runs, rows(1, -1, 2, -2, 5), ends))
    assert isinstance(error, InvalidArgument)
    assert ends.count == 1
    assert program.runs == [2, 2, 1]


class TestStrangers:
    async def test_a_poisoned_task_fails_alone(self, make: Make, program: Doubling) -> None:
        runs = make()
        occupy(runs, program)
        answers = [start(runs, rows(-1 if n == 5 else n)) for n in range(8)]
        program.gate.set()
        for n, answer in enumerate(answers):
            if n == 5:
                assert (await error_of(answer)).message == "negative"
            else:
                assert await answer_of(answer) == [[2 * n]]
        assert program.runs == [1, 8, 4, 4, 2, 1, 1, 2]

    @pytest.mark.parametrize("kind", [InvalidArgument, OutOfRange, FailedPrecondition])
    async def test_each_fault_of_feeds_is_traced_to_its_tasks(
        self, make: Make, program: Doubling, kind: type[ServingError]
    ) -> None:
        runs = make()
        occupy(runs, program)
        answers = [start(runs, rows(n)) for n in range(2)]
        program.error = kind("bad")
        program.gate.set()
        assert [type(await error_of(answer)) for answer in answers] == [kind, kind]
        assert program.runs == [1, 2, 1, 1]

    async def test_other_failures_fail_the_whole_batch_which_is_not_run_again(
        self, make: Make, program: Doubling
    ) -> None:
        runs = make()
        occupy(runs, program)
        answers = [start(runs, rows(n)) for n in range(2)]
        program.error = ResourceExhausted("out of memory", hint="buy some")
        program.gate.set()
        errors = [await error_of(answer) for answer in answers]
        assert [(e.message, e.hint) for e in errors] == [("out of memory", "buy some")] * 2
        assert errors[0] is not errors[1]
        assert program.runs == [1, 2]

    @pytest.mark.parametrize("error", [RuntimeError("boom"), StopIteration(), SystemExit(3)])
    async def test_nobody_hangs_whatever_a_run_raises(
        self, make: Make, program: Doubling, error: BaseException
    ) -> None:
        runs = make()
        ends = Ends()
        program.error = error
        program.gate.set()
        caught = await error_of(start(runs, rows(1), ends))
        assert isinstance(caught, Internal)
        assert repr(error) in caught.message
        program.error = None
        assert await answer_of(start(runs, rows(1), ends)) == [[2]]
        assert ends.count == 2

    async def test_nobody_hangs_when_the_observer_fails(
        self, make: Make, program: Doubling, counted: Counted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program.gate.set()
        monkeypatch.setattr(Counted, "batch_taken", lambda *_: 1 / 0)
        assert "ZeroDivisionError" in (await error_of(start(make(), rows(1)))).message

    async def test_tasks_of_other_shapes_and_dtypes_are_run_apart(
        self, make: Make, program: Doubling
    ) -> None:
        runs = make()
        occupy(runs, program)
        feeds = [row(1), row(1, 2), row(3), [np.array([[4]], np.int32)]]
        answers = [start(runs, feed) for feed in feeds]
        program.gate.set()
        assert [await answer_of(answer) for answer in answers] == [
            [[[2]]], [[[2, 4]]], [[[6]]], [[[8]]]
        ]  # fmt: skip
        assert program.runs == [1, 2, 1, 1]

    async def test_with_padding_other_shapes_are_one_batch_but_for_empty_ones(
        self, make: Make, program: Doubling
    ) -> None:
        runs = make(BatchRules(is_padding=True))
        occupy(runs, program)
        feeds = [row(1), row(1, 2), row()]
        answers = [start(runs, feed) for feed in feeds]
        program.gate.set()
        assert [await answer_of(answer) for answer in answers] == [
            [[[2, 2]]], [[[2, 4]]], [[[]]]
        ]  # fmt: skip

    async def test_the_pieces_of_a_task_are_not_padded_to_the_width_of_a_stranger(
        self, make: Make, program: Doubling
    ) -> None:
        runs = make(
            BatchRules(max_task_rows=9, max_batch_rows=2, is_splitting=True, is_padding=True)
        )
        occupy(runs, program)
        wide = start(runs, row(7, 8, 9))
        large = start(runs, [np.ones((4, 1), np.float32)])
        program.gate.set()
        assert await answer_of(large) == [[[2]] * 4]
        assert await answer_of(wide) == [[[14, 16, 18]]]

    async def test_outputs_that_are_no_batch_fail_all_without_another_run(
        self, make: Make, program: Doubling
    ) -> None:
        program.is_summing = True
        runs = make()
        first = occupy(runs, program)
        others = [start(runs, rows(n)) for n in range(3)]
        program.gate.set()
        for answer in [first, *others]:
            error = await error_of(answer)
            assert isinstance(error, FailedPrecondition)
            assert error.message == "Batched output tensor has 0 dimensions"
        assert program.runs == [1, 3]

    async def test_pieces_that_do_not_fit_together_again_are_an_error(self, make: Make) -> None:
        class Widening(Doubling):
            def run(self, feeds: Sequence[Array]) -> list[Array]:
                outputs = super().run(feeds)
                return [np.repeat(array, len(self.runs), axis=1) for array in outputs]

        program = Widening()
        program.gate.set()
        runs = make(BatchRules(max_task_rows=9, max_batch_rows=2, is_splitting=True), of=program)
        error = await error_of(start(runs, [np.ones((4, 1))]))
        assert error.message.startswith("Tensor concat operation failed: ")

    async def test_no_memory_for_a_batch_is_resource_exhausted(self, make: Make) -> None:
        class Starved(Doubling):
            def run(self, feeds: Sequence[Array]) -> list[Array]:
                raise MemoryError("no room")

        error = await error_of(start(make(of=Starved()), rows(1)))
        assert isinstance(error, ResourceExhausted)
        assert error.message == "Out of memory: no room"

    async def test_nobody_hangs_when_outputs_cannot_be_told_apart_at_all(
        self, make: Make, program: Doubling
    ) -> None:
        program.gate.set()
        answer = make().start(rows(1), 1, [3], None, Ends())
        assert "IndexError" in (await error_of(answer)).message


class TestLeaving:
    async def test_a_client_that_leaves_does_not_disturb_its_batch_mates(
        self, make: Make, program: Doubling
    ) -> None:
        runs = make()
        occupy(runs, program)
        ends = Ends()
        answers = [start(runs, rows(n), ends) for n in range(3)]
        answers[1].cancel()
        await until(lambda: ends.count == 1)
        program.gate.set()
        assert await answer_of(answers[0]) == [[0]]
        assert await answer_of(answers[2]) == [[4]]
        assert program.runs == [1, 2]
        assert ends.count == 3

    async def test_a_client_that_leaves_while_its_batch_runs_is_forgotten(
        self, make: Make, program: Doubling
    ) -> None:
        runs = make()
        ends = Ends()
        first = start(runs, rows(0), ends)
        assert program.entered.wait(LONG_S)
        first.cancel()
        await asyncio.sleep(0)
        assert ends.count == 0
        second = start(runs, rows(1), ends)
        program.gate.set()
        assert await answer_of(second) == [[2]]
        assert ends.count == 2

    async def test_a_client_that_leaves_frees_its_rows(self, make: Make, program: Doubling) -> None:
        runs = make(BatchRules(max_task_rows=2, max_batch_rows=2, max_enqueued_batches=1))
        occupy(runs, program)
        gone = start(runs, rows(1, 2))
        with pytest.raises(Unavailable):
            start(runs, rows(3))
        gone.cancel()
        await asyncio.sleep(0)
        stays = start(runs, rows(4))
        program.gate.set()
        assert await answer_of(stays) == [[8]]

    async def test_a_split_task_ends_when_none_of_it_runs_any_more(
        self, make: Make, program: Doubling
    ) -> None:
        runs = make(BatchRules(max_task_rows=9, max_batch_rows=2, is_splitting=True))
        ends = Ends()
        large = start(runs, rows(1, 2, 3, 4), ends)
        assert program.entered.wait(LONG_S)
        large.cancel()
        await asyncio.sleep(0)
        assert ends.count == 0
        program.gate.set()
        await until(lambda: ends.count == 1)
        assert program.runs == [2]

    async def test_a_loop_that_is_closed_gets_no_answer_but_the_task_ends(
        self, make: Make, program: Doubling
    ) -> None:
        runs = make()
        ends = Ends()

        def elsewhere() -> None:
            loop = asyncio.new_event_loop()

            async def begin() -> None:
                start(runs, rows(1), ends)

            loop.run_until_complete(begin())
            loop.close()

        await asyncio.to_thread(elsewhere)
        program.gate.set()
        await until(lambda: ends.count == 1)


class TestDeadlines:
    async def test_a_task_that_waits_past_its_deadline_leaves_the_queue(
        self, make: Make, program: Doubling
    ) -> None:
        runs = make()
        occupy(runs, program)
        ends = Ends()
        late = start(runs, rows(1), ends, timeout_s=0.001)
        patient = start(runs, rows(2), timeout_s=LONG_S)
        error = await error_of(late)
        assert isinstance(error, ResourceExhausted)
        assert error.message == "Run() timeout exceeded while waiting in batching queue"
        assert ends.count == 1
        program.gate.set()
        assert await answer_of(patient) == [[4]]
        assert program.runs == [1, 1]

    async def test_a_run_past_the_deadline_goes_on_unseen(
        self, make: Make, program: Doubling
    ) -> None:
        runs = make()
        ends = Ends()
        late = start(runs, rows(1), ends, timeout_s=0.001)
        assert program.entered.wait(LONG_S)
        error = await error_of(late)
        assert isinstance(error, DeadlineExceeded)
        assert error.message == "Timed out waiting for notification"
        assert ends.count == 0
        program.gate.set()
        await until(lambda: ends.count == 1)

    async def test_an_answer_that_is_there_is_not_taken_back(
        self, make: Make, program: Doubling
    ) -> None:
        runs = make()
        ends = Ends()
        answers: list[asyncio.Future[list[Array]]] = []
        # This timer fires in the same turn of the loop as that of the deadline, and before it.
        asyncio.get_running_loop().call_later(0.0, lambda: answers[0].set_result([]))
        answers.append(start(runs, rows(1), ends, timeout_s=0.0))
        assert await answer_of(answers[0]) == []
        program.gate.set()
        await until(lambda: ends.count == 1)


async def test_what_is_queued_when_the_server_gives_up_is_unavailable(
    make: Make, program: Doubling, scheduler: BatchScheduler
) -> None:
    runs = make()
    occupy(runs, program)
    ends = Ends()
    answer = start(runs, rows(1), ends)
    scheduler.abandon()
    error = await error_of(answer)
    assert isinstance(error, Unavailable)
    assert error.message == "The server is stopping"
    assert ends.count == 1


class TestCalm:
    async def test_longer_runs_are_made_alone_after_a_pause_of_their_length(
        self, make: Make
    ) -> None:
        runs = make()
        assert runs.is_calm(90e-6)
        runs.ended_lone_s = runs.clock() + 1.0
        assert not runs.is_calm(90e-6)

    async def test_after_a_batch_of_several_others_may_come_too(
        self, make: Make, program: Doubling
    ) -> None:
        runs = make()
        occupy(runs, program)
        answers = [start(runs, rows(n)) for n in range(2)]
        program.gate.set()
        for answer in answers:
            await answer_of(answer)
        assert runs._crowded_until_s > runs.clock() - 1.0


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    tasks=st.lists(st.lists(st.integers(-1, 9), min_size=1, max_size=6), min_size=1, max_size=12),
    is_splitting=st.booleans(),
    is_rounding=st.booleans(),
)
async def test_answers_are_those_of_unbatched_runs(
    tasks: list[list[int]], is_splitting: bool, is_rounding: bool
) -> None:
    scheduler = BatchScheduler(2, thread_pool_name="test-batch")
    pool = RunPool(1)
    program = Doubling()
    rules = BatchRules(
        max_task_rows=6,
        max_batch_rows=3 if is_splitting else 6,
        max_enqueued_batches=1000,
        allowed_rows=(2, 6) if is_rounding else (),
        is_splitting=is_splitting,
    )
    runs = MergedRuns(
        program, ["x:0"], ["y:0"], MeasuredProgram(program, pool), rules, scheduler, Counted()
    )
    ends = Ends()
    answers = [start(runs, rows(*task), ends) for task in tasks]
    program.gate.set()
    for task, answer in zip(tasks, answers, strict=True):
        if min(task) < 0:
            assert (await error_of(answer)).message == "negative"
        else:
            assert await answer_of(answer) == [[2 * value for value in task]]
    assert ends.count == len(tasks)
    scheduler.close()
    pool.close()


async def test_batch_work_is_run_behind_interactive_tasks_and_apart_from_them(
    make: Make, program: Doubling
) -> None:
    runs = make()
    first = occupy(runs, program)
    token = current_priority.set(Priority.BATCH)
    bulk = [start(runs, rows(n)) for n in (1, 2)]
    current_priority.reset(token)
    chat = start(runs, rows(7))
    program.gate.set()
    for each in (first, chat, *bulk):
        await answer_of(each)
    assert [fed[0].tolist() for fed in program.fed] == [[0], [7], [1, 2]]


async def test_a_task_whose_time_is_over_before_its_turn_is_refused_at_once(
    make: Make, program: Doubling, pool: RunPool
) -> None:
    def take_20_ms() -> None:
        until_s = time.perf_counter() + 0.02
        while time.perf_counter() < until_s:
            pass

    program.takes = take_20_ms
    runs = make(BatchRules(max_task_rows=1, max_batch_rows=1, max_enqueued_batches=1000))
    program.gate.set()
    for _ in range(5):
        await answer_of(start(runs, rows(0)))
    program.gate.clear()
    program.entered.clear()
    waiting = [occupy(runs, program), start(runs, rows(1), timeout_s=0.001)]
    waiting += [start(runs, rows(1)) for _ in range(30)]
    with pytest.raises(Overloaded) as refused:
        start(runs, rows(1), timeout_s=0.1)
    assert refused.value.retry_after_s >= 1
    assert pool.too_late == {"": 1}
    waiting.append(start(runs, rows(1), timeout_s=LONG_S))
    program.gate.set()
    assert isinstance(await error_of(waiting[1]), ResourceExhausted)
    for each in (waiting[0], *waiting[2:]):
        await answer_of(each)

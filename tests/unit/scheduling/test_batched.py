import asyncio
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from tests.batch_programs import (
    LONG_S,
    Counted,
    Doubling,
    Ends,
    Names,
    answer_of,
    row,
    rows,
)

from salver.config.batching import BatchingParameters
from salver.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Unavailable
from salver.scheduling.batched import BatchedProgram, VersionBatching
from salver.scheduling.run_pool import RunPool
from salver.scheduling.scheduler import BatchScheduler
from salver.vocabulary.requests import Array

PROOF_RUNS = 5  # in threads, before a size may be run in the loop: the first does not count
TWO_IN = Names(("x:0", "z:0"), ("y:0", "w:0"))
TURNED = Names(("z:0", "x:0"), ("w:0", "y:0"))


class Clock:
    """What programs are measured with: only programs make time pass."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scheduler(clock: Clock) -> Iterator[BatchScheduler]:
    scheduler = BatchScheduler(1, thread_pool_name="test-batch", clock=clock)
    yield scheduler
    scheduler.close()


@pytest.fixture
def pool() -> Iterator[RunPool]:
    pool = RunPool(1, name="test-run")
    yield pool
    pool.close()


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def program(clock: Clock, scheduler: BatchScheduler) -> Iterator[Doubling]:
    """A program of 10 µs that is not held up."""

    def tick() -> None:
        clock.now_s += 10e-6

    program = Doubling(takes=tick)
    program.gate.set()
    yield program
    program.gate.set()


Version = Callable[..., VersionBatching]


@pytest.fixture
def version(scheduler: BatchScheduler, pool: RunPool, counted: Counted, clock: Clock) -> Version:
    def version(**parameters: Any) -> VersionBatching:
        return VersionBatching(
            BatchingParameters(**parameters), scheduler, pool, counted, clock=clock
        )

    return version


def start(
    program: object, feeds: Sequence[Array], ends: Ends | None = None
) -> "list[Array] | asyncio.Future[list[Array]]":
    assert isinstance(program, BatchedProgram)
    return program.start(feeds, timeout_s=None, on_end=ends or Ends())


async def prove(program: object, feeds: Sequence[Array], times: int = PROOF_RUNS) -> None:
    for _ in range(times):
        await answer_of(start(program, feeds))


class TestEligibility:
    @pytest.mark.parametrize(
        ("feeds", "text"),
        [
            ([], "Batching Run() must have at least one input tensor"),
            (
                [np.zeros(())],
                "Batching Run() input tensors must have at least one dimension",
            ),
            (
                [np.zeros(1), np.zeros(2)],
                "Batching Run() input tensors must have equal 0th-dimension size",
            ),
            ([np.zeros(5)], "Task size 5 is larger than maximum input batch size 4"),
        ],
    )
    async def test_what_cannot_be_batched_is_refused_at_once(
        self, version: Version, program: Doubling, counted: Counted, feeds: list[Array], text: str
    ) -> None:
        ends = Ends()
        runner = version(max_batch_size=4).runner(program, Names())
        with pytest.raises(InvalidArgument) as caught:
            start(runner, feeds, ends)
        assert caught.value.message == text
        assert ends.count == 1
        assert program.runs == []

    async def test_what_cannot_be_padded_is_refused_at_once(
        self, version: Version, program: Doubling
    ) -> None:
        runner = version(pad_variable_length_inputs=True).runner(program, Names())
        with pytest.raises(InvalidArgument, match="Only tensors with rank from 1 to 6"):
            start(runner, [np.zeros((1,) * 7)])

    async def test_targets_are_refused(self, version: Version, program: Doubling) -> None:
        ends = Ends()
        runner = version().runner(program, Names(targets=("init",)))
        with pytest.raises(PermissionDenied) as caught:
            runner.start(rows(1), timeout_s=None, on_end=ends)
        assert caught.value.message == "BatchingSession does not support target nodes"
        assert ends.count == 1

    async def test_a_full_queue_refuses_and_ends(self, version: Version, program: Doubling) -> None:
        program.gate.clear()
        runner = version(max_batch_size=1, max_enqueued_batches=1).runner(program, Names())
        first = start(runner, rows(1))
        assert program.entered.wait(LONG_S)
        second = start(runner, rows(2))
        ends = Ends()
        with pytest.raises(Unavailable):
            start(runner, rows(3), ends)
        assert ends.count == 1
        program.gate.set()
        assert [await answer_of(answer) for answer in (first, second)] == [[[2]], [[4]]]

    def test_parameters_are_checked_when_a_version_is_loaded(self, version: Version) -> None:
        with pytest.raises(InvalidArgument, match="input_batch_size_limit must be positive"):
            version(max_batch_size=0)


async def test_a_task_without_rows_is_answered_by_a_run_of_its_own(
    version: Version, program: Doubling, counted: Counted
) -> None:
    runner = version(batch_timeout_micros=10**9).runner(program, Names())
    ends = Ends()
    assert await answer_of(start(runner, rows(), ends)) == [[]]
    assert (program.runs, program.where, ends.count) == ([0], ["test-run-0"], 1)
    assert (counted.came, counted.taken) == ([(0, 1)], [])


class TestQueues:
    async def test_programs_of_the_same_tensors_in_another_order_share_a_queue(
        self, version: Version, program: Doubling
    ) -> None:
        program.gate.clear()
        of = version()
        straight, turned = of.runner(program, TWO_IN), of.runner(Doubling(), TURNED)
        first = start(straight, [*rows(0), *rows(0)])
        assert program.entered.wait(LONG_S)
        answers = [
            start(straight, [*rows(1), *rows(2)]),
            start(turned, [*rows(4), *rows(3)]),
        ]
        program.gate.set()
        assert await answer_of(first) == [[0], [0]]
        assert [await answer_of(answer) for answer in answers] == [[[2], [4]], [[8], [6]]]
        assert program.runs == [1, 2]

    async def test_an_output_asked_for_twice_is_given_twice(
        self, version: Version, program: Doubling
    ) -> None:
        of = version()
        of_two = [of.runner(program, Names(fetches=("y:0",)))]
        of_two.append(of.runner(Doubling(), Names(fetches=("y:0", "y:0"))))
        assert [await answer_of(start(runner, rows(1))) for runner in of_two] == [
            [[2]], [[2], [2]]
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "names",
        [
            Names(("x:0",), ("w:0",)),
            Names(("z:0",), ("y:0",)),
            Names(("x:0", "x:0"), ("y:0",)),
        ],
    )
    async def test_programs_of_other_tensors_do_not(
        self, version: Version, program: Doubling, names: Names
    ) -> None:
        of = version()
        other = Doubling()
        other.gate.set()
        runners = [of.runner(program, Names()), of.runner(other, names)]
        await answer_of(start(runners[0], rows(1)))
        await answer_of(start(runners[1], [*rows(1)] * len(names.feeds)))
        assert program.runs == other.runs == [1]

    async def test_versions_never_mix(self, version: Version, program: Doubling) -> None:
        other = Doubling()
        other.gate.set()
        runners = [version().runner(each, Names()) for each in (program, other)]
        for runner in runners:
            await answer_of(start(runner, rows(1)))
        assert program.runs == other.runs == [1]

    async def test_a_queue_is_forgotten_with_the_last_program_that_uses_it(
        self, version: Version, program: Doubling
    ) -> None:
        of = version()
        runner = of.runner(program, Names())
        assert len(of._runs) == 1
        del runner
        gc.collect()
        assert len(of._runs) == 0

    async def test_closing_runs_what_is_queued(self, version: Version, program: Doubling) -> None:
        of = version(batch_timeout_micros=10**12)
        answer = start(of.runner(program, Names()), rows(1))
        assert program.runs == []
        of.close()
        assert program.runs == [1]
        assert await answer_of(answer) == [[2]]


class TestOtherParameters:
    async def test_a_batch_that_waits_goes_by_parameters_that_come_later(
        self, version: Version, program: Doubling
    ) -> None:
        of = version(batch_timeout_micros=10**12)
        answer = start(of.runner(program, Names()), rows(1))
        assert program.runs == []
        of.set_parameters(BatchingParameters())
        assert await answer_of(answer) == [[2]]

    async def test_the_next_request_is_refused_or_taken_by_them(
        self, version: Version, program: Doubling
    ) -> None:
        of = version(max_batch_size=2)
        runner = of.runner(program, Names())
        of.set_parameters(BatchingParameters(max_batch_size=4))
        assert await answer_of(start(runner, rows(1, 2, 3))) == [[2, 4, 6]]
        of.set_parameters(BatchingParameters(max_batch_size=1))
        with pytest.raises(InvalidArgument, match="larger than maximum input batch size 1"):
            start(runner, rows(1, 2, 3))
        later = of.runner(program, TWO_IN)  # a queue that is made afterwards
        with pytest.raises(InvalidArgument, match="larger than maximum input batch size 1"):
            start(later, [*rows(1, 2), *rows(1, 2)])

    async def test_a_batch_that_is_fuller_than_they_allow_runs_as_it_is(
        self, version: Version, program: Doubling
    ) -> None:
        of = version(max_batch_size=8, batch_timeout_micros=10**12)
        runner = of.runner(program, Names())
        answers = [start(runner, rows(1, 2, 3)) for _ in range(2)]
        smaller = BatchingParameters(
            max_batch_size=4,
            max_execution_batch_size=2,
            enable_large_batch_splitting=True,
            batch_timeout_micros=10**12,
        )
        of.set_parameters(smaller)
        answers.append(start(runner, rows(1, 2, 3)))
        of.close()
        assert [await answer_of(answer) for answer in answers] == [[[2, 4, 6]]] * 3
        assert program.runs == [6, 2, 1]

    async def test_batches_are_filled_up_as_they_say(
        self, version: Version, program: Doubling
    ) -> None:
        of = version()
        runner = of.runner(program, Names())
        of.set_parameters(BatchingParameters(max_batch_size=4, allowed_batch_sizes=(4,)))
        assert await answer_of(start(runner, rows(1))) == [[2]]
        assert program.runs == [4]

    async def test_what_contradicts_itself_changes_nothing(
        self, version: Version, program: Doubling
    ) -> None:
        of = version(max_batch_size=3)
        with pytest.raises(InvalidArgument):
            of.set_parameters(BatchingParameters(max_batch_size=5, allowed_batch_sizes=(4,)))
        assert await answer_of(start(of.runner(program, Names()), rows(1, 2, 3))) == [[2, 4, 6]]


class TestInTheLoop:
    async def test_a_program_that_has_proven_short_runs_in_the_loop_as_a_batch_of_one(
        self, version: Version, program: Doubling, pool: RunPool, counted: Counted
    ) -> None:
        runner = version().runner(program, Names())
        await prove(runner, rows(1))
        ends = Ends()
        assert start(runner, rows(3), ends) == [np.array([6], np.float32)]
        assert program.where == ["test-batch-0"] * PROOF_RUNS + ["MainThread"]
        assert pool.counts.by_placement() == {
            "inline": 1,
            "pool": 0,
            "batch": PROOF_RUNS,
            "child": 0,
        }
        assert counted.taken == [1] * (PROOF_RUNS + 1)
        assert counted.merged[-1] == (1, 1, 1)
        assert (counted.ran, ends.count) == (PROOF_RUNS + 1, 1)

    async def test_what_is_known_is_known_of_the_size_after_padding(
        self, version: Version, program: Doubling, counted: Counted
    ) -> None:
        runner = version(max_batch_size=8, allowed_batch_sizes=(4, 8)).runner(program, Names())
        await prove(runner, rows(1, 2, 3))
        outputs = start(runner, rows(7))
        assert await answer_of(outputs) == [[14]]
        assert program.where[-1] == "MainThread"
        assert program.fed[-1][0].tolist() == [7, 7, 7, 7]
        assert counted.merged[-1] == (1, 1, 4)
        await answer_of(start(runner, rows(1, 2, 3, 4, 5)))
        assert program.where[-1] == "test-batch-0"

    async def test_outputs_are_in_the_order_of_the_program_that_ran(
        self, version: Version, program: Doubling
    ) -> None:
        of = version()
        straight, turned = of.runner(program, TWO_IN), of.runner(Doubling(), TURNED)
        await prove(straight, [*rows(1), *rows(2)])
        assert await answer_of(start(turned, [*rows(4), *rows(3)])) == [[8], [6]]
        assert program.where[-1] == "MainThread"

    async def test_a_run_that_fails_there_says_so_and_ends(
        self, version: Version, program: Doubling, counted: Counted
    ) -> None:
        runner = version().runner(program, Names())
        await prove(runner, rows(1))
        ends = Ends()
        with pytest.raises(InvalidArgument, match="negative"):
            start(runner, rows(-1), ends)
        assert (ends.count, counted.ran) == (1, PROOF_RUNS + 1)

    async def test_outputs_that_are_no_batch_are_refused_there_too(
        self, version: Version, program: Doubling
    ) -> None:
        runner = version().runner(program, Names())
        await prove(runner, rows(1))
        program.is_summing = True
        ends = Ends()
        with pytest.raises(FailedPrecondition, match="has 0 dimensions"):
            start(runner, rows(1), ends)
        assert ends.count == 1

    async def test_while_something_runs_the_others_wait_for_each_other(
        self, version: Version, program: Doubling
    ) -> None:
        runner = version().runner(program, Names())
        await prove(runner, rows(1))
        program.gate.clear()
        program.entered.clear()
        large = start(runner, rows(*range(500)))
        assert program.entered.wait(LONG_S)
        answers = [start(runner, rows(n)) for n in range(3)]
        program.gate.set()
        assert [await answer_of(answer) for answer in answers] == [[[0]], [[2]], [[4]]]
        await answer_of(large)
        assert program.runs[PROOF_RUNS:] == [500, 3]

    async def test_with_a_timeout_every_task_waits_for_company(
        self, version: Version, program: Doubling, clock: Clock
    ) -> None:
        runner = version(max_batch_size=2, batch_timeout_micros=10**12).runner(program, Names())
        await prove(runner, rows(1, 2))
        assert isinstance(start(runner, rows(1)), asyncio.Future)
        assert await answer_of(start(runner, rows(1))) == [[2]]
        assert program.where == ["test-batch-0"] * (PROOF_RUNS + 1)

    async def test_a_program_with_loops_never_runs_there(
        self, version: Version, program: Doubling
    ) -> None:
        program.can_loop = True
        runner = version().runner(program, Names())
        await prove(runner, rows(1), PROOF_RUNS + 2)
        assert set(program.where) == {"test-batch-0"}

    async def test_a_task_that_would_be_split_does_not_run_there(
        self, version: Version, program: Doubling
    ) -> None:
        runner = version(
            max_batch_size=8, max_execution_batch_size=2, enable_large_batch_splitting=True
        ).runner(program, Names())
        await prove(runner, rows(1, 2))
        assert await answer_of(start(runner, rows(1, 2, 3))) == [[2, 4, 6]]
        assert program.runs[PROOF_RUNS:] == [2, 1]

    async def test_longer_runs_stay_there_only_while_tasks_come_one_at_a_time(
        self, version: Version, program: Doubling, clock: Clock
    ) -> None:
        def tick() -> None:
            clock.now_s += 60e-6

        program.takes = tick
        runner = version().runner(program, Names())
        clock.now_s = 1.0
        await prove(runner, row(1))
        clock.now_s += 1.0
        await answer_of(start(runner, row(1)))
        clock.now_s += 10e-6
        await answer_of(start(runner, row(1)))
        clock.now_s += 1.0
        await answer_of(start(runner, row(1)))
        assert program.where[PROOF_RUNS:] == ["MainThread", "test-batch-0", "MainThread"]


class Elsewhere:
    """Begins runs as a child does; they end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[tuple[Sequence[Array], int]] = []
        self._ends: list[tuple[asyncio.Future[list[Array]], Callable[[], None]]] = []
        self.error: Exception | None = None

    def start_lone(
        self,
        feeds: Sequence[Array],
        rows: int,
        *,
        timeout_s: float | None,
        on_end: Callable[[], None],
    ) -> "asyncio.Future[list[Array]]":
        if self.error is not None:
            on_end()
            raise self.error
        self.begun.append((feeds, rows))
        answer: asyncio.Future[list[Array]] = asyncio.get_running_loop().create_future()
        self._ends.append((answer, on_end))
        return answer

    def end(self) -> None:
        """Answer the first that is under way."""
        answer, on_end = self._ends.pop(0)
        on_end()
        if not answer.done():
            answer.set_result([self.begun[-1][0][0] * 2])


class TestLoneRunsElsewhere:
    @pytest.fixture
    def elsewhere(self) -> Elsewhere:
        return Elsewhere()

    @pytest.fixture
    def version(
        self,
        scheduler: BatchScheduler,
        pool: RunPool,
        counted: Counted,
        clock: Clock,
        elsewhere: Elsewhere,
    ) -> Version:
        def version(**parameters: Any) -> VersionBatching:
            return VersionBatching(
                *(BatchingParameters(**parameters), scheduler, pool, counted),
                may_run_inline=False,
                lone=lambda _program: elsewhere,
                clock=clock,
            )

        return version

    async def test_a_task_that_comes_alone_is_begun_without_a_thread_as_a_batch_of_one(
        self,
        version: Version,
        program: Doubling,
        elsewhere: Elsewhere,
        pool: RunPool,
        counted: Counted,
    ) -> None:
        ends = Ends()
        answer = start(version().runner(program, Names()), rows(1, 2), ends)
        assert [count for _, count in elsewhere.begun] == [2]
        assert ends.count == 0
        elsewhere.end()
        assert await answer_of(answer) == [[2, 4]]
        assert program.runs == []
        assert (counted.taken, counted.merged, counted.ran) == ([1], [(1, 2, 2)], 1)
        assert (pool.counts.by_placement()["batch"], ends.count) == (1, 1)

    async def test_what_comes_while_it_runs_is_queued_and_the_next_one_is_alone_again(
        self, version: Version, program: Doubling, elsewhere: Elsewhere
    ) -> None:
        runner = version().runner(program, Names())
        first = start(runner, rows(1))
        assert await answer_of(start(runner, rows(2))) == [[4]]
        assert program.where == ["test-batch-0"]
        elsewhere.end()
        assert await answer_of(first) == [[2]]
        start(runner, rows(3))
        assert len(elsewhere.begun) == 2

    async def test_one_that_nobody_waits_for_is_under_way_until_it_ends(
        self, version: Version, program: Doubling, elsewhere: Elsewhere
    ) -> None:
        runner, ends = version().runner(program, Names()), Ends()
        answer = start(runner, rows(1), ends)
        assert isinstance(answer, asyncio.Future)
        answer.cancel()
        await answer_of(start(runner, rows(2)))
        assert len(elsewhere.begun) == 1
        elsewhere.end()
        start(runner, rows(3))
        assert (len(elsewhere.begun), ends.count) == (2, 1)

    async def test_one_that_cannot_be_begun_leaves_room_for_the_next(
        self, version: Version, program: Doubling, elsewhere: Elsewhere
    ) -> None:
        runner, ends = version().runner(program, Names()), Ends()
        elsewhere.error = Unavailable("there is no process")
        with pytest.raises(Unavailable):
            start(runner, rows(1), ends)
        assert ends.count == 1
        elsewhere.error = None
        start(runner, rows(1))
        assert len(elsewhere.begun) == 1

    @pytest.mark.parametrize(
        "parameters",
        [
            {"batch_timeout_micros": 1},
            {"max_batch_size": 4, "allowed_batch_sizes": (4,)},
            {
                "max_batch_size": 2,
                "enable_large_batch_splitting": True,
                "max_execution_batch_size": 1,
            },
        ],
        ids=["it waits for company", "it is padded", "it is split"],
    )
    async def test_what_a_batch_is_more_than_its_only_task_goes_through_the_queue(
        self, version: Version, program: Doubling, elsewhere: Elsewhere, parameters: dict[str, Any]
    ) -> None:
        runner = version(**parameters).runner(program, Names())
        answer = start(runner, rows(1, 2))
        assert elsewhere.begun == []
        assert isinstance(answer, asyncio.Future)
        answer.cancel()

    async def test_after_a_crowd_a_task_waits_for_the_next_crowd(
        self, version: Version, program: Doubling, elsewhere: Elsewhere, clock: Clock
    ) -> None:
        runner = version().runner(program, Names())
        first = start(runner, rows(1))
        program.gate.clear()
        second = start(runner, rows(2))  # holds the only thread
        await asyncio.to_thread(program.entered.wait, LONG_S)
        crowd = [start(runner, rows(3)), start(runner, rows(4))]
        program.gate.set()
        for answer in (second, *crowd):
            await answer_of(answer)
        elsewhere.end()
        await answer_of(first)
        await answer_of(start(runner, rows(5)))
        assert len(elsewhere.begun) == 1
        clock.now_s += 1
        start(runner, rows(6))
        assert len(elsewhere.begun) == 2

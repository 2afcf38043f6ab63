import asyncio
import random
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import count
from math import inf
from typing import Any

import numpy as np
import pytest

from salver.errors import DeadlineExceeded, InvalidArgument, ServingError, Unavailable
from salver.scheduling import runner
from salver.scheduling.run_pool import RunPool
from salver.scheduling.runner import MeasuredProgram, size_of
from salver.scheduling.usage import Usage, thread_usage
from salver.vocabulary.requests import Array

LONG_S = 10.0  # for what must happen; a test that waits this long has failed
ONE = [np.array([1.0], np.float32)]
FIRST_PROOF = 5  # pool runs: the first does not count


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def usage(cpu_clock: Callable[[], float]) -> Callable[[], Usage]:
    """Of a thread that waits for something each time."""
    waits = count()
    return lambda: Usage(cpu_clock(), next(waits))


class Echo:
    """A program that takes as long as it is told to and gives back what it is fed."""

    can_loop = False

    def __init__(self, clock: Clock, takes_s: float = 20e-6) -> None:
        self.clock = clock
        self.takes_s = takes_s
        self.error: ServingError | None = None
        self.where: list[str] = []
        self.alone = 0

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        return self._run("pool", feeds)

    def run_in_caller(self, feeds: Sequence[Array]) -> list[Array]:
        self.alone += 1
        return self._run("pool", feeds)

    def run_inline(self, feeds: Sequence[Array]) -> list[Array]:
        return self._run("inline", feeds)

    def _run(self, where: str, feeds: Sequence[Array]) -> list[Array]:
        self.where.append(where)
        self.clock.now_s += self.takes_s
        if self.error is not None:
            raise self.error
        return list(feeds)


class Gate:
    """A program that runs until it is let go."""

    can_loop = False

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.runs = 0
        self.error: ServingError | None = None

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        self.runs += 1
        self.entered.set()
        assert self.let_go.wait(LONG_S)
        if self.error is not None:
            raise self.error
        return list(feeds)

    def run_in_caller(self, feeds: Sequence[Array]) -> list[Array]:
        raise AssertionError("it was never found short")

    run_inline = run_in_caller


class Ends:
    """Counts calls of `on_end`, from whichever thread."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.first = threading.Event()

    def __call__(self) -> None:
        self.calls.append(threading.current_thread().name)
        self.first.set()

    @property
    def count(self) -> int:
        return len(self.calls)


@pytest.fixture
def pool() -> Iterator[RunPool]:
    pool = RunPool(1)
    yield pool
    pool.close()


@pytest.fixture
def names_of_threads() -> Callable[[], list[str]]:
    """The names of the pool threads that were not there before the test."""
    before = set(threading.enumerate())

    def names() -> list[str]:
        fresh = set(threading.enumerate()) - before
        return sorted(thread.name for thread in fresh if thread.name.startswith("salver-run"))

    return names


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.let_go.set()


@pytest.fixture
async def occupied(pool: RunPool, gate: Gate) -> AsyncIterator["asyncio.Future[list[Array]]"]:
    """The pool's only thread is busy until the gate opens."""
    first = MeasuredProgram(gate, pool).start(ONE, timeout_s=None, on_end=lambda: None)
    assert isinstance(first, asyncio.Future)
    assert gate.entered.wait(LONG_S)
    yield first
    gate.let_go.set()
    await asyncio.wait_for(first, LONG_S)


async def outputs_of(
    program: MeasuredProgram, feeds: Sequence[Array] = ONE, on_end: Callable[[], None] | None = None
) -> list[Array]:
    answer = program.start(feeds, timeout_s=None, on_end=on_end or (lambda: None))
    if isinstance(answer, asyncio.Future):
        return await asyncio.wait_for(answer, LONG_S)
    return answer


async def run_times(count: int, program: MeasuredProgram, feeds: Sequence[Array] = ONE) -> None:
    for _ in range(count):
        await outputs_of(program, feeds)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until what other threads post to it has happened."""

    async def turn() -> None:
        while not condition():  # noqa: ASYNC110 - other threads change it
            await asyncio.sleep(0)

    await asyncio.wait_for(turn(), LONG_S)


async def test_a_program_runs_in_the_loop_only_after_it_has_proven_short(pool: RunPool) -> None:
    echo = Echo(Clock())
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    await run_times(FIRST_PROOF + 3, program)
    assert echo.where == ["pool"] * FIRST_PROOF + ["inline"] * 3


async def test_in_the_pool_a_program_runs_in_its_thread_alone_once_it_is_known_to_be_short(
    pool: RunPool,
) -> None:
    echo = Echo(Clock())
    pool.loop_budget.closed_until_s = inf
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    for takes_s, alone in ((0.1, 0), (0.11e-3, 0), (0.09e-3, 4)):
        echo.takes_s = takes_s
        await run_times(FIRST_PROOF, program)  # the shortest of an earlier proof is forgotten
        echo.alone = 0
        await run_times(4, program)
        assert echo.alone == alone
    assert set(echo.where) == {"pool"}


async def test_a_program_with_loops_is_never_run_alone_in_a_thread_of_the_pool(
    pool: RunPool,
) -> None:
    echo = Echo(Clock())
    echo.can_loop = True
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    await run_times(3 * FIRST_PROOF, program)
    assert (echo.alone, set(echo.where)) == (0, {"pool"})


async def test_the_first_run_of_a_program_is_no_proof(pool: RunPool) -> None:
    echo = Echo(Clock(), takes_s=1e-9)
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    await outputs_of(program)
    echo.takes_s = 1.0
    await run_times(20, program)
    assert set(echo.where) == {"pool"}


async def test_a_long_program_stays_in_the_pool(pool: RunPool) -> None:
    echo = Echo(Clock(), takes_s=101e-6)
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    await run_times(30, program)
    assert set(echo.where) == {"pool"}


async def test_one_short_run_of_the_proof_is_enough_because_the_others_may_have_waited(
    pool: RunPool,
) -> None:
    echo = Echo(Clock(), takes_s=5e-3)
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    await run_times(FIRST_PROOF - 1, program)
    echo.takes_s = 20e-6
    await run_times(2, program)
    assert echo.where[-1] == "inline"


async def test_each_size_of_the_inputs_is_proven_by_itself(pool: RunPool) -> None:
    echo = Echo(Clock())
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    await run_times(FIRST_PROOF + 1, program)
    await outputs_of(program, [np.zeros(1000, np.float32)])
    await outputs_of(program)
    assert echo.where[-3:] == ["inline", "pool", "inline"]


async def test_the_size_of_strings_is_that_of_what_they_hold(pool: RunPool) -> None:
    echo = Echo(Clock())
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    short, long = np.array([b"x"], object), np.array([b"x" * 10_000], object)
    await run_times(FIRST_PROOF + 1, program, [short])
    await outputs_of(program, [long])
    assert echo.where[-2:] == ["inline", "pool"]


async def test_a_program_without_inputs_is_proven_too(pool: RunPool) -> None:
    echo = Echo(Clock())
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    await run_times(FIRST_PROOF + 1, program, [])
    assert echo.where[-1] == "inline"


async def test_a_run_that_is_long_in_the_loop_sends_its_size_back_to_the_pool(
    pool: RunPool,
) -> None:
    echo = Echo(Clock())
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    await run_times(FIRST_PROOF, program)
    echo.takes_s = 10.0
    await run_times(3, program)
    assert echo.where[FIRST_PROOF:] == ["inline", "pool", "pool"]
    assert pool.counts.demotions == 1


@pytest.mark.parametrize(("takes_s", "every_s"), [(1.0, 6.0), (5.0, 30.0), (0.1, 6.0), (0.03, 5.3)])
async def test_long_runs_that_come_again_and_again_have_a_small_part_of_the_time(
    pool: RunPool, takes_s: float, every_s: float
) -> None:
    clock = Clock()
    echo = Echo(clock)
    program = MeasuredProgram(echo, pool, clock=clock, usage=usage(clock))
    size, held_s, begun_s = ONE[0].nbytes, 0.0, clock.now_s
    while clock.now_s < begun_s + 3600.0:
        for _ in range(FIRST_PROOF):
            program.ran_elsewhere(size, 20e-6)
        estimate = program.inline_estimate(size)
        if estimate is not None:
            echo.takes_s = takes_s
            program.run_here(ONE, estimate)
            held_s += takes_s
        clock.now_s += every_s - takes_s
    assert held_s / 3600.0 < max(0.004, 3 * takes_s / 3600.0) * 1.5


async def test_a_program_that_is_long_for_some_of_one_size_is_soon_kept_out(pool: RunPool) -> None:
    echo = Echo(Clock())
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    held_s = 0.0
    for _ in range(2000):
        for takes_s in (20e-6, 20e-6, 20e-6, 21e-3):
            echo.takes_s = takes_s
            await outputs_of(program)
            held_s += takes_s if echo.where[-1] == "inline" else 0.0
            echo.clock.now_s += 1e-3
    assert 0.0 < held_s < 0.005 * echo.clock.now_s


@pytest.mark.parametrize(("takes_s", "held"), [(1.0, 1), (30e-3, 4), (10e-3, 11)])
async def test_many_programs_that_turn_slow_hold_the_loop_a_bounded_time_in_a_row(
    pool: RunPool, takes_s: float, held: int
) -> None:
    clock = Clock()
    echoes = [Echo(clock) for _ in range(50)]
    programs = [MeasuredProgram(each, pool, clock=clock, usage=usage(clock)) for each in echoes]
    for program in programs:
        await run_times(FIRST_PROOF, program)
    for echo in echoes:
        echo.takes_s = takes_s
    before_s = clock.now_s
    for program in programs:
        estimate = program.inline_estimate(ONE[0].nbytes)
        if estimate is not None:
            program.run_here(ONE, estimate)
    ran = [echo.where.count("inline") for echo in echoes]
    assert sum(ran) == held
    assert clock.now_s - before_s == pytest.approx(held * takes_s)


async def test_programs_that_are_long_in_turn_hold_the_loop_a_fiftieth_of_the_time(
    pool: RunPool,
) -> None:
    # Each is short as often as it must be, and then long once.
    clock = Clock()
    held_s = 0.0
    for _ in range(2000):
        echo = Echo(clock)
        program = MeasuredProgram(echo, pool, clock=clock, usage=usage(clock))
        for _ in range(FIRST_PROOF):
            program.ran_elsewhere(ONE[0].nbytes, 20e-6)
        estimate = program.inline_estimate(ONE[0].nbytes)
        if estimate is not None:
            echo.takes_s = 50e-3
            program.run_here(ONE, estimate)
            held_s += 50e-3
        clock.now_s += 0.1
    assert held_s / clock.now_s == pytest.approx(0.02, rel=0.05)


async def test_while_the_loop_is_closed_short_programs_are_answered_from_the_pool(
    pool: RunPool,
) -> None:
    clock = Clock()
    echo, slow = Echo(clock), Echo(clock, takes_s=10e-6)
    program = MeasuredProgram(echo, pool, clock=clock, usage=usage(clock))
    turning = MeasuredProgram(slow, pool, clock=clock, usage=usage(clock))
    await run_times(FIRST_PROOF + 1, program)
    await run_times(FIRST_PROOF, turning)
    slow.takes_s = 10.0
    await outputs_of(turning)
    assert slow.where[-1] == "inline"
    await outputs_of(program)
    assert echo.where[-2:] == ["inline", "pool"]
    clock.now_s += 2.49  # however long the one run was
    await outputs_of(program)
    assert echo.where[-1] == "pool"
    clock.now_s += 0.02
    await outputs_of(program)
    assert echo.where[-1] == "inline"


async def test_a_program_with_loops_is_never_run_in_the_loop(pool: RunPool) -> None:
    echo = Echo(Clock())
    echo.can_loop = True
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    await run_times(30, program)
    assert set(echo.where) == {"pool"}


async def demoted(program: MeasuredProgram, echo: Echo, takes_s: float = 10e-3) -> None:
    """Have a program that may run in the loop take long there once."""
    echo.takes_s = takes_s
    await outputs_of(program)
    assert echo.where[-1] == "inline"
    echo.takes_s = 20e-6


async def test_after_a_long_run_all_sizes_are_kept_out_for_a_cooldown_that_grows(
    pool: RunPool,
) -> None:
    echo = Echo(Clock())
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    other_size = [np.zeros(1000, np.float32)]
    for feeds in (ONE, other_size):
        await run_times(FIRST_PROOF, program, feeds)
    for cooldown_s in (0.1, 0.4, 1.6):
        await demoted(program, echo)
        ended_s = echo.clock.now_s
        for feeds in (ONE, other_size):
            await run_times(FIRST_PROOF + 1, program, feeds)
        echo.clock.now_s = ended_s + cooldown_s - 0.001
        await outputs_of(program)
        assert set(echo.where[-2 * FIRST_PROOF - 3 :]) == {"pool"}
        echo.clock.now_s = ended_s + cooldown_s + 0.001
        await outputs_of(program)
        assert echo.where[-1] == "inline"
    assert pool.counts.demotions == 3


async def test_after_the_cooldown_a_program_that_is_long_by_now_stays_in_the_pool(
    pool: RunPool,
) -> None:
    echo = Echo(Clock())
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    await run_times(FIRST_PROOF, program)
    await demoted(program, echo)
    echo.takes_s = 1e-3
    await run_times(3 * FIRST_PROOF, program)
    echo.clock.now_s += 1.0
    await outputs_of(program)
    assert echo.where[-1] == "pool"


async def test_a_long_run_after_very_many_short_ones_is_excused_and_shortens_the_cooldown(
    pool: RunPool,
) -> None:
    echo = Echo(Clock())
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    await run_times(FIRST_PROOF, program)
    await demoted(program, echo, 2e-3)  # kept out for 20 ms
    echo.clock.now_s += 1.0
    await run_times(FIRST_PROOF + 2100, program)
    await demoted(program, echo, 2e-3)
    await outputs_of(program)
    assert (echo.where[-1], pool.counts.demotions) == ("inline", 1)
    await demoted(program, echo, 2e-3)
    ended_s = echo.clock.now_s
    await run_times(FIRST_PROOF, program)
    echo.clock.now_s = ended_s + 0.021  # as the first time
    await outputs_of(program)
    assert (echo.where[-1], pool.counts.demotions) == ("inline", 2)


async def test_a_run_that_only_waited_for_the_processor_is_excused_after_a_few_short_ones(
    pool: RunPool,
) -> None:
    echo = Echo(Clock())
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(lambda: 0.0))
    await run_times(FIRST_PROOF + 900, program)
    await demoted(program, echo, 90e-3)
    await run_times(900, program)
    assert set(echo.where[-900:]) == {"inline"}
    await run_times(1, program)
    await demoted(program, echo, 90e-3)
    await demoted(program, echo, 2e-3)
    await outputs_of(program)
    assert (echo.where[-1], pool.counts.demotions) == ("pool", 1)


async def test_a_run_in_which_the_thread_was_stopped_is_excused_however_often(
    pool: RunPool,
) -> None:
    echo = Echo(Clock())
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=lambda: Usage(0.0, 7))
    await run_times(FIRST_PROOF, program)
    for taken_s in (4e-3, 4e-3, 0.5):
        await demoted(program, echo, taken_s)
    await outputs_of(program)
    assert (echo.where[-1], pool.counts.demotions) == ("inline", 0)


async def test_stops_take_nothing_from_what_excuses_a_run_that_waited(pool: RunPool) -> None:
    used = Usage(0.0, 0)

    def told() -> Usage:
        nonlocal used
        used = Usage(0.0, used.waits + waits)
        return used

    waits = 0
    echo = Echo(Clock())
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=told)
    await run_times(FIRST_PROOF + 50, program)
    for _ in range(10):
        await demoted(program, echo, 4e-3)
    waits = 1
    await demoted(program, echo, 4e-3)
    await outputs_of(program)
    assert (echo.where[-1], pool.counts.demotions) == ("inline", 0)
    await demoted(program, echo, 4e-3)  # that excuse is used up
    await outputs_of(program)
    assert (echo.where[-1], pool.counts.demotions) == ("pool", 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a thread waited for")
def test_a_thread_knows_what_it_has_computed_and_how_often_it_has_waited() -> None:
    begun_s, before = time.thread_time(), thread_usage()
    while time.thread_time() - begun_s < 20e-3:
        pass
    computed = thread_usage()
    for _ in range(5):
        time.sleep(1e-4)
    waited = thread_usage()
    assert computed.cpu_s - before.cpu_s == pytest.approx(20e-3, rel=0.2)
    assert computed.waits == before.waits
    assert waited.waits >= computed.waits + 5


async def test_what_the_loop_computed_just_before_is_not_the_runs(pool: RunPool) -> None:
    echo = Echo(Clock())
    cpu = Clock()
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(cpu))
    await run_times(FIRST_PROOF + 1000, program)
    cpu.now_s += 9e-3  # since the last look
    await demoted(program, echo, 20e-3)
    await outputs_of(program)
    assert echo.where[-1] == "inline"


async def test_a_run_longer_than_any_pause_of_the_machine_is_never_excused(pool: RunPool) -> None:
    echo = Echo(Clock())
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(lambda: 0.0))
    await run_times(FIRST_PROOF + 4000, program)
    await demoted(program, echo, 0.2)
    await run_times(FIRST_PROOF + 1, program)
    echo.clock.now_s += 49.0
    await outputs_of(program)
    assert echo.where[-1] == "pool"
    echo.clock.now_s += 1.1
    await outputs_of(program)
    assert echo.where[-1] == "inline"


async def test_a_program_that_may_not_run_inline_never_does(pool: RunPool) -> None:
    echo = Echo(Clock())
    program = MeasuredProgram(
        echo, pool, may_run_inline=False, clock=echo.clock, usage=usage(echo.clock)
    )
    await run_times(3 * FIRST_PROOF, program)
    assert program.inline_estimate(ONE[0].nbytes) is None
    assert set(echo.where) == {"pool"}
    assert echo.alone  # known to be short, it needs no other threads


async def test_runs_are_counted_by_where_they_are_made(pool: RunPool) -> None:
    echo = Echo(Clock())
    program = MeasuredProgram(echo, pool.lane("m"), clock=echo.clock, usage=usage(echo.clock))
    await run_times(FIRST_PROOF + 3, program)
    echo.error = InvalidArgument("bad feed")
    with pytest.raises(InvalidArgument):
        await outputs_of(program)
    with pytest.raises(InvalidArgument):
        await outputs_of(program, [np.zeros(1000, np.float32)])
    assert pool.run_counts["m"].by_placement() == {"inline": 4, "pool": 6, "batch": 0, "child": 0}
    del program
    assert pool.run_counts["m"].by_placement() == {"inline": 4, "pool": 6, "batch": 0, "child": 0}


async def test_failing_runs_prove_nothing(pool: RunPool) -> None:
    echo = Echo(Clock())
    echo.error = InvalidArgument("bad feed")
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    for _ in range(20):
        with pytest.raises(InvalidArgument, match="bad feed"):
            await outputs_of(program)
    assert set(echo.where) == {"pool"}


async def test_a_run_in_the_loop_returns_the_outputs_themselves_and_ends_once(
    pool: RunPool,
) -> None:
    echo, ends = Echo(Clock()), Ends()
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    await run_times(FIRST_PROOF, program)
    assert program.start(ONE, timeout_s=0.0, on_end=ends) == ONE
    assert ends.calls == ["MainThread"]


async def test_an_error_of_a_run_in_the_loop_is_raised_at_once_and_ends_once(
    pool: RunPool,
) -> None:
    echo, ends = Echo(Clock()), Ends()
    program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
    await run_times(FIRST_PROOF, program)
    echo.error = InvalidArgument("bad feed")
    with pytest.raises(InvalidArgument, match="bad feed"):
        program.start(ONE, timeout_s=None, on_end=ends)
    assert ends.count == 1


async def test_a_run_in_the_pool_gives_its_outputs_and_ends_once(pool: RunPool) -> None:
    ends = Ends()
    assert await outputs_of(MeasuredProgram(Echo(Clock()), pool), on_end=ends) == ONE
    assert ends.calls == ["salver-run-0"]


async def test_an_error_of_a_run_in_the_pool_passes_through_and_ends_once(pool: RunPool) -> None:
    echo, ends = Echo(Clock()), Ends()
    echo.error = error = InvalidArgument("bad feed", hint="feed another")
    with pytest.raises(InvalidArgument) as raised:
        await outputs_of(MeasuredProgram(echo, pool), on_end=ends)
    assert raised.value is error
    assert ends.count == 1


async def test_at_the_deadline_the_loop_answers_while_the_run_goes_on(
    pool: RunPool, gate: Gate
) -> None:
    ends = Ends()
    answer = MeasuredProgram(gate, pool).start(ONE, timeout_s=1e-3, on_end=ends)
    assert isinstance(answer, asyncio.Future)
    assert gate.entered.wait(LONG_S)  # the loop, and with it the deadline, waits meanwhile
    with pytest.raises(DeadlineExceeded) as raised:
        await asyncio.wait_for(answer, LONG_S)
    assert raised.value.message == "Timed out waiting for notification"
    assert (pool.running, ends.count) == (1, 0)
    gate.let_go.set()
    assert ends.first.wait(LONG_S)
    assert (pool.running, ends.count) == (0, 1)


async def test_an_error_after_the_deadline_is_nobodys(pool: RunPool, gate: Gate) -> None:
    ends = Ends()
    gate.error = InvalidArgument("too late")
    answer = MeasuredProgram(gate, pool).start(ONE, timeout_s=1e-3, on_end=ends)
    assert isinstance(answer, asyncio.Future)
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(answer, LONG_S)
    gate.let_go.set()
    await until(lambda: ends.count == 1)
    await asyncio.sleep(0)
    assert isinstance(answer.exception(), DeadlineExceeded)


async def test_a_run_that_ends_in_time_disarms_its_deadline(pool: RunPool) -> None:
    answer = MeasuredProgram(Echo(Clock()), pool).start(ONE, timeout_s=60.0, on_end=lambda: None)
    assert isinstance(answer, asyncio.Future)
    assert await asyncio.wait_for(answer, LONG_S) == ONE
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert timers == []


async def test_a_deadline_that_fires_after_the_answer_changes_nothing(
    pool: RunPool, gate: Gate
) -> None:
    # Both are due in the same turn of the loop: the timer runs after the outputs have arrived.
    answer = MeasuredProgram(gate, pool).start(ONE, timeout_s=1e-3, on_end=lambda: None)
    assert isinstance(answer, asyncio.Future)
    answer.set_result(ONE)
    loop = asyncio.get_running_loop()
    [timer] = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    timer._run()
    assert await answer == ONE
    gate.let_go.set()


async def test_a_queued_run_whose_deadline_passes_is_dropped(
    pool: RunPool, occupied: "asyncio.Future[list[Array]]"
) -> None:
    echo, ends = Echo(Clock()), Ends()
    answer = MeasuredProgram(echo, pool).start(ONE, timeout_s=1e-3, on_end=ends)
    assert isinstance(answer, asyncio.Future)
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(answer, LONG_S)
    await until(lambda: ends.count == 1)
    assert echo.where == []


async def test_a_queued_run_whose_client_leaves_is_dropped(
    pool: RunPool, gate: Gate, occupied: "asyncio.Future[list[Array]]"
) -> None:
    echo, ends = Echo(Clock()), Ends()
    answer = MeasuredProgram(echo, pool).start(ONE, timeout_s=None, on_end=ends)
    assert isinstance(answer, asyncio.Future)
    answer.cancel()
    await until(lambda: ends.count == 1)
    gate.let_go.set()
    await outputs_of(MeasuredProgram(Echo(Clock()), pool))
    assert (echo.where, ends.count) == ([], 1)


async def test_a_running_call_whose_client_leaves_ends_when_it_is_done(
    pool: RunPool, gate: Gate
) -> None:
    ends = Ends()
    answer = MeasuredProgram(gate, pool).start(ONE, timeout_s=None, on_end=ends)
    assert isinstance(answer, asyncio.Future)
    assert gate.entered.wait(LONG_S)
    answer.cancel()
    await asyncio.sleep(0)
    assert (pool.running, ends.count) == (1, 0)
    gate.let_go.set()
    await until(lambda: ends.count == 1)
    await asyncio.sleep(0)
    assert answer.cancelled()
    assert ends.count == 1


async def test_a_closed_pool_answers_unavailable_and_ends_once() -> None:
    pool, ends = RunPool(1), Ends()
    pool.close()
    with pytest.raises(Unavailable, match=r"^The server is stopping$"):
        MeasuredProgram(Echo(Clock()), pool).start(ONE, timeout_s=None, on_end=ends)
    assert ends.count == 1


async def test_what_is_queued_when_the_pool_is_abandoned_is_answered_and_ends_once(
    gate: Gate,
) -> None:
    pool, ends = RunPool(1), Ends()
    running = MeasuredProgram(gate, pool).start(ONE, timeout_s=None, on_end=lambda: None)
    assert gate.entered.wait(LONG_S)
    queued = MeasuredProgram(gate, pool).start(ONE, timeout_s=None, on_end=ends)
    assert isinstance(running, asyncio.Future)
    assert isinstance(queued, asyncio.Future)
    pool.abandon()
    with pytest.raises(Unavailable, match=r"^The server is stopping$"):
        await asyncio.wait_for(queued, LONG_S)
    assert (gate.runs, ends.count, pool.running) == (1, 1, 1)
    gate.let_go.set()
    assert await asyncio.wait_for(running, LONG_S) == ONE
    pool.close()


def test_a_run_that_outlives_its_loop_still_ends(gate: Gate) -> None:
    pool, ends = RunPool(1), Ends()
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        MeasuredProgram(gate, pool).start(ONE, timeout_s=60.0, on_end=ends)

    loop.run_until_complete(begin())
    loop.close()
    gate.let_go.set()
    pool.close()
    assert ends.count == 1


def test_closing_the_pool_waits_for_the_call_that_runs(
    gate: Gate, names_of_threads: Callable[[], list[str]]
) -> None:
    pool = RunPool(2)
    future = pool.submit(lambda: gate.run(ONE))
    assert gate.entered.wait(LONG_S)
    closing = threading.Thread(target=pool.close)
    closing.start()
    assert not future.done()
    gate.let_go.set()
    closing.join(LONG_S)
    assert not closing.is_alive()
    assert future.result(0) == ONE
    assert names_of_threads() == []


def test_threads_start_when_they_are_needed_and_never_more_than_allowed(
    gate: Gate, names_of_threads: Callable[[], list[str]]
) -> None:
    pool = RunPool(2)
    assert names_of_threads() == []
    for _ in range(3):
        pool.submit(lambda: None).result(LONG_S)
    assert names_of_threads() == ["salver-run-0"]
    futures = [pool.submit(lambda: gate.run(ONE)) for _ in range(5)]
    assert names_of_threads() == ["salver-run-0", "salver-run-1"]
    futures[-1].cancel()
    gate.let_go.set()
    assert [future.result(LONG_S) for future in futures[:4]] == [ONE] * 4
    pool.close()
    assert (names_of_threads(), pool.running, gate.runs) == ([], 0, 4)


class NoMoreThreads(threading.Thread):
    def start(self) -> None:
        raise RuntimeError("can't start new thread")


async def test_a_machine_out_of_threads_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, ends = RunPool(2), Ends()
    monkeypatch.setattr(threading, "Thread", NoMoreThreads)
    with pytest.raises(Unavailable) as raised:
        MeasuredProgram(Echo(Clock()), pool).start(ONE, timeout_s=None, on_end=ends)
    assert raised.value.message == "No thread to run a model in: can't start new thread"
    assert ends.count == 1
    monkeypatch.undo()
    assert await outputs_of(MeasuredProgram(Echo(Clock()), pool)) == ONE
    pool.close()


async def test_a_machine_out_of_threads_goes_on_with_those_it_has(
    monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    pool = RunPool(2)
    first = pool.submit(lambda: gate.run(ONE))
    assert gate.entered.wait(LONG_S)
    monkeypatch.setattr(threading, "Thread", NoMoreThreads)
    second = pool.submit(lambda: gate.run(ONE))
    monkeypatch.undo()
    gate.let_go.set()
    assert first.result(LONG_S) == second.result(LONG_S) == ONE
    pool.close()


def test_closing_twice_is_as_good_as_once(names_of_threads: Callable[[], list[str]]) -> None:
    pool = RunPool(3)
    pool.submit(lambda: None)
    pool.abandon()
    pool.close()
    pool.close()
    assert names_of_threads() == []


def test_a_pool_works_off_what_is_submitted_in_order(pool: RunPool) -> None:
    seen: list[int] = []
    futures = [pool.submit(lambda number=number: seen.append(number)) for number in range(50)]  # type: ignore[misc]
    for future in futures:
        future.result(LONG_S)
    assert seen == list(range(50))


def test_an_idle_thread_keeps_nothing_of_its_last_call(pool: RunPool) -> None:
    import weakref

    class Tensor:
        pass

    def make() -> "weakref.ref[Tensor]":
        tensor = Tensor()
        pool.submit(lambda: tensor).result(LONG_S)
        return weakref.ref(tensor)

    kept = make()
    pool.submit(lambda: None).result(LONG_S)  # the thread has gone past the first
    assert kept() is None


async def test_however_runs_end_each_ends_once() -> None:
    pool = RunPool(3)
    randomly = random.Random(1)
    answers: list[asyncio.Future[list[Array]]] = []
    ends = [Ends() for _ in range(600)]
    for each in ends:
        echo = Echo(Clock())
        echo.error = InvalidArgument("bad feed") if randomly.random() < 0.2 else None
        timeout_s = 0.0 if randomly.random() < 0.3 else None
        answer = MeasuredProgram(echo, pool).start(ONE, timeout_s=timeout_s, on_end=each)
        assert isinstance(answer, asyncio.Future)
        answers.append(answer)
        if randomly.random() < 0.3:
            randomly.choice(answers).cancel()
        if randomly.random() < 0.1:
            await asyncio.sleep(0)
    pool.abandon()
    results: list[Any] = await asyncio.gather(*answers, return_exceptions=True)
    pool.close()
    expected = (list, InvalidArgument, DeadlineExceeded, Unavailable, asyncio.CancelledError)
    assert all(isinstance(result, expected) for result in results)
    assert [each.count for each in ends] == [1] * len(ends)
    assert pool.running == 0


class TestRunsDecidedByOthers:
    SIZE = ONE[0].nbytes

    def proven(self, pool: RunPool, echo: Echo) -> MeasuredProgram:
        """A program that was measured elsewhere, and is short."""
        program = MeasuredProgram(echo, pool, clock=echo.clock, usage=usage(echo.clock))
        for _ in range(FIRST_PROOF):
            assert program.inline_estimate(self.SIZE) is None
            program.ran_elsewhere(self.SIZE, 50e-6)
        return program

    async def test_runs_made_elsewhere_prove_a_program_short_too(self, pool: RunPool) -> None:
        echo = Echo(Clock())
        program = self.proven(pool, echo)
        assert program.inline_estimate(self.SIZE) is not None
        assert await outputs_of(program) == ONE
        assert echo.where == ["inline"]

    async def test_long_runs_made_elsewhere_prove_nothing(self, pool: RunPool) -> None:
        program = MeasuredProgram(Echo(Clock()), pool)
        for _ in range(2 * FIRST_PROOF):
            program.ran_elsewhere(self.SIZE, 200e-6)
        assert program.inline_estimate(self.SIZE) is None

    async def test_a_busy_moment_elsewhere_takes_no_proof_back(self, pool: RunPool) -> None:
        program = self.proven(pool, Echo(Clock()))
        for _ in range(2 * FIRST_PROOF):
            program.ran_elsewhere(self.SIZE, 1.0)
        assert program.inline_estimate(self.SIZE) is not None

    async def test_runs_in_the_loop_tell_how_long_they_take(self, pool: RunPool) -> None:
        echo = Echo(Clock(), takes_s=30e-6)
        program = self.proven(pool, echo)
        estimate = program.inline_estimate(self.SIZE)
        assert estimate is not None
        assert program.run_here(ONE, estimate) == ONE
        assert estimate.inline_s == pytest.approx(30e-6)

    async def test_a_run_that_freezes_the_loop_keeps_the_program_out_of_it(
        self, pool: RunPool
    ) -> None:
        echo = Echo(Clock(), takes_s=1.0)
        program = self.proven(pool, echo)
        estimate = program.inline_estimate(self.SIZE)
        assert estimate is not None
        program.run_here(ONE, estimate)
        assert program.inline_estimate(self.SIZE) is None
        for _ in range(100):
            program.ran_elsewhere(self.SIZE, 50e-6)
        assert program.inline_estimate(self.SIZE) is None
        echo.clock.now_s += 250.0
        assert program.inline_estimate(self.SIZE) is not None


def test_the_size_of_strings_is_that_of_their_bytes() -> None:
    strings = np.array([b"abc", b"de"], object)
    assert size_of([strings, *ONE]) == strings.nbytes + 5 + 4


def test_of_very_many_strings_the_mean_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_MOST_COUNTED", 10)
    strings = np.array([b"abcd"] * 1000, object).reshape(10, 100)
    assert size_of([strings]) == strings.nbytes + 4000

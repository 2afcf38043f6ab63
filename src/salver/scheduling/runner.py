"""Where a run of a model happens: in the loop when it is shorter than a change of threads.

Through a pool a request crosses threads twice, 30 to 120 µs; half_plus_two itself takes 10. So a
program is first run in the pool and measured, per size of its inputs, and where its runs are
shorter than that, the next ones are made in the loop. There a run cannot be interrupted, and may
turn out long:

* Where it was an accident of the machine's, or is as rare as one, it is excused (`was_stopped`,
  `is_excused`).
* Otherwise its program is kept out of the loop for a cooldown, each time longer, and all its sizes
  prove themselves in the pool again.
* What long runs of all programs take together comes out of one budget (`LoopBudget`).
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from math import inf
from time import perf_counter
from typing import Final

from salver.errors import STOPPING, DeadlineExceeded, Unavailable
from salver.scheduling.estimates import (
    COOLDOWN_GROWTH,
    LONG_INLINE_S,
    Estimate,
    cooldown_s,
    is_excused,
    was_stopped,
)
from salver.scheduling.run_pool import Lane, RunPool
from salver.scheduling.usage import Usage, thread_usage
from salver.tracing.tracer import Tracer
from salver.vocabulary.model import Program
from salver.vocabulary.requests import Array

__all__ = ["DEADLINE_TEXT", "MeasuredProgram", "size_of"]

_MOST_COUNTED: Final = 1 << 16  # strings; 2 ms
DEADLINE_TEXT: Final = "Timed out waiting for notification"


def size_of(feeds: Sequence[Array]) -> int:
    """Bytes of the feeds, those of their strings counted; of very many strings by their mean."""
    size = 0
    for array in feeds:
        size += array.nbytes
        if array.dtype.hasobject:
            if array.size <= _MOST_COUNTED:
                size += sum(map(len, array.flat))
            else:  # counting millions in the loop would hold up everybody
                counted = array.reshape(-1)[:_MOST_COUNTED]
                size += sum(map(len, counted)) * array.size // _MOST_COUNTED
    return size


class _Estimates(dict[int, Estimate]):
    """Sizes by their power of two → what is known of them."""

    __slots__ = ()

    def __missing__(self, size: int) -> Estimate:
        return self.setdefault(size, Estimate())


class MeasuredProgram:
    """A program that knows how long it takes. All but making one belongs to the loop.

    `start` decides where a run happens. Who decides otherwise, as the batches do, asks
    `inline_estimate`, and either calls `run_here` or tells by `ran_elsewhere` what it measured.

    Attributes:
        counts: of the runs of its model.
        tracer: knows for which request a run is started; None where nobody takes notes.
    """

    __slots__ = (
        "_budget",
        "_clock",
        "_cooldown_s",
        "_estimates",
        "_out_until_s",
        "_pool",
        "_program",
        "_run_inline",
        "_short_runs",
        "_usage",
        "counts",
        "tracer",
    )

    def __init__(
        self,
        program: Program,
        pool: Lane | RunPool,
        *,
        may_run_inline: bool = True,
        clock: Callable[[], float] = perf_counter,
        usage: Callable[[], Usage] = thread_usage,
    ) -> None:
        """Wrap a program.

        Args:
            program: what is run.
            pool: where the longer runs happen.
            may_run_inline: whether any may be made in the loop. Those of a graph with loops never
                are: how long one takes may depend on the values fed.
            clock: seconds, monotonic, fine enough for microseconds.
            usage: of the calling thread.
        """
        self._clock = clock
        self._usage = usage
        self._program = program
        self._run_inline = program.run_inline
        self._pool = pool
        self._budget = pool.loop_budget
        self.counts = pool.counts
        self.tracer = pool.tracer
        self._estimates = _Estimates()
        self._out_until_s = -inf if may_run_inline and not program.can_loop else inf
        self._cooldown_s = 0.0  # the last
        self._short_runs = 0  # in the loop, since the last excuse

    def start(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> "list[Array] | asyncio.Future[list[Array]]":
        """Run, here or in the pool.

        Args:
            feeds: as `Program.run` takes them.
            timeout_s: after this the future fails; the run goes on unseen. None: no limit.
            on_end: called once, from any thread, when nothing runs any more: after an inline run,
                when the pool is done, or when a queued run was dropped.

        Returns:
            The outputs of an inline run, or a future of the loop's. Cancelling it drops the run
            if no thread has taken it up.

        Raises:
            ServingError: an inline run failed, or the pool is closed.
        """
        estimate = self._estimates[size_of(feeds).bit_length()]
        if estimate.is_inline:
            begun = self._clock()
            if begun >= self._out_until_s and begun >= self._budget.closed_until_s:
                try:
                    return self._run_in_loop(feeds, begun)
                finally:
                    on_end()
        return self._start_in_pool(feeds, estimate, timeout_s, on_end)

    def inline_estimate(self, size: int) -> Estimate | None:
        """What is known of runs of a size, if they may be made in the loop now.

        Args:
            size: of the feeds, see `size_of`.
        """
        estimate = self._estimates[size.bit_length()]
        if not estimate.is_inline:
            return None
        is_out = self._clock() < max(self._out_until_s, self._budget.closed_until_s)
        return None if is_out else estimate

    def run_here(self, feeds: Sequence[Array], estimate: Estimate) -> list[Array]:
        """Run in the loop.

        Raises:
            ServingError: the run failed.
        """
        begun = self._clock()
        try:
            return self._run_in_loop(feeds, begun)
        finally:
            estimate.ran_inline(self._clock() - begun)

    def came_too_late(self) -> None:
        """Count a run whose time would have been over before its turn."""
        self._pool.came_too_late()

    def ran_elsewhere(self, size: int, seconds: float) -> None:
        """Learn from a run that somebody else made in a thread."""
        estimate = self._estimates[size.bit_length()]
        if not estimate.is_inline:  # else it is known better than from a busy moment
            estimate.ran_in_pool(seconds)

    def _run_in_loop(self, feeds: Sequence[Array], begun: float) -> list[Array]:
        if begun >= self._budget.look_at_s:
            self._budget.look(begun, self._usage())
        self.counts.inline += 1
        self._short_runs += 1
        try:
            return self._run_inline(feeds)
        finally:
            taken_s = self._clock() - begun
            if taken_s > LONG_INLINE_S:
                self._ran_long(taken_s, begun + taken_s)

    def _ran_long(self, seconds: float, ended: float) -> None:
        # What the thread did since the last look, 0.4 ms before the run or less, is counted in: it
        # is less than half of the time.
        used = self._budget.look(ended, self._usage())
        if was_stopped(used):
            self._cooldown_s /= COOLDOWN_GROWTH
            return
        short_runs, self._short_runs = self._short_runs - 1, 0
        if is_excused(seconds, short_runs, used):
            self._cooldown_s /= COOLDOWN_GROWTH
            return
        self.counts.demotions += 1
        self._cooldown_s = cooldown_s(self._cooldown_s, seconds)
        self._out_until_s = ended + self._cooldown_s
        for each in self._estimates.values():
            each.prove_again()
        self._budget.spend(seconds, ended)

    def _start_in_pool(
        self,
        feeds: Sequence[Array],
        estimate: Estimate,
        timeout_s: float | None,
        on_end: Callable[[], None],
    ) -> "asyncio.Future[list[Array]]":
        loop = asyncio.get_running_loop()
        clock = self._clock
        # What is known to be short would spend most of its time on its way to other threads. How
        # long a graph with loops takes depends on the values.
        program = self._program
        is_alone = estimate.is_short and not program.can_loop
        run = program.run_in_caller if is_alone else program.run
        began = _noting_clock(self.tracer, clock)

        def timed() -> tuple[list[Array], float]:
            begun = began()
            return run(feeds), clock() - begun

        def ended(future: "Future[tuple[list[Array], float]]") -> None:
            on_end()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, future)

        def settle(future: "Future[tuple[list[Array], float]]") -> None:
            if not future.cancelled():
                self.counts.pool += 1
                if future.exception() is None:
                    estimate.ran_in_pool(future.result()[1])
            if not answer.done():
                _hand_over(future, answer)

        try:
            future = self._pool.submit(timed, timeout_s)
        except BaseException:
            on_end()
            raise
        answer: asyncio.Future[list[Array]] = loop.create_future()
        future.add_done_callback(ended)
        timer = None if timeout_s is None else loop.call_later(timeout_s, _expire, answer)

        def answered(done: "asyncio.Future[list[Array]]") -> None:
            if timer is not None:
                timer.cancel()
            future.cancel()

        answer.add_done_callback(answered)
        return answer


def _noting_clock(tracer: Tracer | None, clock: Callable[[], float]) -> Callable[[], float]:
    """A clock that is read once, when a run begins: that is noted of the present request."""
    trace = None if tracer is None else tracer.current
    if trace is None:
        return clock

    def read() -> float:
        now_s = clock()
        trace.run_began(now_s)
        return now_s

    return read


def _hand_over(
    future: "Future[tuple[list[Array], float]]", answer: "asyncio.Future[list[Array]]"
) -> None:
    error = Unavailable(STOPPING) if future.cancelled() else future.exception()
    if error is None:
        answer.set_result(future.result()[0])
    else:
        answer.set_exception(error)


def _expire(answer: "asyncio.Future[list[Array]]") -> None:
    if not answer.done():
        answer.set_exception(DeadlineExceeded(DEADLINE_TEXT))

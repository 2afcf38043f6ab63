"""Where a run of a model happens: in the loop when it is shorter than a change of threads.

Through a pool a request crosses threads twice, 30 to 120 µs; half_plus_two itself takes 10. So a
program is first run in the pool and measured, per size of its inputs; where the runs are shorter
than the hop, the next ones are made in the loop. An inline run cannot be interrupted, so one that
turns out long sends all sizes back to the pool at once, to prove themselves again, eight times
longer each time. If the short runs before had saved as much as the long one cost, it sends only its
own size back, and to no longer proof; and one that did not compute all that time, only if the last
such was a few runs ago. For a busy machine now and then takes the processor away in the middle of a
run. Without these exceptions such a machine drove half_plus_two out of the loop for good (11,600
runs/s beside two busy processes on two cores, 76,900 with the first), and the proofs in the pool
were most of the tail of latencies while other models loaded.

Some models take long for some values, whatever their size. A graph with loops is never run in the
loop, and after one run that froze it (20 ms of computing: a processor that was taken away is no
fault of the model's) the whole program is kept out, for a quarter of a second the first time and
four times as long each time after, up to an hour. After twenty times as long without another such
run, and 250 times as long as the run was, it counts as the first time again, so that they have 0.4
% of the time. One such run says little: where the machine is virtual and its host takes the
processor away, that is counted as computing. To keep a program out for a minute at once, as this
did, made such a moment a minute of overload: at 10,000 requests per second, which is more than the
pool could do there, p50 went from 0.13 to 4 and up to 600 ms. A run of 0.2 s is the model's own,
and does cost it a minute. What many programs do to the loop together, all at once or each in turn,
a `LoopGuard` bounds.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from math import inf
from time import perf_counter, thread_time
from typing import Final

from salver.batching.estimates import (
    FEW_RUNS,
    FIRST_PROOF_RUNS,
    FREEZE_S,
    LONGEST_WAIT_S,
    MOST_PROOF_RUNS,
    TOO_LONG_INLINE_S,
    Estimate,
)
from salver.batching.run_pool import STOPPING_TEXT, Lane, RunPool
from salver.errors import DeadlineExceeded, Unavailable
from salver.model import Program
from salver.requests import Array

__all__ = ["DEADLINE_TEXT", "MeasuredProgram", "size_of"]

FIRST_BAN_S: Final = 0.25
FIRST_LONG_BAN_S: Final = 60.0  # after a run that no machine is the cause of
LONGEST_BAN_S: Final = 3600.0
BAN_GROWTH: Final = 4
FORGIVEN_AFTER: Final = 20  # times the last ban
FROZEN_SHARE: Final = 0.004  # of the time that freezes may have and be forgiven
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


class MeasuredProgram:
    """A program that knows how long it takes. All but making one belongs to the loop.

    `start` decides where a run happens. Who decides otherwise, as the batches do, asks
    `inline_estimate`, and either calls `run_here` or tells by `ran_elsewhere` what it measured.
    """

    __slots__ = (
        "_ban_s",
        "_banned_until_s",
        "_clock",
        "_cpu_clock",
        "_estimates",
        "_guard",
        "_pool",
        "_program",
        "_run_inline",
    )

    def __init__(
        self,
        program: Program,
        pool: Lane | RunPool,
        *,
        clock: Callable[[], float] = perf_counter,
        cpu_clock: Callable[[], float] = thread_time,
    ) -> None:
        """Wrap a program.

        Args:
            program: what is run.
            pool: where the longer runs happen.
            clock: seconds, monotonic, fine enough for microseconds.
            cpu_clock: seconds that the calling thread has computed.
        """
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._program = program
        self._run_inline = program.run_inline
        self._pool = pool
        self._guard = pool.loop_guard
        self._estimates: dict[int, Estimate] = {}
        self._ban_s = FIRST_BAN_S  # the last
        self._banned_until_s = inf if program.can_loop else -inf

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
        estimate = self._estimate(size_of(feeds))
        if estimate.is_inline:
            begun = self._clock()
            if begun >= self._banned_until_s and begun >= self._guard.closed_until_s:
                try:
                    return self._run_in_loop(feeds, estimate, begun)
                finally:
                    on_end()
        return self._start_in_pool(feeds, estimate, timeout_s, on_end)

    def inline_estimate(self, size: int) -> Estimate | None:
        """What is known of runs of a size, if they may be made in the loop now.

        Args:
            size: of the feeds, see `size_of`.
        """
        estimate = self._estimate(size)
        if not estimate.is_inline:
            return None
        out_until_s = max(self._banned_until_s, self._guard.closed_until_s)
        if out_until_s != -inf and self._clock() < out_until_s:
            return None
        return estimate

    def run_here(self, feeds: Sequence[Array], estimate: Estimate) -> list[Array]:
        """Run in the loop.

        Raises:
            ServingError: the run failed.
        """
        return self._run_in_loop(feeds, estimate, self._clock())

    def ran_elsewhere(self, size: int, seconds: float) -> None:
        """Learn from a run that somebody else made in a thread."""
        estimate = self._estimate(size)
        if not estimate.is_inline:  # else it is known better than from a busy moment
            estimate.ran_in_pool(seconds)

    def _estimate(self, size: int) -> Estimate:
        estimate = self._estimates.get(size.bit_length())
        if estimate is None:
            estimate = self._estimates[size.bit_length()] = Estimate()
        return estimate

    def _run_in_loop(self, feeds: Sequence[Array], estimate: Estimate, begun: float) -> list[Array]:
        guard = self._guard
        if begun >= guard.look_at_s:
            guard.look(begun, self._cpu_clock())
        guard.runs += 1
        estimate.inline_runs += 1
        try:
            return self._run_inline(feeds)
        finally:
            ended = self._clock()
            taken_s = ended - begun
            expected_s = estimate.inline_s * 1.01  # so that it follows when runs become longer
            if taken_s < expected_s or estimate.inline_runs == 1:
                expected_s = taken_s
            estimate.inline_s = expected_s
            if taken_s > TOO_LONG_INLINE_S:
                self._ran_long(estimate, taken_s, ended)

    def _ran_long(self, estimate: Estimate, seconds: float, ended: float) -> None:
        guard, cpu_s = self._guard, self._cpu_clock()
        has_computed = guard.has_computed(seconds, cpu_s)
        guard.look(ended, cpu_s)
        if not has_computed:  # it lost the processor, or waits for other threads
            if estimate.inline_runs < FEW_RUNS:
                estimate.prove_again(estimate.needed)
            estimate.inline_runs = 0
            return
        has_frozen = seconds >= FREEZE_S
        if guard.is_paid(seconds) and estimate.has_earned(seconds) and not has_frozen:
            estimate.prove_again(FIRST_PROOF_RUNS)
            return
        guard.owe(seconds, ended)
        needed = min(estimate.needed * 8, MOST_PROOF_RUNS)
        for each in self._estimates.values():
            each.prove_again(max(each.needed, needed))
        if has_frozen:
            self._ban(seconds, ended)

    def _ban(self, frozen_s: float, now_s: float) -> None:
        good_s = max(FORGIVEN_AFTER * self._ban_s, frozen_s / FROZEN_SHARE)
        first_s = FIRST_BAN_S if frozen_s < LONGEST_WAIT_S else FIRST_LONG_BAN_S
        if now_s - self._banned_until_s >= good_s:
            self._ban_s = first_s
        else:
            self._ban_s = max(first_s, min(BAN_GROWTH * self._ban_s, LONGEST_BAN_S))
        self._banned_until_s = now_s + self._ban_s

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

        def timed() -> tuple[list[Array], float]:
            begun = clock()
            return run(feeds), clock() - begun

        def ended(future: "Future[tuple[list[Array], float]]") -> None:
            on_end()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, future)

        def settle(future: "Future[tuple[list[Array], float]]") -> None:
            error = Unavailable(STOPPING_TEXT) if future.cancelled() else future.exception()
            if error is None:
                outputs, seconds = future.result()
                estimate.ran_in_pool(seconds)
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(outputs)

        try:
            future = self._pool.submit(timed)
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


def _expire(answer: "asyncio.Future[list[Array]]") -> None:
    if not answer.done():
        answer.set_exception(DeadlineExceeded(DEADLINE_TEXT))

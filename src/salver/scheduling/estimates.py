"""What is known of how long runs take, and the bounds on what a wrong guess costs the loop. Pure.

A run in the loop cannot be interrupted, so what is known can only be wrong once at a time. How
often that may be is bounded for each program by a cooldown, and for the process by a budget,
because many programs may turn slow together. What each rule is there for was measured:
`docs/decisions/inline-runs.md`.
"""

from math import inf
from typing import Final

from salver.scheduling.usage import Usage

__all__ = ["LONG_INLINE_S", "Estimate", "LoopBudget", "cooldown_s", "is_excused", "was_stopped"]

INLINE_BELOW_S: Final = 100e-6
"""What a change of threads costs, and so what a short run in the loop saves."""
PROOF_RUNS: Final = 4  # in the pool, one of which has to be short; the first run is not among them
LONG_INLINE_S: Final = 1e-3  # a run in the loop this long was a mistake, or an accident
LONGEST_PAUSE_S: Final = 0.2  # a process over its quota of CPU is stopped for up to 0.1 s
EXCUSED_SHARE: Final = 0.01  # of what short runs saved, for computing longer than they do

FIRST_COOLDOWN: Final = 10.0  # times the run
COOLDOWN_GROWTH: Final = 4.0
LONGEST_COOLDOWN_S: Final = 600.0
PROGRAM_SHARE: Final = 0.004  # of the time, for runs longer than any pause of the machine

BUDGET_S: Final = 0.1
BUDGET_SHARE: Final = 0.02
MOST_SPENT_S: Final = 0.15  # on one run: none closes the loop for more than 2.5 s
LOOK_EACH_S: Final = 0.4e-3  # at what the loop's thread has used; less than half of a long run


class Estimate:
    """What is known of one program at one size of its inputs. Only the loop touches it.

    Attributes:
        is_inline: its runs may be made in the loop.
        inline_s: how long one of those takes, by the shortest of late; 0 before the first that
            `ran_inline` was told of.
    """

    __slots__ = ("_shortest_s", "_taken", "inline_s", "is_inline")

    def __init__(self) -> None:
        self.is_inline = False
        self.inline_s = 0.0
        self._shortest_s = inf  # of the last proof, or what there is of a new one
        self._taken = 0

    def ran_inline(self, seconds: float) -> None:
        """Learn from a run in the loop; for those to whom `inline_s` matters."""
        longer_s = self.inline_s * 1.01  # so that it follows when runs become longer
        self.inline_s = min(seconds, longer_s) if longer_s else seconds

    def ran_in_pool(self, seconds: float) -> None:
        """Learn from a pool run. The first does not count: it may have built kernels."""
        self._taken += 1
        if self._taken == 1:
            return
        # The shortest, because a pool run waits for the GIL when it ends.
        if self._taken == 2 or seconds < self._shortest_s:
            self._shortest_s = seconds
        if self._taken > PROOF_RUNS:
            self.is_inline = self.is_short
            self._taken = 0

    @property
    def is_short(self) -> bool:
        """Whether the last proof, or what there is of a new one, found a run short."""
        return self._shortest_s < INLINE_BELOW_S

    def prove_again(self) -> None:
        """Go back to the pool until its runs have shown it short."""
        self.is_inline = False
        self._taken = 0


def was_stopped(used: Usage) -> bool:
    """Whether a run in the loop was long only because the system took the processor away.

    As a busy machine does in the middle of a run, and a container's quota: the thread has not
    waited, and not computed for longer than it may. That says nothing about the program.

    Args:
        used: meanwhile, by the thread.
    """
    return used.cpu_s <= LONG_INLINE_S and not used.waits


def is_excused(seconds: float, short_runs: int, used: Usage) -> bool:
    """Whether a run in the loop may have been long by accident, though it `was_stopped` by nobody.

    A host that takes the processor from a virtual machine has it count as computing; and where
    something was waited for, it may have been the processor, which another thread gave up late. So
    those are excused where they are rare.

    Args:
        seconds: it took.
        short_runs: of the program in the loop, since the last that needed an excuse.
        used: meanwhile, by the thread.
    """
    has_computed = used.cpu_s > seconds / 2
    saved_s = short_runs * INLINE_BELOW_S
    return seconds < LONGEST_PAUSE_S and seconds <= (
        saved_s * EXCUSED_SHARE if has_computed else saved_s
    )


def cooldown_s(last_s: float, seconds: float) -> float:
    """How long a program is kept out of the loop.

    Args:
        last_s: its last cooldown; 0 for none.
        seconds: that its run took.
    """
    longer_s = min(last_s * COOLDOWN_GROWTH, LONGEST_COOLDOWN_S)
    if seconds < LONGEST_PAUSE_S:
        return max(longer_s, seconds * FIRST_COOLDOWN)
    return max(longer_s, seconds / PROGRAM_SHARE)


class LoopBudget:
    """How long the programs of a process may hold its loop, all together. Belongs to the loop.

    A token bucket: it holds 0.1 s and gets a fiftieth of the time that passes. Each long run takes
    out what it took; while less than nothing is left, no run is made in the loop.

    It also knows what the loop's thread has used, which tells a long run from one that was stopped.
    To read that costs as much as a thirtieth of a short run, so it is read each 0.4 ms.

    Attributes:
        closed_until_s: until then nothing is to run in the loop, by the programs' clock.
        look_at_s: when `look` wants to be called before the next run in the loop.
    """

    __slots__ = ("_left_s", "_since_s", "_used", "closed_until_s", "look_at_s")

    def __init__(self) -> None:
        self.closed_until_s = -inf
        self.look_at_s = -inf
        self._used = Usage(0.0, 0)
        self._left_s = BUDGET_S
        self._since_s = 0.0

    def look(self, now_s: float, used: Usage) -> Usage:
        """Note what the loop's thread has used by now; returns what is new of it."""
        last, self._used = self._used, used
        self.look_at_s = now_s + LOOK_EACH_S
        return Usage(used.cpu_s - last.cpu_s, used.waits - last.waits)

    def spend(self, seconds: float, now_s: float) -> None:
        """Take out what a long run took that has just ended."""
        left_s = min(BUDGET_S, self._left_s + (now_s - self._since_s) * BUDGET_SHARE)
        self._left_s = left_s - min(seconds, MOST_SPENT_S)
        self._since_s = now_s
        if self._left_s < 0:
            self.closed_until_s = now_s - self._left_s / BUDGET_SHARE

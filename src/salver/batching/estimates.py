"""What is known of how long runs take, and how long they have held the loop.

A run in the loop cannot be interrupted, so what is known can only be wrong once at a time. How
often that may be is bounded twice: by size and program, which are sent back to the pool to prove
themselves again, and for the whole process by a `LoopGuard`, because many programs may turn slow
together, or each in turn.
"""

from typing import Final

__all__ = [
    "FEW_RUNS",
    "FIRST_PROOF_RUNS",
    "FREEZE_S",
    "LONGEST_WAIT_S",
    "MOST_PROOF_RUNS",
    "TOO_LONG_INLINE_S",
    "Estimate",
    "LoopGuard",
]

INLINE_BELOW_S: Final = 100e-6  # the hop's cost
TOO_LONG_INLINE_S: Final = 1e-3  # an inline run this long goes back to the pool
FREEZE_S: Final = 20e-3  # of computing: not a loop that had to wait, but a model that turned slow
LONGEST_WAIT_S: Final = 0.2  # a process over its quota of CPU is stopped for up to 0.1 s
LOOK_EACH_S: Final = 0.4e-3  # at the loop's CPU time; less than half of a long run
FIRST_PROOF_RUNS: Final = 4
MOST_PROOF_RUNS: Final = 4096
FEW_RUNS: Final = 16  # between two that waited: a processor is not taken away that often
LONG_SHARE: Final = 0.02  # of all time that long runs may have of the loop
LONG_AT_ONCE_S: Final = 50e-3  # and how much of it may come together
MOST_COUNTED_S: Final = 100e-3  # of one run: no single one closes the loop for more than 5 s


class Estimate:
    """What is known of one program at one size of its inputs. Only the loop touches it.

    Attributes:
        is_inline: its runs may be made in the loop.
        inline_s: how long one of those takes, by the shortest of late; 0 before the first.
        inline_runs: since it was let into the loop, or the last that waited for long.
    """

    __slots__ = ("inline_runs", "inline_s", "is_inline", "needed", "shortest_s", "taken")

    def __init__(self) -> None:
        self.is_inline = False
        self.inline_runs = 0
        self.inline_s = 0.0  # a pool run takes longer than that
        self.needed = FIRST_PROOF_RUNS
        self.taken = 0
        self.shortest_s = 0.0

    def ran_in_pool(self, seconds: float) -> None:
        """Learn from a pool run. The first does not count: it may have built kernels."""
        self.taken += 1
        if self.taken == 1:
            return
        if seconds >= FREEZE_S:  # short for some values, perhaps, and that long for others
            self.is_inline = False
            self.taken = 1
            self.shortest_s = 0.0
            return
        # The shortest, because a pool run waits for the GIL when it ends, up to 5 ms when busy.
        if self.taken == 2 or seconds < self.shortest_s:
            self.shortest_s = seconds
        if self.taken > self.needed:
            self.is_inline = self.shortest_s < INLINE_BELOW_S
            self.taken = 0

    @property
    def is_short(self) -> bool:
        """Whether the last proof, or what there is of a new one, found a run short."""
        return 0.0 < self.shortest_s < INLINE_BELOW_S

    def has_earned(self, seconds: float) -> bool:
        """Whether its runs in the loop have saved as much as one of them took too long."""
        return self.inline_runs * INLINE_BELOW_S >= seconds

    def prove_again(self, needed: int) -> None:
        """Go back to the pool until as many of its runs have shown it short."""
        self.needed = needed
        self.is_inline = False
        self.inline_runs = 0
        self.taken = 0


class LoopGuard:
    """Bounds how long the programs of a process hold its loop, all together.

    A long run is paid for when the short ones since the last long one have saved as much. What is
    not paid for is owed: of the time that passes a fiftieth is credited, and while more is owed
    than 50 ms no run is made in the loop. Belongs to the loop.

    It also tells a long computation from a long wait. A machine with more to do than processors
    takes the processor away in the middle of a run, and a container over its quota stands still for
    most of 0.1 s; neither says anything of the model. Reading the thread's CPU time costs as much
    as a thirtieth of a short run, so it is read each 0.4 ms, and after a long run.

    Attributes:
        closed_until_s: until then nothing is to run in the loop, by the programs' clock.
        look_at_s: when `look` wants to be called before the next run in the loop.
        runs: in the loop, since the last long one; counted by whoever runs them.
    """

    __slots__ = ("_cpu_s", "_owed_s", "_since_s", "closed_until_s", "look_at_s", "runs")

    def __init__(self) -> None:
        self.closed_until_s = float("-inf")
        self.look_at_s = float("-inf")
        self.runs = 0
        self._cpu_s = 0.0
        self._owed_s = 0.0
        self._since_s = 0.0

    def look(self, now_s: float, cpu_s: float) -> None:
        """Note the CPU time that the loop's thread has used by now."""
        self._cpu_s = cpu_s
        self.look_at_s = now_s + LOOK_EACH_S

    def has_computed(self, seconds: float, cpu_s: float) -> bool:
        """Whether a run in the loop, that has just ended, was long by its own doing.

        What the thread did since the last look, 0.4 ms before the run or less, is counted in; for a
        run that did not compute that is less than half of the time. No quota takes 0.2 s, so a run
        that long counts whatever it did.

        Args:
            seconds: the run took.
            cpu_s: the CPU time that the loop's thread has used by now.
        """
        return seconds >= LONGEST_WAIT_S or cpu_s - self._cpu_s > seconds / 2

    def is_paid(self, seconds: float) -> bool:
        """Whether a run that took this long is paid for; the next one has nothing left of it."""
        runs, self.runs = self.runs, 0
        return seconds < LONGEST_WAIT_S and runs * INLINE_BELOW_S >= seconds

    def owe(self, seconds: float, now_s: float) -> None:
        """Count a long run that nothing paid for.

        Args:
            seconds: it took.
            now_s: when it ended.
        """
        credit_s = (now_s - self._since_s) * LONG_SHARE
        owed_s = max(0.0, self._owed_s - credit_s)
        # One alone, that may have been the machine's doing, does not close the loop.
        is_alone = not owed_s and seconds < LONGEST_WAIT_S
        owed_s += min(seconds, LONG_AT_ONCE_S if is_alone else MOST_COUNTED_S)
        self._owed_s, self._since_s = owed_s, now_s
        if owed_s > LONG_AT_ONCE_S:
            self.closed_until_s = now_s + (owed_s - LONG_AT_ONCE_S) / LONG_SHARE

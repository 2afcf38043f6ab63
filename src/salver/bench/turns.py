"""Runs a plan: every level, and at each the targets in turns.

So what changes on the machine meanwhile meets them all alike.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from salver.bench.grpc_lines import GrpcLines
from salver.bench.http_lines import HttpLines
from salver.bench.lines import Lines
from salver.bench.loops import Clock, Tally, closed_loop, open_loop
from salver.bench.preparing import Target
from salver.bench.results import Level, Measured, Report

__all__ = ["Plan", "Progress", "run_plan"]

_LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Attributes:
        levels: one after the other.
        duration_s: of each target at each level, over all turns.
        warmup_s: before that, of each target at each level; not counted.
        turns: of each target, where there are several.
        timeout_s: for an answer.
    """

    levels: tuple[Level, ...]
    duration_s: float
    warmup_s: float
    turns: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is.

    Attributes:
        measured: the target that has its turn.
        is_warmup: nothing counts yet.
        tally: of the turn, growing.
        done_s: of all that is to be done; `all_s` is the whole.
    """

    measured: Measured
    is_warmup: bool
    tally: Tally
    done_s: float
    all_s: float


async def run_plan(
    plan: Plan,
    targets: Sequence[Target],
    stop: asyncio.Event,
    watch: Callable[[Progress], None],
    report: Report,
    clock: Clock = time.perf_counter,
) -> None:
    """Measure, into the report, until all is done or the event is set.

    Args:
        plan: how.
        targets: the first is what the others are compared with.
        stop: ends it at once; what was counted stays.
        watch: called five times a second.
        report: filled as it goes.
        clock: seconds, monotonic.

    Raises:
        Unavailable: a server does not answer any more.
    """
    turns = plan.turns if len(targets) > 1 else 1
    all_s = len(plan.levels) * len(targets) * (plan.warmup_s + plan.duration_s)
    done_s = 0.0
    report.requests.update({target.name: target.description for target in targets})
    for level in plan.levels:
        group = [Measured(target.name, level) for target in targets]
        report.groups.append(group)
        steps = [(at, plan.warmup_s, True) for at in range(len(targets)) if plan.warmup_s]
        for turn in range(turns):
            order = range(len(targets)) if turn % 2 == 0 else reversed(range(len(targets)))
            steps += [(at, plan.duration_s / turns, False) for at in order]
        for at, seconds, is_warmup in steps:
            if stop.is_set():
                return
            tally = Tally()
            progress = Progress(group[at], is_warmup, tally, done_s, all_s)
            if not is_warmup:
                group[at].turns.append(tally)
            async with _Watched(watch, progress, seconds, clock):
                await _turn(targets[at], level, seconds, plan.timeout_s, stop, tally, clock)
            done_s += seconds
    report.is_complete = not stop.is_set()


async def _turn(
    target: Target,
    level: Level,
    seconds: float,
    timeout_s: float,
    stop: asyncio.Event,
    tally: Tally,
    clock: Clock,
) -> None:
    lines = _lines(target, timeout_s)
    try:
        if level.rate is None:
            await closed_loop(
                lines, target.requests, clients=level.clients, duration_s=seconds, stop=stop,
                tally=tally, clock=clock,
            )  # fmt: skip
        else:
            await open_loop(
                lines, target.requests, rate=level.rate, clients=level.clients,
                duration_s=seconds, timeout_s=timeout_s, stop=stop, tally=tally, clock=clock,
            )  # fmt: skip
    finally:
        await lines.close()


def _lines(target: Target, timeout_s: float) -> Lines:
    if target.address.is_grpc:
        return GrpcLines(target.address, target.tls, target.path, timeout_s, headers=target.headers)
    return HttpLines(target.address, target.tls, timeout_s)


class _Watched:
    """Tells how far it is while a block runs."""

    def __init__(
        self, watch: Callable[[Progress], None], progress: Progress, seconds: float, clock: Clock
    ) -> None:
        self._watch = watch
        self._progress = progress
        self._seconds = seconds
        self._clock = clock

    async def __aenter__(self) -> None:
        self._task = asyncio.ensure_future(self._tell())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _tell(self) -> None:
        begun_s = self._clock()
        while True:
            passed_s = min(self._clock() - begun_s, self._seconds)
            self._watch(replace(self._progress, done_s=self._progress.done_s + passed_s))
            await asyncio.sleep(_LOOK_S)

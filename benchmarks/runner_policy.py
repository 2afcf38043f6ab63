"""What deciding where runs happen does to latencies, played with a clock of its own.

    python benchmarks/runner_policy.py [--only stolen,values,...] [--without cpu,budget,...]

One event loop, a pool of threads, some models and a machine, all simulated: the same seed gives the
same figures on every machine, in seconds. What decides is the real `MeasuredProgram`. Requests come
at random, at a rate for each model; a run in the loop takes as long as the model says, one in the
pool also the way there and back, and time of the loop for both. A frozen machine runs nothing.

For each scenario, of the requests for models that are always short:

* p50, p99 and the longest latency;
* the share of their runs that were made in the pool: mistakes, but for the first few;

and of all models the share of the time in which runs above a millisecond held the loop, those that
a frozen machine made long not counted, and the longest such run.

`--without` leaves a part of the policy out, to see what it is there for. Needs nothing but Salver.
"""

import argparse
import asyncio
import heapq
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from math import ceil, inf
from typing import Any

import numpy as np

from salver.scheduling import estimates, runner
from salver.scheduling.run_pool import Lane, RunPool
from salver.scheduling.runner import MeasuredProgram
from salver.scheduling.usage import Usage

REQUEST_S = 10e-6  # of the loop, for reading a request and writing the answer
POOL_S = 40e-6  # more of it where the run is made in the pool
HOP_S = 30e-6  # until a thread of an idle machine has taken up the run, and the loop its end
THREADS = 2
LONG_S = 1e-3
FEEDS = [np.zeros(1, np.float32)]


@dataclass(frozen=True)
class Freeze:
    """A moment in which the machine runs nothing of ours."""

    begin_s: float
    end_s: float


@dataclass
class Machine:
    """A processor that is taken away now and then.

    Attributes:
        freezes: in order, none in another.
        is_stolen: the system counts the time as computed: it does not know of it.
        hop_s: the mean of how long a thread waits until it runs.
    """

    freezes: Sequence[Freeze] = ()
    is_stolen: bool = False
    hop_s: float = HOP_S

    def __post_init__(self) -> None:
        self._ends = [freeze.end_s for freeze in self.freezes]

    def end_of(self, begin_s: float, work_s: float) -> float:
        """When something is done that begins now and computes for so long."""
        end_s = begin_s + work_s
        for at in range(bisect_right(self._ends, begin_s), len(self._ends)):
            freeze = self.freezes[at]
            if freeze.begin_s >= end_s:
                break
            end_s += freeze.end_s - max(freeze.begin_s, begin_s)
        return end_s


@dataclass
class Model:
    """What a run takes, by when it begins.

    Attributes:
        rate: requests a second.
        takes_s: how long the next run computes, by when it begins.
        is_short: always; its latencies are those that count.
        waits_s: how long each run waits for something by itself.
    """

    rate: float
    takes_s: Callable[[float], float]
    is_short: bool = True
    waits_s: Callable[[float], float] = lambda _now_s: 0.0


@dataclass
class Scenario:
    """Models on a machine, for some time."""

    meaning: str
    models: Sequence[Model]
    machine: Machine = field(default_factory=Machine)
    seconds: float = 60.0


@dataclass
class Seen:
    """What came of it."""

    latencies_s: list[float] = field(default_factory=list)
    inline: int = 0
    pooled: int = 0
    held_s: float = 0.0
    longest_s: float = 0.0


class _Loop:
    """As much of an event loop as futures need; whatever is to be called is called at once."""

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)  # type: ignore[arg-type]

    def call_soon(self, call: Callable[..., object], *arguments: Any, context: Any = None) -> None:
        call(*arguments)

    call_soon_threadsafe = call_soon

    def get_debug(self) -> bool:
        return False


class World:
    """Plays one scenario."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.now_s = 0.0
        self.cpu_s = 0.0
        self.waits = 0
        self.seen = Seen()
        self._scenario = scenario
        self._machine = scenario.machine
        self._random = random.Random(seed)
        # When each thread is free again; as with lanes, each model has its own.
        self._threads = [[0.0] * THREADS for _ in scenario.models]
        self._number = 0  # of the model whose request is worked on
        self._ended: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._pool = RunPool(1)
        self._programs = [
            MeasuredProgram(
                _Program(self, model),
                self._lane(str(number)),
                clock=lambda: self.now_s,
                usage=self.usage,
            )
            for number, model in enumerate(scenario.models)
        ]

    def _lane(self, name: str) -> Lane:
        """A real one, but for its threads."""
        lane = self._pool.lane(name)
        lane.submit = self._submit  # type: ignore[method-assign, assignment]
        return lane

    def play(self) -> Seen:
        """All requests, in the order in which they come."""
        asyncio._set_running_loop(_Loop())  # type: ignore[arg-type]
        try:
            for came_s, number in self._requests():
                self._work_off(came_s)
                self._answer(came_s, number)
            self._work_off(inf)
        finally:
            asyncio._set_running_loop(None)
        return self.seen

    def usage(self) -> Usage:
        """What the loop's thread has used, as far as the system knows."""
        return Usage(self.cpu_s, self.waits)

    def compute(self, seconds: float) -> None:
        """Spend time of the thread that is being played."""
        begun_s = self.now_s
        self.now_s = self._machine.end_of(begun_s, seconds)
        self.cpu_s += self.now_s - begun_s if self._machine.is_stolen else seconds

    def _requests(self) -> Iterator[tuple[float, int]]:
        def of(number: int, model: Model) -> Iterator[tuple[float, int]]:
            came_s = 0.0
            while (came_s := came_s + self._random.expovariate(model.rate)) < end_s:
                yield came_s, number

        end_s = self._scenario.seconds
        return heapq.merge(*(of(*each) for each in enumerate(self._scenario.models)))

    def _work_off(self, until_s: float) -> None:
        """What the loop does before something comes: hear of runs that have ended."""
        while self._ended and max(self._ended[0][0], self.now_s) < until_s:
            ended_s, _, settle = heapq.heappop(self._ended)
            self.now_s = max(ended_s, self.now_s)
            settle()

    def _answer(self, came_s: float, number: int) -> None:
        self._number = number
        model, program = self._scenario.models[number], self._programs[number]
        self.now_s = max(self.now_s, came_s)
        self.compute(REQUEST_S)
        answer = program.start(FEEDS, timeout_s=None, on_end=lambda: None)
        if isinstance(answer, list):
            self._answered(model, came_s)
        else:
            answer.add_done_callback(lambda _: self._answered(model, came_s))
            self.compute(POOL_S / 2)

    def _answered(self, model: Model, came_s: float) -> None:
        if model.is_short:
            self.seen.latencies_s.append(self.now_s - came_s)

    def _submit(self, call: Callable[[], Any], _timeout_s: float | None = None) -> "Future[Any]":
        future: Future[Any] = Future()
        here_s, cpu_s, waits = self.now_s, self.cpu_s, self.waits
        threads = self._threads[self._number]
        thread = min(range(THREADS), key=threads.__getitem__)
        if threads[thread] <= here_s:  # it sleeps
            self.now_s = self._machine.end_of(here_s, self._hop())
        else:
            self.now_s = threads[thread]
        result = call()
        threads[thread] = self.now_s
        ended_s = self._machine.end_of(self.now_s, self._hop())
        self.now_s, self.cpu_s, self.waits = here_s, cpu_s, waits

        def settle() -> None:
            self.compute(POOL_S / 2)
            future.set_result(result)

        heapq.heappush(self._ended, (ended_s, next(self._order), settle))
        return future

    def _hop(self) -> float:
        mean_s = self._machine.hop_s
        return mean_s if mean_s == HOP_S else self._random.expovariate(1 / mean_s)


class _Program:
    """See `Program`."""

    can_loop = False

    def __init__(self, world: World, model: Model) -> None:
        self._world = world
        self._model = model

    def run(self, feeds: Sequence[Any]) -> list[Any]:
        if self._model.is_short:
            self._world.seen.pooled += 1
        self._run()
        return list(feeds)

    run_in_caller = run

    def run_inline(self, feeds: Sequence[Any]) -> list[Any]:
        if self._model.is_short:
            self._world.seen.inline += 1
        taken_s = self._run()
        if taken_s >= LONG_S:
            self._world.seen.held_s += taken_s
            self._world.seen.longest_s = max(taken_s, self._world.seen.longest_s)
        return list(feeds)

    def _run(self) -> float:
        world, now_s = self._world, self._world.now_s
        computes_s, waits_s = self._model.takes_s(now_s), self._model.waits_s(now_s)
        world.compute(computes_s)
        world.now_s += waits_s
        world.waits += waits_s > 0
        return computes_s + waits_s


# -- scenarios -----------------------------------------------------------------------------------


def freezes(
    rate: float, mean_s: float, seconds: float, *, seed: int = 1, longest_s: float = inf
) -> list[Freeze]:
    """At random."""
    randomly, now_s, found = random.Random(seed), 0.0, []
    while (now_s := now_s + randomly.expovariate(rate)) < seconds:
        end_s = now_s + min(randomly.expovariate(1 / mean_s), longest_s)
        found.append(Freeze(now_s, end_s))
        now_s = end_s
    return found


def short(rate: float, takes_s: float = 10e-6) -> Model:
    return Model(rate, lambda _: takes_s)


def sometimes(rate: float, share: float, long_s: float, seed: int = 2) -> Model:
    """Long for some values."""
    randomly = random.Random(seed)
    return Model(rate, lambda _: long_s if randomly.random() < share else 20e-6, is_short=False)


def every(rate: float, period_s: float, long_s: float) -> Model:
    """Long once in a while."""
    due = [period_s]

    def takes(now_s: float) -> float:
        if now_s < due[0]:
            return 20e-6
        due[0] = now_s + period_s
        return long_s

    return Model(rate, takes, is_short=False)


def turning(rate: float, at_s: float, long_s: float) -> Model:
    """Long from some moment on."""
    return Model(rate, lambda now_s: 20e-6 if now_s < at_s else long_s, is_short=False)


def scenarios() -> dict[str, Scenario]:
    quota = [Freeze(0.1 * n + 0.06, 0.1 * (n + 1)) for n in range(200)]
    return {
        "quiet": Scenario("a short model on an idle machine", [short(10_000)], seconds=5.0),
        "taken": Scenario(
            "beside busy processes: the processor is taken away 50 times a second, for 3 ms",
            [short(10_000)],
            Machine(freezes(50, 3e-3, 20), hop_s=1e-3),
            seconds=20.0,
        ),
        "taken and seldom": Scenario(
            "the same 200 times a second, for 4 ms, and 200 requests a second",
            [short(200, 50e-6)],
            Machine(freezes(200, 4e-3, 60), hop_s=1e-3),
        ),
        "taken and waiting": Scenario(
            "the same, and one run in 200 waits 2 ms for somebody else who was stopped",
            [_waiting_at_times(200, 0.005, 2e-3, takes_s=50e-6, is_short=True)],
            Machine(freezes(200, 4e-3, 60), hop_s=1e-3),
        ),
        "quota": Scenario(
            "a container that is stopped for 40 of each 100 ms",
            [short(10_000)],
            Machine(quota),
            seconds=20.0,
        ),
        "stolen": Scenario(
            "a virtual machine whose host takes 3 ms twice a second, which counts as computing",
            [short(10_000)],
            Machine(freezes(2, 3e-3, 20), is_stolen=True),
            seconds=20.0,
        ),
        "stolen more": Scenario(
            "the same, 20 ms each two seconds",
            [short(10_000)],
            Machine(freezes(0.5, 20e-3, 20, longest_s=0.15), is_stolen=True),
            seconds=20.0,
        ),
        "stolen, loaded": Scenario(
            "the first of these at 30,000 requests a second, more than the pool could do",
            [short(30_000)],
            Machine(freezes(2, 3e-3, 10), is_stolen=True),
            seconds=10.0,
        ),
        "stolen more, loaded": Scenario(
            "the second of these at 30,000",
            [short(30_000)],
            Machine(freezes(0.5, 20e-3, 10, longest_s=0.15), is_stolen=True),
            seconds=10.0,
        ),
        "stolen for long": Scenario(
            "a model of 40 µs, of which 3 ms are stolen now and then for half an hour",
            [short(300, 40e-6)],
            Machine(freezes(3, 3e-3, 1800), is_stolen=True),
            seconds=1800.0,
        ),
        "values": Scenario(
            "beside a model that takes 10 ms for one in a hundred values",
            [short(2000), sometimes(500, 0.01, 10e-3)],
        ),
        "often": Scenario(
            "beside a model that takes 30 ms for one in four",
            [short(1000), sometimes(50, 0.25, 30e-3)],
        ),
        "rare values": Scenario(
            "beside a model that takes 30 ms for one in two thousand",
            [short(2000), sometimes(1000, 0.0005, 30e-3)],
        ),
        "many values": Scenario(
            "beside twenty models that take 10 ms for one in a hundred",
            [short(2000), *(sometimes(100, 0.01, 10e-3, seed) for seed in range(20))],
        ),
        "seconds": Scenario(
            "beside a model that takes a second, every ten",
            [short(2000), every(100, 10.0, 1.0)],
            seconds=300.0,
        ),
        "turning": Scenario(
            "beside a model that takes 10 ms from some moment on",
            [short(2000), turning(50, 20.0, 10e-3)],
        ),
        "together": Scenario(
            "beside fifty models that take 50 ms from the same moment on",
            [short(2000), *(turning(2, 20.0, 50e-3) for _ in range(50))],
        ),
        "waiting": Scenario(
            "beside a model that waits 5 ms for something, from some moment on",
            [
                short(2000),
                Model(
                    50,
                    lambda _: 20e-6,
                    is_short=False,
                    waits_s=lambda now_s: 0.0 if now_s < 20.0 else 5e-3,
                ),
            ],
        ),
        "waiting at times": Scenario(
            "beside a model that waits 5 ms for one in fifty values",
            [short(2000), _waiting_at_times(500, 0.02, 5e-3)],
        ),
    }


def _waiting_at_times(
    rate: float, share: float, waits_s: float, *, takes_s: float = 20e-6, is_short: bool = False
) -> Model:
    randomly = random.Random(3)
    return Model(
        rate,
        lambda _: takes_s,
        is_short=is_short,
        waits_s=lambda _: waits_s if randomly.random() < share else 0.0,
    )


# -- what is left out ----------------------------------------------------------------------------

LEFT_OUT: dict[str, Sequence[tuple[Any, str, Any]]] = {
    "cpu": [(World, "usage", lambda world: Usage(world.now_s, world.waits))],
    "waits": [(World, "usage", lambda world: Usage(world.cpu_s, round(world.now_s * 1e9)))],
    "excuses": [
        (runner, "is_excused", lambda *_, **__: False),
        (runner, "was_stopped", lambda _: False),
    ],
    "cooldown": [(runner, "cooldown_s", lambda *_: 0.0)],
    "growth": [(estimates, "COOLDOWN_GROWTH", 1.0)],
    "relief": [(runner, "COOLDOWN_GROWTH", 1.0)],
    "new proof": [(estimates.Estimate, "prove_again", lambda _: None)],
    "budget": [(estimates, "BUDGET_S", inf)],
    "proof": [(estimates, "PROOF_RUNS", 1)],
}
"""A part of the policy → what is put in the place of what."""


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, ceil(share * len(ordered)) - 1)]


def told(name: str, scenario: Scenario, seed: int) -> str:
    seen = World(scenario, seed).play()
    ordered = sorted(seen.latencies_s)
    p50, p99 = percentile(ordered, 0.5), percentile(ordered, 0.99)
    pooled = seen.pooled / max(1, seen.pooled + seen.inline)
    return (
        f"{name:19} p50 {p50 * 1e3:9.3f}  p99 {p99 * 1e3:9.3f}  longest {ordered[-1] * 1e3:9.1f} ms"
        f"   in the pool {pooled:7.2%}   held {seen.held_s / scenario.seconds:7.3%}"
        f", longest {seen.longest_s * 1e3:6.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found = scenarios()
    parser.add_argument("--only", help="comma list of " + ", ".join(found))
    parser.add_argument("--without", help="comma list of " + ", ".join(LEFT_OUT))
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args()
    for part in chosen.without.split(",") if chosen.without else ():
        for owner, attribute, value in LEFT_OUT[part]:
            assert hasattr(owner, attribute)
            setattr(owner, attribute, value)
    for name in chosen.only.split(",") if chosen.only else found:
        print(told(name, found[name], chosen.seed), flush=True)


if __name__ == "__main__":
    main()

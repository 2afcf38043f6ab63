"""Lanes measured in turns, in an order that is drawn anew each turn."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from figures import Bar, Chart, ratios

Shuffle = Callable[[list[str]], None]


@dataclass(frozen=True)
class Sample:
    """What one lane did in one turn.

    Attributes:
        rate: good answers per second.
        cpu_ms: of the server's processes, per good answer.
    """

    rate: float
    cpu_ms: float = math.nan
    p50_ms: float = math.nan
    p99_ms: float = math.nan


Lane = Callable[[float], Sample]  # takes the seconds it may last


@dataclass(frozen=True)
class Race:
    """The samples of all lanes, turn by turn."""

    samples: Mapping[str, Sequence[Sample]]

    def of(self, lane: str, key: str = "rate") -> tuple[float, ...]:
        return tuple(getattr(sample, key) for sample in self.samples[lane])

    def ratio(self, ours: str, theirs: str, key: str = "rate") -> tuple[float, ...]:
        return ratios(self.of(ours, key), self.of(theirs, key))

    def bars(self, kinds: Mapping[str, int], key: str = "rate") -> tuple[Bar, ...]:
        """One bar per lane; `kinds` says which lanes, and how they are coloured."""
        return tuple(Bar(lane, self.of(lane, key), kind) for lane, kind in kinds.items())


def take_turns(
    lanes: Mapping[str, Lane],
    turns: int,
    seconds: float,
    warm_s: float = 1.0,
    shuffle: Shuffle = random.shuffle,
) -> Race:
    """Warm every lane, so that short runs are known as short; then measure."""
    samples: dict[str, list[Sample]] = {name: [] for name in lanes}
    for lane in lanes.values():
        lane(warm_s)
    for _ in range(turns):
        order = list(lanes)
        shuffle(order)
        for name in order:
            samples[name].append(lanes[name](seconds))
    return Race(samples)


def joined(races: Sequence[Race]) -> Race:
    """The turns of several races of the same lanes, one after the other."""
    return Race({lane: [each for race in races for each in race.samples[lane]]
                 for lane in races[0].samples})  # fmt: skip


def chart(name: str, title: str, unit: str, groups: dict[str, tuple[Bar, ...]]) -> Chart:
    note = "blue: Salver; grey: bare yardsticks; orange: other servers"
    return Chart(name, title, unit, groups, note)

"""How many replicas a model should have, by how much is asked of it; with hysteresis. Pure.

Pressure is what a model's replicas bear of what they should bear at most: of processors, or of
requests that wait. Above 1 for some seconds the model gets more replicas; when one replica less
would still bear little, for a minute, it loses one.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from salver.cluster.reports import ModelReport

__all__ = ["Demand", "Scaling", "wanted_replicas"]

_UNKNOWN_COST_S: Final = 0.001  # of a request, where nobody says how long runs take


@dataclass(frozen=True, slots=True)
class Scaling:
    """When replicas come and go.

    Attributes:
        busy_share: of a node's processors that one model should keep busy at most.
        queued: requests that may wait or run at one replica.
        up_s: how long the pressure must be above 1.
        down_s: how long it must be low.
        low: what is a low pressure on one replica less.
        idle_s: after how long without requests a model that may have no replica has none.
        window_s: over which rates are averaged.
    """

    busy_share: float = 0.5
    queued: float = 4.0
    up_s: float = 3.0
    down_s: float = 60.0
    low: float = 0.5
    idle_s: float = 300.0
    window_s: float = 10.0


@dataclass(slots=True)
class Demand:
    """What is asked of one model.

    Attributes:
        rate: requests a second of all nodes, averaged.
        busy: processors kept busy by them, averaged.
        queued: requests that wait or run, of each node that has any.
        last_s: when there was the last request; None for never.
        replicas: that it should have.
        high_s: since when the pressure is high; None where it is not.
        low_s: likewise low.
    """

    rate: float = 0.0
    busy: float = 0.0
    queued: dict[str, int] = field(default_factory=dict)
    last_s: float | None = None
    replicas: int = 1
    high_s: float | None = None
    low_s: float | None = None
    _requests: float = 0.0
    _busy_s: float = 0.0

    def count(self, node: str, before: ModelReport | None, now: ModelReport, now_s: float) -> bool:
        """Take what a node says now and said before; returns whether there were requests."""
        if now.queued:
            self.queued[node] = now.queued
        else:
            self.queued.pop(node, None)
        requests, busy_s = 0, 0.0
        if before is not None:  # else nobody knows since when these are counted
            requests = max(0, now.requests - before.requests)
            busy_s = max(0.0, now.busy_s - before.busy_s)
        if not requests and not now.queued:
            return False
        self._requests += requests
        self._busy_s += busy_s or requests * _UNKNOWN_COST_S
        self.last_s = now_s
        return True

    def advance(self, elapsed_s: float, window_s: float) -> None:
        """Average what came within the last so many seconds."""
        if elapsed_s <= 0:
            return
        part = 1 - math.exp(-elapsed_s / window_s)
        self.rate += part * (self._requests / elapsed_s - self.rate)
        self.busy += part * (self._busy_s / elapsed_s - self.busy)
        self._requests = self._busy_s = 0.0

    def is_quiet(self) -> bool:
        """Whether nothing has been asked for so long that averages are nearly 0."""
        return self.rate < 1e-3 and not self.queued and self.replicas <= 1

    def forget(self, node: str) -> None:
        """A node has gone, and with it what waited there."""
        self.queued.pop(node, None)


def wanted_replicas(
    demand: Demand, least: int, most: int, cores: float, scaling: Scaling, now_s: float
) -> int:
    """How many replicas a model should have; notes in `demand` since when it should change.

    Args:
        demand: on it.
        least: replicas.
        most: replicas.
        cores: of a node, on average.
        scaling: see there.
        now_s: the time.
    """
    have = min(max(demand.replicas, least), most)
    load = max(
        demand.busy / (scaling.busy_share * cores), sum(demand.queued.values()) / scaling.queued
    )
    if load > have and have < most:
        demand.low_s = None
        demand.high_s = now_s if demand.high_s is None else demand.high_s
        if now_s - demand.high_s >= scaling.up_s:
            demand.high_s = None
            have = min(most, max(have + 1, min(math.ceil(load), 2 * have)))
    elif have > least and load < scaling.low * (have - 1):
        demand.high_s = None
        demand.low_s = now_s if demand.low_s is None else demand.low_s
        if now_s - demand.low_s >= scaling.down_s:
            demand.low_s = None
            have -= 1
    else:
        demand.high_s = demand.low_s = None
    demand.replicas = have
    return have

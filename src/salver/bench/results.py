"""What a benchmark found, and its form for programs. Pure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from salver.bench.loops import Tally

__all__ = ["PERCENTILES", "Level", "Measured", "Ratio", "Report"]

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)
_BUSY: Final = 0.85  # of the loop's thread, from where on it is the generator that is measured
_LATE: Final = 0.25  # of the median latency


@dataclass(frozen=True, slots=True)
class Level:
    """How hard a server is asked.

    Attributes:
        clients: requests at the same time; at most, where there is a rate.
        rate: requests per second of an open loop; None for a closed one.
    """

    clients: int
    rate: float | None = None

    @property
    def text(self) -> str:
        """In words."""
        if self.rate is not None:
            return f"{self.rate:g}/s"
        return "1 client" if self.clients == 1 else f"{self.clients} clients"


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure of a target divided by that of the first target, turn by turn.

    Attributes:
        median: of the turns; `least` and `most` are the spread. NaN without turns.
    """

    median: float
    least: float
    most: float

    @staticmethod
    def of(values: Sequence[float]) -> "Ratio":
        """Of the ratios of all turns; those that are no numbers do not count."""
        known = [value for value in values if math.isfinite(value)]
        if not known:
            return Ratio(math.nan, math.nan, math.nan)
        return Ratio(statistics.median(known), min(known), max(known))


@dataclass(slots=True)
class Measured:
    """A target at a level.

    Attributes:
        target: its name.
        turns: each of its own; the target's rivals had theirs in between.
        total: of all turns.
    """

    target: str
    level: Level
    turns: list[Tally] = field(default_factory=list)

    @property
    def total(self) -> Tally:
        """All turns together."""
        total = Tally()
        for turn in self.turns:
            total.add(turn)
        return total

    def ratios(self, first: "Measured") -> dict[str, Ratio]:
        """Rate and percentiles against another's in the same turns."""
        pairs = list(zip(self.turns, first.turns, strict=False))
        found = {"rate": Ratio.of([_divided(rate_of(a), rate_of(b)) for a, b in pairs])}
        for percent in (50.0, 99.0):
            values = [
                _divided(a.latencies.percentile(percent), b.latencies.percentile(percent))
                for a, b in pairs
            ]
            found[f"p{percent:g}"] = Ratio.of(values)
        return found

    def doubts(self, total: Tally) -> list[str]:
        """Why the figures may say more of the generator than of the server."""
        doubts = []
        if total.loop_s > _BUSY * total.seconds:
            doubts.append(
                f"the generator's own thread was busy {total.loop_s / total.seconds:.0%} of the "
                "time: it, not the server, was the bottleneck"
            )
        late_s = total.late.percentile(50)
        if late_s > _LATE * total.latencies.percentile(50):
            doubts.append(
                f"the generator sent half of the requests {late_s * 1e3:.2g} ms late or more, "
                "which is in the latencies"
            )
        asked = self.level.rate
        if asked is not None and rate_of(total) < 0.95 * asked and not total.failed:
            doubts.append(f"of {asked:g} requests per second {rate_of(total):.4g} were answered")
        return doubts


@dataclass(slots=True)
class Report:
    """All that was measured; grows while it is.

    Attributes:
        requests: target → what is sent, in words.
        groups: the targets of one level beside each other, the first to compare with.
        is_complete: false where a person stopped it.
    """

    requests: dict[str, str] = field(default_factory=dict)
    groups: list[list[Measured]] = field(default_factory=list)
    is_complete: bool = False

    @property
    def all(self) -> list[Measured]:
        """Those that had a turn."""
        return [measured for group in self.groups for measured in group if measured.turns]

    def document(self) -> dict[str, Any]:
        """As JSON has it; latencies in seconds, what is unknown null."""
        return {
            "is_complete": self.is_complete,
            "requests": self.requests,
            "results": [
                _document(measured, group[0]) for group in self.groups for measured in group
                if measured.turns
            ],
        }  # fmt: skip


def rate_of(tally: Tally) -> float:
    """Answers per second that are no errors."""
    return tally.answered / tally.seconds if tally.seconds else math.nan


def _divided(value: float, other: float) -> float:
    return value / other if other else math.nan


def _document(measured: Measured, first: Measured) -> dict[str, Any]:
    total = measured.total
    latencies = total.latencies
    document: dict[str, Any] = {
        "target": measured.target,
        "loop": "closed" if measured.level.rate is None else "open",
        "clients": measured.level.clients,
        "asked_rate": measured.level.rate,
        "seconds": total.seconds,
        "answered": total.answered,
        "rate": _known(rate_of(total)),
        "sent_bytes": total.sent_bytes,
        "received_bytes": total.received_bytes,
        "latency_s": {
            "mean": _known(latencies.mean_s),
            "min": _known(latencies.least_s),
            **{f"p{p:g}": _known(latencies.percentile(p)) for p in PERCENTILES},
            "max": _known(latencies.most_s),
        },
        "histogram": [[bar.from_s, bar.to_s, bar.count] for bar in latencies.bars(100)],
        "failures": {
            status: {"count": failure.count, "first": failure.message}
            for status, failure in total.failures.items()
        },
        "generator": {
            "cpu_s": total.cpu_s,
            "loop_busy": total.loop_s / total.seconds if total.seconds else None,
            "late_p99_s": _known(total.late.percentile(99)),
            "doubts": measured.doubts(total),
        },
        "turns": [
            {"rate": _known(rate_of(turn)), "seconds": turn.seconds} for turn in measured.turns
        ],
    }
    if measured is not first:
        document["ratio_to_first"] = {
            name: {
                "median": _known(ratio.median),
                "min": _known(ratio.least),
                "max": _known(ratio.most),
            }
            for name, ratio in measured.ratios(first).items()
        }
    return document


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""Resident memory over time, and whether it is flat. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from load import floors, percentile, slope

FLAT = 0.02  # growth over the second half that still counts as none
FLOORS = 20  # stretches of a run whose lowest memory is looked at
CRITERION = (
    "memory is flat when the line of least squares through the lowest of each twentieth of the "
    f"run grows by less than {100 * FLAT:.0f} % over the second half"
)


@dataclass
class Memory:
    """Samples of when (or of how many of something had been done) and MiB."""

    samples: list[tuple[float, float]] = field(default_factory=list)

    def second_half(self) -> list[tuple[float, float]]:
        """The lowest of each stretch of the second half."""
        last = self.samples[-1][0]
        width = last / FLOORS * 1.000001  # or the last sample were a stretch of its own
        return [point for point in floors(self.samples, width) if point[0] >= last / 2]

    def growth(self) -> float:
        """Of the second half, as a part of what there was at its begin."""
        points = self.second_half()
        first, last = points[0], points[-1]
        return slope(points) * (last[0] - first[0]) / first[1]

    def report(self) -> Iterable[str]:
        last_s = self.samples[-1][0]
        minute = min(60.0, last_s / 3)
        first = sorted(mib for at, mib in self.samples if at <= minute)
        last = sorted(mib for at, mib in self.samples if at >= last_s - minute)
        sizes = [mib for _, mib in self.samples]
        yield (
            f"resident memory, MiB: first {minute:.0f} s median {percentile(first, 50):.1f},"
            f" last {minute:.0f} s {percentile(last, 50):.1f};"
            f" lowest {min(sizes):.1f}, highest {max(sizes):.1f}"
        )
        per_minute = 60 * slope(self.second_half())
        yield (
            f"its floor over the second half: {per_minute:+.2f} MiB a minute,"
            f" {100 * self.growth():+.2f} % in all (flat: less than {100 * FLAT:.0f} %)"
        )
        every = [f"{mib:.0f}" for at, mib in self.samples if int(at) % 5 == 0]
        yield "every 5 s: " + " ".join(every[:: max(1, len(every) // 120)])

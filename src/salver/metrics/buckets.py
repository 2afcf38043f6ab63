"""The bounds of histograms, as TensorFlow computes them: one multiplication after the other.

Source: TensorFlow `xla/tsl/lib/monitoring/sampler.cc`, ExponentialBuckets.
"""

from typing import Final

__all__ = ["G20", "L33", "P14", "P15", "Q52", "SECONDS", "exponential"]


def exponential(scale: float, growth: float, count: int) -> tuple[float, ...]:
    """`count` bounds from `scale` up, each `growth` times the one before; infinity is implied."""
    bounds = [scale]
    while len(bounds) < count:
        bounds.append(bounds[-1] * growth)
    return tuple(bounds)


L33: Final = exponential(10.0, 1.8, 33)
"""Microseconds, to about 25 minutes."""

P15: Final = exponential(1.0, 2.0, 15)
P14: Final = exponential(1.0, 2.0, 14)
Q52: Final = exponential(100.0, 1.2, 52)
"""Microseconds, to about a second."""

G20: Final = exponential(1000.0, 2.0, 20)

SECONDS: Final = tuple(bound / 1e6 for bound in L33[::3])
"""Every third of `L33` in seconds, for histograms of which there are many."""

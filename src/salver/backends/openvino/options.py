"""How OpenVINO's models are served."""

from dataclasses import dataclass
from typing import Final

from salver.backends.options import option

__all__ = ["OpenVINOOptions"]

_HINTS: Final = ("LATENCY", "THROUGHPUT")
_PRECISIONS: Final = ("f32", "bf16", "f16", "dynamic")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVINOOptions:
    """What the flags, or a configuration, say of OpenVINO's models.

    Attributes:
        precision: in which numbers are multiplied.
        num_threads: that all runs of a model share; 0: as OpenVINO likes it.
        num_streams: runs that are computed at once; 0: as the hint says.
        performance_hint: what OpenVINO should be good at.
        device: which it compiles for.
    """

    precision: str = option(
        "f32", "Precision of OpenVINO's runs: f32, bf16, f16, or dynamic for what it likes."
    )
    num_threads: int = option(0, "Threads of one OpenVINO model; 0 for as many as it likes.")
    num_streams: int = option(
        0, "Runs of one OpenVINO model that are computed at once; 0 for what the hint gives."
    )
    performance_hint: str = option("LATENCY", "LATENCY or THROUGHPUT, for OpenVINO's models.")
    device: str = option("CPU", "Device that OpenVINO's models are compiled for.")

    def __post_init__(self) -> None:
        if self.precision not in _PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(_PRECISIONS)}")
        if self.performance_hint not in _HINTS:
            raise ValueError(f"performance_hint must be one of {', '.join(_HINTS)}")
        if self.num_threads < 0 or self.num_streams < 0:
            raise ValueError("num_threads and num_streams must not be negative")

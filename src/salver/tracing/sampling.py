"""Which requests are traced, as `OTEL_TRACES_SAMPLER` and its argument say.

A request that brings a sampled parent is traced in any case but `always_off`.
"""

from dataclasses import dataclass
from typing import Final

from salver.errors import InvalidArgument

__all__ = ["ALWAYS", "NEVER", "Sampling", "sampling_of"]

_BITS: Final = 64  # of a trace's id, the lower ones, that are compared with the ratio


@dataclass(frozen=True, slots=True)
class Sampling:
    """How it is decided.

    Attributes:
        ratio: of requests without a parent that are traced: 0 to 1.
        follows_parent: whether what the parent says decides; else its trace's id and the ratio do,
            for a parent that is not sampled.
        is_off: nothing is traced, whatever a parent says.
    """

    ratio: float
    follows_parent: bool = True
    is_off: bool = False

    def takes(self, trace_id: int, *, is_parent_sampled: bool) -> bool:
        """Whether a request with a parent is traced.

        Args:
            trace_id: of the parent.
            is_parent_sampled: whether that is.
        """
        if self.is_off or is_parent_sampled:
            return not self.is_off
        if self.follows_parent:
            return False
        return trace_id & ((1 << _BITS) - 1) < round(self.ratio * (1 << _BITS))


ALWAYS: Final = Sampling(1.0)
NEVER: Final = Sampling(0.0, is_off=True)


def sampling_of(name: str, argument: str) -> Sampling:
    """What the two variables say; `parentbased_always_on` where the first one is empty.

    Raises:
        InvalidArgument: there is no such sampler, or no such ratio.
    """
    base = name.removeprefix("parentbased_")
    follows_parent = base != name
    match base:
        case "":
            return ALWAYS
        case "always_on":
            return Sampling(1.0, follows_parent=follows_parent)
        case "always_off":
            return Sampling(0.0) if follows_parent else NEVER
        case "traceidratio":
            return Sampling(_ratio(argument), follows_parent=follows_parent)
        case _:
            raise InvalidArgument(f"OTEL_TRACES_SAMPLER={name} is not known")


def _ratio(argument: str) -> float:
    try:
        ratio = float(argument or "1")
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise InvalidArgument(f"OTEL_TRACES_SAMPLER_ARG={argument} is no number from 0 to 1")
    return ratio

"""The stages of a request, made of the moments that were noted of it."""

from dataclasses import dataclass
from typing import Final

from salver.tracing.request import RequestTrace

__all__ = ["Stage", "stages_of"]

_SHORTEST_WAIT_S: Final = 50e-6  # before a message is read, that is worth a stage


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the time of a request.

    Attributes:
        name: `wait`, `load`, `read`, `queue`, `run` or `write`.
        begin_s: by `time.perf_counter`.
        end_s: likewise.
    """

    name: str
    begin_s: float
    end_s: float


def stages_of(trace: RequestTrace) -> list[Stage]:
    """In their order; none of a request for which nothing was run.

    The last one lasts to the end, so of a failure it says where it was.

    | stage | what takes the time |
    |---|---|
    | `wait` | what stands before the message is read |
    | `load` | the same, where the model had to be loaded |
    | `read` | reading it, finding a version, decoding its tensors |
    | `queue` | waiting for a thread, or for company in a batch |
    | `run` | the model |
    | `write` | encoding its outputs |
    """
    wait = "load" if trace.waits_for_load else "wait"
    if trace.begun_s + _SHORTEST_WAIT_S >= trace.read_s > 0 and not trace.waits_for_load:
        wait = "read"
    taken_s = trace.taken_s if trace.taken_s > trace.run_s else 0.0
    marks = [
        (wait, trace.begun_s),
        ("read", 0.0 if wait == "read" else trace.read_s),
        ("queue" if taken_s else "run", trace.run_s),
        ("run", taken_s),
        ("write", trace.encode_s),
    ]
    begun = [(name, at_s) for name, at_s in marks if at_s]
    if len(begun) == 1 and not trace.waits_for_load:
        return []  # nothing was run
    ends = [*(at_s for _, at_s in begun[1:]), trace.ended_s]
    return [
        Stage(name, at_s, max(at_s, end_s)) for (name, at_s), end_s in zip(begun, ends, strict=True)
    ]

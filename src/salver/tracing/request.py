"""What is noted of one request while it is answered: moments, of which stages are made afterwards.

One is made for each request, so what most have not is an attribute of the class, and few are set
twice. Measured on CPython 3.11: to make one and note three moments 0.1 µs; with slots that are all
set when it is made, 0.3. What each request asks for, `ran` and `is_sampled`, is set by who makes it
in a hurry: to find it in the class takes longer.
"""

from dataclasses import dataclass, field

from salver.tracing.parent import Parent
from salver.vocabulary.servable import ServableId

__all__ = ["Batch", "RequestTrace"]

_MOST_BATCHES = 16  # that one request may be split among; no more are noted


@dataclass(slots=True)
class Batch:
    """A run for several requests. Made by the thread that runs it.

    Attributes:
        begun_s: when the run began, by `time.perf_counter`.
        tasks: how many requests, or parts of some, it is for.
        rows: theirs.
        execution_rows: those that are run; the rest is padding.
        ended_s: when it ended; 0 until then.
        trace_id: of the trace it is told in, that of the first one that is traced; 0 for nowhere.
        span_id: of its own span there.
        links: (trace, span) of all requests in it that are traced.
    """

    begun_s: float
    tasks: int
    rows: int
    execution_rows: int
    ended_s: float = 0.0
    trace_id: int = 0
    span_id: int = 0
    links: tuple[tuple[int, int], ...] = field(default=())


class RequestTrace:
    """Moments are by `time.perf_counter`; 0 for what has not happened.

    Belongs to the loop, but for `run_began` and `ran_in`, which the thread of the run calls.

    Attributes:
        begun_s: when the request was handed to its API.
        ended_s: when its answer was ready.
        ran: the version that was run, when its message began to be read, when the run was begun or
            queued, and, of a run in the loop, when the outputs were there. One tuple, since to set
            one attribute takes a third of the time of four.
        taken_s: when a thread took the run up.
        outputs_s: when the outputs were there, of a run elsewhere.
        waits_for_load: whether it has waited for its model to be loaded.
        is_sampled: whether its spans are to be exported, whatever comes of it.
        trace_id: 0 where nobody has asked for it yet; so is `span_id`.
        parent: the client's span, if it names one.
        trace_state: of the parent.
        reason: why it is exported though it was not sampled: `slow` or `failed`.
        protocol: `REST` or `GRPC`.
        method: of HTTP.
        target: the path without its query, or the full name of the method.
        status: of HTTP, or the code of gRPC; 0 where the client has left.
        is_failure: whether it failed by a fault of the server.
        named: the model that the request names, where none was run.
        batches: it was run in.
        messages: of a stream of messages, how many were answered.
    """

    begun_s = 0.0
    ended_s = 0.0
    ran: tuple[ServableId, float, float, float] | None = None
    taken_s = 0.0
    outputs_s = 0.0
    waits_for_load = False
    is_sampled = False
    trace_id = 0
    span_id = 0
    parent: Parent | None = None
    trace_state = ""
    reason = ""
    protocol = ""
    method = ""
    target = ""
    status = 0
    is_failure = False
    named = ""
    batches: tuple[Batch, ...] = ()
    messages = -1

    def run_began(self, now_s: float) -> None:
        """A thread has taken its run up."""
        if not self.taken_s:
            self.taken_s = now_s

    def ran_in(self, batch: Batch) -> None:
        """It is a part of a batch that is about to run."""
        if len(self.batches) < _MOST_BATCHES:
            self.batches = (*self.batches, batch)

    # What is read afterwards.

    @property
    def model(self) -> str:
        """Its name; empty where it is not known."""
        return self.named if self.ran is None else self.ran[0].name

    @property
    def version(self) -> int | None:
        """That was run."""
        return None if self.ran is None else self.ran[0].version

    @property
    def read_s(self) -> float:
        """See `ran`; so are the next two."""
        return 0.0 if self.ran is None else self.ran[1]

    @property
    def run_s(self) -> float:
        return 0.0 if self.ran is None else self.ran[2]

    @property
    def encode_s(self) -> float:
        return self.outputs_s if self.ran is None else self.ran[3] or self.outputs_s

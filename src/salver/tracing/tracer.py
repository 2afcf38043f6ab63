"""Decides of each request what becomes of what was noted of it. Belongs to the loop.

Whether it is sampled is known when it begins; slow and failed ones are kept when they end, so many
a second at most.
"""

import os
import time
from collections.abc import Callable
from math import inf, log, log1p
from random import Random
from time import perf_counter
from typing import Final, Protocol

from salver.tracing.parent import parent_of
from salver.tracing.request import RequestTrace
from salver.tracing.sampling import NEVER, Sampling
from salver.tracing.slow import SlowRequests

__all__ = ["TRACE_HEADER", "Sink", "Tracer"]

TRACE_HEADER: Final = "salver-trace-id"
"""Of answers to requests that are exported: the id of their trace, 32 hexadecimal digits."""

_KEPT_PER_S: Final = 10.0  # of slow and failed ones that were not sampled
_KEPT_AT_ONCE: Final = 100.0
_LONGEST_GAP: Final = 1 << 62


class Sink(Protocol):
    """Takes what is to be exported."""

    def put(self, trace: RequestTrace) -> None:
        """Take it; at once, or drop it. Nothing more is noted of it."""
        ...


class Tracer:
    """One for each process that answers requests.

    Attributes:
        current: the request that the loop works on, for whoever notes something of it; None where
            that is none.
        slow_s: what takes so long is kept.
        slow: those that did.
        has_lazy_models: whether requests may have to wait for their models to be loaded.
        has_parents: whether what `traceparent` says counts.
        ratio: of requests without a parent that are sampled.
        unsampled: how many of those come before the next one that is; see `decide`.
        sampling: may be replaced while the server runs.
    """

    def __init__(
        self,
        *,
        slow_s: float = inf,
        sampling: Sampling = NEVER,
        sink: Sink | None = None,
        has_parents: bool = True,
        has_lazy_models: bool = False,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - the clock that is injected
    ) -> None:
        """Note nothing yet.

        Args:
            slow_s: see there.
            sampling: of what is exported.
            sink: takes that; None where nothing is.
            has_parents: see there; without a sink nothing does.
            has_lazy_models: see there.
            clock: seconds since the epoch.
        """
        self.current: RequestTrace | None = None
        self.slow_s = float(slow_s)  # to compare with an integer takes longer
        self.slow = SlowRequests()
        self._sink = sink
        self.has_parents = has_parents and sink is not None
        self.has_lazy_models = has_lazy_models
        self._clock = clock
        self._random = Random(os.urandom(16))  # noqa: S311 - ids, no secrets
        self._draw = self._random.random
        self._tokens = _KEPT_AT_ONCE
        self._tokens_at_s = perf_counter()
        self.sample(sampling)

    def sample(self, sampling: Sampling) -> None:
        """Decide like this from here on."""
        self.sampling = sampling
        self.ratio = 0.0 if self._sink is None or sampling.is_off else sampling.ratio
        self.unsampled = self._gap() if self.ratio else 0

    @property
    def is_exporting(self) -> bool:
        """Whether anything may be exported."""
        return self._sink is not None and not self.sampling.is_off

    def begin(self, parent: bytes | None) -> RequestTrace:
        """A request has come.

        Args:
            parent: its `traceparent`, as it was sent.
        """
        trace = RequestTrace()
        trace.begun_s = perf_counter()
        if parent is not None or self.ratio:
            self.decide(trace, parent)
        return trace

    def decide(self, trace: RequestTrace, parent: bytes | None) -> None:
        """Decide whether one that has just begun is sampled; see `begin`.

        A request without a parent is sampled with the probability `ratio`, whatever came of others.
        That is the same as to draw how many are not before the next one that is; for these, who is
        in a hurry may count `unsampled` down.
        """
        known = parent_of(parent) if parent is not None and self.has_parents else None
        if known is None:
            if self.unsampled:
                self.unsampled -= 1
            elif self.ratio:
                self.unsampled = self._gap()
                self._sample(trace, 0)
            return
        trace.parent = known
        if self.sampling.takes(known.trace_id, is_parent_sampled=known.is_sampled):
            self._sample(trace, known.trace_id)

    def _gap(self) -> int:
        """How many requests are not sampled before one is: of a geometric distribution."""
        if self.ratio >= 1:
            return 0
        gap = log(1 - self._draw()) / log1p(-self.ratio)
        return int(min(gap, _LONGEST_GAP))

    def _sample(self, trace: RequestTrace, trace_id: int) -> None:
        trace.is_sampled = True
        self._name(trace, trace_id)

    def _name(self, trace: RequestTrace, trace_id: int) -> None:
        draw = self._random.getrandbits
        trace.trace_id = trace_id or draw(128) or 1
        trace.span_id = draw(64) or 1

    def ended(self, trace: RequestTrace) -> str:
        """A request has been answered that is sampled, slow or a failure; all is noted of it.

        Returns:
            The id of its trace, if that is exported; empty where it is not.
        """
        is_slow = trace.ended_s - trace.begun_s >= self.slow_s
        is_exported = trace.is_sampled or self._keeps(trace, is_slow=is_slow)
        if is_exported and self._sink is not None:
            self._sink.put(trace)
        if is_slow:
            self.slow.put(self._clock(), trace)
        return f"{trace.trace_id:032x}" if is_exported else ""

    def _keeps(self, trace: RequestTrace, *, is_slow: bool) -> bool:
        """Whether one that was not sampled is exported all the same."""
        if not self.is_exporting or not (is_slow or trace.is_failure):
            return False
        now_s = trace.ended_s
        earned = (now_s - self._tokens_at_s) * _KEPT_PER_S
        self._tokens = min(_KEPT_AT_ONCE, self._tokens + max(0.0, earned))
        self._tokens_at_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        trace.reason = "failed" if trace.is_failure else "slow"
        self._name(trace, 0 if trace.parent is None else trace.parent.trace_id)
        return True

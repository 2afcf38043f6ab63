"""Exporting spans, in a thread of its own, which waits for the collector so that nobody else does.

The loop puts what it has noted on a bounded queue, which costs 0.1 µs; spans are made of it here.
What finds the queue full, or cannot be sent, is dropped and counted.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final, Protocol

from salver.instruments.threads import Breather
from salver.tracing.environment import ExportSettings
from salver.tracing.request import RequestTrace
from salver.tracing.spans import Span, Work, spans_of, spans_of_work

__all__ = ["Exporter", "Exporting"]

_log = logging.getLogger(__name__)

_SPANS_OF_REQUEST: Final = 5  # about so many are made of one: what waits is counted in spans
_SAY_AGAIN_S: Final = 60.0


class Exporter(Protocol):
    """Sends spans. Called by one thread, but for `shutdown`."""

    def export(self, spans: Sequence[Span]) -> bool:
        """Send them; whether they arrived. May take long, and raise."""
        ...

    def shutdown(self) -> None:
        """Send nothing more, and end what is being sent."""
        ...


class Exporting:
    """A `Sink`. `put` belongs to the loop; the rest may be called from any thread."""

    def __init__(
        self,
        make_exporter: Callable[[], Exporter],
        settings: ExportSettings,
        *,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - the clock that is injected
    ) -> None:
        """Begin.

        Args:
            make_exporter: called in the thread, since to import it takes long.
            settings: how many, and how often.
            clock: seconds since the epoch.
        """
        self._make_exporter = make_exporter
        self._exporter: Exporter | None = None
        self._settings = settings
        self._clock = clock
        self._most_waiting = max(1, settings.most_queued // _SPANS_OF_REQUEST)
        self._enough = max(1, settings.most_at_once // _SPANS_OF_REQUEST)
        self._waiting: deque[RequestTrace | Work] = deque()
        self._wake = threading.Event()
        self._is_closing = False
        self._dropped = 0  # by `put`
        self._lost = 0  # by the thread
        self._said_s = -_SAY_AGAIN_S
        self._is_failing = False
        self._breathe = Breather()
        self._thread = threading.Thread(target=self._run, name="salver-traces", daemon=True)
        self._thread.start()

    @property
    def dropped_spans(self) -> int:
        """How many were dropped: those of requests that were, by estimate."""
        return self._dropped * _SPANS_OF_REQUEST + self._lost

    def put(self, trace: RequestTrace) -> None:
        """See `Sink`."""
        self._put(trace)

    def put_work(self, work: Work) -> None:
        """Export what the server did of itself. From any thread."""
        self._put(work)

    def _put(self, item: RequestTrace | Work) -> None:
        waiting = self._waiting
        if len(waiting) >= self._most_waiting or self._is_closing:
            self._dropped += 1
            return
        waiting.append(item)
        if len(waiting) == self._enough:
            self._wake.set()

    def close(self, timeout_s: float) -> None:
        """Send what waits, for as long as that may take, and end."""
        self._is_closing = True
        self._wake.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive() and self._exporter is not None:
            self._exporter.shutdown()
            self._thread.join(0.2)
        if self.dropped_spans:
            _log.warning("%d spans were not exported", self.dropped_spans)

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._exporter = self._make_exporter()
        except Exception as error:  # noqa: BLE001 - the thread ends here; the log hears of it
            _log.error("Traces cannot be exported: %s", error)
            self._is_closing = True
            self._lose_waiting()
            return
        while not self._is_closing:
            self._wake.wait(self._settings.delay_s)
            self._wake.clear()
            self._export_waiting()
        self._export_waiting()
        self._exporter.shutdown()

    def _export_waiting(self) -> None:
        while self._waiting:
            spans: list[Span] = []
            while self._waiting and len(spans) < self._settings.most_at_once:
                spans += self._spans(self._waiting.popleft())
                self._breathe()
            self._export(spans)

    def _spans(self, item: RequestTrace | Work) -> list[Span]:
        epoch_ns = int((self._clock() - perf_counter()) * 1e9)
        if isinstance(item, Work):
            return spans_of_work(item, epoch_ns, random.getrandbits(128) or 1, _new_id)
        return spans_of(item, epoch_ns, _new_id)

    def _export(self, spans: Sequence[Span]) -> None:
        assert self._exporter is not None  # it was made when the thread began
        try:
            has_arrived, why = self._exporter.export(spans), ""
        except Exception as error:  # noqa: BLE001 - spans are lost, and the next may arrive
            has_arrived, why = False, f": {error}"
        if has_arrived:
            if self._is_failing:
                _log.info("Traces are exported again")
            self._is_failing = False
            return
        self._lost += len(spans)
        now_s = perf_counter()
        if not self._is_failing or now_s - self._said_s >= _SAY_AGAIN_S:
            self._said_s = now_s
            _log.warning(
                "Traces cannot be exported%s; %d spans are lost by now", why, self.dropped_spans
            )
        self._is_failing = True

    def _lose_waiting(self) -> None:
        self._lost += len(self._waiting) * _SPANS_OF_REQUEST
        self._waiting.clear()


def _new_id() -> int:
    return random.getrandbits(64) or 1

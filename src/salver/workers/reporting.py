"""What a worker has counted: reported to the supervisor, and the page made of all reports."""

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from contextlib import suppress
from time import perf_counter
from typing import Final

from salver.errors import ServingError, Unavailable
from salver.metrics.catalogue import BY_NAME
from salver.metrics.merged import Report, families_of, merge, report_of
from salver.metrics.registry import Metrics
from salver.metrics.text import Family, page
from salver.workers.channel import Channel
from salver.workers.futures import in_thread
from salver.workers.messages import Reading, Recall, Scrape

__all__ = ["MetricsReporter"]

_THREAD: Final = "salver-reports"
_EVERY_S: Final = 1.0
_SHARE: Final = 0.005  # of the time at most is spent on reports
_OTHERS_S: Final = 2.0  # the supervisor answers sooner, without those who do not answer it


class MetricsReporter:
    """Reads the metrics of one process. Made in the loop; see each method for who may call it."""

    def __init__(
        self,
        slot: int,
        metrics: Metrics,
        channel: Channel,
        loop: asyncio.AbstractEventLoop,
        *,
        accepted: Callable[[], int],
    ) -> None:
        """Report nothing yet.

        Args:
            slot: of the worker.
            metrics: what it counts.
            channel: to the supervisor.
            loop: where requests are counted.
            accepted: how many connections it has accepted so far.
        """
        self._slot = str(slot)
        self._metrics = metrics
        self._channel = channel
        self._loop = loop
        self._accepted = accepted
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._noted = 0
        self._reported: object = None
        self._others: list[Report] = []

    def start(self) -> None:
        """Begin to report. On the loop."""
        self._timer = self._loop.call_later(_EVERY_S, self._report_soon)

    def stop(self) -> None:
        """Report no more by itself. On the loop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def noted(self) -> None:
        """Something has been counted that is no request. From any thread."""
        self._noted += 1

    def read(self) -> Reading:
        """What has been counted by now. On the loop."""
        return self._reader()()

    def take(self) -> "Future[Reading]":
        """The same from any thread."""
        taken: Future[Reading] = Future()

        def read() -> None:
            make = self._reader()
            in_thread(_THREAD, lambda: taken.set_result(make()))

        self._loop.call_soon_threadsafe(read)
        return taken

    def draw(self) -> Callable[[], bytes]:
        """The page of the whole server; see `protocols.api.DrawPage`."""
        read = self.read_all()
        return lambda: page(families_of(read()))

    def read_all(self) -> Callable[[], Report]:
        """What the whole server has counted; see `protocols.api.ReadReport`."""
        make = self._reader()

        def read() -> Report:
            reading = make()
            # If need be, what they had counted the last time: it is better than nothing.
            with suppress(ServingError, TooLate):
                self._others = self._channel.request(Scrape(reading)).result(_OTHERS_S)
            return merge([reading.report, *self._others])

        return read

    def draw_history(self) -> Callable[[], bytes]:
        """What all workers did lately; see `protocols.api.DrawPage`.

        What it returns raises Unavailable where the supervisor does not answer.
        """
        make = self._reader()

        def ask() -> bytes:
            try:
                document: bytes = self._channel.request(Recall(make())).result(_OTHERS_S)
            except TooLate:
                raise Unavailable("The supervisor does not answer") from None
            return document

        return ask

    def _reader(self) -> Callable[[], Reading]:
        number = next(self._numbers)
        families = self._metrics.read()
        accepted = Family(
            BY_NAME["salver_worker_accepted_connections_total"],
            [((self._slot,), self._accepted())],
        )
        return lambda: Reading(number, report_of([*families(), accepted]))

    def _report_soon(self) -> None:
        mark = (self._metrics.mark(), self._noted)
        if mark == self._reported:
            self._report_again(_EVERY_S)
            return
        self._reported = mark
        make = self._reader()

        def report() -> None:
            begun_s = perf_counter()
            self._channel.notify(make())
            pause_s = max(_EVERY_S, (perf_counter() - begun_s) / _SHARE)
            self._loop.call_soon_threadsafe(self._report_again, pause_s)

        try:
            in_thread(_THREAD, report)
        except RuntimeError:  # there is no memory for a thread
            self._reported = None
            self._report_again(_EVERY_S)

    def _report_again(self, pause_s: float) -> None:
        if self._timer is not None:
            self._timer = self._loop.call_later(pause_s, self._report_soon)

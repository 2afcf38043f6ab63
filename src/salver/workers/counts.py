"""What a worker has counted: told to the supervisor again and again, and the page made of all."""

import asyncio
import itertools
import threading
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
from salver.workers.messages import Reading, Recall, Scrape

__all__ = ["Counts"]

_EVERY_S: Final = 1.0
_SHARE: Final = 0.005  # of the time at most is spent on telling
_OTHERS_S: Final = 2.0  # the supervisor answers sooner, without those who do not answer it


class Counts:
    """Reads the metrics of one process. Made in the loop; see each method for who may call it."""

    def __init__(
        self,
        slot: int,
        metrics: Metrics,
        channel: Channel,
        loop: asyncio.AbstractEventLoop,
        accepted: Callable[[], int],
    ) -> None:
        """Tell nothing yet.

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
        self._told: object = None
        self._others: list[Report] = []

    def start(self) -> None:
        """Begin to tell. On the loop."""
        self._timer = self._loop.call_later(_EVERY_S, self._tell_soon)

    def stop(self) -> None:
        """Tell no more by itself. On the loop."""
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
            self._in_thread(lambda: taken.set_result(make()))

        self._loop.call_soon_threadsafe(read)
        return taken

    def draw(self) -> Callable[[], bytes]:
        """The page of the whole server; see `server.doors.DrawPage`."""
        make = self._reader()

        def draw_all() -> bytes:
            reading = make()
            asked = self._channel.ask(Scrape(reading))
            # If need be, what they had counted the last time: it is better than nothing.
            with suppress(ServingError, TooLate):
                self._others = asked.result(_OTHERS_S)
            return page(families_of(merge([reading.report, *self._others])))

        return draw_all

    def draw_history(self) -> Callable[[], bytes]:
        """What all workers did lately; see `server.doors.DrawPage`.

        What it returns raises Unavailable where the supervisor does not answer.
        """
        make = self._reader()

        def ask() -> bytes:
            try:
                document: bytes = self._channel.ask(Recall(make())).result(_OTHERS_S)
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

    def _tell_soon(self) -> None:
        mark = (self._metrics.mark(), self._noted)
        if mark == self._told:
            self._timer = self._loop.call_later(_EVERY_S, self._tell_soon)
            return
        self._told = mark
        make = self._reader()

        def tell() -> None:
            begun_s = perf_counter()
            self._channel.tell(make())
            pause_s = max(_EVERY_S, (perf_counter() - begun_s) / _SHARE)
            self._loop.call_soon_threadsafe(self._tell_again, pause_s)

        try:
            self._in_thread(tell)
        except RuntimeError:  # there is no memory for a thread
            self._told = None
            self._tell_again(_EVERY_S)

    def _tell_again(self, pause_s: float) -> None:
        if self._timer is not None:
            self._timer = self._loop.call_later(pause_s, self._tell_soon)

    @staticmethod
    def _in_thread(do: Callable[[], None]) -> None:
        threading.Thread(target=do, name="salver-counts", daemon=True).start()

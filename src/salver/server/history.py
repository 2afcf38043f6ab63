"""The ring of a server of one process: fed by its loop, told by its page."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic, perf_counter
from typing import Any, Final

from salver.config.start_up import Configuration
from salver.instruments.threads import Breather
from salver.metrics.history import History
from salver.metrics.merged import report_of
from salver.metrics.registry import Metrics

__all__ = ["Recorder", "is_history_kept", "make_history"]

_SHARE: Final = 0.005  # of the time at most is spent on recording


def is_history_kept(configuration: Configuration) -> bool:
    """Whether the flags ask for a ring, and there is a page to look at it."""
    options = configuration.options
    is_shown = options.enable_playground and bool(configuration.monitoring.paths)
    return is_shown and options.dashboard_history_seconds > 0


def make_history(configuration: Configuration) -> History | None:
    """The ring that the flags ask for, if they do."""
    if not is_history_kept(configuration):
        return None
    return History(configuration.options.dashboard_history_seconds, monotonic())


class Recorder:
    """Ends a step of the ring again and again. Belongs to the loop."""

    def __init__(
        self,
        history: History,
        metrics: Metrics,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Record nothing yet.

        Args:
            history: the ring.
            metrics: what is counted in this process.
            in_thread: runs a function apart from the loop.
            clock: the one of the ring.
        """
        self._history = history
        self._metrics = metrics
        self._in_thread = in_thread
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._recording: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to record."""
        self._timer = self._loop.call_later(self._history.step_s, self._record_soon)

    def stop(self) -> None:
        """Record no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._recording is not None:
            self._recording.cancel()

    def draw(self) -> Callable[[], bytes]:
        """Take down what was counted; what it returns makes the document, in any thread."""
        read = self._metrics.read_recent()
        return lambda: self._history.document(report_of(read()), self._clock(), Breather())

    def _record_soon(self) -> None:
        self._recording = self._loop.create_task(self._record())

    async def _record(self) -> None:
        read = self._metrics.read_recent()
        began_s = perf_counter()

        def record() -> None:
            self._history.record(report_of(read()), self._clock(), Breather())

        await self._in_thread(record)
        if self._timer is not None:  # not stopped meanwhile
            pause_s = max(self._history.step_s, (perf_counter() - began_s) / _SHARE)
            self._timer = self._loop.call_later(pause_s, self._record_soon)

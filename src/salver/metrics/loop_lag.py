"""How late the event loop comes to its timers: what every request waits for on top."""

from collections.abc import Callable
from time import perf_counter
from typing import Final, Protocol

from salver.metrics.catalogue import BY_NAME
from salver.metrics.cells import Histograms
from salver.metrics.text import Family

__all__ = ["LoopLag"]

_EVERY_S: Final = 0.5


class _Timers(Protocol):
    """The part of an event loop that is needed."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> "_Handle": ...


class _Handle(Protocol):
    def cancel(self) -> None: ...


class LoopLag:
    """Sets a timer again and again, and looks when it was called. Belongs to the loop."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        """Measure nothing yet.

        Args:
            clock: seconds, monotonic; not the loop's own, which stands still during a turn.
        """
        self._clock = clock
        self._lags = Histograms(BY_NAME["salver_loop_lag_seconds"])
        self._due_s = 0.0
        self._handle: _Handle | None = None

    def start(self, loop: _Timers) -> None:
        """Measure a loop from here on."""
        self._due_s = self._clock() + _EVERY_S
        self._handle = loop.call_later(_EVERY_S, lambda: self._called(loop))

    def stop(self) -> None:
        """Measure no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def family(self) -> Family:
        """What has been measured by now. From any thread."""
        return self._lags.family()

    def _called(self, loop: _Timers) -> None:
        self._lags.observe(value=max(0.0, self._clock() - self._due_s))
        self.start(loop)

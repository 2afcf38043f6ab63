"""Giving back to the system what requests have used and nobody uses any more.

The allocator keeps the pages of what was freed where something small is still in use behind them.
After 24 answers of a million strings each that was 370 MB, of which 200 to 330 went back here.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from salver.instruments.heap import return_freed_pages
from salver.instruments.threads import in_background

__all__ = ["SpareMemory"]

_EVERY_S: Final = 10.0
_GROWN_BYTES: Final = 128 << 20
_BUSY_BYTES: Final = 16 << 20


class SpareMemory:
    """Looks now and then whether the process has grown. Belongs to the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        in_flight_bytes: Callable[[], int],
        *,
        resident_bytes: Callable[[], int],
        give_back: Callable[[], object] = return_freed_pages,
    ) -> None:
        """Look at nothing yet.

        Args:
            loop: that it belongs to.
            in_flight_bytes: what requests hold; while that is much, they would need it again.
            resident_bytes: what the process holds.
            give_back: returns what can be returned; called in a thread behind all others.
        """
        self._loop = loop
        self._in_flight_bytes = in_flight_bytes
        self._resident_bytes = resident_bytes
        self._give_back = give_back
        self._settled_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_giving = False

    def start(self, every_s: float = _EVERY_S) -> None:
        """Look every so often from here on."""
        self._settled_bytes = self._resident_bytes()
        self._set_timer(every_s)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, every_s: float) -> None:
        self._timer = self._loop.call_later(every_s, self._look, every_s)

    def _look(self, every_s: float) -> None:
        self._set_timer(every_s)
        held = self._resident_bytes()
        self._settled_bytes = min(self._settled_bytes, held)
        has_grown = held - self._settled_bytes >= _GROWN_BYTES
        if has_grown and not self._is_giving and self._in_flight_bytes() < _BUSY_BYTES:
            work = partial(in_background, "salver-spare-memory", self._give_back)
            with suppress(RuntimeError):  # there is no memory for a thread: the next time, then
                self._loop.run_in_executor(None, work).add_done_callback(self._given)
                self._is_giving = True

    def _given(self, _: "asyncio.Future[object]") -> None:
        self._settled_bytes = self._resident_bytes()
        self._is_giving = False

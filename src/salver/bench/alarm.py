"""Calls back at a fine moment: timers of event loops are whole milliseconds."""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

__all__ = ["Alarm"]

_LEAST_S: Final = 50e-6
_MONOTONIC: Final = 1  # linux/time.h
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC


class _Timer(ctypes.Structure):
    """`struct itimerspec`: the interval, and the time until the first."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


class Alarm:
    """Rings once each time it is set: by a timer of Linux, elsewhere to the millisecond."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        """Make it; it is not set yet."""
        self._loop = loop
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None
        self._library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._file = -1
        if self._library is not None:
            self._file = int(self._library.timerfd_create(_MONOTONIC, _FLAGS))
        if self._file >= 0:
            loop.add_reader(self._file, self._read)

    def set(self, delay_s: float) -> None:
        """Ring after so long, and not before 50 µs; forgets what it was set to before."""
        delay_s = max(delay_s, _LEAST_S)
        if self._library is not None and self._file >= 0:
            seconds, nanoseconds = divmod(int(delay_s * 1e9), 10**9)
            timer = _Timer(0, 0, seconds, nanoseconds)
            self._library.timerfd_settime(self._file, 0, ctypes.byref(timer), None)
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(delay_s, self._ring)

    def close(self) -> None:
        """Ring no more."""
        if self._file >= 0:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = -1
        if self._handle is not None:
            self._handle.cancel()

    def _read(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._file, 8)
        self._ring()

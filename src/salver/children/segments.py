"""Shared memory between the server and a child: anonymous, sealed in its size, used many times.

Each side writes into segments of its own and maps those of the other. A segment is a `memfd`, whose
descriptor goes over the socket once; nothing has a name that could be left behind. It is in use
from the message that it goes with until the reader has dropped the last array that lies in it, and
says so in a message of its own.
"""

import ctypes
import fcntl
import mmap
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Any, Final

import numpy as np

from salver.vocabulary.requests import Array

__all__ = ["Inbox", "Outbox", "Segment", "WrongSegment"]

_LEAST_BYTES: Final = 1 << 16
_MOST_IDLE_BYTES: Final = 32 << 20  # that a side keeps for the next message
_MOST_IDLE: Final = 16
_SEALS: Final = (  # none where it is not Linux, and there are no children
    getattr(fcntl, "F_SEAL_SHRINK", 0)
    | getattr(fcntl, "F_SEAL_GROW", 0)
    | getattr(fcntl, "F_SEAL_SEAL", 0)
)


_MAP_FAILED: Final = ctypes.c_void_p(-1).value


@cache
def _memory_calls() -> tuple[Any, Any]:
    """`mmap` and `munmap`, not before they are needed.

    Whoever asks the loader for a name waits for the thread in which a server opens TensorFlow.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    map_, unmap = libc.mmap, libc.munmap
    map_.restype = ctypes.c_void_p
    map_.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int),
        ctypes.c_long,
    )
    unmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return map_, unmap


class WrongSegment(Exception):
    """What the other side sent is no segment such as we make them."""


class _Mapped:
    """Memory that is mapped for as long as somebody has it, be it by an array.

    (`mmap.mmap` would keep a descriptor open for each.)
    """

    __slots__ = ("__array_interface__", "_address", "_size", "_unmap")

    def __init__(self, descriptor: int, size: int) -> None:
        map_, self._unmap = _memory_calls()
        address = map_(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, descriptor, 0)
        if address in (None, _MAP_FAILED):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._address, self._size = address, size
        self.__array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }

    def __del__(self) -> None:
        if hasattr(self, "_address"):
            self._unmap(self._address, self._size)


class Segment:
    """Memory of this side.

    Attributes:
        number: by which both sides know it.
        array: all its bytes.
        descriptor: until it is sent; None after that.
    """

    __slots__ = ("array", "descriptor", "number")

    def __init__(self, number: int, size: int) -> None:
        descriptor = os.memfd_create("salver-child", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, size)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            self.array: Array = np.asarray(_Mapped(descriptor, size))
        except BaseException:
            os.close(descriptor)
            raise
        self.number = number
        self.descriptor: int | None = descriptor

    def sent(self) -> None:
        """The other side has it: the descriptor is needed no more."""
        descriptor, self.descriptor = self.descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "descriptor", None) is not None:
            self.sent()


class Outbox:
    """The segments of this side. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._in_use: dict[int, Segment] = {}
        self._idle: dict[int, list[Segment]] = {}  # by size
        self._idle_bytes = 0
        self._dropped: list[int] = []

    def take(self, size: int) -> Segment:
        """A segment with room for so many bytes, which may hold anything.

        Raises:
            OSError: the system has none.
        """
        rounded = max(_LEAST_BYTES, 1 << (size - 1).bit_length())
        with self._lock:
            idle = self._idle.get(rounded)
            if idle:
                segment = idle.pop()
                self._idle_bytes -= rounded
                self._in_use[segment.number] = segment
                return segment
            self._last += 1
            number = self._last
        segment = Segment(number, rounded)
        with self._lock:
            self._in_use[number] = segment
        return segment

    def put_back(self, numbers: Iterable[int]) -> None:
        """The other side needs them no more; of what it never had nothing is done."""
        with self._lock:
            for number in numbers:
                segment = self._in_use.pop(number, None)
                if segment is None:
                    continue
                size = segment.array.nbytes
                kept = sum(map(len, self._idle.values()))
                if self._idle_bytes + size > _MOST_IDLE_BYTES or kept >= _MOST_IDLE:
                    self._dropped.append(number)
                else:
                    self._idle.setdefault(size, []).append(segment)
                    self._idle_bytes += size

    def take_dropped(self) -> list[int]:
        """Those that the other side shall let go of."""
        if not self._dropped:
            return []
        with self._lock:
            dropped, self._dropped = self._dropped, []
        return dropped


class Inbox:
    """The segments of the other side. Safe to use from any thread."""

    def __init__(self) -> None:
        self._maps: dict[int, _Mapped] = {}
        self._leases: dict[int, weakref.ref[Array]] = {}
        self._returned: deque[int] = deque()

    def add(self, number: int, descriptor: int, size: int) -> None:
        """Map a segment; the descriptor is closed.

        Raises:
            WrongSegment: it could shrink, so that who reads it would be ended.
        """
        try:
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
            if seals & _SEALS != _SEALS or os.fstat(descriptor).st_size < size or size <= 0:
                raise WrongSegment("a segment is not sealed, or is smaller than it says")
            self._maps[number] = _Mapped(descriptor, size)
        except (OSError, ValueError) as error:
            raise WrongSegment(str(error)) from error
        finally:
            os.close(descriptor)

    def lease(self, number: int) -> Array:
        """The bytes of a segment. It goes back when this array, and all views of it, are dropped.

        Raises:
            WrongSegment: there is none of that number, or it is in use.
        """
        mapped = self._maps.get(number)
        if mapped is None or number in self._leases:
            raise WrongSegment(f"there is no segment {number} to be read")
        array: Array = np.asarray(mapped)

        def ended(_reference: "weakref.ref[Array]") -> None:  # in any thread
            self._leases.pop(number, None)
            self._returned.append(number)

        self._leases[number] = weakref.ref(array, ended)
        return array

    def drop(self, numbers: Iterable[int]) -> None:
        """Let go of segments."""
        for number in numbers:
            self._maps.pop(number, None)

    def take_returned(self) -> list[int]:
        """Those that this side needs no more."""
        returned: list[int] = []
        if not self._returned:
            return returned
        with suppress(IndexError):  # another thread may be first
            while self._returned:
                returned.append(self._returned.popleft())
        return returned

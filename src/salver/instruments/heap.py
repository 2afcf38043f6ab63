"""Memory of large messages: taken once, written once, and kept from going back and forth.

A request of 3 MB read in the usual way is copied three times before anybody looks at it, each time
into pages that the system has just taken back after the last request, and must fill with zeros
again: of 1.6 to 2.8 ms that the loop spent on one, that was 0.9 to 2.
"""

import ctypes
import os
from collections import deque
from ctypes import c_char_p, c_int, c_ssize_t, c_void_p, py_object
from functools import cache
from typing import Any, Final

import numpy as np

__all__ = [
    "joined",
    "keep_freed_pages",
    "return_freed_pages",
    "unfilled_bytes",
]

_LONG_COPY_BYTES: Final = 1 << 20  # a shorter one is over sooner than the GIL is had back
_KEPT_BYTES: Final = 32 << 20  # in each of the allocator's arenas, of which most stay empty
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_WRITABLE: Final = 0x200  # PyBUF_WRITE

_python: Any = ctypes.PyDLL(None)
_allocator: Any = ctypes.CDLL(None)  # which lets other threads have the GIL
_new_bytes: Any = _python.PyBytes_FromStringAndSize
_new_bytes.restype = py_object
_new_bytes.argtypes = (c_char_p, c_ssize_t)
_address_of: Any = _python.PyBytes_AsString
_address_of.restype = c_void_p
_address_of.argtypes = (py_object,)
_view_of: Any = _python.PyMemoryView_FromMemory
_view_of.restype = py_object
_view_of.argtypes = (c_void_p, c_ssize_t, c_int)


def unfilled_bytes(size: int) -> tuple[bytes, memoryview]:
    """Bytes that are yet to be written, and where to write them.

    What Python's documentation allows an extension to do with bytes that nobody else has seen: they
    must not be shown to anybody before all of them are written, nor be written to afterwards. The
    view does not keep them alive.

    Args:
        size: how many; at least two, for fewer are shared.

    Raises:
        MemoryError: there is no room.
    """
    new: bytes = _new_bytes(None, size)
    view: memoryview = _view_of(_address_of(new), size, _WRITABLE)
    return new, view.cast("B")


def joined(pieces: "deque[Any]") -> bytes:
    """The pieces, one behind the other; each is freed when it has been copied.

    Where there is much of it, other threads run meanwhile: fresh memory is filled with zeros by
    the system when it is first written to, which takes longer than the copying.

    Args:
        pieces: bytes, or what has their interface; emptied.
    """
    size = sum(map(len, pieces))
    if size <= _LONG_COPY_BYTES:
        whole = b"".join(pieces)
        pieces.clear()
        return whole
    whole, view = unfilled_bytes(size)
    target = np.frombuffer(view, np.uint8)  # numpy copies without the GIL
    at = 0
    while pieces:
        piece = np.frombuffer(pieces.popleft(), np.uint8)
        target[at : at + piece.size] = piece
        at += piece.size
    return whole


@cache
def keep_freed_pages() -> bool:
    """Have the allocator keep some freed memory, from now on and for good, rather than return it.

    For whoever takes and frees megabytes for each of many requests. Changes nothing where the
    allocator is not glibc's, or the environment tells it what to do.

    Returns:
        Whether it does.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    tune = getattr(_python, "mallopt", None)
    if tune is None:
        return False
    # Setting one of them ends that glibc raises both by itself, so both are set.
    return bool(tune(_MMAP_THRESHOLD, _KEPT_BYTES) and tune(_TRIM_THRESHOLD, _KEPT_BYTES))


def return_freed_pages() -> bool:
    """Return the pages of what has been freed: those between pieces that are still in use.

    For a thread in which much was freed, without the GIL. Left to itself, glibc's allocator does
    that when some thread frees the piece that joins all the others: 64 MB took 27 and 54 ms in the
    event loop, at a request long after a ResNet-50 had been unloaded. Each arena is locked while
    its pages are returned, so who allocates there meanwhile still waits: 4 to 36 ms for 65 MB in
    the event loop's own arena, where models are not. At the end of that one, what
    `keep_freed_pages` keeps is kept.

    Returns:
        Whether there was something to return. False where the allocator is not glibc's.
    """
    trim = getattr(_allocator, "malloc_trim", None)
    return trim is not None and bool(trim(ctypes.c_size_t(_KEPT_BYTES)))

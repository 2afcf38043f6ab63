"""How much memory the requests in flight hold, against one limit for the process.

Counted are bodies as they come in, what they are inflated to, and answers that their clients have
not read yet. What is answered within one turn of the loop is not: it is gone before anybody could
ask. A request that would go beyond the limit is refused, so that clients who send much, or read
slowly, cost themselves an error and nobody else the server.
"""

import threading
from typing import Final

from salver.errors import Cancelled, Overloaded
from salver.instruments.machine import memory_bytes

__all__ = ["UNLIMITED", "Holding", "MemoryInFlight", "default_bytes_in_flight"]


class MemoryInFlight:
    """The account of a process. Thread-safe.

    Attributes:
        held_bytes: that requests hold now.
        rejected: how many requests were refused so far.
    """

    __slots__ = ("_most_bytes", "held_bytes", "lock", "rejected")

    def __init__(self, most_bytes: int | None) -> None:
        """Nothing is held yet.

        Args:
            most_bytes: that requests may hold together; None for any.
        """
        self._most_bytes = most_bytes
        self.held_bytes = 0
        self.rejected = 0
        self.lock = threading.Lock()

    def take(self, count: int) -> None:
        """Hold so many bytes more; the caller has the lock.

        Raises:
            Overloaded: they would be too many; none of them is held.
        """
        held_bytes = self.held_bytes + count
        if self._most_bytes is not None and held_bytes > self._most_bytes:
            self.rejected += 1
            raise Overloaded(
                f"Requests in flight would hold {held_bytes} bytes, more than {self._most_bytes}",
                hint="Try again in a moment; --max_memory_in_flight_bytes sets this limit.",
            )
        self.held_bytes = held_bytes

    def add(self, count: int) -> None:
        """Hold so many bytes more, or fewer, whatever the limit; the caller has the lock."""
        self.held_bytes += count


class Holding:
    """What one request holds. Thread-safe: a thread may still work for a request that has ended.

    Attributes:
        size: in bytes.
    """

    __slots__ = ("_is_over", "_memory", "size")

    def __init__(self, memory: MemoryInFlight) -> None:
        self._memory = memory
        self._is_over = False
        self.size = 0

    def grow(self, count: int) -> None:
        """Hold so many bytes more.

        Raises:
            Overloaded: they would be too many; what is held already stays until `release`.
            Cancelled: the request has ended.
        """
        with self._memory.lock:
            if self._is_over:
                raise Cancelled("Nobody waits for it any more")
            self._memory.take(count)
            self.size += count

    def grow_to(self, size: int) -> None:
        """Hold at least so many; raises as `grow`."""
        if size > self.size:
            self.grow(size - self.size)

    def add(self, count: int) -> None:
        """Hold so many bytes more, whatever the limit: of an answer, which is there already."""
        with self._memory.lock:
            if not self._is_over:
                self._memory.add(count)
                self.size += count

    def release(self) -> None:
        """The request has ended; may be called again."""
        with self._memory.lock:
            self._is_over = True
            self._memory.add(-self.size)
            self.size = 0


def default_bytes_in_flight() -> int:
    """What a server lets requests hold where nobody says more: half of the memory it may use."""
    return memory_bytes() // 2


UNLIMITED: Final = MemoryInFlight(None)
"""For those who do not count."""

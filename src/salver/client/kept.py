"""One transport for each address, of so many addresses and no more. Thread-safe."""

import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from salver.client.address import Address

__all__ = ["KeptTransports"]

_MOST: Final = 64
T = TypeVar("T")


class _Kept(Generic[T]):
    __slots__ = ("transport", "users")

    def __init__(self, transport: T) -> None:
        self.transport = transport
        self.users = 0


class KeptTransports(Generic[T]):
    """Those that were used last; one that is in use stays."""

    def __init__(self, make: Callable[[Address], T], most: int = _MOST) -> None:
        """Have none yet.

        Args:
            make: makes one.
            most: that are kept when nobody uses them.
        """
        self._make = make
        self._most = most
        self._lock = threading.Lock()
        self._kept: dict[Address, _Kept[T]] = {}  # what was used last is last

    def take(self, address: Address) -> T:
        """One to use; `give_back` follows."""
        with self._lock:
            kept = self._kept.pop(address, None)
            if kept is None:
                kept = _Kept(self._make(address))
            self._kept[address] = kept
            kept.users += 1
            return kept.transport

    def give_back(self, address: Address) -> list[T]:
        """It is used no more.

        Returns:
            Those that are kept no longer, for the caller to close.
        """
        with self._lock:
            kept = self._kept.get(address)
            if kept is not None:  # else all were taken out meanwhile
                kept.users -= 1
            over = len(self._kept) - self._most
            if over <= 0:
                return []
            unused = [each for each, kept in self._kept.items() if not kept.users]
            return [self._kept.pop(each).transport for each in unused[:over]]

    def take_out(self) -> list[T]:
        """All of them, for the caller to close."""
        with self._lock:
            kept, self._kept = self._kept, {}
        return [each.transport for each in kept.values()]

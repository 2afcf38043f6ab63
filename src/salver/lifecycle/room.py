"""Which versions may be in memory, which wait for room, and which have to leave.

Pure: decided under the lock of a `Residency`, and done by that.
"""

import itertools
from collections import OrderedDict, deque
from typing import Generic, TypeVar

from salver.lifecycle.budget import Budget
from salver.lifecycle.loader import Closable
from salver.lifecycle.placeholders import Placeholder, Presence

__all__ = ["Room"]

T = TypeVar("T", bound=Closable)


class Room(Generic[T]):
    """The room that all versions share. Not thread-safe.

    Attributes:
        queue: versions that wait for room, the first to come first.
        recent: all that are in memory, the one used longest ago first.
        taken: all that take room: those on their way in or out too.
        late: of these, those whose load does not return.
        evictions: by model, how often a version had to make room for another.
    """

    def __init__(self, max_loaded: int, budget: Budget) -> None:
        """Begin with none.

        Args:
            max_loaded: versions at a time; 0 for any number.
            budget: of memory.
        """
        self._max_loaded = max_loaded
        self._budget = budget
        self.queue: deque[Placeholder[T]] = deque()
        self.recent: OrderedDict[Placeholder[T], None] = OrderedDict()
        self.taken: set[Placeholder[T]] = set()
        self.late: set[Placeholder[T]] = set()
        self.evictions: dict[str, int] = {}

    def take_hopeless(self) -> list[Placeholder[T]]:
        """Those that do not fit even alone; they must not drive out others, nor keep them waiting.

        They wait no more.
        """
        can_fit = self._budget.can_ever_fit
        hopeless = [each for each in self.queue if not can_fit(each.id, each.files)]
        for each in hopeless:
            self.queue.remove(each)
        return hopeless

    def take_fitting(self) -> list[Placeholder[T]]:
        """Those that there is room for now, in their order; they load from now on."""
        fitting: list[Placeholder[T]] = []
        while self.queue and self._has_room(self.queue[0]):
            first = self.queue.popleft()
            first.presence = Presence.LOADING
            self.taken.add(first)
            fitting.append(first)
        return fitting

    def evict(self) -> list[Placeholder[T]]:
        """Have as many leave as others wait for room; they take no new requests from now on."""
        if not self.queue:
            return []
        going = sum(p.presence not in (Presence.LOADING, Presence.IN) for p in self.taken)
        evicted: list[Placeholder[T]] = []
        while len(evicted) < len(self.queue) - going and self.recent:
            # The one used longest ago, of those that no request needs if there are such.
            idle = (each for each in self.recent if each.is_idle)
            victim = next(itertools.chain(idle, self.recent))
            self.leave(victim)
            evicted.append(victim)
        return evicted

    def leave(self, victim: Placeholder[T]) -> None:
        """Have one leave that is in memory; it takes no new requests from now on."""
        del self.recent[victim]
        victim.presence = Presence.LEAVING
        self.evictions[victim.id.name] = self.evictions.get(victim.id.name, 0) + 1

    def release(self, placeholder: Placeholder[T]) -> None:
        """A version takes no room any more."""
        self.taken.discard(placeholder)
        self._budget.release(placeholder.id)

    def _has_room(self, placeholder: Placeholder[T]) -> bool:
        # A load that does not return, perhaps never, must not keep out all others.
        num_taken = len(self.taken) - len(self.late)
        if self._max_loaded and num_taken >= self._max_loaded:
            return False
        # What is still there of an earlier generation of the version must go first.
        if any(taken.id == placeholder.id for taken in self.taken):
            return False
        return self._budget.reserve(placeholder.id, placeholder.files)

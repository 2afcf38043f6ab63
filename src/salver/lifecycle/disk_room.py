"""Fetches that find no room on the disk beside what is in memory, and who has to leave for them.

A version that was fetched stays on the disk as long as it is in memory. So where the limit of the
disk is the smaller one, the version in memory that was used longest ago makes room there, too.

Pure: decided under the lock of a `Residency`, and done by that.
"""

from typing import Generic, TypeVar

from salver.errors import ServingError
from salver.lifecycle.loader import Closable
from salver.lifecycle.placeholders import Placeholder, Presence
from salver.lifecycle.room import Room

__all__ = ["DiskRoom"]

T = TypeVar("T", bound=Closable)


class DiskRoom(Generic[T]):
    """The versions whose fetch waits for room. Not thread-safe."""

    def __init__(self, room: Room[T]) -> None:
        """None waits.

        Args:
            room: what is in memory.
        """
        self._room = room
        self._waiting: dict[Placeholder[T], ServingError] = {}
        self._fetching: set[Placeholder[T]] = set()

    def begin(self, placeholder: Placeholder[T]) -> None:
        """It is being fetched from now on."""
        self._fetching.add(placeholder)

    def end(self, placeholder: Placeholder[T], refusal: ServingError | None = None) -> None:
        """It is fetched no more; with a refusal it waits until there is room."""
        self._fetching.discard(placeholder)
        if refusal is not None:
            self._waiting[placeholder] = refusal

    def discard(self, placeholder: Placeholder[T]) -> None:
        """It is not wanted any more."""
        self._waiting.pop(placeholder, None)

    def take_all(self) -> dict[Placeholder[T], ServingError]:
        """All that wait, and why; they wait no more."""
        taken, self._waiting = self._waiting, {}
        return taken

    def take_unclaimed(self) -> list[Placeholder[T]]:
        """Those that nobody waits for; nobody is to leave for them."""
        unclaimed = [each for each in self._waiting if not each.claims]
        for each in unclaimed:
            del self._waiting[each]
        return unclaimed

    def victim(self) -> Placeholder[T] | None:
        """Who is to leave now. None where nobody can, or somebody leaves already."""
        if not self._waiting or self._is_anybody_leaving():
            return None
        fetched = [each for each in self._room.recent if each.local is not None]
        return next((each for each in fetched if each.is_idle), next(iter(fetched), None))

    def is_hopeless(self) -> bool:
        """Whether some wait, and nothing that is under way can ever make room for them."""
        is_under_way = self._fetching or any(
            map(_has_files, (*self._room.taken, *self._room.queue))
        )
        return bool(self._waiting) and not is_under_way

    def _is_anybody_leaving(self) -> bool:
        leaving = (Presence.LEAVING, Presence.CLOSING, Presence.GONE)
        return any(each.presence in leaving and _has_files(each) for each in self._room.taken)


def _has_files(placeholder: Placeholder[T]) -> bool:
    """Whether it keeps files, or will; while it loads, its load does."""
    return placeholder.local is not None or (
        placeholder.fetch is not None and placeholder.presence is Presence.LOADING
    )

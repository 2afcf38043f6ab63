"""Which base paths need not be listed again, because nothing in them has changed.

To list a directory takes several times as long as to ask when it has changed, which a thousand
models make a matter of percents of a processor. Not every file system dates its directories, so
some of them are listed at every poll all the same, in turns, and few models always.
"""

import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

__all__ = ["LISTED_IN_TURN", "Looks"]

LISTED_IN_TURN: Final = 50
"""Base paths that are listed at each poll whatever their dates; so many models, and no more, always
are."""

_REST_S: Final = 3.0  # coarser than the clock of any file system: two seconds, of FAT

S = TypeVar("S", bound=Hashable)


@dataclass(slots=True)
class _Look:
    stamp: tuple[int, ...]
    since_s: float  # when the directory was first seen so
    listed_s: float = 0.0


class Looks:
    """Remembers how base paths looked. Belongs to the thread that polls."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Know nothing.

        Args:
            clock: seconds, monotonic.
        """
        self._clock = clock
        self._looks: dict[Hashable, _Look] = {}
        self._turn = 0

    def to_list(self, places: Sequence[tuple[S, str]]) -> list[S]:
        """Of some base paths, those to be listed now, in their order; all others are forgotten.

        Args:
            places: by what the caller knows them, and where they are on this machine.
        """
        count, now_s = len(places), self._clock()
        due = {(self._turn + n) % count for n in range(min(LISTED_IN_TURN, count))}
        self._turn = (self._turn + LISTED_IN_TURN) % max(1, count)
        before, self._looks = self._looks, {}
        listed = []
        for number, (key, path) in enumerate(places):
            stamp = _stamp(path)
            look = before.get(key)
            if look is None or look.stamp != stamp:
                look = _Look(stamp, now_s)
            self._looks[key] = look
            # What was listed so soon after a change may have missed the end of it.
            is_known = bool(stamp) and look.listed_s - look.since_s >= _REST_S
            if number in due or not is_known:
                look.listed_s = now_s
                listed.append(key)
        return listed


def _stamp(path: str) -> tuple[int, ...]:
    """What changes when the entries of a directory do; empty for what cannot be looked at."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)

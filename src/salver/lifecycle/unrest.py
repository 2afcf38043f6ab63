"""When a change of its files is reason to try a failed version again.

Not at once: a directory that is being copied changes all the time, and each try reads the whole
model. So the files must have rested, and whoever fails again and again is tried less and less.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from salver.files import Footprint
from salver.lifecycle.loader import Footprinter, look_at
from salver.lifecycle.messages import Troubled
from salver.servable import ServableId

__all__ = ["Findings", "Unrest", "pause_s"]

_REST_S = 1.0
_LONGEST_PAUSE_S = 60.0  # as long as the default of --load_retry_interval_micros


def pause_s(restarts: int) -> float:
    """The shortest time between a failed try and the next that a change of files may cause.

    It doubles, so a copy that takes long and pauses often is noticed to be whole after another
    half of its time at most.

    Args:
        restarts: tries in a row that such changes have caused so far.
    """
    return min(_REST_S * 2.0 ** min(restarts, 10), _LONGEST_PAUSE_S)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a look at the files of troubled versions has found.

    Attributes:
        directories: of these versions; a change below them is worth another look.
        again_s: when to look again even if nothing more changes, in seconds; None for never.
        rested: the versions to try again now.
    """

    directories: tuple[str, ...]
    again_s: float | None
    rested: tuple[Troubled, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    found: Footprint | None
    since_s: float


class Unrest:
    """Remembers since when files look as they do. Safe to use from any thread."""

    def __init__(self, look: Footprinter, clock: Callable[[], float]) -> None:
        """Know of no change.

        Args:
            look: takes the footprint of a version directory.
            clock: seconds, monotonic, the one of `Troubled.failed_s`.
        """
        self._look = look
        self._clock = clock
        self._looking = threading.Lock()
        self._looks: dict[ServableId, _Look] = {}

    def examine(self, troubled: Iterable[Troubled]) -> Findings:
        """Look at the files of these versions, and forget all others. Reads directories."""
        with self._looking:
            before, self._looks = self._looks, {}
            directories: list[str] = []
            rested: list[Troubled] = []
            waits_s: list[float] = []
            for version in troubled:
                directories.append(version.path)
                found = look_at(version.path, self._look)
                if found == version.seen:
                    continue
                now_s = self._clock()
                look = before.get(version.id)
                if look is None or look.found != found:
                    look = _Look(found, now_s)
                self._looks[version.id] = look
                due_s = max(look.since_s + _REST_S, version.failed_s + pause_s(version.restarts))
                if due_s <= now_s:
                    rested.append(version)
                else:
                    waits_s.append(due_s - now_s)
        return Findings(tuple(directories), min(waits_s, default=None), tuple(rested))

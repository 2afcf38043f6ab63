"""When a change of its files is reason to try a failed version again.

Not at once: a directory that is being copied changes all the time, and each try reads the whole
model. So the files must have rested, and one that fails again and again is tried less and less.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from salver.instruments.files import Footprint
from salver.lifecycle.attempt import Attempt
from salver.lifecycle.loader import Footprinter, footprint_of
from salver.vocabulary.servable import ServableId

__all__ = ["FileChanges", "Findings", "Retryable", "pause_s"]

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
class Retryable:
    """A version that a change of its files may help: it failed, or waits for its next try.

    Attributes:
        id: the version.
        path: its directory.
        seen: how its files looked just before the last try; None when they could not be looked at.
        failed_s: when that try failed.
        restarts: tries in a row that a change of the files has caused.
    """

    id: ServableId
    path: str
    seen: Footprint | None
    failed_s: float
    restarts: int

    @classmethod
    def of(cls, attempt: Attempt) -> "Retryable":
        """The version whose try has just failed."""
        # One whose files could not be fetched counts as changed: it is tried again as it is.
        seen = None if attempt.is_store_to_blame and attempt.due_s is None else attempt.seen
        return cls(attempt.id, attempt.path, seen, attempt.failed_s, attempt.restarts)


@dataclass(frozen=True, slots=True)
class Findings:
    """What has become of the files of retryable versions.

    Attributes:
        directories: of these versions; a change below them is reason to check again.
        again_s: when to check again even if nothing more changes, in seconds; None for never.
        rested: the versions to try again now.
    """

    directories: tuple[str, ...]
    again_s: float | None
    rested: tuple[Retryable, ...]


@dataclass(frozen=True, slots=True)
class _Files:
    found: Footprint | None
    since_s: float


class FileChanges:
    """Remembers since when files look as they do. Safe to use from any thread."""

    def __init__(self, look: Footprinter, clock: Callable[[], float]) -> None:
        """Know of no change.

        Args:
            look: takes the footprint of a version directory.
            clock: seconds, monotonic, the one of `Retryable.failed_s`.
        """
        self._look = look
        self._clock = clock
        self._checking = threading.Lock()
        self._known: dict[ServableId, _Files] = {}

    def check(self, retryable: Iterable[Retryable]) -> Findings:
        """Look at the files of these versions, and forget all others. Reads directories."""
        with self._checking:
            before, self._known = self._known, {}
            directories: list[str] = []
            rested: list[Retryable] = []
            waits_s: list[float] = []
            for version in retryable:
                directories.append(version.path)
                found = footprint_of(version.path, self._look)
                if found == version.seen:
                    continue
                now_s = self._clock()
                files = before.get(version.id)
                if files is None or files.found != found:
                    files = _Files(found, now_s)
                self._known[version.id] = files
                due_s = max(files.since_s + _REST_S, version.failed_s + pause_s(version.restarts))
                if due_s <= now_s:
                    rested.append(version)
                else:
                    waits_s.append(due_s - now_s)
        return Findings(tuple(directories), min(waits_s, default=None), tuple(rested))

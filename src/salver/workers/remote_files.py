"""Versions that a worker loads on demand, and that lie elsewhere: the supervisor fetches them.

So there is one limit for all fetches, one listing that says which files a version has now, and one
account of what came. A version stays in the cache as long as some worker needs it.
"""

import itertools
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, Final

from salver.instruments.cache import NoRoomBeside
from salver.instruments.files import Footprint, footprint, scheme_of
from salver.lifecycle.attempt import Local
from salver.lifecycle.fetching import Stage
from salver.workers.file_messages import (
    CancelFetch,
    FetchFiles,
    FilesFetched,
    FindFiles,
    ReleaseFiles,
)

__all__ = ["RemoteFiles"]

_COPIES: Final = "copy"
_LOOK_S: Final = 0.1
_FIND_S: Final = 10.0


class _Kept:
    """A `Local`."""

    def __init__(self, directory: str, release: Callable[[], object]) -> None:
        self.directory = directory
        self._release = release

    def close(self) -> None:
        self._release()


class RemoteFiles:
    """A `Fetcher` of the lifecycle, for a worker. Safe to use from any thread."""

    def __init__(
        self,
        ask: "Callable[[object], Future[Any]]",
        notify: Callable[[object], None],
        *,
        are_sums_demanded: bool = False,
    ) -> None:
        """Ask nothing yet.

        Args:
            ask: sends a request to the supervisor.
            notify: tells the supervisor something.
            are_sums_demanded: versions on this machine are copied and compared before a load.
        """
        self._ask = ask
        self._notify = notify
        self._are_copied = are_sums_demanded
        self._numbers = itertools.count()
        self._files: dict[str, Footprint] = {}
        self._done_bytes: dict[int, int] = {}

    def lane(self, path: str) -> str | None:
        """See `Fetcher`."""
        return scheme_of(path) or (_COPIES if self._are_copied else None)

    def look(self, path: str) -> Footprint:
        """How the files of a version look; of those elsewhere as they did when last asked.

        Raises:
            ServingError: nobody can tell.
        """
        if not scheme_of(path):
            return footprint(path)
        found = self._files.get(path)
        return self.find(path) if found is None else found

    def find(self, path: str) -> Footprint:
        """The same, as the store was last listed. Waits for the supervisor: not for the loop.

        Raises:
            ServingError: nobody can tell.
        """
        found: Footprint = self._ask(FindFiles(path)).result(_FIND_S)
        self._files[path] = found
        return found

    def fetch(self, number: int, path: str, stage: Stage) -> Local:
        """See `Fetcher`."""
        key = next(self._numbers)
        self._done_bytes[key] = 0
        answer = self._ask(FetchFiles(key, number, path))
        try:
            while not wait([answer], _LOOK_S).done:
                stage.progress(self._done_bytes[key])
            stage.check()
            fetched = answer.result()
        except BaseException:
            self._notify(CancelFetch(key))
            raise
        finally:
            del self._done_bytes[key]
        if not isinstance(fetched, FilesFetched):
            raise NoRoomBeside(fetched.message)
        self._files[path] = fetched.files
        return _Kept(fetched.directory, partial(self._notify, ReleaseFiles(key)))

    def progress(self, number: int, done_bytes: int) -> None:
        """The supervisor tells how far a fetch is."""
        if number in self._done_bytes:
            self._done_bytes[number] = done_bytes

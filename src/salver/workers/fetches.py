"""What the supervisor fetches for workers that load versions on demand, and keeps for them."""

import threading
import time
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from salver.errors import STOPPING, Cancelled, Unavailable
from salver.instruments.cache import NoRoomBeside
from salver.sources.by_scheme import Sources
from salver.sources.fetching import Fetched
from salver.workers.file_messages import (
    CancelFetch,
    FetchFiles,
    FetchProgress,
    FilesFetched,
    FindFiles,
    NoRoomOnDisk,
    OfFiles,
    ReleaseFiles,
)
from salver.workers.futures import in_thread
from salver.workers.member import Member

__all__ = ["WorkerFetches"]

_TELL_S: Final = 0.5
_WAIT_S: Final = 0.1

_Key = tuple[Member, int]


class _Stage:
    """A `Stage` whose worker is told how far it is."""

    def __init__(self, member: Member, number: int) -> None:
        self._member = member
        self._number = number
        self._told_s = time.monotonic()
        self.is_cancelled = False
        self.is_stopping = False

    def check(self) -> None:
        if self.is_cancelled:
            raise Cancelled("The worker does not want it any more")
        if self.is_stopping:
            raise Unavailable(STOPPING)

    def progress(self, done_bytes: int) -> None:
        self.check()
        now_s = time.monotonic()
        if now_s - self._told_s >= _TELL_S:
            self._told_s = now_s
            self._member.notify(FetchProgress(self._number, done_bytes))

    def wait(self, seconds: float) -> None:
        until_s, nothing = time.monotonic() + seconds, threading.Event()
        self.check()
        while (left_s := until_s - time.monotonic()) > 0:
            nothing.wait(min(left_s, _WAIT_S))
            self.check()


class WorkerFetches:
    """All of them. Safe to use from any thread."""

    def __init__(self, sources: Sources) -> None:
        """Fetch nothing yet.

        Args:
            sources: list and fetch versions.
        """
        self._sources = sources
        self._lock = threading.Lock()  # guards what follows
        self._running: dict[_Key, _Stage] = {}
        self._held: dict[_Key, Fetched] = {}
        self._is_stopping = False

    def handle(self, member: Member, message: OfFiles) -> Any:
        """See `HandleRequest`."""
        match message:
            case FindFiles(location):
                return self._sources.look(location)
            case FetchFiles():
                return self.begin(member, message)
            case CancelFetch(number):
                self.cancel(member, number)
            case ReleaseFiles(number):
                self.release(member, number)
            case _:
                raise Unavailable(f"A supervisor knows nothing of {type(message).__name__}")
        return None

    def begin(self, member: Member, message: FetchFiles) -> "Future[Any]":
        """Fetch for a worker, in a thread; the answer to its message."""
        stage = _Stage(member, message.number)
        with self._lock:
            stage.is_stopping = self._is_stopping
            self._running[member, message.number] = stage
        try:
            return in_thread("salver-worker-fetch", partial(self._fetch, member, message, stage))
        except RuntimeError:
            with self._lock:
                del self._running[member, message.number]
            raise

    def _fetch(self, member: Member, message: FetchFiles, stage: _Stage) -> Any:
        key, fetched = (member, message.number), None
        try:
            stage.check()
            fetched = self._sources.fetch(message.version, message.location, stage)
        except NoRoomBeside as error:
            return NoRoomOnDisk(error.message)
        finally:
            with self._lock:
                del self._running[key]
                if fetched is not None and not stage.is_cancelled:
                    self._held[key] = fetched
        if stage.is_cancelled:
            fetched.close()
            stage.check()
        return FilesFetched(fetched.directory, self._sources.look(message.location))

    def cancel(self, member: Member, number: int) -> None:
        """A worker wants it no more, whether or not it is there."""
        with self._lock:
            stage = self._running.get((member, number))
            if stage is not None:
                stage.is_cancelled = True
        self.release(member, number)

    def release(self, member: Member, number: int) -> None:
        """A worker needs it no more."""
        with self._lock:
            fetched = self._held.pop((member, number), None)
        if fetched is not None:
            fetched.close()

    def ended(self, member: Member) -> None:
        """A worker has ended."""
        with self._lock:
            for (whose, _), stage in self._running.items():
                stage.is_cancelled |= whose is member
            gone = [key for key in self._held if key[0] is member]
            held = [self._held.pop(key) for key in gone]
        for fetched in held:
            fetched.close()

    def stop(self) -> None:
        """Have all fetches end, now and for ever."""
        with self._lock:
            self._is_stopping = True
            for stage in self._running.values():
                stage.is_stopping = True

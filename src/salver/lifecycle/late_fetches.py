"""Fetches of versions that are fetched when a request needs them, and not when they are found.

Each kind of store has threads of its own, as in `fetching`. Here no thread decides for all: a fetch
tells of itself as it goes on, and one that does not go on is noticed by a timer.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from salver.errors import STOPPING, Cancelled, ResourceExhausted, ServingError, Unavailable
from salver.instruments.amounts import Rate
from salver.instruments.notices import NOTICE
from salver.instruments.threads import Pool
from salver.lifecycle.attempt import Local
from salver.lifecycle.fetching import AT_ONCE, SLOW_S
from salver.lifecycle.late_loads import CANCELLED
from salver.lifecycle.lateness import WARN_S
from salver.lifecycle.loader import as_serving_error
from salver.vocabulary.servable import ServableId

__all__ = ["LateFetch", "LateFetches"]

_logger = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
_WAIT_S: Final = 0.1


class LateFetch:
    """One fetch. What fetches uses `check`, `progress` and `wait`, in one thread.

    Attributes:
        id: the version.
        lane: what it is fetched by, such as `s3`.
    """

    def __init__(
        self,
        id: ServableId,
        lane: str,
        fetch: "Callable[[LateFetch], Local]",
        size_bytes: int,
        on_note: Callable[[str | None], object],
    ) -> None:
        """Not begun.

        Args:
            id: the version.
            lane: see there.
            fetch: brings it; may raise.
            size_bytes: of its files; 0 where nobody knows.
            on_note: told how far it is, once that is worth telling; None when it is over.
        """
        self.id = id
        self.lane = lane
        self._fetch = fetch
        self._size_bytes = size_bytes
        self._on_note = on_note
        self._is_cancelled = False
        self._is_stopping = False
        self._rate = Rate(time.monotonic)
        self._begun_s = self.moved_s = self._looked_s = time.monotonic()
        self._told_s = 0.0
        self._done_bytes = 0
        self.is_stalled = False

    def cancel(self, *, is_stopping: bool = False) -> None:
        """Have it end; from any thread."""
        self._is_cancelled, self._is_stopping = True, is_stopping

    def run(self) -> Local:
        """Fetch, in this thread.

        Raises:
            ServingError: it cannot be fetched; or nobody wants it any more.
        """
        self._begun_s = self.moved_s = self._looked_s = time.monotonic()
        self.check()
        try:
            local = self._fetch(self)
        finally:
            self._on_note(None)
        if self._told_s:
            for_s = time.monotonic() - self._begun_s
            _logger.log(NOTICE, "Fetched servable version %s in %.1f s", self.id, for_s)
        return local

    def check(self) -> None:
        """Go no further when the version is not wanted any more, or the server stops.

        Raises:
            ServingError: it is so.
        """
        if self._is_cancelled:
            raise Unavailable(STOPPING) if self._is_stopping else Cancelled(CANCELLED)

    def progress(self, done_bytes: int) -> None:
        """Tell how much there is so far. Raises as `check`."""
        self.check()
        now_s = time.monotonic()
        if done_bytes != self._done_bytes:
            self._done_bytes, self.moved_s = done_bytes, now_s
        if now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            self._rate.count(done_bytes)
            self._tell(now_s)

    def wait(self, seconds: float) -> None:
        """Let time pass. Raises as `check`, at once."""
        until_s, nothing = time.monotonic() + seconds, threading.Event()
        self.check()
        while (left_s := until_s - time.monotonic()) > 0:
            nothing.wait(min(left_s, _WAIT_S))
            self.check()

    def _tell(self, now_s: float) -> None:
        for_s = now_s - self._begun_s
        if for_s < SLOW_S:
            return
        note = f"fetching {self._rate.description(self._done_bytes, self._size_bytes)}"
        self._on_note(note)
        if not self._told_s or for_s >= 2 * (self._told_s - self._begun_s):
            self._told_s = now_s
            _logger.log(NOTICE, "%s: %s", self.id, note)


class LateFetches:
    """Those that are under way. Safe to use from any thread."""

    def __init__(self) -> None:
        """Start no threads yet."""
        self._lock = threading.Lock()  # guards what follows
        self._pools: dict[str, Pool] = {}
        self._running: set[LateFetch] = set()
        self._is_stopping = False

    def begin(self, fetch: LateFetch, then: Callable[[Local | ServingError], object]) -> None:
        """Queue a fetch.

        Args:
            fetch: see there.
            then: called with what came of it, in some thread, perhaps this one.
        """
        with self._lock:
            self._running.add(fetch)
            if self._is_stopping:
                fetch.cancel(is_stopping=True)
            pool = self._pools.get(fetch.lane)
            if pool is None:
                pool = self._pools[fetch.lane] = Pool(f"salver-lazy-fetch-{fetch.lane}", AT_ONCE)
        try:
            pool.submit(partial(self._run, pool, fetch, then))
        except (ResourceExhausted, RuntimeError) as error:
            with self._lock:
                self._running.discard(fetch)
            then(as_serving_error(error))

    def _run(
        self, pool: Pool, fetch: LateFetch, then: Callable[[Local | ServingError], object]
    ) -> None:
        timer = self._timer(pool, fetch)
        outcome: Local | ServingError
        try:
            outcome = fetch.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this version's state
            outcome = as_serving_error(error)
        with self._lock:
            self._running.discard(fetch)
            is_stalled = fetch.is_stalled
        timer.cancel()
        if is_stalled:
            pool.take_back()
        then(outcome)

    def _timer(self, pool: Pool, fetch: LateFetch) -> threading.Timer:
        timer = threading.Timer(WARN_S, self._make_up_for, (pool, fetch))
        timer.name, timer.daemon = "salver-lazy-fetch-watch", True
        timer.start()
        return timer

    def _make_up_for(self, pool: Pool, fetch: LateFetch) -> None:
        """Have another fetch run beside one that may never return."""
        with self._lock:
            if fetch not in self._running or self._is_stopping:
                return
            for_s = time.monotonic() - fetch.moved_s
            fetch.is_stalled = for_s >= WARN_S - _LOOK_S
            if fetch.is_stalled:
                pool.lend()
        if fetch.is_stalled:
            _logger.warning(
                "The fetch of %s has not gone on for %.0f s. Other fetches go on", fetch.id, for_s
            )
        else:
            self._timer(pool, fetch)

    def stop(self) -> None:
        """Have all end, now and for ever."""
        with self._lock:
            self._is_stopping = True
            for fetch in self._running:
                fetch.cancel(is_stopping=True)

    def close(self, timeout_s: float | None = None) -> bool:
        """The same, and join the threads; False when time ran out."""
        self.stop()
        has_ended = True
        for pool in tuple(self._pools.values()):
            has_ended &= pool.close(timeout_s)
        return has_ended

"""Versions that have to be fetched before they can be loaded: the first stage of their loads.

Each kind of store has threads of its own, so one that hangs keeps no other, and no load, from a
thread. No lock is held during a fetch: the manager's thread looks at the numbers that the fetching
thread leaves. A fetch that nobody wants any more is told to stop, and waited for no longer.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from salver.errors import STOPPING, Cancelled, ResourceExhausted, ServingError, Unavailable
from salver.instruments.amounts import Rate
from salver.instruments.files import Footprint
from salver.instruments.notices import NOTICE
from salver.instruments.threads import Job, Pool
from salver.lifecycle.attempt import Attempt, Local, Step
from salver.lifecycle.budget import Budget
from salver.lifecycle.late_loads import CANCELLED
from salver.lifecycle.lateness import WARN_S
from salver.lifecycle.loader import Footprinter, as_serving_error
from salver.lifecycle.mailbox import Message
from salver.lifecycle.monitor import Monitor, VersionState
from salver.vocabulary.servable import ServableId

__all__ = ["AT_ONCE", "FETCHING", "SLOW_S", "Fetch", "Fetcher", "Fetching", "Local", "Stage"]

_logger = logging.getLogger(__name__)

AT_ONCE: Final = 8
"""Fetches from one kind of store at the same time."""

FETCHING: Final = "fetching"
"""What the note on a fetch begins with."""

SLOW_S: Final = 2.0
"""After so long a fetch is told of, in the log and in the status of its version."""

_LOOK_S: Final = 1.0  # between two looks at a slow fetch
_WAIT_S: Final = 0.1


class Stage(Protocol):
    """A fetch, as far as what fetches is concerned; see `sources.protocol.Stage`."""

    def check(self) -> None: ...
    def progress(self, done_bytes: int) -> None: ...
    def wait(self, seconds: float) -> None: ...


class Fetcher(Protocol):
    """Makes versions present on this machine. Safe to use from any thread."""

    def lane(self, path: str) -> str | None:
        """What threads a version is fetched by; None when there is nothing to fetch."""
        ...

    def fetch(self, number: int, path: str, stage: Stage) -> Local:
        """Make the version of a number present, until what is returned is closed.

        Called from a thread for that.

        Raises:
            ServingError: it cannot be; and what `stage.check` raises.
        """
        ...


@dataclass(slots=True, eq=False)
class Fetch:
    """One fetch. What fetches uses the methods; the rest belongs to the manager's thread.

    Attributes:
        attempt: which it is the first stage of.
        lane: see `Fetcher.lane`.
        is_stopping: whether the server stops; asked from the fetching thread.
        is_cancelled: whether nobody wants it any more.
        done_bytes: how much there is.
        files: how the files look to whoever listed them.
        is_too_large: they can never fit into memory, and so were not fetched.
        error: why they could not be fetched.
        begun_s: when it got a thread.
        moved_s: when `done_bytes` was seen to change.
        looked_s: when it was looked at.
        told_s: when it was told of.
        seen_bytes: what `done_bytes` was then.
        note: what the status says of it.
        is_stalled: whether another thread makes up for its own.
        rate: how fast it goes.
    """

    attempt: Attempt
    lane: str
    is_stopping: Callable[[], bool]
    is_cancelled: bool = False
    done_bytes: int = 0
    local: Local | None = None
    files: Footprint | None = None
    is_too_large: bool = False
    error: ServingError | None = None
    begun_s: float | None = None
    moved_s: float = 0.0
    looked_s: float = 0.0
    told_s: float = 0.0
    seen_bytes: int = -1
    note: str = ""
    is_stalled: bool = False
    rate: Rate = field(default_factory=lambda: Rate(time.monotonic))

    def check(self) -> None:
        """Go no further when the version is not wanted any more, or the server stops.

        Raises:
            ServingError: it is so.
        """
        if self.is_cancelled:
            raise Cancelled(CANCELLED)
        if self.is_stopping():
            raise Unavailable(STOPPING)

    def progress(self, done_bytes: int) -> None:
        """Tell how much there is so far. Raises as `check`."""
        self.done_bytes = done_bytes
        self.check()

    def wait(self, seconds: float) -> None:
        """Let time pass. Raises as `check`, at once."""
        until_s, nothing = time.monotonic() + seconds, threading.Event()
        self.check()
        while (left_s := until_s - time.monotonic()) > 0:
            nothing.wait(min(left_s, _WAIT_S))
            self.check()

    @property
    def description(self) -> str:
        """How far it is: `fetching 3 of 10 MB, 2 MB/s, 4 s left`."""
        total_bytes = 0 if self.files is None else self.files.size_bytes
        text = self.rate.description(self.done_bytes, total_bytes)
        return f"{FETCHING} {text}" if total_bytes else f"{FETCHING}, {text}"


class Fetching:
    """The fetches that are under way. Used by the manager's thread alone, but for `interrupt`."""

    def __init__(
        self,
        fetcher: Fetcher | None,
        look: Footprinter,
        *,
        budget: Budget,
        monitor: Monitor,
        post: Callable[[Message], None],
        on_end: Callable[[Fetch], object],
        clock: Callable[[], float],
        is_due: Callable[[ServableId], bool] = lambda _id: True,
    ) -> None:
        """Start no threads yet.

        Args:
            fetcher: fetches; None where all versions are on this machine.
            look: tells how the files of a version look, without waiting for a store.
            budget: knows what can never fit into memory.
            monitor: told how far they are.
            post: has something called in the manager's thread; called from any thread.
            on_end: called there when a fetch is over.
            clock: seconds, monotonic.
            is_due: whether a version is fetched before it is loaded, and not within its load.
        """
        self._is_due = is_due
        self._fetcher = fetcher
        self._look = look
        self._budget = budget
        self._monitor = monitor
        self._post = post
        self._on_end = on_end
        self._clock = clock
        self._is_stopping = False
        self._pools: dict[str, Pool] = {}
        self._fetches: dict[ServableId, tuple[Fetch, Job]] = {}
        self._begun: dict[ServableId, Fetch] = {}  # of these, those that have a thread
        self._cancelled: set[Fetch] = set()  # of which nobody has heard since

    @property
    def due_s(self) -> float | None:
        """When to `look` next; None for never."""
        begun = self._begun.values()
        return min((max(_begun_s(f) + SLOW_S, f.looked_s + _LOOK_S) for f in begun), default=None)

    def is_remote(self, path: str) -> bool:
        """Whether a version has to be fetched."""
        return self._fetcher is not None and self._fetcher.lane(path) is not None

    def begin(self, attempt: Attempt) -> bool:
        """Queue the fetch of a version; False when there is nothing to fetch."""
        if self._fetcher is None or attempt.local is not None or not self._is_due(attempt.id):
            return False
        lane = self._fetcher.lane(attempt.path)
        if lane is None:
            return False
        attempt.step = Step.FETCH
        fetch = Fetch(attempt, lane, lambda: self._is_stopping, rate=Rate(self._clock))
        job = partial(self._run, fetch, self._fetcher)
        self._fetches[attempt.id] = fetch, job
        pool = self._pools.get(lane)
        if pool is None:
            pool = self._pools[lane] = Pool(f"salver-fetch-{lane}", AT_ONCE)
        try:
            pool.submit(job)
        except ResourceExhausted as error:
            fetch.error = error
            self._post(partial(self._on_end, fetch))
        return True

    def _has_begun(self, fetch: Fetch) -> None:
        """A fetch has got a thread, and something to do."""
        if not fetch.is_cancelled:
            fetch.begun_s = fetch.moved_s = self._clock()
            self._begun[fetch.attempt.id] = fetch
            _logger.info(
                "Fetching servable version %s from %s", fetch.attempt.id, fetch.attempt.path
            )
            self._monitor.publish(fetch.attempt.id, VersionState.LOADING)

    def end(self, fetch: Fetch) -> bool:
        """A fetch is over; whether anybody wanted it still, and owns what it has brought."""
        if fetch.is_stalled:
            self._pools[fetch.lane].take_back()
        if fetch.is_cancelled:
            self._cancelled.discard(fetch)
            if fetch.local is not None:
                fetch.local.close()
            return False
        del self._fetches[fetch.attempt.id]
        self._begun.pop(fetch.attempt.id, None)
        return True

    def tell_of(self, fetch: Fetch) -> None:
        """Log what came of a fetch that went well."""
        if fetch.begun_s is not None:
            level = NOTICE if fetch.told_s else logging.INFO
            for_s = self._clock() - fetch.begun_s
            _logger.log(level, "Fetched servable version %s in %.1f s", fetch.attempt.id, for_s)

    def cancel(self, id: ServableId) -> bool:
        """Have the fetch of a version stop, and wait for it no more; False when there is none."""
        found = self._fetches.pop(id, None)
        if found is None:
            return False
        fetch, job = found
        fetch.is_cancelled = True
        self._begun.pop(id, None)
        if not self._pools[fetch.lane].withdraw(job):
            self._cancelled.add(fetch)
            if not fetch.is_stalled:
                self._make_up_for(fetch)
        return True

    def look(self, now_s: float) -> None:
        """Tell of slow fetches, and have others run beside those that do not go on."""
        for fetch in self._begun.values():
            begun_s = _begun_s(fetch)
            if now_s < begun_s + SLOW_S:
                continue
            fetch.looked_s = now_s
            fetch.rate.count(fetch.done_bytes)
            if fetch.seen_bytes != fetch.done_bytes:
                fetch.seen_bytes, fetch.moved_s = fetch.done_bytes, now_s
            note = fetch.description
            if note != fetch.note:
                fetch.note = note
                self._monitor.note(fetch.attempt.id, note)
            if not fetch.told_s or now_s - begun_s >= 2 * (fetch.told_s - begun_s):
                fetch.told_s = now_s
                _logger.log(NOTICE, "%s: %s", fetch.attempt.id, note)
            if not fetch.is_stalled and now_s - fetch.moved_s >= WARN_S:
                self._make_up_for(fetch)
                _logger.warning(
                    "%s has not gone on for %.0f s: %s. Other fetches go on",
                    *(fetch.attempt.description, now_s - fetch.moved_s, note),
                )

    def _make_up_for(self, fetch: Fetch) -> None:
        """Have another fetch run beside one that may never return."""
        fetch.is_stalled = True
        self._pools[fetch.lane].lend()

    def interrupt(self) -> None:
        """Have all fetches stop, now and for ever. May be called from a signal handler."""
        self._is_stopping = True

    def close(self, timeout_s: float | None = None) -> bool:
        """Join the threads, once nothing is under way; False when time ran out."""
        self.interrupt()
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        has_ended = True
        for pool in self._pools.values():
            left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
            has_ended &= pool.close(left_s)
        for fetch in self._cancelled if has_ended else ():  # which ended after the manager
            if fetch.local is not None:
                fetch.local.close()
        return has_ended

    def _run(self, fetch: Fetch, fetcher: Fetcher) -> None:
        try:
            fetch.check()
            fetch.files = self._look(fetch.attempt.path)
            fetch.is_too_large = not self._budget.can_ever_fit(fetch.attempt.id, fetch.files)
            if not fetch.is_too_large:
                self._post(partial(self._has_begun, fetch))
                attempt = fetch.attempt
                fetch.local = fetcher.fetch(attempt.id.version, attempt.path, fetch)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this version's state
            fetch.error = as_serving_error(error)
        if fetch.is_cancelled and fetch.local is not None:  # nobody may read messages any more
            fetch.local.close()
            fetch.local = None
        self._post(partial(self._on_end, fetch))


def _begun_s(fetch: Fetch) -> float:
    assert fetch.begun_s is not None
    return fetch.begun_s

"""Versions that are loaded when a request needs them, and may have to leave memory again.

To the rest of the lifecycle such a version has loaded as soon as it has a `Placeholder`: it is
published, and unloaded, as any other. Its model comes at the first request, and when there are more
than may be, the one that was used longest ago goes.

All is decided under one lock; no load, close or wait is made while it is held.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar

from salver.errors import STOPPING, ResourceExhausted, ServingError, Unavailable, error_of
from salver.instruments.cache import NoRoomBeside
from salver.instruments.files import Footprint, footprint
from salver.instruments.threads import Job, Pool
from salver.lifecycle.attempt import Local
from salver.lifecycle.budget import Budget
from salver.lifecycle.disk_room import DiskRoom
from salver.lifecycle.file_changes import pause_s
from salver.lifecycle.late_fetches import LateFetch, LateFetches
from salver.lifecycle.late_loads import LoadWatch, given_up_after, still_loading
from salver.lifecycle.lateness import Late
from salver.lifecycle.loader import (
    Closable,
    Footprinter,
    as_serving_error,
    close_model,
    followed_by,
    footprint_of,
)
from salver.lifecycle.placeholders import Claim, FetchLate, NotLoaded, Placeholder, Presence
from salver.lifecycle.room import Room
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.servable import ServableId

__all__ = ["Counts", "Residency", "ResidencyOptions"]

_logger = logging.getLogger(__name__)

_ADVICE: Final = "It is tried again after a while, and when the files of the version have changed."

T = TypeVar("T", bound=Closable)


@dataclass(frozen=True, slots=True)
class ResidencyOptions:
    """How many, how much, and how fast.

    Attributes:
        max_loaded: versions in memory at a time, those that come and go counted; 0 for any number.
        max_memory_bytes: the most they may take together by estimate; 0 for any.
        transient_load_bytes: what each load takes beside its estimate until it is over.
        num_threads: loads at the same time, and models that are freed at the same time.
        load_timeout_s: how long a load may take before it is given up; 0 for any time.
    """

    max_loaded: int = 0
    max_memory_bytes: int = 0
    transient_load_bytes: int = 0
    num_threads: int = 1
    load_timeout_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    """What has happened so far.

    Attributes:
        resident: versions in memory now, those on their way in or out counted.
        evictions: by model, how often a version had to make room for another.
    """

    resident: int
    evictions: dict[str, int]


@dataclass(slots=True, eq=False)
class _RunningLoad(Generic[T]):
    """A load that is running. What follows the first two is changed under the residency's lock.

    Attributes:
        placeholder: what for.
        seen: how the files looked just before.
        is_late: it has been reported, and its thread made up for.
        is_abandoned: it was given up, so that its outcome is of no use.
        has_returned: it is over.
        abandoned_bytes: memory that is set aside for it until it returns.
        local: what was fetched for it.
    """

    placeholder: Placeholder[T]
    seen: Footprint | None
    is_late: bool = False
    is_abandoned: bool = False
    has_returned: bool = False
    abandoned_bytes: int = 0
    local: Local | None = None


class _Actions(Generic[T]):
    """What was decided under the lock, to be done once that has been given back."""

    def __init__(self) -> None:
        self.loads: list[Placeholder[T]] = []
        self.fetches: list[Placeholder[T]] = []
        self.locals: list[Local] = []  # that are needed no more
        self.closes: list[Placeholder[T]] = []
        self.settled: list[tuple[Future[None], ServingError | None]] = []


class Residency(Generic[T]):
    """Which versions are in memory. Safe to use from any thread.

    Attributes:
        watch: notices loads that do not return.
    """

    def __init__(
        self,
        options: ResidencyOptions,
        *,
        clock: Callable[[], float],
        after_change: Callable[[], None] = lambda: None,
        look: Footprinter = footprint,
        copies: Callable[[ServableId], int] = lambda _id: 1,
        now: Callable[[], float] = time.time,  # noqa: TID251 - the clock that is injected
    ) -> None:
        """Begin with none.

        Args:
            options: see there.
            clock: seconds, monotonic.
            after_change: called after each load and each eviction, from some thread.
            look: takes the footprint of a version directory.
            copies: how many processes hold a version.
            now: seconds since 1970.
        """
        self._now = now
        self._clock = clock
        self._changed = followed_by(after_change)
        self._look = look
        self._lock = threading.Lock()
        self._failed: set[Placeholder[T]] = set()
        self._is_closed = False
        self._budget = Budget(options.max_memory_bytes, options.transient_load_bytes, copies=copies)
        self._room: Room[T] = Room(options.max_loaded, self._budget)
        self._disk: DiskRoom[T] = DiskRoom(self._room)
        self._fetches = LateFetches()
        self._loads = Pool("salver-lazy-load", options.num_threads)
        self._closes = Pool("salver-lazy-unload", options.num_threads)
        self.watch: LoadWatch[_RunningLoad[T]] = LoadWatch(
            options.load_timeout_s,
            clock=clock,
            is_wanted=lambda load: load.placeholder.presence is not Presence.GONE,
            on_late=self._report_late,
        )

    # -- the lifecycle ---------------------------------------------------------------------------

    def add(
        self,
        id: ServableId,
        path: str,
        load: Callable[[], T],
        info: ModelInfo | None = None,
        *,
        fetch: FetchLate | None = None,
        lane: str = "",
    ) -> Placeholder[T]:
        """A placeholder for a version; its model is loaded when a request needs it.

        Where another version of the same name is in memory, it is loaded at once: the one that
        replaces it, which no request should have to wait for.

        Args:
            id: the version.
            path: its directory, or where it has to be fetched from.
            load: loads it; called from a thread of this, whenever it has to come.
            info: see `NotLoaded`.
            fetch: brings its files before each load; what it returns is closed when the model has
                left. None where they are here.
            lane: see `fetching.Fetcher.lane`; where there is something to fetch.

        Raises:
            ServingError: the directory cannot be looked at; or it was loaded, and that failed.
        """
        added = Placeholder(self, id, path, load, info, self._look(path), fetch, lane)
        if self.is_in_use(id.name):
            with added.claim() as claim:
                try:
                    claim.loading.result()
                except ServingError:
                    self.forget(added)
                    raise
        return added

    def is_in_use(self, name: str) -> bool:
        """Whether a version of a name is in memory, or on its way."""
        with self._lock:
            return any(
                other.id.name == name and other.presence is not Presence.GONE
                for other in self._room.taken
            )

    def forget(self, placeholder: Placeholder[T]) -> None:
        """Give up a placeholder which no request holds; frees its model before it returns.

        A load that is running is left to end, and what it brings is freed by its own thread.
        """
        with self._deciding() as actions:
            presence, placeholder.presence = placeholder.presence, Presence.GONE
            self._failed.discard(placeholder)
            if presence is Presence.QUEUED:
                self._room.queue.remove(placeholder)
                self._drop_files(placeholder, actions)
            if placeholder.fetching is not None:
                placeholder.fetching.cancel()
            self._disk.discard(placeholder)
            actions.settled += [(placeholder.loading, None), (placeholder.next_loading, None)]
            self._room.recent.pop(placeholder, None)
        if presence in (Presence.IN, Presence.LEAVING):
            self._close(placeholder)

    def recheck(self) -> tuple[str, ...]:
        """Let versions that failed be tried again whose files have changed, and rest.

        Runs in the calling thread and reads directories; to be called now and then.

        Returns:
            The directories of those that failed.
        """
        with self._lock:
            failed = list(self._failed)
        for placeholder in failed:
            found = footprint_of(placeholder.path, self._look)
            with self._lock:
                if found != placeholder.seen and found == placeholder.rechecked:
                    placeholder.retry_s = self._clock()
                    if found is not None:
                        placeholder.files = found
                placeholder.rechecked = found
        return tuple(placeholder.path for placeholder in failed)

    def stop(self) -> None:
        """Load nothing more, now and for ever, and fail the requests that wait for room."""
        with self._deciding() as actions:
            self._is_closed = True
            for placeholder in self._room.queue:
                placeholder.presence = Presence.OUT
                self._drop_files(placeholder, actions)
                actions.settled.append((placeholder.loading, Unavailable(STOPPING)))
            self._room.queue.clear()
            for placeholder in self._disk.take_all():
                placeholder.presence = Presence.OUT
                actions.settled.append((placeholder.loading, Unavailable(STOPPING)))
        self._fetches.stop()

    def close(self, timeout_s: float | None = None) -> bool:
        """The same, and join the threads; False when time ran out.

        To be called when the lifecycle has given up all placeholders, or has run out of time to.
        """
        self.stop()
        has_ended = self._fetches.close(timeout_s)
        has_ended &= self._loads.close(timeout_s)
        return self._closes.close(timeout_s) and has_ended

    # -- requests --------------------------------------------------------------------------------

    def pin(self, placeholder: Placeholder[T]) -> T:
        """See `Placeholder.pin`."""
        with self._lock:
            model = placeholder.model
            if model is not None:
                if placeholder.presence is Presence.IN:
                    self._room.recent.move_to_end(placeholder)
                    placeholder.pins += 1
                    return model
                if placeholder.presence is Presence.LEAVING and placeholder.claims:
                    placeholder.pins += 1
                    return model
            error = placeholder.error
            if error is not None and self._clock() < placeholder.retry_s:
                raise _anew(error)
        raise NotLoaded(placeholder)

    def unpin(self, placeholder: Placeholder[T]) -> None:
        """See `Placeholder.unpin`."""
        with self._lock:
            placeholder.pins -= 1
            if placeholder.presence is not Presence.LEAVING:
                return
        self._leave(placeholder)

    def claim(self, placeholder: Placeholder[T]) -> Claim:
        """See `Placeholder.claim`."""
        with self._deciding() as actions:
            match placeholder.presence:
                case Presence.OUT:
                    placeholder.next_claims += 1
                    self._begin_generation(placeholder, actions)
                case Presence.FETCHING | Presence.QUEUED | Presence.LOADING:
                    placeholder.claims += 1
                case Presence.LEAVING | Presence.CLOSING:
                    placeholder.next_claims += 1
                    end = partial(self._unclaim, placeholder, placeholder.generation + 1)
                    return Claim(placeholder.next_loading, end)
                case _:  # in, or gone: it is time to try again
                    return Claim(placeholder.loading, lambda: None)
            end = partial(self._unclaim, placeholder, placeholder.generation)
            return Claim(placeholder.loading, end)

    @property
    def reserved(self) -> dict[ServableId, int]:
        """Version in memory → what is set aside for it in bytes, by an estimate from its files."""
        return self._budget.reserved

    @property
    def counts(self) -> Counts:
        """See there."""
        with self._lock:
            return Counts(len(self._room.taken), dict(self._room.evictions))

    def _unclaim(self, placeholder: Placeholder[T], generation: int) -> None:
        with self._deciding() as actions:
            if generation == placeholder.generation + 1:
                placeholder.next_claims -= 1
            elif generation == placeholder.generation and placeholder.claims:
                placeholder.claims -= 1
                if placeholder.presence is Presence.QUEUED and not placeholder.claims:
                    self._room.queue.remove(placeholder)  # nobody waits for it any more
                    placeholder.presence = Presence.OUT
                    self._drop_files(placeholder, actions)
            self._close_if_idle(placeholder, actions)

    def _leave(self, placeholder: Placeholder[T]) -> None:
        with self._deciding() as actions:
            self._close_if_idle(placeholder, actions)

    @contextmanager
    def _deciding(self) -> Iterator[_Actions[T]]:
        """Hold the lock; afterwards, go on with what there is room for, and do what was decided."""
        actions: _Actions[T] = _Actions()
        with self._lock:
            yield actions
            for hopeless in self._room.take_hopeless():
                error = self._budget.refusal(hopeless.id, hopeless.files)
                self._note_failure(hopeless, error, actions)
            actions.loads += self._room.take_fitting()
            for evicted in self._room.evict():
                _logger.info("Evicting servable version %s from memory", evicted.id)
                self._close_if_idle(evicted, actions)
            self._make_room_on_disk(actions)
        self._do(actions)

    # -- under the lock --------------------------------------------------------------------------

    def _make_room_on_disk(self, actions: _Actions[T]) -> None:
        """For fetches that found none: have versions leave, one by one, and try again."""
        for unclaimed in self._disk.take_unclaimed():
            unclaimed.presence = Presence.OUT
            actions.settled.append((unclaimed.loading, None))
        if actions.locals:
            for waiting in self._disk.take_all():
                self._have_fetched(waiting, actions)
        elif (victim := self._disk.victim()) is not None:
            self._room.leave(victim)
            _logger.info("Evicting servable version %s, to make room on the disk", victim.id)
            self._close_if_idle(victim, actions)
        elif self._disk.is_hopeless():
            for refused, error in self._disk.take_all().items():
                self._note_failure(refused, error, actions)

    def _have_fetched(self, placeholder: Placeholder[T], actions: _Actions[T]) -> None:
        self._disk.begin(placeholder)
        actions.fetches.append(placeholder)

    def _begin_generation(self, placeholder: Placeholder[T], actions: _Actions[T]) -> None:
        placeholder.begin_generation()
        if self._is_closed:
            actions.settled.append((placeholder.loading, Unavailable(STOPPING)))
            return
        if placeholder.fetch is None:
            placeholder.presence = Presence.QUEUED
            self._room.queue.append(placeholder)
        elif self._budget.can_ever_fit(placeholder.id, placeholder.files):
            placeholder.presence = Presence.FETCHING
            self._have_fetched(placeholder, actions)
        else:
            error = self._budget.refusal(placeholder.id, placeholder.files)
            self._note_failure(placeholder, error, actions)

    @staticmethod
    def _drop_files(placeholder: Placeholder[T], actions: _Actions[T]) -> None:
        """What was fetched is needed no more."""
        local, placeholder.local = placeholder.local, None
        if local is not None:
            actions.locals.append(local)

    def _close_if_idle(self, placeholder: Placeholder[T], actions: _Actions[T]) -> None:
        if placeholder.presence is Presence.LEAVING and placeholder.is_idle:
            placeholder.presence = Presence.CLOSING
            actions.closes.append(placeholder)

    def _note_failure(
        self, placeholder: Placeholder[T], error: ServingError, actions: _Actions[T]
    ) -> None:
        self._drop_files(placeholder, actions)
        placeholder.error = error
        is_final = error.is_final
        placeholder.retry_s = (
            math.inf if is_final else self._clock() + pause_s(placeholder.failures)
        )
        placeholder.failures += 1
        if placeholder.presence is not Presence.GONE:
            placeholder.presence = Presence.OUT
            self._failed.add(placeholder)
        actions.settled.append((placeholder.loading, error))

    def _abandon(self, load: _RunningLoad[T], for_s: float, actions: _Actions[T]) -> None:
        """Wait no more for a load; what it brings will be freed."""
        placeholder = load.placeholder
        load.is_abandoned = True
        load.abandoned_bytes = self._budget.abandon(placeholder.id)
        self._room.taken.discard(placeholder)
        self._room.late.discard(placeholder)
        self._note_failure(placeholder, given_up_after(placeholder.id, for_s), actions)
        placeholder.seen = placeholder.rechecked = load.seen
        placeholder.note = None
        placeholder.retry_s = math.inf  # until it returns, or its files change

    # -- outside the lock ------------------------------------------------------------------------

    def _do(self, actions: _Actions[T]) -> None:
        for future, error in actions.settled:
            _settle(future, error)
        for local in actions.locals:
            local.close()
        for placeholder in actions.fetches:
            self._begin_fetch(placeholder)
        for placeholder in actions.closes:
            if not _submitted(self._closes, partial(self._close, placeholder)):
                self._close(placeholder)
        for placeholder in actions.loads:
            if not _submitted(self._loads, partial(self._load, placeholder)):
                error = Unavailable(f"No thread to load {placeholder.id} in")
                self._returned(_RunningLoad(placeholder, None), error)

    def _begin_fetch(self, placeholder: Placeholder[T]) -> None:
        assert placeholder.fetch is not None, "or there is nothing to fetch"

        def note(text: str | None) -> None:
            placeholder.note = text

        fetch = LateFetch(
            *(placeholder.id, placeholder.lane, placeholder.fetch),
            size_bytes=placeholder.files.size_bytes,
            on_note=note,
        )
        placeholder.fetching = fetch
        seen = footprint_of(placeholder.path, self._look)
        self._fetches.begin(fetch, partial(self._fetched, placeholder, seen))

    def _fetched(
        self, placeholder: Placeholder[T], seen: Footprint | None, outcome: Local | ServingError
    ) -> None:
        """A fetch is over: wait for room, unless nobody waits for the version any more."""
        with self._deciding() as actions:
            placeholder.fetching = None
            is_wanted = placeholder.presence is Presence.FETCHING and not self._is_closed
            if isinstance(outcome, NoRoomBeside) and is_wanted:
                self._disk.end(placeholder, outcome)
                return
            self._disk.end(placeholder)
            if isinstance(outcome, ServingError):
                if placeholder.presence is Presence.FETCHING:
                    _logger.error(
                        "Fetching servable version %s: %s", placeholder.id, outcome.status
                    )
                self._note_failure(placeholder, outcome, actions)
                placeholder.seen = placeholder.rechecked = seen
                return
            placeholder.local = outcome
            if placeholder.presence is not Presence.FETCHING:  # it was forgotten meanwhile
                self._drop_files(placeholder, actions)
            elif self._is_closed or not placeholder.claims:
                placeholder.presence = Presence.OUT
                self._drop_files(placeholder, actions)
                error = Unavailable(STOPPING) if self._is_closed else None
                actions.settled.append((placeholder.loading, error))
            else:
                placeholder.presence = Presence.QUEUED
                self._room.queue.append(placeholder)

    def _load(self, placeholder: Placeholder[T]) -> None:
        load = _RunningLoad(placeholder, footprint_of(placeholder.path, self._look))
        load.local, placeholder.local = placeholder.local, None
        self.watch.begin(load)
        outcome: T | ServingError
        try:
            if self._is_closed or placeholder.presence is Presence.GONE:
                raise Unavailable(STOPPING)  # noqa: TRY301 - one way out for all that fails
            _logger.info("Bringing servable version %s into memory", placeholder.id)
            outcome = placeholder.load()
        except Exception as caught:  # noqa: BLE001 - whatever it is, it is this version's state
            outcome = error = as_serving_error(caught)
            _logger.error(  # noqa: TRY400 - it says what a person needs
                "Bringing servable version %s into memory: %s", placeholder.id, error.status
            )
        self.watch.end(load)
        self._returned(load, outcome)

    def _returned(self, load: _RunningLoad[T], outcome: T | ServingError) -> None:
        placeholder = load.placeholder
        if self._was_abandoned(load):
            if not isinstance(outcome, ServingError):
                close_model(placeholder.id, outcome)
            if load.local is not None:
                load.local.close()
            self._give_back(load)
            return
        with self._deciding() as actions:
            is_in_vain = False
            if isinstance(outcome, ServingError):
                self._room.release(placeholder)
                placeholder.local = load.local or placeholder.local
                self._note_failure(placeholder, outcome, actions)
                placeholder.seen = placeholder.rechecked = load.seen
            else:
                placeholder.model, placeholder.local = outcome, load.local
                self._budget.loaded(placeholder.id)
                is_in_vain = placeholder.presence is Presence.GONE
                if not is_in_vain:
                    placeholder.presence = Presence.IN
                    placeholder.error, placeholder.failures = None, 0
                    self._failed.discard(placeholder)
                    self._room.recent[placeholder] = None
                actions.settled.append((placeholder.loading, None))
        if is_in_vain:
            self._close(placeholder)
        else:
            self._changed()

    def _was_abandoned(self, load: _RunningLoad[T]) -> bool:
        """Note that a load has returned; whether it had been given up."""
        placeholder = load.placeholder
        with self._deciding():
            load.has_returned = True
            if not load.is_abandoned:
                self._room.late.discard(placeholder)
                placeholder.note = None
        if load.is_late:
            self._loads.take_back()
        return load.is_abandoned

    def _give_back(self, load: _RunningLoad[T]) -> None:
        """Let others have the memory of a load that returned after it was given up."""
        placeholder = load.placeholder
        with self._deciding():
            self._budget.returned(load.abandoned_bytes)
            if placeholder.retry_s == math.inf:
                placeholder.retry_s = self._clock()
        _logger.info("Servable version %s was loaded after that had been given up", placeholder.id)
        self._changed()

    def _report_late(self, late: Late[_RunningLoad[T]]) -> None:
        load, placeholder = late.key, late.key.placeholder
        with self._deciding() as actions:
            if load.has_returned:
                return
            is_first, load.is_late = not load.is_late, True
            if late.is_over:
                self._abandon(load, late.for_s, actions)
            else:
                self._room.late.add(placeholder)
                placeholder.note = still_loading(late.for_s, self._now)
        if is_first:
            self._loads.lend()
        what = "is given up" if late.is_over else "goes on, and other loads beside it"
        _logger.warning(
            "Bringing servable version %s into memory has not returned for %.0f s: it %s",
            *(placeholder.id, late.for_s, what),
        )

    def _close(self, placeholder: Placeholder[T]) -> None:
        model, placeholder.model = placeholder.model, None
        if model is not None:
            close_model(placeholder.id, model)
        del model
        with self._deciding() as actions:
            self._drop_files(placeholder, actions)
            self._room.release(placeholder)
            if placeholder.presence is Presence.CLOSING:
                placeholder.presence = Presence.OUT
                if placeholder.next_claims:
                    self._begin_generation(placeholder, actions)
        self._changed()


def _submitted(pool: Pool, job: Job) -> bool:
    """Whether a pool took a job: not if it is closed, or there is no thread for it."""
    try:
        pool.submit(job)
    except (ResourceExhausted, RuntimeError):
        return False
    return True


def _settle(future: "Future[None]", error: ServingError | None) -> None:
    """End a future, unless that has been done."""
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(_anew(error))


def _anew(error: ServingError) -> ServingError:
    """The same error, for one more request: raising it adds to its traceback."""
    again = error_of(error.code, error.message)
    again.hint = error.hint or _ADVICE
    again.is_final = error.is_final
    return again

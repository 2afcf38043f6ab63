"""Versions that are loaded when a request needs them, and may have to leave memory again.

To the rest of the lifecycle such a version has loaded as soon as it has a `Placeholder`: it is
published, and unloaded, as any other. Its model comes at the first request, and when there are more
than may be, the one that was used longest ago goes.

All is decided under one lock, by `presences`; no load, close or wait is made while it is held.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar

from salver.errors import STOPPING, ResourceExhausted, ServingError, Unavailable, error_of
from salver.instruments.files import Footprint, footprint
from salver.instruments.threads import Job, Pool
from salver.lifecycle.attempt import Local
from salver.lifecycle.budget import Budget
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
from salver.lifecycle.presences import Actions, Presences, RunningLoad
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
        self._budget = Budget(options.max_memory_bytes, options.transient_load_bytes, copies=copies)
        self._room: Room[T] = Room(options.max_loaded, self._budget)
        self._presences: Presences[T] = Presences(self._room, self._budget, clock)
        self._fetches = LateFetches()
        self._loads = Pool("salver-lazy-load", options.num_threads)
        self._closes = Pool("salver-lazy-unload", options.num_threads)
        self.watch: LoadWatch[RunningLoad[T]] = LoadWatch(
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
            is_in_memory = self._presences.forget(placeholder, actions)
        if is_in_memory:
            self._close(placeholder)

    def recheck(self) -> tuple[str, ...]:
        """Let versions that failed be tried again whose files have changed, and rest.

        Runs in the calling thread and reads directories; to be called now and then.

        Returns:
            The directories of those that failed.
        """
        with self._lock:
            failed = self._presences.failed
        for placeholder in failed:
            found = footprint_of(placeholder.path, self._look)
            with self._lock:
                self._presences.rechecked(placeholder, found)
        return tuple(placeholder.path for placeholder in failed)

    def stop(self) -> None:
        """Load nothing more, now and for ever, and fail the requests that wait for room."""
        with self._deciding() as actions:
            self._presences.stop(actions)
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
            return self._presences.claim(placeholder, self._unclaim, actions)

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
            self._presences.unclaim(placeholder, generation, actions)

    def _leave(self, placeholder: Placeholder[T]) -> None:
        with self._deciding() as actions:
            self._presences.close_if_idle(placeholder, actions)

    @contextmanager
    def _deciding(self) -> Iterator[Actions[T]]:
        """Hold the lock; afterwards, go on with what there is room for, and do what was decided."""
        actions: Actions[T] = Actions()
        with self._lock:
            yield actions
            self._presences.conclude(actions)
        self._do(actions)

    # -- outside the lock ------------------------------------------------------------------------

    def _do(self, actions: Actions[T]) -> None:
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
                self._returned(RunningLoad(placeholder, None), error)

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
            self._presences.fetched(placeholder, seen, outcome, actions)

    def _load(self, placeholder: Placeholder[T]) -> None:
        load = RunningLoad(placeholder, footprint_of(placeholder.path, self._look))
        load.local, placeholder.local = placeholder.local, None
        self.watch.begin(load)
        outcome: T | ServingError
        try:
            if self._presences.is_stopped or placeholder.presence is Presence.GONE:
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

    def _returned(self, load: RunningLoad[T], outcome: T | ServingError) -> None:
        placeholder = load.placeholder
        if self._was_abandoned(load):
            if not isinstance(outcome, ServingError):
                close_model(placeholder.id, outcome)
            if load.local is not None:
                load.local.close()
            self._give_back(load)
            return
        with self._deciding() as actions:
            is_in_vain = self._presences.returned(load, outcome, actions)
        if is_in_vain:
            self._close(placeholder)
        else:
            self._changed()

    def _was_abandoned(self, load: RunningLoad[T]) -> bool:
        """Note that a load has returned; whether it had been given up."""
        with self._deciding():
            self._presences.load_ended(load)
        if load.is_late:
            self._loads.take_back()
        return load.is_abandoned

    def _give_back(self, load: RunningLoad[T]) -> None:
        """Let others have the memory of a load that returned after it was given up."""
        with self._deciding():
            self._presences.give_back(load)
        id = load.placeholder.id
        _logger.info("Servable version %s was loaded after that had been given up", id)
        self._changed()

    def _report_late(self, late: Late[RunningLoad[T]]) -> None:
        load, placeholder = late.key, late.key.placeholder
        with self._deciding() as actions:
            if load.has_returned:
                return
            is_first, load.is_late = not load.is_late, True
            if late.is_over:
                self._presences.abandon(load, given_up_after(placeholder.id, late.for_s), actions)
            else:
                self._presences.late(load, still_loading(late.for_s, self._now))
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
            self._presences.closed(placeholder, actions)
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

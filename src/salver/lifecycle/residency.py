"""Versions that are brought into memory when they are asked for, and may have to leave it again.

To the rest of the lifecycle a version that is kept so has loaded as soon as it has a `Seat` here:
it is published, and unloaded, as any other. What the seat holds is another matter: the model comes
at the first request, and when there are more than may be, the one that was asked longest ago goes.

All is decided under one lock, which no load, close or wait is ever made with.
"""

import itertools
import logging
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Final, Generic, TypeVar

from salver.errors import ServingError, Unavailable
from salver.files import footprint
from salver.lifecycle.budget import Budget
from salver.lifecycle.late_loads import given_up_after, still_loading
from salver.lifecycle.lateness import Late
from salver.lifecycle.load_watch import LoadWatch
from salver.lifecycle.loader import Closable, Footprinter, as_serving_error, look_at
from salver.lifecycle.seat_loads import SeatLoad, Todo, anew, is_queued, settle
from salver.lifecycle.seats import Claim, NotLoaded, Seat, Where
from salver.lifecycle.unrest import pause_s
from salver.servable import ServableId
from salver.threads import Pool

__all__ = ["Counts", "Residency", "ResidencyOptions"]

_logger = logging.getLogger(__name__)

_STOPPING: Final = "The server is stopping"
_NO_LIFE: Final = -1

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
    """Who is in memory. Safe to use from any thread.

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
        now: Callable[[], float] = time.time,  # noqa: TID251 - the clock that is injected
    ) -> None:
        """Begin with nobody.

        Args:
            options: see there.
            clock: seconds, monotonic.
            after_change: called after each load and each eviction, from some thread.
            look: takes the footprint of a version directory.
            now: seconds since 1970.
        """
        self._options = options
        self._now = now
        self._clock = clock
        self._after_change = after_change
        self._look = look
        self._lock = threading.Lock()
        self._queue: deque[Seat[T]] = deque()
        self._recent: OrderedDict[Seat[T], None] = OrderedDict()  # all that are in, oldest first
        self._taken: set[Seat[T]] = set()
        self._late: set[Seat[T]] = set()  # of these, those whose load does not return
        self._failed: set[Seat[T]] = set()
        self._evictions: dict[str, int] = {}
        self._is_closed = False
        self._budget = Budget(options.max_memory_bytes, options.transient_load_bytes)
        self._loads = Pool("salver-lazy-load", options.num_threads)
        self._closes = Pool("salver-lazy-unload", options.num_threads)
        self.watch: LoadWatch[SeatLoad[T]] = LoadWatch(
            options.load_timeout_s,
            clock=clock,
            is_wanted=lambda load: load.seat.where is not Where.GONE,
            on_late=self._noted_late,
        )

    # -- the lifecycle ---------------------------------------------------------------------------

    def seat(
        self, id: ServableId, path: str, load: Callable[[], T], definitions: bytes | None = None
    ) -> Seat[T]:
        """A seat for a version; its model is loaded when it is asked for.

        Where another version of the same name is in memory, it is loaded at once: the one that
        replaces it, which no request should have to wait for.

        Args:
            id: the version.
            path: its directory.
            load: loads it; called from a thread of this, whenever it has to come.
            definitions: see `NotLoaded`.

        Raises:
            ServingError: the directory cannot be looked at; or it was loaded, and that failed.
        """
        seat = Seat(self, id, path, load, definitions, self._look(path))
        with self._lock:
            is_wanted = any(
                other.id.name == id.name and other.where is not Where.GONE for other in self._taken
            )
        if is_wanted:
            with seat.claim() as claim:
                try:
                    claim.loading.result()
                except ServingError:
                    self.forget(seat)
                    raise
        return seat

    def forget(self, seat: Seat[T]) -> None:
        """Give up a seat which no request holds any more; frees its model before it returns.

        A load that is running is left to end, and what it brings is freed by its own thread.
        """
        todo: Todo[T] = Todo()
        with self._lock:
            where, seat.where = seat.where, Where.GONE
            self._failed.discard(seat)
            if where is Where.QUEUED:
                self._queue.remove(seat)
            todo.settled += [(seat.loading, None), (seat.next_loading, None)]
            is_mine = where in (Where.IN, Where.LEAVING)
            self._recent.pop(seat, None)
            self._advance(todo)
        self._do(todo)
        if is_mine:
            self._close(seat)

    def recheck(self) -> tuple[str, ...]:
        """Let versions that failed be tried again whose files have changed, and rest.

        Runs in the calling thread and reads directories; to be called now and then.

        Returns:
            The directories of those that failed.
        """
        with self._lock:
            failed = list(self._failed)
        for seat in failed:
            found = look_at(seat.path, self._look)
            with self._lock:
                if found != seat.seen and found == seat.looked:
                    seat.retry_s = self._clock()
                    if found is not None:
                        seat.files = found
                seat.looked = found
        return tuple(seat.path for seat in failed)

    def stop(self) -> None:
        """Load nothing more, now and for ever, and tell those who wait for room."""
        todo: Todo[T] = Todo()
        with self._lock:
            self._is_closed = True
            error = Unavailable(_STOPPING)
            for seat in self._queue:
                seat.where = Where.OUT
                todo.settled.append((seat.loading, error))
            self._queue.clear()
        self._do(todo)

    def close(self, timeout_s: float | None = None) -> bool:
        """The same, and join the threads; False when time ran out.

        To be called when the lifecycle has given up all seats, or has run out of time to.
        """
        self.stop()
        has_ended = self._loads.close(timeout_s)
        return self._closes.close(timeout_s) and has_ended

    # -- requests --------------------------------------------------------------------------------

    def pin(self, seat: Seat[T]) -> T:
        """See `Seat.pin`."""
        with self._lock:
            model = seat.model
            if model is not None:
                if seat.where is Where.IN:
                    self._recent.move_to_end(seat)
                    seat.pins += 1
                    return model
                if seat.where is Where.LEAVING and seat.claims:
                    seat.pins += 1
                    return model
            error = seat.error
            if error is not None and self._clock() < seat.retry_s:
                raise anew(error)
        raise NotLoaded(seat)

    def unpin(self, seat: Seat[T]) -> None:
        """See `Seat.unpin`."""
        with self._lock:
            seat.pins -= 1
            if seat.where is not Where.LEAVING:
                return
        self._leave(seat)

    def claim(self, seat: Seat[T]) -> Claim:
        """See `Seat.claim`."""
        todo: Todo[T] = Todo()
        with self._lock:
            loading, life = self._claimed(seat, todo)
            self._advance(todo)
        self._do(todo)
        return Claim(loading, partial(self._unclaim, seat, life))

    @property
    def reserved(self) -> dict[ServableId, int]:
        """Version in memory → what is set aside for it in bytes, by an estimate from its files."""
        return self._budget.reserved

    @property
    def counts(self) -> Counts:
        """See there."""
        with self._lock:
            return Counts(len(self._taken), dict(self._evictions))

    def _claimed(self, seat: Seat[T], todo: Todo[T]) -> tuple["Future[None]", int]:
        """Under the lock: what to wait for, and which life it is."""
        match seat.where:
            case Where.QUEUED | Where.LOADING:
                seat.claims += 1
            case Where.LEAVING | Where.CLOSING:
                seat.next_claims += 1
                return seat.next_loading, seat.life + 1
            case Where.OUT:
                seat.next_claims += 1
                self._begin_life(seat, todo)
            case _:  # in, or gone: it is time to ask again
                return seat.loading, _NO_LIFE
        return seat.loading, seat.life

    def _begin_life(self, seat: Seat[T], todo: Todo[T]) -> None:
        seat.life += 1
        seat.claims, seat.next_claims = seat.next_claims, 0
        seat.loading, seat.next_loading = seat.next_loading, Future()
        if self._is_closed:
            seat.where = Where.OUT
            todo.settled.append((seat.loading, Unavailable(_STOPPING)))
            return
        seat.where = Where.QUEUED
        self._queue.append(seat)

    def _unclaim(self, seat: Seat[T], life: int) -> None:
        with self._lock:
            if life == seat.life + 1:
                seat.next_claims -= 1
            elif life == seat.life and seat.claims:
                seat.claims -= 1
                if seat.where is Where.QUEUED and not seat.claims:
                    self._queue.remove(seat)  # nobody waits for it any more
                    seat.where = Where.OUT
            if seat.where is not Where.LEAVING:
                return
        self._leave(seat)

    # -- room ------------------------------------------------------------------------------------

    def _advance(self, todo: Todo[T]) -> None:
        """Under the lock: begin the loads there is room for, and make room for the next ones."""
        self._refuse_hopeless(todo)
        while self._queue and self._has_room(self._queue[0]):
            seat = self._queue.popleft()
            seat.where = Where.LOADING
            self._taken.add(seat)
            todo.loads.append(seat)
        if not self._queue:
            return
        going = sum(s.where not in (Where.LOADING, Where.IN) for s in self._taken)
        for _ in range(len(self._queue) - going):
            victim = self._victim()
            if victim is None:
                return
            self._evict(victim, todo)

    def _refuse_hopeless(self, todo: Todo[T]) -> None:
        """What does not fit even alone must not drive out others, nor keep them waiting."""
        hopeless = [seat for seat in self._queue if not self._budget.can_ever_fit(seat.files)]
        for seat in hopeless:
            self._queue.remove(seat)
            self._note_failure(seat, self._budget.refusal(seat.id, seat.files))
            todo.settled.append((seat.loading, seat.error))

    def _has_room(self, seat: Seat[T]) -> bool:
        # A load that does not return, perhaps never, must not keep out all others.
        num_taken = len(self._taken) - len(self._late)
        if self._options.max_loaded and num_taken >= self._options.max_loaded:
            return False
        # What is still there of an earlier life of the version must go first.
        if any(taken.id == seat.id for taken in self._taken):
            return False
        return self._budget.reserve(seat.id, seat.files)

    def _victim(self) -> Seat[T] | None:
        """Who has to leave: the one asked longest ago, of those nobody is asking if there are."""
        idle = (seat for seat in self._recent if not seat.pins and not seat.claims)
        return next(itertools.chain(idle, self._recent), None)

    def _evict(self, seat: Seat[T], todo: Todo[T]) -> None:
        del self._recent[seat]
        seat.where = Where.LEAVING
        self._evictions[seat.id.name] = self._evictions.get(seat.id.name, 0) + 1
        _logger.info("Evicting servable version %s from memory", seat.id)
        if not seat.pins and not seat.claims:
            seat.where = Where.CLOSING
            todo.closes.append(seat)

    def _leave(self, seat: Seat[T]) -> None:
        todo: Todo[T] = Todo()
        with self._lock:
            if seat.where is Where.LEAVING and not seat.pins and not seat.claims:
                seat.where = Where.CLOSING
                todo.closes.append(seat)
        self._do(todo)

    def _note_failure(self, seat: Seat[T], error: ServingError) -> None:
        seat.error = error
        seat.retry_s = inf if error.is_final else self._clock() + pause_s(seat.failures)
        seat.failures += 1
        if seat.where is not Where.GONE:
            seat.where = Where.OUT
            self._failed.add(seat)

    # -- outside the lock ------------------------------------------------------------------------

    def _do(self, todo: Todo[T]) -> None:
        for future, error in todo.settled:
            settle(future, error)
        for seat in todo.closes:
            if not is_queued(self._closes, partial(self._close, seat)):
                self._close(seat)
        for seat in todo.loads:
            if not is_queued(self._loads, partial(self._load, seat)):
                error = Unavailable(f"No thread to load {seat.id} in")
                self._loaded(SeatLoad(seat, None), None, error)

    def _load(self, seat: Seat[T]) -> None:
        model: T | None = None
        error: ServingError | None = None
        load = SeatLoad(seat, look_at(seat.path, self._look))
        self.watch.begin(load)
        try:
            if self._is_closed or seat.where is Where.GONE:
                raise Unavailable(_STOPPING)  # noqa: TRY301 - one way out for all that fails
            _logger.info("Bringing servable version %s into memory", seat.id)
            model = seat.load()
        except Exception as caught:  # noqa: BLE001 - whatever it is, it is this version's state
            error = as_serving_error(caught)
            _logger.error("Bringing servable version %s into memory: %s", seat.id, error.status)  # noqa: TRY400 - it says what a person needs
        self.watch.end(load)
        self._loaded(load, model, error)

    def _loaded(self, load: SeatLoad[T], model: T | None, error: ServingError | None) -> None:
        seat = load.seat
        if self._has_returned(load):
            if model is not None:
                self._free(seat.id, model)
            self._changed()
            return
        todo: Todo[T] = Todo()
        with self._lock:
            is_in_vain = model is not None and seat.where is Where.GONE
            if model is None:
                self._taken.discard(seat)
                self._budget.release(seat.id)
            if error is not None:
                self._note_failure(seat, error)
                seat.seen = seat.looked = load.seen
            else:
                seat.model = model
                self._budget.loaded(seat.id)
            if model is not None and not is_in_vain:
                seat.where = Where.IN
                seat.error, seat.failures = None, 0
                self._failed.discard(seat)
                self._recent[seat] = None
            todo.settled.append((seat.loading, error))
            self._advance(todo)
        self._do(todo)
        if is_in_vain:
            self._close(seat)
        else:
            self._changed()

    def _has_returned(self, load: SeatLoad[T]) -> bool:
        """Note that a load has; whether it had been given up."""
        seat, todo = load.seat, Todo[T]()
        with self._lock:
            load.has_returned = True
            if load.is_abandoned:
                self._budget.returned(load.abandoned_bytes)
                if seat.retry_s == math.inf:
                    seat.retry_s = self._clock()
                self._advance(todo)
            else:
                self._late.discard(seat)
                seat.note = None
        if load.is_late:
            self._loads.take_back()
        if load.is_abandoned:
            _logger.info("Servable version %s was loaded after that had been given up", seat.id)
        self._do(todo)
        return load.is_abandoned

    def _noted_late(self, late: Late[SeatLoad[T]]) -> None:
        load, seat, todo = late.key, late.key.seat, Todo[T]()
        with self._lock:
            if load.has_returned:
                return
            is_first, load.is_late = not load.is_late, True
            if late.is_over:
                self._abandon(load, late.for_s, todo)
            else:
                self._late.add(seat)
                seat.note = still_loading(late.for_s, self._now)
            self._advance(todo)
        if is_first:
            self._loads.lend()
        what = "is given up" if late.is_over else "goes on, and other loads beside it"
        _logger.warning(
            "Bringing servable version %s into memory has not returned for %.0f s: it %s",
            *(seat.id, late.for_s, what),
        )
        self._do(todo)

    def _abandon(self, load: SeatLoad[T], for_s: float, todo: Todo[T]) -> None:
        """Under the lock: wait no more for a load; what it brings will be freed."""
        seat = load.seat
        load.is_abandoned = True
        load.abandoned_bytes = self._budget.abandon(seat.id)
        self._taken.discard(seat)
        self._late.discard(seat)
        error = given_up_after(seat.id, for_s)
        self._note_failure(seat, error)
        seat.seen = seat.looked = load.seen
        seat.note = None
        seat.retry_s = math.inf  # until it returns, or its files change
        todo.settled.append((seat.loading, error))

    def _close(self, seat: Seat[T]) -> None:
        model, seat.model = seat.model, None
        if model is not None:
            self._free(seat.id, model)
        del model
        todo: Todo[T] = Todo()
        with self._lock:
            self._taken.discard(seat)
            self._budget.release(seat.id)
            if seat.where is Where.CLOSING:
                seat.where = Where.OUT
                if seat.next_claims:
                    self._begin_life(seat, todo)
            self._advance(todo)
        self._do(todo)
        self._changed()

    def _free(self, id: ServableId, model: T) -> None:
        try:
            model.close()
        except Exception:
            _logger.exception("Servable version %s could not give back what it held", id)

    def _changed(self) -> None:
        try:
            self._after_change()
        except Exception:
            _logger.exception("What follows a load or unload failed")

"""How placeholders go from one presence to the next, and what is to be done for that.

Decided under the lock of a `Residency`, and done by that once it has given the lock back.
"""

import logging
import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from salver.errors import STOPPING, ServingError, Unavailable
from salver.instruments.cache import NoRoomBeside
from salver.instruments.files import Footprint
from salver.lifecycle.attempt import Local
from salver.lifecycle.budget import Budget
from salver.lifecycle.disk_room import DiskRoom
from salver.lifecycle.file_changes import pause_s
from salver.lifecycle.loader import Closable
from salver.lifecycle.placeholders import Claim, Placeholder, Presence
from salver.lifecycle.room import Room

__all__ = ["Actions", "Presences", "RunningLoad"]

_logger = logging.getLogger(__name__)

T = TypeVar("T", bound=Closable)


@dataclass(slots=True, eq=False)
class RunningLoad(Generic[T]):
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


class Actions(Generic[T]):
    """What was decided under the lock, to be done once that has been given back.

    Attributes:
        loads: models to load.
        fetches: versions to fetch.
        locals: fetched files that are needed no more.
        closes: models to free.
        settled: futures to end, each with what they fail with.
    """

    def __init__(self) -> None:
        self.loads: list[Placeholder[T]] = []
        self.fetches: list[Placeholder[T]] = []
        self.locals: list[Local] = []
        self.closes: list[Placeholder[T]] = []
        self.settled: list[tuple[Future[None], ServingError | None]] = []


class Presences(Generic[T]):
    """The presences of all placeholders. Not thread-safe.

    Attributes:
        is_stopped: nothing is loaded any more.
    """

    def __init__(self, room: Room[T], budget: Budget, clock: Callable[[], float]) -> None:
        """Know of no placeholder.

        Args:
            room: in memory.
            budget: of memory, the one of the room.
            clock: seconds, monotonic.
        """
        self._room = room
        self._disk: DiskRoom[T] = DiskRoom(room)
        self._budget = budget
        self._clock = clock
        self._failed: set[Placeholder[T]] = set()
        self.is_stopped = False

    @property
    def failed(self) -> list[Placeholder[T]]:
        """Those whose last load or fetch failed."""
        return list(self._failed)

    # -- what has happened -----------------------------------------------------------------------

    def claim(
        self,
        placeholder: Placeholder[T],
        end: Callable[[Placeholder[T], int], None],
        actions: Actions[T],
    ) -> Claim:
        """Somebody wants it in memory.

        Args:
            placeholder: what.
            end: called with it and the generation when the claim is given back.
            actions: see there.
        """
        match placeholder.presence:
            case Presence.OUT:
                placeholder.next_claims += 1
                self._begin_generation(placeholder, actions)
            case Presence.FETCHING | Presence.QUEUED | Presence.LOADING:
                placeholder.claims += 1
            case Presence.LEAVING | Presence.CLOSING:
                placeholder.next_claims += 1
                generation = placeholder.generation + 1
                return Claim(placeholder.next_loading, partial(end, placeholder, generation))
            case _:  # in, or gone: it is time to try again
                return Claim(placeholder.loading, lambda: None)
        return Claim(placeholder.loading, partial(end, placeholder, placeholder.generation))

    def unclaim(self, placeholder: Placeholder[T], generation: int, actions: Actions[T]) -> None:
        """A claim on a generation was given back."""
        if generation == placeholder.generation + 1:
            placeholder.next_claims -= 1
        elif generation == placeholder.generation and placeholder.claims:
            placeholder.claims -= 1
            if placeholder.presence is Presence.QUEUED and not placeholder.claims:
                self._room.queue.remove(placeholder)  # nobody waits for it any more
                placeholder.presence = Presence.OUT
                _drop_files(placeholder, actions)
        self.close_if_idle(placeholder, actions)

    def close_if_idle(self, placeholder: Placeholder[T], actions: Actions[T]) -> None:
        """Have it freed, if it is to leave and no request needs it."""
        if placeholder.presence is Presence.LEAVING and placeholder.is_idle:
            placeholder.presence = Presence.CLOSING
            actions.closes.append(placeholder)

    def forget(self, placeholder: Placeholder[T], actions: Actions[T]) -> bool:
        """The lifecycle has given it up; whether it is in memory, and to be freed at once."""
        presence, placeholder.presence = placeholder.presence, Presence.GONE
        self._failed.discard(placeholder)
        if presence is Presence.QUEUED:
            self._room.queue.remove(placeholder)
            _drop_files(placeholder, actions)
        if placeholder.fetching is not None:
            placeholder.fetching.cancel()
        self._disk.discard(placeholder)
        actions.settled += [(placeholder.loading, None), (placeholder.next_loading, None)]
        self._room.recent.pop(placeholder, None)
        return presence in (Presence.IN, Presence.LEAVING)

    def stop(self, actions: Actions[T]) -> None:
        """Load nothing more, now and for ever, and fail the requests that wait for room."""
        self.is_stopped = True
        for placeholder in self._room.queue:
            placeholder.presence = Presence.OUT
            _drop_files(placeholder, actions)
            actions.settled.append((placeholder.loading, Unavailable(STOPPING)))
        self._room.queue.clear()
        for placeholder in self._disk.take_all():
            placeholder.presence = Presence.OUT
            actions.settled.append((placeholder.loading, Unavailable(STOPPING)))

    def rechecked(self, placeholder: Placeholder[T], found: Footprint | None) -> None:
        """The files of one that failed were looked at; if they have changed, and rest, retry."""
        if found != placeholder.seen and found == placeholder.rechecked:
            placeholder.retry_s = self._clock()
            if found is not None:
                placeholder.files = found
        placeholder.rechecked = found

    def fetched(
        self,
        placeholder: Placeholder[T],
        seen: Footprint | None,
        outcome: Local | ServingError,
        actions: Actions[T],
    ) -> None:
        """A fetch is over: wait for room, unless nobody waits for the version any more.

        Args:
            placeholder: what for.
            seen: how the files looked before.
            outcome: of the fetch.
            actions: see there.
        """
        placeholder.fetching = None
        is_wanted = placeholder.presence is Presence.FETCHING and not self.is_stopped
        if isinstance(outcome, NoRoomBeside) and is_wanted:
            self._disk.end(placeholder, outcome)
            return
        self._disk.end(placeholder)
        if isinstance(outcome, ServingError):
            if placeholder.presence is Presence.FETCHING:
                _logger.error("Fetching servable version %s: %s", placeholder.id, outcome.status)
            self._note_failure(placeholder, outcome, actions)
            placeholder.seen = placeholder.rechecked = seen
            return
        placeholder.local = outcome
        if placeholder.presence is not Presence.FETCHING:  # it was forgotten meanwhile
            _drop_files(placeholder, actions)
        elif self.is_stopped or not placeholder.claims:
            placeholder.presence = Presence.OUT
            _drop_files(placeholder, actions)
            error = Unavailable(STOPPING) if self.is_stopped else None
            actions.settled.append((placeholder.loading, error))
        else:
            placeholder.presence = Presence.QUEUED
            self._room.queue.append(placeholder)

    def late(self, load: RunningLoad[T], note: str) -> None:
        """A load does not return: it keeps out no others. The note says so."""
        self._room.late.add(load.placeholder)
        load.placeholder.note = note

    def abandon(self, load: RunningLoad[T], error: ServingError, actions: Actions[T]) -> None:
        """Wait no more for a load; what it brings will be freed.

        Args:
            load: see there.
            error: what requests for the version fail with.
            actions: see there.
        """
        placeholder = load.placeholder
        load.is_abandoned = True
        load.abandoned_bytes = self._budget.abandon(placeholder.id)
        self._room.taken.discard(placeholder)
        self._room.late.discard(placeholder)
        self._note_failure(placeholder, error, actions)
        placeholder.seen = placeholder.rechecked = load.seen
        placeholder.note = None
        placeholder.retry_s = math.inf  # until it returns, or its files change

    def load_ended(self, load: RunningLoad[T]) -> None:
        """A load has returned, be it that it had been given up."""
        load.has_returned = True
        if not load.is_abandoned:
            self._room.late.discard(load.placeholder)
            load.placeholder.note = None

    def give_back(self, load: RunningLoad[T]) -> None:
        """Let others have the memory of a load that returned after it was given up."""
        placeholder = load.placeholder
        self._budget.returned(load.abandoned_bytes)
        if placeholder.retry_s == math.inf:
            placeholder.retry_s = self._clock()

    def returned(
        self, load: RunningLoad[T], outcome: T | ServingError, actions: Actions[T]
    ) -> bool:
        """A load is over that was waited for; whether nobody wants what it has brought."""
        placeholder = load.placeholder
        if isinstance(outcome, ServingError):
            self._room.release(placeholder)
            placeholder.local = load.local or placeholder.local
            self._note_failure(placeholder, outcome, actions)
            placeholder.seen = placeholder.rechecked = load.seen
            return False
        placeholder.model, placeholder.local = outcome, load.local
        self._budget.loaded(placeholder.id)
        is_in_vain = placeholder.presence is Presence.GONE
        if not is_in_vain:
            placeholder.presence = Presence.IN
            placeholder.error, placeholder.failures = None, 0
            self._failed.discard(placeholder)
            self._room.recent[placeholder] = None
        actions.settled.append((placeholder.loading, None))
        return is_in_vain

    def closed(self, placeholder: Placeholder[T], actions: Actions[T]) -> None:
        """A model was freed."""
        _drop_files(placeholder, actions)
        self._room.release(placeholder)
        if placeholder.presence is Presence.CLOSING:
            placeholder.presence = Presence.OUT
            if placeholder.next_claims:
                self._begin_generation(placeholder, actions)

    # -- what follows from it --------------------------------------------------------------------

    def conclude(self, actions: Actions[T]) -> None:
        """Go on with what there is room for, and have others leave; after all else."""
        for hopeless in self._room.take_hopeless():
            error = self._budget.refusal(hopeless.id, hopeless.files)
            self._note_failure(hopeless, error, actions)
        actions.loads += self._room.take_fitting()
        for evicted in self._room.evict():
            _logger.info("Evicting servable version %s from memory", evicted.id)
            self.close_if_idle(evicted, actions)
        self._make_room_on_disk(actions)

    def _make_room_on_disk(self, actions: Actions[T]) -> None:
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
            self.close_if_idle(victim, actions)
        elif self._disk.is_hopeless():
            for refused, error in self._disk.take_all().items():
                self._note_failure(refused, error, actions)

    def _have_fetched(self, placeholder: Placeholder[T], actions: Actions[T]) -> None:
        self._disk.begin(placeholder)
        actions.fetches.append(placeholder)

    def _begin_generation(self, placeholder: Placeholder[T], actions: Actions[T]) -> None:
        placeholder.begin_generation()
        if self.is_stopped:
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

    def _note_failure(
        self, placeholder: Placeholder[T], error: ServingError, actions: Actions[T]
    ) -> None:
        _drop_files(placeholder, actions)
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


def _drop_files(placeholder: Placeholder[T], actions: Actions[T]) -> None:
    """What was fetched is needed no more."""
    local, placeholder.local = placeholder.local, None
    if local is not None:
        actions.locals.append(local)

"""Places of versions in memory, taken or not, and how they are held, claimed and waited for.

A life of a seat is one stay in memory. Who wants to ask a version that is not there makes a claim
on its next life; a model that has to leave takes no new requests but those that have a claim, so
everyone who has waited is served, and it leaves when they and the requests within it are through.
"""

import enum
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

from salver.errors import ServingError, Unavailable
from salver.files import Footprint
from salver.lifecycle.handles import Entry
from salver.lifecycle.loader import Closable
from salver.servable import ServableId

__all__ = ["Claim", "Held", "Keeper", "NotLoaded", "Seat", "Where"]

T = TypeVar("T", bound=Closable)


class NotLoaded(Unavailable):
    """A version is available but not in memory. Whoever can wait claims it, and asks again.

    Attributes:
        id: the version.
        definitions: its signatures, a serialized `tensorflow.serving.SignatureDefMap`; None where
            only the loaded model tells them.
    """

    def __init__(self, seat: "Seat[T]") -> None:
        super().__init__(
            f"Servable {seat.id} is not in memory yet",
            hint="It is loaded for the first request that can wait for it.",
        )
        self.id = seat.id
        self.definitions = seat.definitions
        self.claim: Callable[[], Claim] = seat.claim


class Claim:
    """A place in a version's next life. To be ended, once, by whoever made it."""

    __slots__ = ("_end", "loading")

    def __init__(self, loading: "Future[None]", end: Callable[[], None]) -> None:
        """Only a seat makes them.

        Args:
            loading: done when it is time to ask again; fails with a `ServingError` when the model
                cannot be loaded. Not to be cancelled: others wait for it too.
            end: gives the place back.
        """
        self.loading = loading
        self._end = end

    def __enter__(self) -> "Claim":
        return self

    def __exit__(self, *_error: object) -> None:
        self._end()


class Where(enum.Enum):
    """How far the model of a seat is."""

    OUT = "out"
    QUEUED = "queued"  # for room
    LOADING = "loading"
    IN = "in"
    LEAVING = "leaving"  # until those within it, and those with a claim, are through
    CLOSING = "closing"
    GONE = "gone"  # unloaded by the lifecycle: it will not come back


class Keeper(Protocol[T]):
    """What decides about seats: `residency.Residency`."""

    def pin(self, seat: "Seat[T]") -> T: ...
    def unpin(self, seat: "Seat[T]") -> None: ...
    def claim(self, seat: "Seat[T]") -> Claim: ...
    def forget(self, seat: "Seat[T]") -> None: ...


class Seat(Generic[T]):
    """One version, in memory or not: a loaded model, as far as the lifecycle cares.

    Attributes:
        id: the version.
        path: its directory.
        definitions: see `NotLoaded`.
    """

    def __init__(
        self,
        keeper: "Keeper[T]",
        id: ServableId,
        path: str,
        load: Callable[[], T],
        definitions: bytes | None,
        files: Footprint,
    ) -> None:
        """Only a residency makes them."""
        self.id = id
        self.path = path
        self.definitions = definitions
        self._keeper = keeper
        # All that follows belongs to the keeper, and is touched under its lock.
        self.load = load
        self.files = files
        self.where = Where.OUT
        self.model: T | None = None
        self.pins = 0
        self.life = 0
        self.claims = 0  # on this life
        self.next_claims = 0
        self.loading: Future[None] = Future()  # of this life
        self.next_loading: Future[None] = Future()
        self.error: ServingError | None = None
        self.failures = 0
        self.retry_s = 0.0
        self.seen: Footprint | None = None  # just before the load that failed
        self.looked: Footprint | None = None
        self.note: str | None = None  # while it loads, and that takes long

    @property
    def is_in_memory(self) -> bool:
        """Whether it can be asked without waiting."""
        return self.where is Where.IN

    @property
    def last_error(self) -> ServingError | None:
        """What its last load failed with; None when it did not."""
        return self.error

    def pin(self) -> T:
        """The model, in memory until `unpin`.

        Raises:
            NotLoaded: it is not in memory.
            ServingError: it could not be loaded, so short a time ago that nobody tries again yet.
        """
        return self._keeper.pin(self)

    def unpin(self) -> None:
        """Let it go."""
        self._keeper.unpin(self)

    def claim(self) -> Claim:
        """Have it loaded, unless it is, and keep it in memory until one has asked it."""
        return self._keeper.claim(self)

    def close(self) -> None:
        """Give up its place for ever; see `Closable`."""
        self._keeper.forget(self)


class Held(Generic[T]):
    """A version in memory, pinned until it is released once, from any thread."""

    __slots__ = ("_entry", "id", "model")

    def __init__(self, entry: Entry[Seat[T]], model: T) -> None:
        """Only `of` makes them."""
        self._entry = entry
        self.id = entry.id
        self.model = model

    @classmethod
    def of(cls, entry: Entry[Seat[T]]) -> "Held[T]":
        """Pin what is in a seat. Takes over the pin of the entry.

        Raises:
            ServingError: see `Seat.pin`; then the entry is released.
        """
        try:
            return cls(entry, entry.model.pin())
        except BaseException:
            entry.release()
            raise

    def release(self) -> None:
        """Let the version go."""
        self._entry.model.unpin()
        self._entry.release()

"""Placeholders of versions that may be in memory or not, and how they are pinned and claimed.

A load generation is one stay in memory. A request for a version that is not there makes a claim on
its next generation. A model that has to leave takes no new requests but those that have a claim, so
everyone who has waited is served, and it leaves when they and the requests within it are through.
"""

import enum
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

from salver.errors import ServingError, Unavailable
from salver.instruments.files import Footprint
from salver.lifecycle.attempt import Local
from salver.lifecycle.handles import Entry
from salver.lifecycle.late_fetches import LateFetch
from salver.lifecycle.loader import Closable
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.servable import ServableId

__all__ = ["Claim", "Decider", "FetchLate", "Held", "NotLoaded", "Placeholder", "Presence"]

T = TypeVar("T", bound=Closable)


class NotLoaded(Unavailable):
    """A version is available but not in memory. Who can wait claims it, and then tries again.

    Attributes:
        id: the version.
        info: what it says of itself; None where only the loaded model tells.
    """

    def __init__(self, placeholder: "Placeholder[T]") -> None:
        super().__init__(
            f"Servable {placeholder.id} is not in memory yet",
            hint="It is loaded for the first request that can wait for it.",
        )
        self.id = placeholder.id
        self.info = placeholder.info
        self.claim: Callable[[], Claim] = placeholder.claim


class Claim:
    """A claim on a version's next generation. To be ended, once, by its owner."""

    __slots__ = ("_end", "loading")

    def __init__(self, loading: "Future[None]", end: Callable[[], None]) -> None:
        """Only a residency makes them.

        Args:
            loading: done when it is time to try again; fails with a `ServingError` when the model
                cannot be loaded. Not to be cancelled: others wait for it too.
            end: gives the claim back.
        """
        self.loading = loading
        self._end = end

    def __enter__(self) -> "Claim":
        return self

    def __exit__(self, *_error: object) -> None:
        self._end()


class Presence(enum.Enum):
    """How far in memory the model of a placeholder is."""

    OUT = "out"
    FETCHING = "fetching"  # its files, into a directory of this machine
    QUEUED = "queued"  # for room
    LOADING = "loading"
    IN = "in"
    LEAVING = "leaving"  # until those within it, and those with a claim, are through
    CLOSING = "closing"
    GONE = "gone"  # unloaded by the lifecycle: it will not come back


FetchLate = Callable[[LateFetch], Local]
"""Brings the files of a version to this machine, and raises where it cannot."""


class Decider(Protocol[T]):
    """What decides about placeholders: `residency.Residency`."""

    def pin(self, placeholder: "Placeholder[T]") -> T: ...
    def unpin(self, placeholder: "Placeholder[T]") -> None: ...
    def claim(self, placeholder: "Placeholder[T]") -> Claim: ...
    def forget(self, placeholder: "Placeholder[T]") -> None: ...


class Placeholder(Generic[T]):
    """One version, in memory or not: a loaded model, as far as the lifecycle uses it.

    Attributes:
        id: the version.
        path: its directory.
        info: see `NotLoaded`.
        local: what was fetched, as long as it is needed.
    """

    def __init__(
        self,
        residency: "Decider[T]",
        id: ServableId,
        path: str,
        load: Callable[[], T],
        info: ModelInfo | None,
        files: Footprint,
        fetch: FetchLate | None = None,
        lane: str = "",
    ) -> None:
        """Only a residency makes them."""
        self.local: Local | None = None
        self.fetch = fetch
        self.lane = lane
        self.fetching: LateFetch | None = None
        self.id = id
        self.path = path
        self.info = info
        self._residency = residency
        # All that follows belongs to the residency, and is touched under its lock.
        self.load = load
        self.files = files
        self.presence = Presence.OUT
        self.model: T | None = None
        self.pins = 0
        self.generation = 0
        self.claims = 0  # on this generation
        self.next_claims = 0
        self.loading: Future[None] = Future()  # of this generation
        self.next_loading: Future[None] = Future()
        self.error: ServingError | None = None
        self.failures = 0
        self.retry_s = 0.0
        self.seen: Footprint | None = None  # just before the load that failed
        self.rechecked: Footprint | None = None  # at the last `recheck`
        self.note: str | None = None  # while it loads, and that takes long

    @property
    def is_in_memory(self) -> bool:
        """Whether it answers without waiting."""
        return self.presence is Presence.IN

    @property
    def is_idle(self) -> bool:
        """Whether no request holds it, and none that has waited for it is yet to come."""
        return not self.pins and not self.claims

    def begin_generation(self) -> None:
        """Those who have claimed the next generation wait for this one from now on."""
        self.generation += 1
        self.claims, self.next_claims = self.next_claims, 0
        self.loading, self.next_loading = self.next_loading, Future()

    def pin(self) -> T:
        """The model, in memory until `unpin`.

        Raises:
            NotLoaded: it is not in memory.
            ServingError: its last load failed, and it is not tried again yet.
        """
        return self._residency.pin(self)

    def unpin(self) -> None:
        """Let it go."""
        self._residency.unpin(self)

    def claim(self) -> Claim:
        """Have it loaded, unless it is, and keep it in memory until the claim is used or ended."""
        return self._residency.claim(self)

    def close(self) -> None:
        """Give up its place for ever; see `Closable`."""
        self._residency.forget(self)


class Held(Generic[T]):
    """A version in memory, pinned until it is released once, from any thread."""

    __slots__ = ("_entry", "id", "model")

    def __init__(self, entry: Entry[Placeholder[T]], model: T) -> None:
        """Only `of` makes them."""
        self._entry = entry
        self.id = entry.id
        self.model = model

    @classmethod
    def of(cls, entry: Entry[Placeholder[T]]) -> "Held[T]":
        """Pin what is in a placeholder. Takes over the pin of the entry.

        Raises:
            ServingError: see `Placeholder.pin`; then the entry is released.
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

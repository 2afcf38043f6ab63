"""One version on its way to being loaded: which step it is at, and how often it has tried.

Pure: what the manager does with the outcomes, and when, is the manager's affair.

Source: TensorFlow Serving `core/basic_manager.cc` (ReserveResources), `core/loader_harness.cc`
(Load) and `util/retrier.cc`.
"""

import enum
from dataclasses import dataclass
from typing import Protocol

from salver.errors import ServingError, error_of
from salver.instruments.files import Footprint
from salver.vocabulary.servable import ServableId

__all__ = ["Attempt", "Local", "Step"]


class Local(Protocol):
    """A version that was fetched, and is kept until this is closed."""

    @property
    def directory(self) -> str:
        """Where its files are."""
        ...

    def close(self) -> None:
        """Need it no more. Returns at once."""
        ...


class Step(enum.Enum):
    """What is tried, each with its own count of tries."""

    FETCH = "Fetching servable"
    RESERVE = "Reserving resources for servable"
    LOAD = "Loading servable"


@dataclass(slots=True, eq=False)
class Attempt:
    """Owned by the manager's thread, lent to one load thread during each try.

    Attributes:
        id: the version.
        path: its directory, or where it has to be fetched from.
        local: what was fetched.
        step: what the next try begins with.
        restarts: tries in a row that a change of the files has caused, over all attempts at this
            version since it was first aspired to.
        tries: tries of this step that have failed.
        seen: how the files looked just before the last try; None before the first, or when they
            could not be looked at.
        error: what the last try failed with.
        failed_s: when that was.
        due_s: when the next try is to begin; None while it is queued or running.
        is_abandoned: whether it was given up while it ran, so that nobody waits for its outcome.
        abandoned_bytes: memory that is set aside for it until it returns.
    """

    id: ServableId
    path: str
    restarts: int = 0
    local: Local | None = None
    step: Step = Step.RESERVE
    tries: int = 0
    seen: Footprint | None = None
    error: ServingError | None = None
    failed_s: float = 0.0
    due_s: float | None = None
    is_abandoned: bool = False
    abandoned_bytes: int = 0

    @property
    def description(self) -> str:
        """What is tried, in the words of the log."""
        return f"{self.step.value}: {self.id}"

    @property
    def final_error(self) -> ServingError | None:
        """The error to publish when no more tries follow; None when none has failed."""
        if self.error is None or self.step is not Step.RESERVE:
            return self.error
        return error_of(
            self.error.code,
            f"Error while attempting to reserve resources to load servable {self.id}: "
            f"{self.error.message}",
        )

    @property
    def directory(self) -> str:
        """Where its files are on this machine."""
        return self.path if self.local is None else self.local.directory

    @property
    def is_store_to_blame(self) -> bool:
        """Whether it failed for what may be over though its files stay as they are."""
        return self.step is Step.FETCH and self.error is not None and not self.error.is_final

    def fetched(self, local: Local) -> None:
        """The files are there: go on to reserve and load."""
        self.local, self.step, self.tries, self.error = local, Step.RESERVE, 0, None

    def let_go(self) -> None:
        """Need what was fetched no more."""
        local, self.local = self.local, None
        if local is not None:
            local.close()

    def reserved(self, seen: Footprint | None) -> None:
        """The files could be looked at: go on to load them."""
        self.step, self.tries, self.error, self.seen = Step.LOAD, 0, None, seen

    def failed(self, error: ServingError) -> None:
        """One more try of this step has failed."""
        self.tries += 1
        self.error = error

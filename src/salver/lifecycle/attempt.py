"""One version on its way to being loaded: which step it is at, and how often it has tried.

Pure: what the manager does with the outcomes, and when, is the manager's affair.

Source: TensorFlow Serving `core/basic_manager.cc` (ReserveResources), `core/loader_harness.cc`
(Load) and `util/retrier.cc`.
"""

import enum
from dataclasses import dataclass

from salver.errors import ServingError, error_of
from salver.files import Footprint
from salver.servable import ServableId

__all__ = ["Attempt", "Step"]


class Step(enum.Enum):
    """The two things that are tried, each with its own count of tries."""

    RESERVE = "Reserving resources for servable"
    LOAD = "Loading servable"


@dataclass(slots=True)
class Attempt:
    """Owned by the manager's thread, lent to one load thread during each try.

    Attributes:
        id: the version.
        path: its directory.
        step: what the next try begins with.
        restarts: tries in a row that a change of the files has caused, over all attempts at this
            version since it was first aspired to.
        tries: tries of this step that have failed.
        seen: how the files looked just before the last try; None before the first, or when they
            could not be looked at.
        error: what the last try failed with.
        failed_s: when that was.
        due_s: when the next try is to begin; None while it is queued or running.
        is_late: whether the running try has been told of, and its thread made up for.
        is_abandoned: whether it was given up while it ran, so that nobody waits for its outcome.
        abandoned_bytes: memory that is set aside for it until it returns.
    """

    id: ServableId
    path: str
    restarts: int = 0
    step: Step = Step.RESERVE
    tries: int = 0
    seen: Footprint | None = None
    error: ServingError | None = None
    failed_s: float = 0.0
    due_s: float | None = None
    is_late: bool = False
    is_abandoned: bool = False
    abandoned_bytes: int = 0

    @property
    def description(self) -> str:
        """What is tried, in the words of the log."""
        return f"{self.step.value}: {self.id}"

    @property
    def final_error(self) -> ServingError | None:
        """The error to publish when no more tries follow; None when none has failed."""
        if self.error is None or self.step is Step.LOAD:
            return self.error
        return error_of(
            self.error.code,
            f"Error while attempting to reserve resources to load servable {self.id}: "
            f"{self.error.message}",
        )

    def reserved(self, seen: Footprint) -> None:
        """The files could be looked at: go on to load them."""
        self.step, self.tries, self.error, self.seen = Step.LOAD, 0, None, seen

    def failed(self, error: ServingError) -> None:
        """One more try of this step has failed."""
        self.tries += 1
        self.error = error

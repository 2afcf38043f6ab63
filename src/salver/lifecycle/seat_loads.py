"""What a residency decides under its lock, to be done once that has been given back."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from salver.errors import ResourceExhausted, ServingError, error_of
from salver.files import Footprint
from salver.lifecycle.loader import Closable
from salver.lifecycle.seats import Seat
from salver.threads import Job, Pool

__all__ = ["SeatLoad", "Todo", "anew", "is_queued", "settle"]

_ADVICE: Final = "It is tried again after a while, and when the files of the version have changed."

T = TypeVar("T", bound=Closable)


@dataclass(slots=True, eq=False)
class SeatLoad(Generic[T]):
    """A load that is running. What follows the first two is changed under the residency's lock.

    Attributes:
        seat: what for.
        seen: how the files looked just before.
        is_late: it has been told of, and its thread made up for.
        is_abandoned: it was given up, so that its outcome is of no use.
        has_returned: it is over.
        abandoned_bytes: memory that is set aside for it until it returns.
    """

    seat: Seat[T]
    seen: Footprint | None
    is_late: bool = False
    is_abandoned: bool = False
    has_returned: bool = False
    abandoned_bytes: int = 0


class Todo(Generic[T]):
    """Loads and closes to begin, and futures to settle with an error, or without one."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.loads: list[Seat[T]] = []
        self.closes: list[Seat[T]] = []
        self.settled: list[tuple[Future[None], ServingError | None]] = []


def is_queued(pool: Pool, job: Job) -> bool:
    """Whether a pool took a job: not if it is closed, or there is no thread for it."""
    try:
        pool.submit(job)
    except (ResourceExhausted, RuntimeError):
        return False
    return True


def settle(future: "Future[None]", error: ServingError | None) -> None:
    """End a future, unless that has been done."""
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(anew(error))


def anew(error: ServingError) -> ServingError:
    """The same error, for one more request: raising it adds to its traceback."""
    again = error_of(error.code, error.message)
    again.hint = error.hint or _ADVICE
    return again

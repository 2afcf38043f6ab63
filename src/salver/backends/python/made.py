"""A future that is done from the start: what a run has given that was made while it was begun.

`concurrent.futures.Future` has a lock and a condition, to which a run of a short function would owe
a fifth of its time.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["Made"]

T = TypeVar("T")


class Made(Future[T]):
    """See `Future`. Nobody ever waits for it."""

    def __init__(self, make: Callable[[], T]) -> None:
        """Make it, now; what is raised is its exception."""
        self._error: BaseException | None = None
        try:
            self._value = make()
        except BaseException as error:  # noqa: BLE001 - it is handed on
            self._error = error

    def done(self) -> bool:
        return True

    def running(self) -> bool:
        return False

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def result(self, timeout: float | None = None) -> T:
        if self._error is not None:
            try:
                raise self._error
            finally:
                self = None  # type: ignore[assignment] # else the error would hold itself
        return self._value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return self._error

    def add_done_callback(self, fn: Callable[[Future[T]], Any]) -> None:
        fn(self)

    def __repr__(self) -> str:
        return f"<Made {'raised' if self._error is not None else 'returned'}>"

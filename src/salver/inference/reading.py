"""Reading a request apart from the loop, and who lets its version go when the client leaves."""

from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from salver.inference.request import InferenceRequest
from salver.inference.serving import Handle

__all__ = ["Reading"]

A = TypeVar("A")


class Reading(Generic[A]):
    """A request that waits for a thread to read it, or is read by one.

    A client that leaves ends its request, but not a thread that is at work on it: then that thread,
    or whoever is the last to know, lets the version go.

    Attributes:
        ready: what was read.
    """

    def __init__(self, handle: Handle | None) -> None:
        """Nobody reads yet.

        Args:
            handle: the version that answers, if that is decided already.
        """
        self._pinned = [] if handle is None else [handle]
        self._is_left = False
        self.ready: list[InferenceRequest[A]] = []

    def is_active(self) -> bool:
        return not self._is_left

    def read(self, read: Callable[[Handle | None], InferenceRequest[A]]) -> None:
        """Read it, in a thread: by `read`, which is handed the version if that is decided."""
        if not self._is_left:
            self.ready.append(read(self._take()))
        if not self.is_active():
            self.give_up()

    def give_up(self) -> None:
        """Nobody waits for it any more; may be called again."""
        self._is_left = True
        handle = self._take()
        if handle is not None:
            handle.release()
        with suppress(IndexError):  # taken by the other side
            self.ready.pop().handle.release()

    def _take(self) -> Handle | None:
        try:
            return self._pinned.pop()
        except IndexError:
            return None

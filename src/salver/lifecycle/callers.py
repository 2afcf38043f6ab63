"""A client that requested a configuration, and may leave before its models are there."""

import threading
from collections.abc import Callable

from salver.vocabulary.access import Actor

__all__ = ["Caller"]


class Caller:
    """A client that waits for an answer. Safe to use from any thread.

    Attributes:
        has_left: nobody waits for the answer any more.
        actor: who it is.
    """

    def __init__(
        self, *, on_taken: Callable[[], None] = lambda: None, actor: Actor | None = None
    ) -> None:
        """Stay until `leave`.

        Args:
            on_taken: called when the configuration is in effect, and only its models are waited
                for; in the thread that applies it.
            actor: who it is; None where nobody has said.
        """
        self.actor = actor or Actor()
        self._on_taken = on_taken
        self._lock = threading.Lock()  # guards what follows
        self.has_left = False
        self._on_leave: list[Callable[[], object]] = []

    def taken(self) -> None:
        """The configuration is in effect."""
        self._on_taken()

    def leave(self) -> None:
        """Nobody waits for the answer any more."""
        with self._lock:
            self.has_left = True
            callbacks, self._on_leave = self._on_leave, []
        for callback in callbacks:
            callback()

    def on_leave(self, callback: Callable[[], object]) -> None:
        """Have something called when it leaves; at once if it has left."""
        with self._lock:
            if not self.has_left:
                self._on_leave.append(callback)
                return
        callback()

"""Somebody who asked for a configuration, and may leave before its models are there."""

import threading
from collections.abc import Callable

__all__ = ["Caller"]


class Caller:
    """Stands where an answer is waited for. Safe to use from any thread."""

    def __init__(self, *, on_taken: Callable[[], None] = lambda: None) -> None:
        """Stay until `leave`.

        Args:
            on_taken: called when the configuration is in effect, and only its models are waited
                for; in the thread that applies it.
        """
        self._on_taken = on_taken
        self._lock = threading.Lock()  # guards what follows
        self._has_left = False
        self._on_leave: list[Callable[[], object]] = []

    @property
    def has_left(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._has_left

    def taken(self) -> None:
        """The configuration is in effect."""
        self._on_taken()

    def leave(self) -> None:
        """Nobody waits for the answer any more."""
        with self._lock:
            self._has_left = True
            telling, self._on_leave = self._on_leave, []
        for tell in telling:
            tell()

    def on_leave(self, tell: Callable[[], object]) -> None:
        """Have something called when it leaves; at once if it has left."""
        with self._lock:
            if not self._has_left:
                self._on_leave.append(tell)
                return
        tell()

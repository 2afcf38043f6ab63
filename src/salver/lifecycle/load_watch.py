"""A thread that notices loads which do not return, where no other thread keeps the time."""

import threading
from collections.abc import Callable
from typing import Generic

from salver.lifecycle.lateness import K, Late, Lateness

__all__ = ["LoadWatch"]


class LoadWatch(Generic[K]):
    """Watches loads; the thread lives as long as there are any. Safe to use from any thread."""

    def __init__(
        self,
        limit_s: float,
        *,
        clock: Callable[[], float],
        is_wanted: Callable[[K], bool],
        on_late: Callable[[Late[K]], None],
    ) -> None:
        """Watch none yet.

        Args:
            limit_s: how long a load may take; 0 for any time.
            clock: seconds, monotonic; call `look` after moving one that is not real.
            is_wanted: whether anybody wants what a load is to bring.
            on_late: told of each that is late, in the thread that looks.
        """
        self._clock = clock
        self._is_wanted = is_wanted
        self._on_late = on_late
        self._changed = threading.Condition()  # its lock guards what follows
        self._lateness: Lateness[K] = Lateness(limit_s)
        self._thread: threading.Thread | None = None

    def begin(self, key: K) -> None:
        """A load has begun."""
        with self._changed:
            self._lateness.begin(key, self._clock())
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="salver-lazy-watch", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def end(self, key: K) -> None:
        """It has returned."""
        with self._changed:
            self._lateness.end(key)
            self._changed.notify_all()

    def look(self) -> None:
        """Tell of those that are late now."""
        with self._changed:
            found = self._lateness.look(self._clock(), self._is_wanted)
        for late in found:
            self._on_late(late)

    def _run(self) -> None:
        while True:
            with self._changed:
                due_s = self._lateness.due_s
                if due_s is None:
                    self._thread = None
                    return
                left_s = due_s - self._clock()
                if left_s > 0:
                    self._changed.wait(left_s)
                    continue
            self.look()

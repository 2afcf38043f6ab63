"""The threads of a pool: started one by one, and let go where there are too many."""

import threading
from collections.abc import Callable, Sequence

from salver.errors import Unavailable

__all__ = ["WorkerThreads"]


class WorkerThreads:
    """Daemons, so that a run that never ends keeps no process. Used under the owner's lock."""

    def __init__(self, name: str, work: Callable[[], None], what_for: str) -> None:
        """Start none.

        Args:
            name: what their names begin with.
            work: what each does until it ends.
            what_for: for the error where none can be had: `run a model in`.
        """
        self._name = name
        self._work = work
        self._what_for = what_for
        self._num_started = 0
        self._working: list[threading.Thread] = []
        self._leaving: list[threading.Thread] = []  # that may still be ending

    def __len__(self) -> int:
        """How many there are, those that leave not counted."""
        return len(self._working)

    @property
    def all(self) -> Sequence[threading.Thread]:
        """To be joined."""
        return (*self._working, *self._leaving)

    def start_one(self) -> None:
        """Start one more; those there are will do where the machine has none.

        Raises:
            Unavailable: there is no thread at all.
        """
        name = f"{self._name}-{self._num_started}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if self._working:
                return
            raise Unavailable(f"No thread to {self._what_for}: {error}") from error
        self._num_started += 1
        self._working.append(thread)

    def leave(self) -> None:
        """Count the calling thread no more, which is about to end."""
        thread = threading.current_thread()
        self._working.remove(thread)
        self._leaving = [*(each for each in self._leaving if each.is_alive()), thread]

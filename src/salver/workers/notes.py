"""What the workers say of the processes of versions, put together for the status of each."""

import threading
from collections.abc import Callable

from salver.vocabulary.servable import ServableId

__all__ = ["Notes"]


class Notes:
    """The notes of all workers. Safe to use from any thread."""

    def __init__(self, put: Callable[[ServableId, str | None], None]) -> None:
        """Begin with none.

        Args:
            put: adds a note to the status of a version, or takes it away.
        """
        self._put = put
        self._lock = threading.Lock()
        self._notes: dict[ServableId, dict[int, str]] = {}  # by slot

    def put(self, slot: int, id: ServableId, text: str | None) -> None:
        """One worker says something of a version; None: nothing any more."""
        with self._lock:
            notes = self._notes.setdefault(id, {})
            if text is None:
                notes.pop(slot, None)
            else:
                notes[slot] = text
            if not notes:
                del self._notes[id]
            said = "; ".join(f"worker {of}: {each}" for of, each in sorted(notes.items()))
        self._put(id, said or None)

    def forget(self, slot: int) -> None:
        """A worker has ended, with all its processes."""
        with self._lock:
            ids = [id for id, notes in self._notes.items() if slot in notes]
        for id in ids:
            self.put(slot, id, None)

"""How much a cache takes, told often without reading all of it each time."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from salver.errors import ServingError

__all__ = ["CacheSize"]

_AGAIN_S: Final = 10.0
_ENDINGS: Final = (".entry", ".partial")


class CacheSize:
    """The size of all that a cache holds, a few seconds old. Safe to use from any thread.

    What is whole never changes, and is measured once.
    """

    def __init__(
        self, directory: Callable[[], Path], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Look at nothing yet.

        Args:
            directory: of the cache; may raise `ServingError`.
            clock: seconds, monotonic.
        """
        self._directory = directory
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._sizes: dict[tuple[str, int], int] = {}  # by name and inode
        self._total_bytes = 0
        self._looked_s: float | None = None

    def __call__(self) -> int:
        """In bytes; 0 where there is nothing, or it cannot be read."""
        with self._lock:
            now_s = self._clock()
            if self._looked_s is None or now_s - self._looked_s >= _AGAIN_S:
                self._looked_s = now_s
                try:
                    self._total_bytes = self._look()
                except (OSError, ServingError):
                    self._total_bytes = 0
            return self._total_bytes

    def _look(self) -> int:
        sizes: dict[tuple[str, int], int] = {}
        total_bytes = 0
        with os.scandir(self._directory()) as entries:
            for entry in entries:
                if not entry.name.endswith(_ENDINGS):
                    continue
                key = entry.name, entry.inode()
                size_bytes = self._sizes.get(key)
                if size_bytes is None:
                    size_bytes = _measured(entry.path)
                if entry.name.endswith(_ENDINGS[0]):
                    sizes[key] = size_bytes
                total_bytes += size_bytes
        self._sizes = sizes
        return total_bytes


def _measured(directory: str) -> int:
    size_bytes = 0
    for where, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):  # it has just gone
                size_bytes += os.lstat(os.path.join(where, name)).st_size
    return size_bytes

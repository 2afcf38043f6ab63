"""Keeping the garbage collector away from what is loaded.

A collection holds the GIL, and so every request, for as long as it takes to walk all that is not
frozen. Each large JSON body makes so many lists that the oldest generation is collected; walking
all that is loaded each time took the mean of a 3 MB image from 17 to 79 ms. So what is alive is
frozen after each load and unload.

What is frozen is collected no more, and a version that goes leaves a few objects that only a
collection frees: 3 for each load and unload of a SavedModel, 10 to 20 of others, measured. So now
and then everything is thawed and collected: 10 ms for a few models, 20 to 30 for a hundred. To do
that after each load and unload, as the server did once, was the longest stall of a swap (p99 16 ms
in place of 4 while a version unloaded), and each 64th time still was that of a whole minute.
"""

import gc
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Settling", "freeze_at_start"]

_CHANGES: Final = 1024  # loads and unloads; they leave 1 or 2 MB
_SHARE: Final = 1000  # of the time that passes, one part at most goes to whole collections


class Settling:
    """Freezes what is alive after loads and unloads. Used by one thread at a time."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Freeze nothing yet.

        Args:
            clock: seconds, monotonic.
        """
        self._clock = clock
        self._changes = 0
        self._not_before_s = clock()

    def settle(self) -> None:
        """Collect what is new and freeze what is alive; now and then, collect everything."""
        self._changes += 1
        begun_s = self._clock()
        is_whole = self._changes >= _CHANGES and begun_s >= self._not_before_s
        if is_whole:
            gc.unfreeze()
        gc.collect()
        gc.freeze()
        if is_whole:
            ended_s = self._clock()
            self._changes = 0
            self._not_before_s = ended_s + _SHARE * (ended_s - begun_s)


def freeze_at_start() -> None:
    """Freeze at the end of a start-up, without a collection, which takes 10 ms.

    What little garbage the imports left is collected with all else, some time later. Enables the
    collector, which the commands disable while they import.
    """
    gc.freeze()
    gc.enable()

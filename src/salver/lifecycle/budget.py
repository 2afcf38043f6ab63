"""How much memory versions may take together, by an estimate from the size of their files.

Source: TensorFlow Serving `resources/resource_tracker.cc`, `core/basic_manager.cc`
(ReserveResources) and `servables/tensorflow/util.cc` (EstimateResourceFromPathUsingDiskState).
"""

import threading
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Final

from salver.errors import ResourceExhausted
from salver.instruments.files import Footprint
from salver.lifecycle.attempt import Attempt
from salver.vocabulary.servable import ServableId

__all__ = ["Budget", "Queue", "estimate_bytes"]

_BYTES_PER_FILE_BYTE: Final = 1.2


def estimate_bytes(files: Footprint) -> int:
    """The memory a version will take, guessed from its files."""
    return int(files.size_bytes * _BYTES_PER_FILE_BYTE)


class Budget:
    """What is reserved for which version. Safe to use from any thread."""

    def __init__(
        self,
        limit_bytes: int = 0,
        transient_bytes: int = 0,
        num_copies: int = 1,
        *,
        copies: Callable[[ServableId], int] = lambda _id: 1,
    ) -> None:
        """Reserve nothing yet.

        Args:
            limit_bytes: the most that may be reserved altogether; 0 for any amount.
            transient_bytes: what each load takes beside its estimate until it is over.
            num_copies: how many processes load each version.
            copies: how many there are of a version in each of them.
        """
        self._copies = copies
        self._limit_bytes = limit_bytes
        self._num_copies = num_copies
        self._transient_bytes = transient_bytes * num_copies
        self._changing = threading.Lock()
        self._reserved: dict[ServableId, int] = {}
        self._abandoned_bytes = 0

    @property
    def reserved(self) -> dict[ServableId, int]:
        """Version → the bytes that are reserved for it."""
        with self._changing:
            return dict(self._reserved)

    @property
    def used_bytes(self) -> int:
        """What is reserved altogether."""
        with self._changing:
            return sum(self._reserved.values()) + self._abandoned_bytes

    def reserve(self, id: ServableId, files: Footprint) -> bool:
        """Set memory aside for a version about to be loaded, if there is enough.

        What was set aside for an earlier try of it is given back first, but only if this succeeds.
        """
        needed_bytes = self._needed_bytes(id, files)
        with self._changing:
            if self._limit_bytes and self._others(id) + needed_bytes > self._limit_bytes:
                return False
            self._reserved[id] = needed_bytes
            return True

    def fits(self, id: ServableId, files: Footprint) -> bool:
        """Whether `reserve` would succeed now."""
        needed_bytes = self._needed_bytes(id, files)
        with self._changing:
            return not self._limit_bytes or self._others(id) + needed_bytes <= self._limit_bytes

    def can_ever_fit(self, id: ServableId, files: Footprint) -> bool:
        """Whether `reserve` would succeed if nothing else were reserved."""
        return not self._limit_bytes or self._needed_bytes(id, files) <= self._limit_bytes

    def loaded(self, id: ServableId) -> None:
        """Give back what only the load of a version took."""
        with self._changing:
            self._reserved[id] -= self._transient_bytes

    def release(self, id: ServableId) -> None:
        """Give back what is set aside for a version, if anything is."""
        with self._changing:
            self._reserved.pop(id, None)

    def abandon(self, id: ServableId) -> int:
        """Keep what is set aside for a load that was given up, though its version may load anew.

        Returns:
            How many bytes; to be handed to `returned`.
        """
        with self._changing:
            kept_bytes = self._reserved.pop(id, 0)
            self._abandoned_bytes += kept_bytes
            return kept_bytes

    def returned(self, abandoned_bytes: int) -> None:
        """Give back what was kept for a load that was given up, and has returned."""
        with self._changing:
            self._abandoned_bytes -= abandoned_bytes

    def refusal(self, id: ServableId, files: Footprint) -> ResourceExhausted:
        """The error of a version for which there is not enough."""
        needed_bytes = self._needed_bytes(id, files)
        with self._changing:
            used_bytes = self._others(id)
        return ResourceExhausted(
            f"Insufficient resources to load servable {id}",
            hint=f"It needs {needed_bytes} bytes by estimate (1.2 times its files"
            f"{self._for_each}); {used_bytes} of the {self._limit_bytes} of "
            "--max_model_memory_bytes are taken. A new version is loaded beside the one it "
            "replaces.",
        )

    @property
    def _for_each(self) -> str:
        return f" for each of {self._num_copies} workers" if self._num_copies > 1 else ""

    def _needed_bytes(self, id: ServableId, files: Footprint) -> int:
        num_copies = self._num_copies * self._copies(id)
        return estimate_bytes(files) * num_copies + self._transient_bytes

    def _others(self, id: ServableId) -> int:
        others = (taken for of, taken in self._reserved.items() if of != id)
        return sum(others, self._abandoned_bytes)


@dataclass(frozen=True, slots=True)
class _Waiting:
    attempt: Attempt
    files: Footprint


class Queue:
    """Versions for which there was no room. Used by the manager's thread alone.

    One waits as long as other loads or unloads are under way, since these may make room; when none
    is, it is refused. What was refused is tried again when room has been made.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._waiting: dict[ServableId, _Waiting] = {}
        self._refused: dict[ServableId, Footprint] = {}

    @property
    def waiting(self) -> frozenset[ServableId]:
        """The versions that wait."""
        return frozenset(self._waiting)

    def wait(self, attempt: Attempt, files: Footprint) -> None:
        """Keep an attempt that found no room."""
        self._waiting[attempt.id] = _Waiting(attempt, files)

    def withdraw(self, id: ServableId) -> bool:
        """Wait no more; False when it did not."""
        return self._waiting.pop(id, None) is not None

    def take_fitting(self) -> list[Attempt]:
        """Those that wait no more, because there is room for each of them alone."""
        placed = [w.attempt for id, w in self._waiting.items() if self._budget.fits(id, w.files)]
        for attempt in placed:
            del self._waiting[attempt.id]
        return placed

    def refuse_next(self) -> tuple[Attempt, ResourceExhausted] | None:
        """Refuse the one that has waited longest; None when none waits."""
        for id, waiting in self._waiting.items():
            del self._waiting[id]
            self._refused[id] = waiting.files
            return waiting.attempt, self._budget.refusal(id, waiting.files)
        return None

    def keep_refused(self, ids: Container[ServableId]) -> None:
        """Of those that were refused, forget all others."""
        self._refused = {id: files for id, files in self._refused.items() if id in ids}

    def take_retryable(self) -> list[ServableId]:
        """Those that were refused and for which there is room by now."""
        hopeful = [id for id, files in self._refused.items() if self._budget.fits(id, files)]
        for id in hopeful:
            del self._refused[id]
        return hopeful

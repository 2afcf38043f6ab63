"""What the batches of one version tell about themselves, to whoever counts."""

from collections.abc import Sequence
from typing import Protocol

__all__ = ["BatchObserver"]


class BatchObserver(Protocol):
    """Is told what happens. Must be quick and thread-safe, and not raise."""

    def task_came(self, rows: int, num_tensors: int) -> None:
        """A task has been accepted as one that can be batched; called in the loop.

        Args:
            rows: of the task; may be 0.
            num_tensors: inputs, each of which has that many rows.
        """
        ...

    def batch_taken(self, waits_s: Sequence[float]) -> None:
        """A batch leaves its queue; from a batch thread, or the loop when it never was in one.

        Args:
            waits_s: how long each task, or piece of one, was queued.
        """
        ...

    def batch_merged(self, tasks: int, rows: int, execution_rows: int) -> None:
        """The inputs of a run are ready.

        Args:
            tasks: tasks, or pieces of some, that are run together.
            rows: theirs.
            execution_rows: those that are run; the rest is padding.
        """
        ...

    def batch_ran(self) -> None:
        """A run has ended, well or not."""
        ...

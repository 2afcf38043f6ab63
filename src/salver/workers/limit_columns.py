"""Which process counts in which column of the table of limits; see `access.limit_table`.

A worker and the one that replaces it answer requests at the same time, so a column is of a process,
not of a slot. What a process that has ended was answering is forgotten with it.
"""

import os
import threading
from collections.abc import Hashable
from dataclasses import dataclass

from salver.access.limit_table import LimitTable
from salver.instruments.machine import make_shared_memory

__all__ = ["LimitColumn", "LimitColumns", "open_table"]


@dataclass(frozen=True, slots=True)
class LimitColumn:
    """Where a worker counts.

    Attributes:
        descriptor: of the table.
        num_columns: of the table.
        number: of the column.
    """

    descriptor: int
    num_columns: int
    number: int


class LimitColumns:
    """The supervisor's side. Safe to use from any thread.

    Attributes:
        descriptor: of the table, for all workers to inherit.
    """

    def __init__(self, num_workers: int) -> None:
        """Make the table.

        Args:
            num_workers: that there are to be; as many again may be on their way out.
        """
        self._num_columns = 2 * num_workers
        self.descriptor = make_shared_memory("salver-limits")
        os.truncate(self.descriptor, LimitTable.size_of(self._num_columns))
        self._table = LimitTable(self.descriptor, num_columns=self._num_columns)
        self._lock = threading.Lock()  # guards what follows, and what is cleared
        self._free = list(reversed(range(self._num_columns)))
        self._taken: dict[Hashable, int] = {}

    def next(self) -> LimitColumn | None:
        """A column for the process that is started next; None where all are taken."""
        with self._lock:
            if not self._free:
                return None
            return LimitColumn(self.descriptor, self._num_columns, self._free.pop())

    def opened(self, process: Hashable, column: LimitColumn | None) -> None:
        """Say whose a column is."""
        if column is not None:
            with self._lock:
                self._taken[process] = column.number

    def closed(self, process: Hashable) -> None:
        """Clear the column of a process that has ended."""
        with self._lock:
            number = self._taken.pop(process, None)
        if number is not None:
            self._give_back(number)

    def give_back(self, column: LimitColumn | None) -> None:
        """Take a column back in which nobody has counted."""
        if column is not None:
            self._give_back(column.number)

    def _give_back(self, number: int) -> None:
        with self._lock:
            self._table.clear(number)
            self._free.append(number)

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self.descriptor)


def open_table(column: LimitColumn | None) -> LimitTable | None:
    """The worker's side: the table; None where it counts by itself."""
    if column is None:
        return None
    return LimitTable(column.descriptor, num_columns=column.num_columns, column=column.number)

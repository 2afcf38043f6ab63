"""The memory in which all processes of a server keep what their clients have used of their limits.

A row is of one principal: whose it is, when somebody last looked for it, when its tokens are all
back, and how many of its requests each process is answering. So a limit is the server's, and holds
at the very next request, at whichever process. No process waits for another, and none can hold a
lock when it dies:

* *Tokens* are one number. Two processes that take one in the same microsecond may take the same.
* *Requests that are being answered* are counted by each process in a column of its own, which is
  cleared when the process ends.
* *Rows* are found by a hash, and taken from whoever has not been seen for a minute. Whose a row is
  is looked at again every ten seconds; two who took the same one in the same microsecond part then.
"""

from collections.abc import Callable
from mmap import mmap
from struct import Struct
from typing import Final, NamedTuple

__all__ = ["CELL_BYTES", "KEPT_S", "LOOK_AGAIN_S", "LimitTable", "Row"]

LOOK_AGAIN_S: Final = 10.0
"""How long a process may use a row before it looks again whose it is."""

KEPT_S: Final = 60.0
"""How long a row is kept for a principal that is not seen."""

_NUM_ROWS: Final = 1 << 14
_NUM_OWN_ROWS: Final = 1 << 12
_NUM_PROBES: Final = 16
CELL_BYTES: Final = 8
_OWNER, _SEEN, _FULL, _COLUMNS = range(4)


class Row(NamedTuple):
    """Where the numbers of a principal stand.

    Attributes:
        full_at: of `LimitTable.times`: when all its tokens are back.
        first: of `LimitTable.counts`: the column of the first process.
        end: behind the last one.
        own: the column of this process.
    """

    full_at: int
    first: int
    end: int
    own: int


class LimitTable:
    """The table. One process uses it from its loop alone.

    Attributes:
        times: its cells as seconds of a clock that all processes share.
        counts: its cells as whole numbers.
        memory: in which the cells are; empty where nobody shares them.
        read: reads the numbers of all columns, from a byte of that on; None likewise. To sum up a
            part of `counts` takes longer.
        num_columns: how many processes may count at the same time.
        was_taken: whether the row found last was free before, so that another process may have
            taken it in the same moment.
    """

    def __init__(
        self,
        descriptor: int | None = None,
        *,
        num_columns: int = 1,
        column: int = 0,
        num_rows: int | None = None,
    ) -> None:
        """Map the memory; what is not used of it takes no room.

        Args:
            descriptor: of memory of `size_of`; None for a table of this process alone, which is
                read sooner.
            num_columns: of the table.
            column: of this process.
            num_rows: of the table, a power of two; None for as many as such a table has.
        """
        self.num_columns = num_columns
        self.was_taken = False
        self._column = column
        self._width = _COLUMNS + num_columns
        self.memory = memoryview(b"")
        self.read: Callable[[memoryview, int], tuple[int, ...]] | None = None
        self.times: list[float] | memoryview[float]
        self.counts: list[int] | memoryview[int]
        if descriptor is None:
            self._num_rows = num_rows or _NUM_OWN_ROWS
            self.times = [0.0] * (self._num_rows * self._width)
            self.counts = [0] * (self._num_rows * self._width)
        else:
            self._num_rows = num_rows or _NUM_ROWS
            memory = memoryview(mmap(descriptor, self.size_of(num_columns, self._num_rows)))
            self.times = memory.cast("d")
            self.counts = memory.cast("q")
            self.memory = memory
            self.read = Struct(f"{num_columns}q").unpack_from

    @staticmethod
    def size_of(num_columns: int, num_rows: int = _NUM_ROWS) -> int:
        """Bytes of a table."""
        return num_rows * (_COLUMNS + num_columns) * CELL_BYTES

    def find(self, name: str, now_s: float) -> Row | None:
        """The row of a principal; None where all it may have are in use.

        Args:
            name: of the principal; no other has it.
            now_s: the time.
        """
        from hashlib import blake2b  # here: compiled code, which few servers need

        digest = blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
        owner = int.from_bytes(digest, "little", signed=True) or 1
        rows = [(owner + probe) % self._num_rows for probe in range(_NUM_PROBES)]
        found = next((row for row in rows if self._owner(row) == owner), None)
        self.was_taken = found is None
        if found is None:
            found = self._free(rows, now_s)
            if found is None:
                return None
            self._take(found, owner)
        base = found * self._width
        self.times[base + _SEEN] = now_s
        first = base + _COLUMNS
        return Row(base + _FULL, first, first + self.num_columns, first + self._column)

    def clear(self, column: int) -> None:
        """Forget what a process that has ended was answering."""
        for cell in range(_COLUMNS + column, len(self.counts), self._width):
            if self.counts[cell]:
                self.counts[cell] = 0

    def _owner(self, row: int) -> int:
        return self.counts[row * self._width + _OWNER]

    def _free(self, rows: list[int], now_s: float) -> int | None:
        """The first that nobody has; else the one whose owner has been away longest."""
        idle: list[tuple[float, int]] = []
        for row in rows:
            if not self._owner(row):
                return row
            seen_s = self.times[row * self._width + _SEEN]
            if seen_s < now_s - KEPT_S and not self._is_answering(row):
                idle.append((seen_s, row))
        return min(idle)[1] if idle else None

    def _is_answering(self, row: int) -> bool:
        first = row * self._width + _COLUMNS
        return any(self.counts[first : first + self.num_columns])

    def _take(self, row: int, owner: int) -> None:
        base = row * self._width
        self.times[base + _FULL] = 0.0
        self.counts[base + _OWNER] = owner

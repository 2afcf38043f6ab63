"""Tasks in the order in which they came, as batches: one that is open, and those that are full.

Pure: no thread, no future, no clock of its own.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["Batch", "BatchLine", "Piece"]

T = TypeVar("T")


class Batch(Generic[T]):
    """Pieces that run together; of the line that holds it."""

    __slots__ = ("opened_s", "pieces", "rows")

    def __init__(self) -> None:
        self.opened_s = 0.0
        self.pieces: list[Piece[T]] = []
        self.rows = 0


class Piece(Generic[T]):
    """The rows of a task that lie in one batch; all of them, unless it was split.

    Attributes:
        task: whose.
        begin: the first row.
        end: the row after the last.
    """

    __slots__ = ("_batch", "begin", "end", "task")

    def __init__(self, task: T, begin: int, end: int, batch: Batch[T]) -> None:
        self.task = task
        self.begin = begin
        self.end = end
        self._batch: Batch[T] | None = batch

    @property
    def rows(self) -> int:
        """How many."""
        return self.end - self.begin

    @property
    def is_queued(self) -> bool:
        """Whether it was neither taken nor withdrawn."""
        return self._batch is not None

    def leave(self) -> "Batch[T] | None":
        """Take it out of its batch, which is told to nobody; None where it was out already."""
        batch, self._batch = self._batch, None
        return batch


class BatchLine(Generic[T]):
    """Tasks of one priority. The last batch is open: it takes more."""

    __slots__ = ("_closed", "_is_flushing", "_max_rows", "_open", "_timeout_s")

    def __init__(self, max_rows: int, timeout_s: float) -> None:
        """Make an empty one.

        Args:
            max_rows: of a batch.
            timeout_s: how long an open batch waits for company.
        """
        self.set_rules(max_rows, timeout_s)
        self._closed: OrderedDict[Batch[T], None] = OrderedDict()
        self._open: Batch[T] = Batch()
        self._is_flushing = False

    def set_rules(self, max_rows: int, timeout_s: float) -> None:
        """Go by other rules from now on; see the arguments that it is made with."""
        self._max_rows = max_rows
        self._timeout_s = timeout_s

    @property
    def num_closed(self) -> int:
        """Batches that wait to be run, the open one not counted."""
        return len(self._closed)

    @property
    def open_rows(self) -> int:
        """Rows in the open batch."""
        return self._open.rows

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._closed and not self._open.pieces

    def flush(self) -> None:
        """From now on the open batch waits for no company."""
        self._is_flushing = True

    def append(self, task: T, begin: int, end: int, now_s: float) -> Piece[T]:
        """Put rows of a task at the end."""
        rows = end - begin
        if self._open.rows + rows > self._max_rows:
            self._close_open()
        batch = self._open
        if not batch.pieces:
            batch.opened_s = now_s
        piece = Piece(task, begin, end, batch)
        batch.pieces.append(piece)
        batch.rows += rows
        return piece

    def _close_open(self) -> None:
        self._closed[self._open] = None
        self._open = Batch()

    def emptied(self, batch: Batch[T]) -> None:
        """Forget a batch that all have left, if it is one of these."""
        self._closed.pop(batch, None)

    def take(self) -> list[Piece[T]]:
        """The first batch; there must be one."""
        if not self._closed:
            self._close_open()
        batch, _ = self._closed.popitem(last=False)
        for piece in batch.pieces:
            piece.leave()
        return batch.pieces

    def ready_at_s(self) -> float | None:
        """When the first batch can run; None while nothing waits. What is full was ready before."""
        if self._closed:
            return next(iter(self._closed)).opened_s
        batch = self._open
        if not batch.pieces:
            return None
        if self._is_flushing or batch.rows >= self._max_rows:
            return batch.opened_s
        return batch.opened_s + self._timeout_s

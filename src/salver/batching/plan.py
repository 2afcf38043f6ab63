"""When a batch closes and what goes into it. Pure: no thread, no future, no clock of its own.

Source: TensorFlow Serving `servables/tensorflow/bundle_factory_util.{h,cc}` (the rules) and
TensorFlow `core/kernels/batching_util/shared_batch_scheduler.h` (the queue).
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from salver.errors import InvalidArgument, Unavailable

__all__ = ["BatchQueue", "BatchRules", "Parameters", "Piece", "split_rows"]

T = TypeVar("T")

_DEFAULT_ROWS = 1000
_DEFAULT_BATCHES = 10


class Parameters(Protocol):
    """The batching parameters of one version, as `config.batching` reads them."""

    @property
    def max_batch_size(self) -> int | None: ...
    @property
    def batch_timeout_micros(self) -> int | None: ...
    @property
    def max_enqueued_batches(self) -> int | None: ...
    @property
    def allowed_batch_sizes(self) -> tuple[int, ...]: ...
    @property
    def pad_variable_length_inputs(self) -> bool: ...
    @property
    def enable_large_batch_splitting(self) -> bool: ...
    @property
    def max_execution_batch_size(self) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRules:
    """How the tasks of one version are merged.

    Attributes:
        max_task_rows: rows of one task.
        max_batch_rows: rows of one batch before it is rounded up.
        timeout_s: how long an open batch waits for company.
        max_enqueued_batches: in one queue, the open one counted.
        allowed_rows: sizes that batches are rounded up to, ascending; empty for any.
        is_padding: grow inner axes to the longest of the batch.
        is_splitting: a task may lie in several batches.
    """

    max_task_rows: int = _DEFAULT_ROWS
    max_batch_rows: int = _DEFAULT_ROWS
    timeout_s: float = 0.0
    max_enqueued_batches: int = _DEFAULT_BATCHES
    allowed_rows: tuple[int, ...] = ()
    is_padding: bool = False
    is_splitting: bool = False

    @classmethod
    def of(cls, parameters: Parameters) -> "BatchRules":
        """The rules that parameters stand for, checked in the reference's order.

        Negative numbers of rows or batches are no limit, as they become huge ones there.

        Raises:
            InvalidArgument: they contradict each other, or let nothing through.
        """
        is_splitting = parameters.enable_large_batch_splitting
        size = _or(parameters.max_batch_size, _DEFAULT_ROWS)
        allowed = parameters.allowed_batch_sizes
        if allowed and allowed[-1] != size:
            raise InvalidArgument(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{allowed[-1]}; expected {size}"
            )
        task_rows = _unsigned(size)
        # The reference has 0 here when max_batch_size is not set either, and refuses every task.
        batch_rows = _unsigned(_or(parameters.max_execution_batch_size, size))
        timeout_micros = _or(parameters.batch_timeout_micros, 0)
        batches = _unsigned(_or(parameters.max_enqueued_batches, _DEFAULT_BATCHES))
        if task_rows == 0:
            raise InvalidArgument("input_batch_size_limit must be positive; was 0")
        if timeout_micros < 0:
            raise InvalidArgument(
                f"batch_timeout_micros must be non-negative; was {timeout_micros}"
            )
        if is_splitting and batches == 0:
            raise InvalidArgument("max_enqueued_batches must be positive; was 0")
        if is_splitting and task_rows < batch_rows:
            raise InvalidArgument(
                "When enable_large_batch_splitting is true, input_batch_size_limit must be "
                f"greater than or equal to max_execution_batch_size.1{task_rows}{batch_rows}"
            )
        return cls(
            max_task_rows=task_rows,
            max_batch_rows=batch_rows if is_splitting else task_rows,
            timeout_s=timeout_micros / 1e6,
            max_enqueued_batches=max(1, batches),
            allowed_rows=allowed,
            is_padding=parameters.pad_variable_length_inputs,
            is_splitting=is_splitting,
        )

    def execution_rows(self, rows: int) -> int:
        """Rows of a batch after it was rounded up; `rows` when no allowed size is so large."""
        if not self.allowed_rows:
            return rows
        return next((size for size in self.allowed_rows if size >= rows), rows)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _unsigned(value: int) -> int:
    """A number as the reference's `size_t` holds it."""
    return value % (1 << 64)


def split_rows(rows: int, free_rows: int, batch_rows: int) -> list[int]:
    """Sizes of the pieces of a task: the free rows of the open batch, then whole batches."""
    first = min(rows, free_rows)
    rest, last = divmod(rows - first, batch_rows)
    return [size for size in (first, *[batch_rows] * rest, last) if size]


class _Batch(Generic[T]):
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

    def __init__(self, task: T, begin: int, end: int, batch: _Batch[T]) -> None:
        self.task = task
        self.begin = begin
        self.end = end
        self._batch: _Batch[T] | None = batch

    @property
    def rows(self) -> int:
        """How many."""
        return self.end - self.begin

    @property
    def is_queued(self) -> bool:
        """Whether it was neither taken nor withdrawn."""
        return self._batch is not None

    def _leave(self) -> "_Batch[T] | None":
        batch, self._batch = self._batch, None
        return batch


class BatchQueue(Generic[T]):
    """Tasks that wait to be run together, first come first served.

    Not thread-safe: it stands under the scheduler's lock. Times are seconds of one monotonic clock.
    """

    def __init__(self, rules: BatchRules) -> None:
        self._rules = rules
        self._closed: OrderedDict[_Batch[T], None] = OrderedDict()
        self._open: _Batch[T] = _Batch()
        self._is_flushing = False

    @property
    def num_batches(self) -> int:
        """Batches that hold a task or may get one: the open one always counts."""
        return len(self._closed) + 1

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._closed and not self._open.pieces

    def flush(self) -> None:
        """From now on the open batch waits for no company."""
        self._is_flushing = True

    def offer(self, task: T, rows: int, now_s: float) -> list[Piece[T]]:
        """Put a task at the end.

        Args:
            task: any object.
            rows: at least 1.
            now_s: when it comes.

        Returns:
            Its pieces, in order: what `withdraw` takes.

        Raises:
            InvalidArgument: it is larger than a task may be.
            Unavailable: the queue is full.
        """
        rules = self._rules
        if rows > rules.max_task_rows:
            raise InvalidArgument(
                f"Task size {rows} is larger than maximum input batch size {rules.max_task_rows}"
            )
        free_rows = rules.max_batch_rows - self._open.rows
        if rules.is_splitting:
            self._check_capacity(rows, free_rows)
            if rows > free_rows:
                sizes = split_rows(rows, free_rows, rules.max_batch_rows)
                return self._offer_split(task, sizes, now_s)
        elif rows > free_rows and self.num_batches >= rules.max_enqueued_batches:
            raise Unavailable(
                "The batch scheduling queue to which this task was submitted is full; currently "
                f"{self.num_batches} batches enqueued and max_enqueued_batches is "
                f"{rules.max_enqueued_batches}"
            )
        return [self._append(task, 0, rows, now_s)]

    def _check_capacity(self, rows: int, free_rows: int) -> None:
        rules = self._rules
        new_batches = rules.max_enqueued_batches - self.num_batches
        capacity = new_batches * rules.max_batch_rows + free_rows
        if rows > capacity:
            raise Unavailable(
                "The batch scheduling queue to which this task was submitted is full; task size "
                f"is {rows} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={self.num_batches}, "
                f"max_enqueued_batches={rules.max_enqueued_batches}, "
                f"open_batch_size={self._open.rows}, "
                f"max_execution_batch_size={rules.max_batch_rows})"
            )

    def _offer_split(self, task: T, sizes: Sequence[int], now_s: float) -> list[Piece[T]]:
        pieces: list[Piece[T]] = []
        begin = 0
        for size in sizes:
            pieces.append(self._append(task, begin, begin + size, now_s))
            begin += size
        return pieces

    def _append(self, task: T, begin: int, end: int, now_s: float) -> Piece[T]:
        rows = end - begin
        if self._open.rows + rows > self._rules.max_batch_rows:
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
        self._open = _Batch()

    def withdraw(self, pieces: Sequence[Piece[T]]) -> int:
        """Take pieces back and free their rows.

        Returns:
            The rows of those that were still queued.
        """
        withdrawn_rows = 0
        for piece in pieces:
            batch = piece._leave()
            if batch is None:
                continue
            withdrawn_rows += piece.rows
            batch.pieces.remove(piece)
            batch.rows -= piece.rows
            if not batch.pieces:
                self._closed.pop(batch, None)
        return withdrawn_rows

    def take(self, now_s: float) -> list[Piece[T]] | None:
        """The next batch, when there is one to run; see `ready_at_s` for when to ask again."""
        ready_s = self.ready_at_s()
        if ready_s is None or now_s < ready_s:
            return None
        if not self._closed:
            self._close_open()
        batch, _ = self._closed.popitem(last=False)
        for piece in batch.pieces:
            piece._leave()
        return batch.pieces

    def ready_at_s(self) -> float | None:
        """When the next batch can run; None while nothing waits. What is full was ready before."""
        if self._closed:
            return next(iter(self._closed)).opened_s
        batch = self._open
        if not batch.pieces:
            return None
        if self._is_flushing or batch.rows >= self._rules.max_batch_rows:
            return batch.opened_s
        return batch.opened_s + self._rules.timeout_s

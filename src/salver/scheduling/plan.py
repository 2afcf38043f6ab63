"""When a batch closes and what goes into it. Pure: no thread, no future, no clock of its own.

Source: TensorFlow Serving `servables/tensorflow/bundle_factory_util.{h,cc}` (the rules) and
TensorFlow `core/kernels/batching_util/shared_batch_scheduler.h` (the queue).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from salver.errors import InvalidArgument, Unavailable
from salver.scheduling.batch_line import BatchLine, Piece
from salver.scheduling.priorities import (
    Turns,
    ahead_of_batch,
    ahead_of_interactive,
    places_for_batch,
)
from salver.vocabulary.access import Priority

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


class BatchQueue(Generic[T]):
    """Tasks that wait to be run together, first come first served within a priority.

    Batch work is never merged with interactive requests: these would wait for all its rows.

    Not thread-safe: it stands under the scheduler's lock. Times are seconds of one monotonic clock.
    """

    def __init__(self, rules: BatchRules) -> None:
        self._rules = rules
        self._interactive: BatchLine[T] = BatchLine(rules.max_batch_rows, rules.timeout_s)
        self._batch: BatchLine[T] = BatchLine(rules.max_batch_rows, rules.timeout_s)
        self._turns = Turns()

    @property
    def num_batches(self) -> int:
        """Batches that hold a task or may get one: the open one always counts."""
        closed = self._interactive.num_closed + self._batch.num_closed
        return closed + 1 + (self._batch.open_rows > 0)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return self._interactive.is_empty and self._batch.is_empty

    def ahead(self, *, is_batch: bool) -> int:
        """How many batches will run before one for a task that comes now."""
        ahead_of = ahead_of_batch if is_batch else ahead_of_interactive
        return ahead_of(self._interactive.num_closed, self._batch.num_closed)

    def set_rules(self, rules: BatchRules) -> None:
        """Go by other rules from now on; batches that are closed stay as they are."""
        self._rules = rules
        for line in (self._interactive, self._batch):
            line.set_rules(rules.max_batch_rows, rules.timeout_s)

    def flush(self) -> None:
        """From now on the open batches wait for no company."""
        self._interactive.flush()
        self._batch.flush()

    def offer(self, task: T, rows: int, now_s: float, *, is_batch: bool = False) -> list[Piece[T]]:
        """Put a task at the end.

        Args:
            task: any object.
            rows: at least 1.
            now_s: when it comes.
            is_batch: whether it waits behind interactive ones.

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
        line = self._batch if is_batch else self._interactive
        most = rules.max_enqueued_batches
        if is_batch:
            most = max(1, int(places_for_batch(most)))
        free_rows = max(0, rules.max_batch_rows - line.open_rows)  # which may have been more
        if rules.is_splitting:
            self._check_capacity(line, rows, free_rows, most)
            if rows > free_rows:
                sizes = split_rows(rows, free_rows, rules.max_batch_rows)
                return self._offer_split(line, task, sizes, now_s)
        elif rows > free_rows and self.num_batches >= most:
            raise Unavailable(
                "The batch scheduling queue to which this task was submitted is full; currently "
                f"{self.num_batches} batches enqueued and max_enqueued_batches is {most}"
            )
        return [line.append(task, 0, rows, now_s)]

    def _check_capacity(self, line: BatchLine[T], rows: int, free_rows: int, most: int) -> None:
        rules = self._rules
        new_batches = most - self.num_batches
        capacity = new_batches * rules.max_batch_rows + free_rows
        if rows > capacity:
            raise Unavailable(
                "The batch scheduling queue to which this task was submitted is full; task size "
                f"is {rows} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={self.num_batches}, "
                f"max_enqueued_batches={most}, "
                f"open_batch_size={line.open_rows}, "
                f"max_execution_batch_size={rules.max_batch_rows})"
            )

    @staticmethod
    def _offer_split(
        line: BatchLine[T], task: T, sizes: Sequence[int], now_s: float
    ) -> list[Piece[T]]:
        pieces: list[Piece[T]] = []
        begin = 0
        for size in sizes:
            pieces.append(line.append(task, begin, begin + size, now_s))
            begin += size
        return pieces

    def withdraw(self, pieces: Sequence[Piece[T]]) -> int:
        """Take pieces back and free their rows.

        Returns:
            The rows of those that were still queued.
        """
        withdrawn_rows = 0
        for piece in pieces:
            batch = piece.leave()
            if batch is None:
                continue
            withdrawn_rows += piece.rows
            batch.pieces.remove(piece)
            batch.rows -= piece.rows
            if not batch.pieces:
                self._interactive.emptied(batch)
                self._batch.emptied(batch)
        return withdrawn_rows

    def take(self, now_s: float) -> list[Piece[T]] | None:
        """The next batch, when there is one to run; see `ready_at_s` for when to ask again."""
        has_interactive = _is_ready(self._interactive, now_s)
        if _is_ready(self._batch, now_s) and self._turns.takes_batch(
            has_interactive=has_interactive
        ):
            return self._batch.take()
        return self._interactive.take() if has_interactive else None

    def ready_at_s(self) -> float | None:
        """When the next batch can run; None while nothing waits. What is full was ready before."""
        interactive_s, batch_s = self._interactive.ready_at_s(), self._batch.ready_at_s()
        if interactive_s is None or batch_s is None:
            return batch_s if interactive_s is None else interactive_s
        return min(interactive_s, batch_s)

    def ready_priority(self, now_s: float) -> Priority | None:
        """The highest of a batch that is to run now; None where there is none."""
        if _is_ready(self._interactive, now_s):
            return Priority.INTERACTIVE
        return Priority.BATCH if _is_ready(self._batch, now_s) else None


def _is_ready(line: BatchLine[T], now_s: float) -> bool:
    ready_s = line.ready_at_s()
    return ready_s is not None and ready_s <= now_s

"""Programs and observers that the tests of batches use."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from salver.errors import InvalidArgument, ServingError
from salver.vocabulary.requests import Array

LONG_S = 10.0  # for what must happen; a test that waits this long has failed


@dataclass(frozen=True)
class Names:
    """Of a program's tensors."""

    feeds: tuple[str, ...] = ("x:0",)
    fetches: tuple[str, ...] = ("y:0",)
    targets: tuple[str, ...] = ()


@dataclass
class Doubling:
    """Doubles its feeds, once a gate is open; refuses negative numbers.

    Attributes:
        runs: rows of each run, in order.
        where: names of the threads that ran them.
        fed: what each run was fed.
        error: raised by each run.
        is_summing: the outputs are sums over all rows.
        takes: called in each run.
    """

    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    runs: list[int] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    fed: list[list[Array]] = field(default_factory=list)
    error: BaseException | None = None
    can_loop: bool = False
    is_summing: bool = False
    takes: Callable[[], None] = lambda: None

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """Wait for the gate."""
        self.entered.set()
        assert self.gate.wait(LONG_S)
        return self.run_inline(feeds)

    run_in_caller = run

    def run_inline(self, feeds: Sequence[Array]) -> list[Array]:
        """Do not wait for the gate."""
        self.runs.append(len(feeds[0]))
        self.where.append(threading.current_thread().name)
        self.fed.append(list(feeds))
        self.takes()
        if self.error is not None:
            raise self.error
        if any((array < 0).any() for array in feeds if array.dtype != object):
            raise InvalidArgument("negative")
        if self.is_summing:
            return [np.asarray(array.sum()) for array in feeds]
        return [array * 2 for array in feeds]


@dataclass
class Counted:
    """An observer that remembers."""

    came: list[tuple[int, int]] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    merged: list[tuple[int, int, int]] = field(default_factory=list)
    ran: int = 0

    def task_came(self, rows: int, num_tensors: int) -> None:
        """See `BatchObserver`."""
        self.came.append((rows, num_tensors))

    def batch_taken(self, waits_s: Sequence[float]) -> None:
        """See `BatchObserver`."""
        assert min(waits_s) >= 0
        self.taken.append(len(waits_s))

    def batch_merged(self, tasks: int, rows: int, execution_rows: int) -> None:
        """See `BatchObserver`."""
        self.merged.append((tasks, rows, execution_rows))

    def batch_ran(self) -> None:
        """See `BatchObserver`."""
        self.ran += 1


class Ends:
    """Counts calls of `on_end`, from whichever thread."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.count += 1


def rows(*values: float) -> list[Array]:
    """One feed of so many rows."""
    return [np.array(values, np.float32)]


def row(*values: float) -> list[Array]:
    """One feed of one row with so many columns."""
    return [np.array([values], np.float32)]


async def answer_of(answer: "list[Array] | asyncio.Future[list[Array]]") -> list[Any]:
    """The outputs, waited for, as lists."""
    if isinstance(answer, asyncio.Future):
        answer = await asyncio.wait_for(answer, LONG_S)
    return [array.tolist() for array in answer]


async def error_of(answer: "list[Array] | asyncio.Future[list[Array]]") -> ServingError:
    """What a future fails with, waited for."""
    assert isinstance(answer, asyncio.Future)
    await asyncio.wait_for(asyncio.wait([answer]), LONG_S)
    error = answer.exception()
    assert isinstance(error, ServingError)
    return error


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until what other threads post to it has happened."""

    async def turn() -> None:
        while not condition():  # noqa: ASYNC110 - other threads change it
            await asyncio.sleep(0)

    await asyncio.wait_for(turn(), LONG_S)

"""What a worker runs, written where it outlives the process.

A model may end the process that runs it, by an operation that aborts or by all the memory it takes.
To know which one it was, each run is marked in memory that the supervisor shares: the version it is
of, and the thread. Runs in the loop come one at a time and have a place of their own, the others
take any that is free. Loads are marked too. See `docs/decisions/run-marks.md`.

Several models may be running when a process ends. Where Python can still tell which thread it was
(see `faulthandler`), it does, into memory that is shared likewise; often it cannot, because the
thread is one of TensorFlow's own.
"""

import faulthandler
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from salver.instruments.machine import make_shared_memory
from salver.vocabulary.model import Model, Program, with_programs
from salver.vocabulary.requests import Array
from salver.vocabulary.servable import ServableId

__all__ = ["Activity", "Marks", "enable_fault_trace", "make_memory", "read_activity"]

_CELL_BYTES: Final = 8
_NUM_PLACES: Final = 1024  # runs at one time that are marked; those beyond are not
_LOOP_THREAD, _LOOP_RUN, _FIRST_PLACE = 0, 1, 2  # cells
_NUM_CELLS: Final = _FIRST_PLACE + 2 * _NUM_PLACES  # a place is a number and a thread
_NOTHING: Final = 0
_LONGEST_TRACE: Final = 1 << 16
_CURRENT_THREAD: Final = re.compile(rb"^Current thread 0x([0-9a-f]+)", re.MULTILINE)

Run = Callable[[Sequence[Array]], list[Array]]


@dataclass(frozen=True, slots=True)
class Activity:
    """What a process was doing when it ended.

    Attributes:
        running: numbers of the versions that ran, each once; of those, the one in the thread that
            ended the process, where that is known.
        loading: numbers of those that were being loaded or unloaded, likewise.
        in_loop: of the version that ran in the loop; None where none did.
    """

    running: frozenset[int] = frozenset()
    loading: frozenset[int] = frozenset()
    in_loop: int | None = None


def make_memory() -> tuple[int, int]:
    """Descriptors of what a worker marks its runs in, and of what its fault trace goes to."""
    marks = make_shared_memory("salver-marks")
    trace = make_shared_memory("salver-faults")
    os.truncate(marks, _NUM_CELLS * _CELL_BYTES)
    return marks, trace


class Marks:
    """One worker's marks. What it gives is used from any thread."""

    def __init__(self, descriptor: int, number_of: Callable[[ServableId], int]) -> None:
        """Mark nothing yet. Called in the loop's thread.

        Args:
            descriptor: of the first of `make_memory`.
            number_of: the number by which the supervisor knows a version; positive.
        """
        self._cells = memoryview(mmap(descriptor, _NUM_CELLS * _CELL_BYTES)).cast("q")
        self._cells[_LOOP_THREAD] = threading.get_ident()
        self._number_of = number_of
        # Append and pop are atomic.
        self._free = list(range(_NUM_CELLS - 2, _FIRST_PLACE - 2, -2))

    def model(self, id: ServableId, model: Model) -> Model:
        """The same model, whose runs are marked."""
        number = self._number_of(id)

        def marked(program: Program) -> Program:
            return _MarkedProgram(
                program,
                lambda run: _in_loop(run, self._cells, number),
                lambda run: _in_thread(run, self._cells, self._free, number),
            )

        return with_programs(model, marked)

    @contextmanager
    def loading(self, id: ServableId) -> Iterator[None]:
        """Mark what is done to bring a version up or to let it go."""
        place = self._free.pop()
        self._cells[place + 1] = threading.get_ident()
        self._cells[place] = -self._number_of(id)
        try:
            yield
        finally:
            self._cells[place] = _NOTHING
            self._free.append(place)


def _in_loop(run: Run, cells: "memoryview[int]", number: int) -> Run:
    def run_marked(feeds: Sequence[Array]) -> list[Array]:
        cells[_LOOP_RUN] = number
        try:
            return run(feeds)
        finally:
            cells[_LOOP_RUN] = _NOTHING

    return run_marked


def _in_thread(run: Run, cells: "memoryview[int]", free: list[int], number: int) -> Run:
    def run_marked(feeds: Sequence[Array]) -> list[Array]:
        try:
            place = free.pop()
        except IndexError:  # so many at once
            return run(feeds)
        cells[place + 1] = threading.get_ident()
        cells[place] = number
        try:
            return run(feeds)
        finally:
            cells[place] = _NOTHING
            free.append(place)

    return run_marked


class _MarkedProgram:
    """See `Program`."""

    __slots__ = ("can_loop", "run", "run_in_caller", "run_inline")

    def __init__(
        self, program: Program, in_loop: Callable[[Run], Run], in_thread: Callable[[Run], Run]
    ) -> None:
        self.can_loop = program.can_loop
        self.run = in_thread(program.run)
        self.run_in_caller = in_thread(program.run_in_caller)
        self.run_inline = in_loop(program.run_inline)


# -- fault trace -----------------------------------------------------------------------------------


def enable_fault_trace(descriptor: int) -> None:
    """Have this process write which thread ends it, if it is ended by a fault.

    Args:
        descriptor: of the second of `make_memory`.
    """
    faulthandler.enable(file=descriptor, all_threads=True)


def read_activity(marks: int, trace: int) -> Activity:
    """What a process was doing when it ended, which it has.

    Args:
        marks: the first of `make_memory`.
        trace: the second.
    """
    cells = memoryview(os.pread(marks, _NUM_CELLS * _CELL_BYTES, 0)).cast("q")
    found = {(cells[at], cells[at + 1]) for at in range(_FIRST_PLACE, _NUM_CELLS, 2) if cells[at]}
    in_loop = cells[_LOOP_RUN]
    if in_loop:
        found.add((in_loop, cells[_LOOP_THREAD]))
    thread = _ending_thread(trace)
    if any(ident == thread for _, ident in found):
        found = {(number, ident) for number, ident in found if ident == thread}
    return Activity(
        running=frozenset(number for number, _ in found if number > 0),
        loading=frozenset(-number for number, _ in found if number < 0),
        in_loop=in_loop or None,
    )


def _ending_thread(trace: int) -> int | None:
    match = _CURRENT_THREAD.search(os.pread(trace, _LONGEST_TRACE, 0))
    return None if match is None else int(match[1], 16)

"""The interpreters of one model: each runs one request at a time, so there are several.

An interpreter is used through the wrapper behind its public methods: only that can run another
subgraph than the first without planning its memory anew for every request.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from time import perf_counter
from typing import Any, Final

import numpy as np

from salver.backends.tflite.model_file import ModelFile
from salver.errors import Internal, ServingError
from salver.vocabulary.requests import Array

__all__ = ["SHORT_S", "Interpreter", "InterpreterPool", "Layout"]

Layout = tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]
"""Indices of input tensors, and their shapes."""

SHORT_S: Final = 1e-3
"""A run this short may be repeated in the event loop; a longer one never is."""

_FAULTS: Final = (ValueError, RuntimeError)  # by which LiteRT says what is wrong


class Interpreter:
    """One interpreter. Not thread-safe.

    LiteRT keeps the GIL while it plans memory (a microsecond when only sizes change, but 0.35 ms
    for each MB of weights the first time, measured), and releases it while it computes.
    """

    __slots__ = ("_planned", "_wrapper")

    def __init__(self, library: Any, file: ModelFile) -> None:
        """Make an interpreter that computes in the thread that runs it.

        Raises:
            ServingError: the model cannot be used.
        """
        try:
            self._wrapper = library.Interpreter(model_content=file.data, num_threads=1)._interpreter
        except _FAULTS as error:
            raise _failure("Cannot build Interpreter from buffer.", error, file) from error
        self._planned: list[Layout | None] = [None] * len(file.subgraphs)

    def plan(self, file: ModelFile, subgraph: int) -> None:
        """Plan the memory of a subgraph for the sizes its inputs were exported with.

        Raises:
            Internal: it has an operation that LiteRT has not.
        """
        try:
            self._wrapper.AllocateTensors(subgraph)
        except _FAULTS as error:
            raise _failure("Failed to allocate tensors", error, file) from error

    def is_planned_for(self, subgraph: int, layout: Layout) -> bool:
        """Whether the last run of a subgraph was of this layout; see `run`."""
        return self._planned[subgraph] == layout

    def run(
        self,
        subgraph: int,
        layout: Layout,
        feeds: Sequence[Array],
        fetches: Sequence[int],
    ) -> list[Array]:
        """Run a subgraph.

        Args:
            subgraph: its number.
            layout: the inputs and their shapes now.
            feeds: all inputs, of the right dtypes, in the order of the layout.
            fetches: indices of output tensors.

        Raises:
            Internal: with the reference's words, and LiteRT's behind them.
        """
        wrapper = self._wrapper
        doing = "Failed to allocate tensors"
        try:
            if self._planned[subgraph] != layout:
                self._planned[subgraph] = None  # whatever comes of it
                for index, shape in zip(*layout, strict=True):
                    size = np.array(shape, np.int32)
                    wrapper.ResizeInputTensor(index, size, False, subgraph)
                wrapper.AllocateTensors(subgraph)
                self._planned[subgraph] = layout
            doing = "Failed to set input tensors"
            for index, array in zip(layout[0], feeds, strict=True):
                wrapper.SetTensor(index, array, subgraph)
            doing = "Failed to invoke TfLite interpreter"
            wrapper.Invoke(subgraph)
            return [wrapper.GetTensor(index, subgraph) for index in fetches]
        except _FAULTS as error:
            raise Internal(f"{doing}: {_text(error)}") from error


def _failure(doing: str, error: Exception, file: ModelFile) -> ServingError:
    hint = None
    if file.custom_operations:
        names = ", ".join(file.custom_operations)
        hint = (
            f"The model has operations that are none of TFLite's own: {names}. LiteRT's package "
            "has no others: serve the SavedModel, or convert it without SELECT_TF_OPS and "
            "allow_custom_ops."
        )
    return Internal(f"{doing.rstrip('.')}: {_text(error)}", hint=hint)


def _text(error: Exception) -> str:
    return " ".join(str(error).replace("Node number", " Node number").split())


class InterpreterPool:
    """The interpreters of one model. Thread-safe.

    `size` of them are made at once, so that a load fails if they can't be, and takes their memory.
    Runs in the event loop must not wait for those in threads: for them there may be one more.
    """

    def __init__(
        self,
        library: Any,
        file: ModelFile,
        *,
        size: int,
        subgraphs: Collection[int],
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """Make the interpreters.

        Args:
            library: LiteRT's module.
            file: the model.
            size: how many runs there may be in threads.
            subgraphs: those whose memory is planned before the first run.
            clock: seconds, monotonic.

        Raises:
            ServingError: the model cannot be used.
        """
        self._library = library
        self._file = file
        self._subgraphs = sorted(subgraphs)
        self._most = size + 1
        self._clock = clock
        self._permits = threading.Semaphore(size)
        self._lock = threading.Lock()  # of the next two
        self._free = [self._make() for _ in range(size)]
        self._made = size

    def run(
        self, subgraph: int, layout: Layout, feeds: Sequence[Array], fetches: Sequence[int]
    ) -> list[Array]:
        """Run in a thread, which waits while `size` others do; see `Interpreter.run`."""
        with self._permits:
            begun = self._clock()
            outputs = self.run_now(subgraph, layout, feeds, fetches)
            if self._made < self._most and self._clock() - begun < SHORT_S:
                self._add_spare()  # it may soon be run in the loop
        return outputs

    def run_now(
        self, subgraph: int, layout: Layout, feeds: Sequence[Array], fetches: Sequence[int]
    ) -> list[Array]:
        """Run without waiting for anybody; see `Interpreter.run`."""
        interpreter = self._take(subgraph, layout)
        try:
            return interpreter.run(subgraph, layout, feeds, fetches)
        finally:
            self._give_back(interpreter)

    def close(self) -> None:
        """Free the interpreters, and those in use as soon as they are not."""
        with self._lock:
            self._free.clear()
            self._made = self._most = 0

    def _take(self, subgraph: int, layout: Layout) -> Interpreter:
        """A free interpreter, preferably one that last ran this layout; else a new one."""
        with self._lock:
            free = self._free
            for place in range(len(free) - 1, -1, -1):
                if free[place].is_planned_for(subgraph, layout):
                    return free.pop(place)
            if free:
                return free.pop()
            self._made += 1
        try:
            return self._make()
        except BaseException:
            with self._lock:
                self._made -= 1
            raise

    def _give_back(self, interpreter: Interpreter) -> None:
        with self._lock:
            if self._made > self._most or not self._most:
                self._made -= 1  # this one was made because nobody may wait
            else:
                self._free.append(interpreter)

    def _add_spare(self) -> None:
        interpreter = self._make()
        with self._lock:
            if self._made < self._most:
                self._made += 1
                self._free.append(interpreter)

    def _make(self) -> Interpreter:
        interpreter = Interpreter(self._library, self._file)
        for number in self._subgraphs:
            interpreter.plan(self._file, number)
        return interpreter

import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver.backends.tflite.interpreters import SHORT_S, Interpreter, InterpreterPool, Layout
from salver.backends.tflite.model_file import ModelFile, read
from salver.errors import Internal
from salver.vocabulary.requests import Array

VersionPath = Callable[[str], Path]


class CountingLibrary:
    """LiteRT, with a count of the interpreters made and a way to see them go."""

    def __init__(self, litert: Any) -> None:
        self.made: list[Any] = []
        self._litert = litert

    def Interpreter(self, **arguments: Any) -> Any:
        made = self._litert.Interpreter(**arguments)
        self.made.append(weakref.ref(made._interpreter))
        return made

    def alive(self) -> int:
        return sum(each() is not None for each in self.made)


class Clock:
    """Seconds that pass by so much at each look."""

    def __init__(self, step_s: float) -> None:
        self.now_s = 0.0
        self.step_s = step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@pytest.fixture
def library(litert: Any) -> CountingLibrary:
    return CountingLibrary(litert)


@pytest.fixture
def plain(version_path: VersionPath) -> ModelFile:
    return read(version_path("lite_plain") / "model.tflite")


def _of(file: ModelFile, *arrays: Array) -> tuple[Layout, list[Array], list[int]]:
    graph = file.subgraphs[0]
    layout = (
        tuple(tensor.index for tensor in graph.inputs),
        tuple(array.shape for array in arrays),
    )
    return layout, list(arrays), [tensor.index for tensor in graph.outputs]


X = np.array([2.0, 4.0], np.float32)


def _pool(library: CountingLibrary, file: ModelFile, size: int, **more: Any) -> InterpreterPool:
    return InterpreterPool(library, file, size=size, subgraphs={0}, **more)


def test_an_interpreter_runs_one_layout_after_another(
    library: CountingLibrary, plain: ModelFile
) -> None:
    interpreter = Interpreter(library, plain)
    interpreter.plan(plain, 0)
    for x in (X, X[:1], X, X):
        layout, feeds, fetches = _of(plain, x)
        (y,) = interpreter.run(0, layout, feeds, fetches)
        assert y.tolist() == (x / 2 + 2).tolist()
        assert interpreter.is_planned_for(0, layout)
    assert not interpreter.is_planned_for(0, _of(plain, X[:1])[0])


def test_after_a_layout_that_fails_the_interpreter_is_as_good_as_before(
    library: CountingLibrary, version_path: VersionPath
) -> None:
    file = read(version_path("lite_fixed") / "model.tflite")
    interpreter = Interpreter(library, file)
    interpreter.plan(file, 0)
    for _ in range(2):
        with pytest.raises(Internal, match=r"^Failed to allocate tensors: .*failed to prepare"):
            interpreter.run(0, *_of(file, np.zeros((3, 4), np.float32)))
        (y,) = interpreter.run(0, *_of(file, np.ones((1, 4), np.float32)))
        assert y.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_a_run_that_fails_says_so(library: CountingLibrary, version_path: VersionPath) -> None:
    file = read(version_path("lite") / "model.tflite")
    signature = next(each for each in file.table_signatures if each.name == "strings")
    interpreter = Interpreter(library, file)
    none = np.empty(0, object)
    layout = (tuple(signature.inputs.values()), ((0,),))
    with pytest.raises(Internal, match=r"^Failed to invoke TfLite interpreter: .*out of bounds"):
        interpreter.run(signature.subgraph, layout, [none], list(signature.outputs.values()))


def test_what_the_interpreter_does_not_take_is_an_error(
    library: CountingLibrary, plain: ModelFile
) -> None:
    layout, _, fetches = _of(plain, X)
    interpreter = Interpreter(library, plain)
    with pytest.raises(Internal, match=r"^Failed to set input tensors: Cannot set tensor: Got"):
        interpreter.run(0, layout, [X.astype(np.int64)], fetches)


def test_a_file_the_library_refuses_cannot_be_loaded(
    library: CountingLibrary, plain: ModelFile
) -> None:
    spoilt = ModelFile(data=plain.data[: len(plain.data) // 2], subgraphs=plain.subgraphs)
    with pytest.raises(Internal, match=r"^Cannot build Interpreter from buffer: "):
        Interpreter(library, spoilt)


def test_an_operation_that_is_missing_is_named_with_advice(
    library: CountingLibrary, version_path: VersionPath
) -> None:
    file = read(version_path("lite_custom") / "model.tflite")
    with pytest.raises(Internal, match=r"^Failed to allocate tensors: Enc") as raised:
        _pool(library, file, 1)
    assert raised.value.hint is not None
    assert "none of TFLite's own: ParseExampleV2." in raised.value.hint


def test_as_many_interpreters_are_made_as_may_run_in_threads(
    library: CountingLibrary, plain: ModelFile
) -> None:
    pool = _pool(library, plain, 3, clock=Clock(2 * SHORT_S))
    for _ in range(5):
        pool.run(0, *_of(plain, X))
    assert len(library.made) == 3


def test_one_more_is_made_when_runs_are_short_enough_for_the_loop(
    library: CountingLibrary, plain: ModelFile
) -> None:
    pool = _pool(library, plain, 2, clock=Clock(SHORT_S / 2))
    for _ in range(5):
        pool.run(0, *_of(plain, X))
    assert len(library.made) == 3


def test_the_interpreter_that_ran_a_layout_runs_it_again(
    library: CountingLibrary, plain: ModelFile
) -> None:
    pool = _pool(library, plain, 3, clock=Clock(2 * SHORT_S))
    runs = [_of(plain, X[:rows]) for rows in (0, 1, 2)]
    taken = [pool._take(0, layout) for layout, _, _ in runs]
    for interpreter, run in zip(taken, runs, strict=True):
        interpreter.run(0, *run)
    for interpreter in taken:
        pool._give_back(interpreter)
    for place in (0, 2, 1):
        interpreter = pool._take(0, runs[place][0])
        assert interpreter is taken[place]
        pool._give_back(interpreter)


def test_a_run_that_may_not_wait_finds_an_interpreter_though_all_are_busy(
    library: CountingLibrary, plain: ModelFile
) -> None:
    pool = _pool(library, plain, 1)
    layout, feeds, fetches = _of(plain, X)
    busy = [pool._take(0, layout) for _ in range(3)]
    assert pool.run_now(0, layout, feeds, fetches)[0].tolist() == [3.0, 4.0]
    for interpreter in busy:
        pool._give_back(interpreter)
    del busy, interpreter
    assert library.alive() == 2  # what was made beyond the spare one is let go


class CountingPool(InterpreterPool):
    """A pool that notes how many runs there ever were at once."""

    lock = threading.Lock()
    at_once = most_at_once = 0

    def run_now(
        self, subgraph: int, layout: Layout, feeds: Sequence[Array], fetches: Sequence[int]
    ) -> list[Array]:
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return super().run_now(subgraph, layout, feeds, fetches)
        finally:
            with self.lock:
                self.at_once -= 1


def test_a_run_in_a_thread_waits_its_turn(library: CountingLibrary, plain: ModelFile) -> None:
    """Four threads and one interpreter: never two runs at once, and all are answered."""
    pool = CountingPool(library, plain, size=1, subgraphs={0}, clock=Clock(2 * SHORT_S))
    with ThreadPoolExecutor(4) as threads:
        results = [threads.submit(pool.run, 0, *_of(plain, X)) for _ in range(40)]
        assert all(each.result()[0].tolist() == [3.0, 4.0] for each in results)
    assert (pool.most_at_once, len(library.made)) == (1, 1)


def test_a_new_interpreter_that_cannot_be_made_is_not_counted(
    litert: Any, plain: ModelFile
) -> None:
    class Failing(CountingLibrary):
        fails = False

        def Interpreter(self, **arguments: Any) -> Any:
            if self.fails:
                raise RuntimeError("no memory")
            return super().Interpreter(**arguments)

    library = Failing(litert)
    pool = _pool(library, plain, 1)
    layout, feeds, fetches = _of(plain, X)
    busy = pool._take(0, layout)
    library.fails = True
    with pytest.raises(Internal, match=r"^Cannot build Interpreter from buffer: no memory$"):
        pool.run_now(0, layout, feeds, fetches)
    library.fails = False
    pool._give_back(busy)
    assert pool.run_now(0, layout, feeds, fetches)[0].tolist() == [3.0, 4.0]
    assert len(library.made) == 1


def test_two_threads_that_would_make_the_spare_one_make_it_once(
    library: CountingLibrary, plain: ModelFile
) -> None:
    pool = _pool(library, plain, 1)
    pool._add_spare()
    pool._add_spare()
    assert library.alive() == 2


def test_closing_frees_every_interpreter(library: CountingLibrary, plain: ModelFile) -> None:
    pool = _pool(library, plain, 2)
    pool.run(0, *_of(plain, X))
    assert library.alive() == 3
    busy = pool._take(0, _of(plain, X)[0])
    pool.close()
    assert library.alive() == 1
    pool._give_back(busy)
    del busy
    assert library.alive() == 0

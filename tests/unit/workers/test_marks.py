import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from salver.vocabulary.model import InternalBatching, TensorNames
from salver.vocabulary.requests import Array
from salver.vocabulary.servable import ServableId
from salver.vocabulary.signature import Signature
from salver.workers import marks
from salver.workers.marks import Activity, Marks, make_memory, read_activity

A, B = ServableId("a", 1), ServableId("b", 2)
NUMBERS = {A: 11, B: 22}
WAIT_S = 10.0
SOURCES = Path(marks.__file__).parents[2]


@pytest.fixture
def memory() -> Iterator[tuple[int, int]]:
    made = make_memory()
    yield made
    for descriptor in made:
        os.close(descriptor)


class Program:
    """Looks at the marks while it runs."""

    can_loop = True

    def __init__(self, look: Callable[[], object]) -> None:
        self.run = self.run_in_caller = self.run_inline = lambda feeds: [look(), *feeds][1:]


class Graph:
    """See `salver.vocabulary.model.Graph`."""

    def __init__(self, look: Callable[[], object]) -> None:
        self.names = {"s": TensorNames({}, {"y": "y:0"})}
        self._look = look

    def program(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()
    ) -> Program:
        self.resolved = (feeds, fetches, targets)
        return Program(self._look)


class Model:
    """See `salver.vocabulary.model.Model`."""

    batching = InternalBatching(
        num_batch_threads=1, max_batch_size=1, max_execution_batch_size=1, max_enqueued_batches=1
    )
    definitions = b"signatures"

    def __init__(self, look: Callable[[], object] = lambda: None) -> None:
        self.signatures = {"s": Signature({}, {})}
        self.is_closed = False
        self.graph = Graph(look)
        self._look = look

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> Program:
        self.resolved = (signature_name, outputs)
        return Program(self._look)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def number_of() -> Callable[[ServableId], int]:
    return NUMBERS.__getitem__


def test_a_marked_model_is_the_model_in_all_else(
    memory: tuple[int, int], number_of: Callable[[ServableId], int]
) -> None:
    model = Model()
    marked = Marks(memory[0], number_of).model(A, model)
    assert marked.signatures is model.signatures
    assert marked.definitions == b"signatures"
    assert marked.batching is model.batching
    assert marked.graph is not None
    assert marked.graph.names is model.graph.names
    feeds: list[Array] = [np.ones(2)]
    for program in (marked.program("s", ["y"]), marked.graph.program(["x"], ["y"], ["t"])):
        assert program.can_loop
        assert program.run(feeds) == feeds
    assert model.resolved == ("s", ["y"])
    assert model.graph.resolved == (["x"], ["y"], ["t"])
    marked.close()
    assert model.is_closed


@pytest.mark.parametrize("way", ["run", "run_in_caller", "run_inline"])
def test_a_run_is_marked_while_it_lasts(
    memory: tuple[int, int], number_of: Callable[[ServableId], int], way: str
) -> None:
    seen: list[Activity] = []
    model = Model(lambda: seen.append(read_activity(*memory)))
    program = Marks(memory[0], number_of).model(A, model).program("s")
    getattr(program, way)([])
    assert [moment.running for moment in seen] == [{11}]
    assert seen[0].in_loop == (11 if way == "run_inline" else None)
    assert read_activity(*memory) == Activity()


def test_a_run_of_the_graph_is_marked_too(
    memory: tuple[int, int], number_of: Callable[[ServableId], int]
) -> None:
    seen: list[Activity] = []
    model = Model(lambda: seen.append(read_activity(*memory)))
    graph = Marks(memory[0], number_of).model(A, model).graph
    assert graph is not None
    graph.program([], []).run([])
    assert [moment.running for moment in seen] == [{11}]


@pytest.mark.parametrize("way", ["run", "run_inline"])
def test_the_mark_of_a_run_that_fails_goes_too(
    memory: tuple[int, int], number_of: Callable[[ServableId], int], way: str
) -> None:
    def fail() -> None:
        raise ValueError("no")

    program = Marks(memory[0], number_of).model(A, Model(fail)).program("s")
    with pytest.raises(ValueError, match="no"):
        getattr(program, way)([])
    assert read_activity(*memory) == Activity()


def test_all_runs_at_one_time_are_marked(
    memory: tuple[int, int], number_of: Callable[[ServableId], int]
) -> None:
    both = threading.Barrier(3)
    done = threading.Event()

    def wait() -> None:
        both.wait(WAIT_S)
        assert done.wait(WAIT_S)

    made = Marks(memory[0], number_of)
    programs = [made.model(id, Model(wait)).program("s") for id in (A, B)]
    threads = [threading.Thread(target=each.run, args=([],)) for each in programs]
    for thread in threads:
        thread.start()
    both.wait(WAIT_S)
    with made.loading(A):
        moment = read_activity(*memory)
    done.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert moment == Activity(running=frozenset({11, 22}), loading=frozenset({11}))
    assert read_activity(*memory) == Activity()


def test_runs_for_which_there_is_no_place_are_made_all_the_same(
    memory: tuple[int, int],
    number_of: Callable[[ServableId], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(marks, "_NUM_CELLS", 4)
    made = Marks(memory[0], number_of)
    inner = made.model(B, Model()).program("s")
    outer = made.model(A, Model(lambda: inner.run([]))).program("s")
    outer.run([])
    assert read_activity(*memory) == Activity()


def test_the_thread_that_ended_a_process_tells_which_run_it_was(
    memory: tuple[int, int], number_of: Callable[[ServableId], int]
) -> None:
    made = Marks(memory[0], number_of)
    moments: list[Activity] = []

    def look() -> None:
        ident = threading.get_ident()
        os.pwrite(memory[1], b"Fatal Python error: Aborted\n\nThread 0x1 (most recent\n", 0)
        moments.append(read_activity(*memory))
        os.pwrite(memory[1], f"\nCurrent thread 0x{ident:016x} (most rec".encode(), 0)
        moments.append(read_activity(*memory))

    inner = made.model(B, Model(look)).program("s")

    def run_in_thread() -> None:
        thread = threading.Thread(target=inner.run, args=([],))
        thread.start()
        thread.join(WAIT_S)

    made.model(A, Model(run_in_thread)).program("s").run([])
    assert [moment.running for moment in moments] == [{11, 22}, {22}]


DYING = """
    import ctypes, os, sys, threading
    sys.path.insert(0, {sources!r})
    from salver.vocabulary.servable import ServableId
    from salver.workers.marks import Marks, enable_fault_trace

    class Program:
        can_loop = False
        def __init__(self, do):
            self.run = self.run_in_caller = self.run_inline = lambda feeds: do()

    class Model:
        signatures, definitions, batching, graph = {{}}, b"", None, None
        def __init__(self, do):
            self._do = do
        def program(self, *names):
            return Program(self._do)
        def close(self):
            pass

    enable_fault_trace({words})
    marks = Marks({marks}, lambda id: id.version)
    waits, dies = threading.Event(), threading.Event()
    innocent = marks.model(ServableId("m", 1), Model(lambda: (waits.set(), dies.wait())))
    guilty = marks.model(ServableId("m", 2), Model(ctypes.CDLL(None).abort))
    threading.Thread(target=innocent.program("s").run, args=([],), daemon=True).start()
    waits.wait()
    {end}
"""


@pytest.mark.parametrize(
    ("end", "running"),
    [
        ("guilty.program('s').run([])", {2}),
        ("guilty.program('s').run_inline([])", {2}),
        ("threading.Thread(target=guilty.program('s').run, args=([],)).start()", {2}),
        ("os.kill(os.getpid(), 9)", {1}),
    ],
)
def test_what_a_process_ran_is_known_after_its_end(
    memory: tuple[int, int], end: str, running: set[int]
) -> None:
    script = textwrap.dedent(
        DYING.format(sources=str(SOURCES), marks=memory[0], words=memory[1], end=end)
    )
    child = subprocess.run([sys.executable, "-c", script], pass_fds=memory, timeout=60, check=False)
    assert child.returncode < 0
    assert read_activity(*memory).running == running

"""Runs with several answers, of Python models in real children."""

import asyncio
import gc
import os
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.unit.children.conftest import World, until

from salver.backends.protocol import LoadStage
from salver.backends.python.backend import PythonBackend
from salver.backends.python.options import PythonOptions
from salver.children.answers import MOST_AHEAD
from salver.children.limits import ChildLimits, ChildSettings
from salver.children.model import ChildModel, What
from salver.children.streams import StreamedRun
from salver.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    ServingError,
    Unavailable,
)
from salver.vocabulary.servable import ServableId

HEAD = """
import os, threading, time, asyncio
import numpy as np
HERE = os.path.dirname(os.path.abspath(__file__))
def note(text):
    with open(os.path.join(HERE, "notes"), "a") as file:
        file.write(text + "\\n")
"""

COUNTER = (
    HEAD
    + """
class Model:
    inputs = {"n": ("int64", []), "size": ("int64", [], 1)}
    outputs = {"i": ("int64", []), "x": ("float32", [-1])}

    def predict(self, inputs):
        made = 0
        try:
            for i in range(int(inputs["n"])):
                made = i + 1
                yield {"i": np.int64(i), "x": np.zeros(int(inputs["size"]), np.float32)}
        except GeneratorExit:
            note(f"closed {made}")
            raise
"""
)

ASYNC_COUNTER = (
    HEAD
    + """
class Model:
    inputs = {"n": ("int64", []), "size": ("int64", [], 1)}
    outputs = {"i": ("int64", []), "x": ("float32", [-1])}

    async def predict(self, inputs):
        made = 0
        try:
            for i in range(int(inputs["n"])):
                made = i + 1
                yield {"i": np.int64(i), "x": np.zeros(int(inputs["size"]), np.float32)}
        except GeneratorExit:
            await asyncio.sleep(0)
            note(f"closed {made}")
            raise
"""
)

RETURNED = (
    COUNTER.replace("def predict(", "def _numbers(")
    + """
    def predict(self, inputs):
        return self._numbers(inputs)
"""
)

ASYNC_RETURNED = RETURNED.replace("    def predict", "    async def predict")

TRITON = (
    HEAD
    + """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.work, args=(request,)).start()

    def work(self, request):
        sender = request.get_response_sender()
        n = int(pb_utils.get_input_tensor_by_name(request, "n").as_numpy())
        size = int(pb_utils.get_input_tensor_by_name(request, "size").as_numpy())
        for i in range(n):
            if sender.is_cancelled():
                note(f"closed {i}")
                break
            sender.send(pb_utils.InferenceResponse([
                pb_utils.Tensor("i", np.array(i, np.int64)),
                pb_utils.Tensor("x", np.zeros(size, np.float32)),
            ]))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
)

ASYNC_TRITON = TRITON.replace("""    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.work, args=(request,)).start()
""", """    async def execute(self, requests):
        for request in requests:
            self.work(request)
""")  # fmt: skip

CONFIG = """
max_batch_size: 0
input { name: "n" data_type: TYPE_INT64 dims: [] }
input { name: "size" data_type: TYPE_INT64 dims: [] }
output { name: "i" data_type: TYPE_INT64 dims: [] }
output { name: "x" data_type: TYPE_FP32 dims: [-1] }
model_transaction_policy { decoupled: true }
"""

COUNTERS = {
    "generator": COUNTER,
    "async generator": ASYNC_COUNTER,
    "returned": RETURNED,
    "returned by async": ASYNC_RETURNED,
    "triton": TRITON,
    "async triton": ASYNC_TRITON,
}
each_counter = pytest.mark.parametrize("source", COUNTERS.values(), ids=COUNTERS)

Load = Callable[..., "asyncio.Future[ChildModel]"]


class Models:
    """Loads models of a source."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._count = 0

    async def __call__(self, source: str, limits: ChildLimits | None = None) -> ChildModel:
        self._count += 1
        directory = self._world.path / f"python-{self._count}" / "1"
        directory.mkdir(parents=True)
        (directory / "model.py").write_text(textwrap.dedent(source))
        if "TritonPythonModel" in source:
            (directory.parent / "config.pbtxt").write_text(CONFIG)
        self.notes = directory / "notes"
        if limits is not None:
            self._world.children.limit({"m": limits})
        what = What(
            id=ServableId("m", 1),
            backend=PythonBackend(),
            options=PythonOptions(),
            directory=directory,
            settings=ChildSettings(),
            most_running=lambda: 1,
            most_queued=lambda: 100,
            ran=lambda: None,
            rejected=lambda: None,
        )
        model = await asyncio.to_thread(
            self._world.children.load, what, LoadStage(id=what.id, trusts=lambda _path: True)
        )
        self._world.models.append(model)
        return model

    async def noted(self) -> str:
        """What the latest model has noted."""
        await until("a note", lambda: self.notes.exists() and self.notes.read_text())
        return self.notes.read_text()


@pytest.fixture
def load(world: World) -> Models:
    return Models(world)


def begin(
    model: ChildModel,
    n: int,
    size: int = 1,
    *,
    outputs: list[str] | None = None,
    timeout_s: float | None = 30.0,
    ends: list[int] | None = None,
) -> StreamedRun:
    stream = model.stream("serving_default", outputs)
    assert stream is not None
    ended = [] if ends is None else ends
    feeds = [np.array(n), np.array(size)]
    return stream(feeds, timeout_s=timeout_s, on_end=lambda: ended.append(1))


async def numbers(run: StreamedRun) -> list[int]:
    found = []
    while (answer := await run.next()) is not None:
        found.append(int(answer[0]))
    return found


@each_counter
@pytest.mark.parametrize("n", [0, 1, 3, 200])
async def test_each_answer_comes_in_order_and_then_the_end(
    load: Models, source: str, n: int
) -> None:
    ends: list[int] = []
    model = await load(source)
    run = begin(model, n, ends=ends)
    assert await numbers(run) == list(range(n))
    assert await run.next() is None
    assert ends == [1]
    run.close()


@each_counter
async def test_some_outputs_alone_may_be_asked_for(load: Models, source: str) -> None:
    run = begin(await load(source), 2, 3, outputs=["x"])
    answer = await run.next()
    assert answer is not None
    assert [each.tolist() for each in answer] == [[0.0, 0.0, 0.0]]
    run.close()


@each_counter
async def test_who_wants_one_answer_gets_the_last(load: Models, source: str) -> None:
    model = await load(source)
    program = model.program("serving_default")
    feeds = [np.array(5), np.array(1)]
    i, _ = await program.start(feeds, timeout_s=30, on_end=lambda: None)
    assert i == 4
    with pytest.raises(Internal, match="The model has yielded nothing"):
        await program.start([np.array(0), np.array(1)], timeout_s=30, on_end=lambda: None)


@each_counter
async def test_who_leaves_ends_the_run_and_the_next_one_is_served(
    load: Models, source: str
) -> None:
    model = await load(source)
    ends: list[int] = []
    run = begin(model, 10**9, ends=ends)
    assert await run.next() is not None
    run.close()
    assert "closed" in await load.noted()
    await until("its end", lambda: ends)
    assert await numbers(begin(model, 2)) == [0, 1]


@each_counter
async def test_a_run_is_not_far_ahead_of_who_takes_its_answers(load: Models, source: str) -> None:
    model = await load(source)
    run = begin(model, 10**9)
    for _ in range(5):
        await run.next()
    made: list[int] = []
    while len(made) < 3:  # nothing comes for three turns that are long for a model that runs
        made.append(len(run._answers))
        await asyncio.sleep(0.05)
        if made[-1] != len(run._answers):
            made = []
    most = MOST_AHEAD * (32 if source is ASYNC_TRITON else 1)
    assert made[-1] <= most
    run.close()
    number = int((await load.noted()).split()[1])
    assert number <= most + 6


async def test_large_answers_are_counted_by_their_bytes(load: Models) -> None:
    model = await load(COUNTER)
    run = begin(model, 10**9, 1 << 18)  # a MiB each
    await run.next()
    await asyncio.sleep(0)
    run.close()
    assert int((await load.noted()).split()[1]) <= 4


async def test_large_answers_use_the_same_memory_again(load: Models) -> None:
    model = await load(COUNTER)
    run = begin(model, 300, 1 << 16)  # 256 KiB each, 75 MiB together
    resident = []
    while (answer := await run.next()) is not None:
        assert answer[1].size == 1 << 16
        del answer
        resident.append(_segments(model.instances.children[0].pid))
    assert resident[-1] <= 12


def _segments(pid: int) -> int:
    """Mapped by a child."""
    return Path(f"/proc/{pid}/maps").read_text().count("memfd:salver-child")


async def test_many_strings_are_read_apart_from_the_loop_and_stay_in_order(load: Models) -> None:
    model = await load("""
        import numpy as np
        class Model:
            inputs = {}
            outputs = {"x": ("string", [-1])}
            def predict(self, inputs):
                for i in range(6):
                    yield {"x": np.array([b"%d" % i] * (5000 if i % 2 == 0 else 1), object)}
        """)
    stream = model.stream("serving_default")
    assert stream is not None
    run = stream([], timeout_s=None, on_end=lambda: None)
    found = []
    while (answer := await run.next()) is not None:
        found.append((answer[0][0], answer[0].size))
    assert [each[0] for each in found] == [b"%d" % i for i in range(6)]


FAILING = """
import numpy as np
class Model:
    inputs = {"n": ("int64", []), "size": ("int64", [], 1)}
    outputs = {"i": ("int64", [])}
    ASYNCdef predict(self, inputs):
        yield {"i": np.int64(0)}
        yield {"i": np.int64(1)}
        WHAT
"""


@pytest.mark.parametrize("word", ["", "async "])
@pytest.mark.parametrize(
    ("what", "kind", "text"),
    [
        ("raise ValueError('odd')", InvalidArgument, "odd"),
        ("raise RuntimeError('broken')", Internal, "broken"),
        ("yield 7", Internal, "The model has returned"),
        ("yield {'i': np.zeros(3)}", Internal, "Output i"),
    ],
)
async def test_a_generator_that_fails_midway_fails_after_what_it_has_answered(
    load: Models, word: str, what: str, kind: type[ServingError], text: str
) -> None:
    model = await load(FAILING.replace("ASYNC", word).replace("WHAT", what))
    for _ in range(2):  # the second shows that the child serves on
        run = begin(model, 1)
        for i in range(2):
            answer = await run.next()
            assert answer is not None
            assert answer[0] == i
        with pytest.raises(kind, match=text):
            await run.next()
        run.close()


async def test_a_deadline_ends_the_run(load: Models) -> None:
    model = await load(COUNTER)
    ends: list[int] = []
    run = begin(model, 10**9, timeout_s=0.2, ends=ends)
    with pytest.raises(DeadlineExceeded):
        await numbers(run)
    assert "closed" in await load.noted()
    await until("its end", lambda: ends)
    assert await numbers(begin(model, 2)) == [0, 1]


async def test_a_deadline_ends_a_run_that_yields_nothing(load: Models) -> None:
    model = await load(
        COUNTER.replace("made = 0", "made = 0; time.sleep(0 if inputs['n'] < 9 else 3600)", 1)
    )
    run = begin(model, 10, timeout_s=0.2)
    with pytest.raises(DeadlineExceeded):
        await run.next()
    assert await numbers(begin(model, 2)) == [0, 1]


async def test_a_generator_that_is_at_work_is_closed_too(load: Models) -> None:
    source = COUNTER.replace(
        "made = i + 1", "made = i + 1\n                if i == 3: note('works'); time.sleep(3600)"
    )
    model = await load(source)
    run = begin(model, 10)
    for _ in range(3):
        await run.next()
    assert await load.noted() == "works\n"
    run.close()
    await until("its end", lambda: load.notes.read_text() == "works\nclosed 4\n")
    assert await numbers(begin(model, 2)) == [0, 1]


async def test_the_end_of_a_generator_is_not_disturbed(load: Models) -> None:
    source = COUNTER.replace(
        'note(f"closed {made}")',
        "end = time.monotonic() + 0.3\n            while time.monotonic() < end: pass\n"
        '            note(f"closed {made}")',
    )
    model = await load(source)
    run = begin(model, 10**9)
    await run.next()
    run.close()
    assert "closed" in await load.noted()


async def test_a_run_that_ignores_its_end_is_killed_where_that_is_wanted(load: Models) -> None:
    source = COUNTER.replace("raise", "time.sleep(3600)")
    model = await load(source, ChildLimits(on_timeout="kill"))
    run = begin(model, 10**9)
    await run.next()
    run.close()
    assert await numbers(begin(model, 2)) == [0, 1]


async def test_a_child_that_dies_fails_the_run_and_the_next_one_is_served(load: Models) -> None:
    model = await load(COUNTER)
    run = begin(model, 10**9)
    await run.next()
    os.kill(model.instances.children[0].pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="has ended"):
        await numbers(run)
    assert await numbers(begin(model, 2)) == [0, 1]


async def test_an_async_model_streams_to_many_at_once(load: Models) -> None:
    model = await load(ASYNC_COUNTER)
    first = begin(model, 10**9)
    await first.next()
    assert (
        await asyncio.gather(*(numbers(begin(model, 50)) for _ in range(5)))
        == [list(range(50))] * 5
    )
    first.close()


async def test_a_run_that_waits_for_a_child_can_be_given_up(load: Models) -> None:
    model = await load(COUNTER)
    first = begin(model, 10**9)
    await first.next()
    ends: list[int] = []
    second = begin(model, 3, ends=ends)
    second.close()
    assert ends == [1]
    first.close()
    assert await numbers(begin(model, 2)) == [0, 1]


async def test_a_triton_model_may_send_an_error_which_ends_the_run(load: Models) -> None:
    source = TRITON.replace(
        "            sender.send(pb",
        "            if i == 2:\n                sender.send(pb_utils.InferenceResponse(error="
        'pb_utils.TritonError("odd", pb_utils.TritonError.INVALID_ARG)))\n'
        "            sender.send(pb",
    )
    run = begin(await load(source), 5)
    assert await run.next()
    assert await run.next()
    with pytest.raises(InvalidArgument, match="odd"):
        await run.next()


async def test_a_triton_model_that_drops_its_sender_has_failed(load: Models) -> None:
    source = TRITON.replace(
        "        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)\n", ""
    )
    run = begin(await load(source), 2)
    assert await run.next()
    assert await run.next()
    with pytest.raises(Internal, match="dropped its response sender"):
        await run.next()


async def test_methods_that_return_an_array_answer_once(load: Models) -> None:
    model = await load("""
        class Model:
            inputs = {"n": ("int64", []), "size": ("int64", [], 1)}
            outputs = {"i": ("int64", [])}
            def predict(self, inputs):
                return {"i": inputs["n"]}
        """)
    assert not model.signatures["serving_default"].streams
    assert await numbers(begin(model, 7)) == [7]


async def test_generators_say_that_they_stream(load: Models) -> None:
    for source in (COUNTER, ASYNC_COUNTER, TRITON, ASYNC_TRITON):
        assert (await load(source)).signatures["serving_default"].streams


async def test_nothing_is_kept_of_runs_that_are_over(load: Models) -> None:
    model = await load(COUNTER)
    assert await numbers(begin(model, 3)) == [0, 1, 2]
    gc.collect()
    assert [each for each in gc.get_objects() if isinstance(each, StreamedRun)] == []
    assert not model.instances.children[0].in_flight

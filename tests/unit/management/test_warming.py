import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.shelf import (
    FLOATS,
    HALF_PLUS_TWO,
    STRINGS,
    WAIT_S,
    FunctionModel,
    Gate,
    half_plus_two,
    signature,
)

from salver._pb import message_class
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.prediction_log import LogKind, encode_prediction_log
from salver.codecs.protobuf.request_messages import encode_examples_request, encode_predict_request
from salver.config.options import ServerOptions
from salver.errors import FailedPrecondition, InvalidArgument, Unavailable
from salver.inference.servable import Servable
from salver.management.warming import Warming, service_maker
from salver.scheduling.run_pool import RunPool
from salver.scheduling.runner import MeasuredProgram
from salver.vocabulary.requests import Array
from salver.vocabulary.servable import ServableId
from salver.vocabulary.signature import CLASSIFY_METHOD_NAME
from salver.warmup.replay import REQUESTS_FILE, Replay
from salver.warmup.storing import write_file

ID = ServableId("m", 3)
FLOAT = FLOATS


class Closing:
    """A model that notes when it is closed."""

    def __init__(self, model: FunctionModel) -> None:
        self._model = model
        self.is_closed = threading.Event()
        self.signatures = model.signatures
        self.definitions = model.definitions
        self.batching = model.batching
        self.graph = model.graph
        self.program = model.program

    def close(self) -> None:
        self.is_closed.set()


def predict_log(*names: str, spec: ModelSpec | None = None, values: int = 3) -> bytes:
    inputs = {name: np.ones(values, np.float32) for name in names or ("x",)}
    request = encode_predict_request(spec or ModelSpec("m"), inputs)
    return encode_prediction_log(LogKind.PREDICT, request)


@pytest.fixture
def pool() -> Iterator[RunPool]:
    made = RunPool(2)
    yield made
    made.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


def servable_of(model: FunctionModel | Closing, pool: RunPool) -> Servable:
    return Servable(model, lambda program, _names: MeasuredProgram(program, pool))


@pytest.fixture
async def make_warming(pool: RunPool) -> Callable[..., Warming]:
    async def in_pool(call: Callable[[], Any], size: int = 0) -> Any:
        return await asyncio.wrap_future(pool.submit(call))

    def make(options: ServerOptions | None = None) -> Warming:
        maker = service_maker(options or ServerOptions(), in_pool)
        return Warming(maker, asyncio.get_running_loop())

    return make


MakeWarming = Callable[..., Warming]


async def warmed(
    warming: Warming, servable: Servable, directory: Path, replay: Replay | None = None
) -> None:
    """Warm a version in a thread, as a load does."""
    await asyncio.to_thread(warming.warm, replay or Replay(), servable, ID, str(directory))


async def test_a_version_without_a_file_asks_nothing(
    make_warming: MakeWarming, pool: RunPool, directory: Path
) -> None:
    await warmed(make_warming(), servable_of(HALF_PLUS_TWO, pool), directory)


@pytest.mark.parametrize(
    "spec",
    [ModelSpec("m"), ModelSpec(""), ModelSpec("other", 9), ModelSpec("m", label="nobody")],
    ids=["its name", "no name", "another name and version", "a label"],
)
async def test_the_version_that_is_loaded_answers_whatever_the_record_names(
    make_warming: MakeWarming, pool: RunPool, directory: Path, spec: ModelSpec
) -> None:
    runs: list[Array] = []

    def noted(x: Array) -> list[Array]:
        runs.append(x)
        return half_plus_two(x)

    model = FunctionModel({"serving_default": (signature({"x": FLOAT}, {"y": FLOAT}), noted)})
    write_file(directory / REQUESTS_FILE, [predict_log(spec=spec)])
    await warmed(make_warming(), servable_of(model, pool), directory, Replay(num_iterations=2))
    assert [run.tolist() for run in runs] == [[1, 1, 1]] * 2


async def test_a_record_without_a_model_spec_is_answered(
    make_warming: MakeWarming, pool: RunPool, directory: Path
) -> None:
    request = message_class("tensorflow.serving.PredictRequest")()
    request.inputs["x"].dtype = 1
    request.inputs["x"].float_val.append(1)
    record = encode_prediction_log(LogKind.PREDICT, request.SerializeToString())
    write_file(directory / REQUESTS_FILE, [record])
    await warmed(make_warming(), servable_of(HALF_PLUS_TWO, pool), directory)


async def test_the_signature_of_the_record_counts(
    make_warming: MakeWarming, pool: RunPool, directory: Path
) -> None:
    write_file(directory / REQUESTS_FILE, [predict_log(spec=ModelSpec("m", None, None, "none"))])
    closing = Closing(HALF_PLUS_TWO)
    with pytest.raises(FailedPrecondition) as caught:
        await warmed(make_warming(), servable_of(closing, pool), directory)
    assert caught.value.message == 'Serving signature key "none" not found.'
    assert closing.is_closed.is_set()


def classes(x: Array) -> list[Array]:
    return [np.full((len(x), 1), b"a", object)]


def values(x: Array) -> list[Array]:
    return [np.zeros(len(x), np.float32)]


EXAMPLES = FunctionModel(
    {
        "c": (
            signature({"inputs": STRINGS}, {"classes": STRINGS}, CLASSIFY_METHOD_NAME),
            classes,
        ),
        "r": (signature({"inputs": STRINGS}, {"outputs": FLOAT}), values),
    }
)


async def test_all_kinds_are_answered(
    make_warming: MakeWarming, pool: RunPool, directory: Path
) -> None:
    multi = message_class("tensorflow.serving.MultiInferenceRequest")()
    task = multi.tasks.add(method_name=CLASSIFY_METHOD_NAME)
    task.model_spec.name, task.model_spec.signature_name = "m", "c"
    multi.input.example_list.examples.add()
    write_file(
        directory / REQUESTS_FILE,
        [
            encode_prediction_log(
                LogKind.CLASSIFY, encode_examples_request(ModelSpec("", None, None, "c"), [b""])
            ),
            encode_prediction_log(
                LogKind.REGRESS, encode_examples_request(ModelSpec("", None, None, "r"), [b""])
            ),
            encode_prediction_log(LogKind.MULTI_INFERENCE, multi.SerializeToString()),
        ],
    )
    await warmed(make_warming(), servable_of(EXAMPLES, pool), directory)


async def test_the_flags_of_grpc_count(
    make_warming: MakeWarming, pool: RunPool, directory: Path
) -> None:
    request = encode_examples_request(ModelSpec("", None, None, "r"), [b""])
    write_file(directory / REQUESTS_FILE, [encode_prediction_log(LogKind.REGRESS, request)])
    warming = make_warming(options=ServerOptions(enable_signature_method_name_check=True))
    with pytest.raises(InvalidArgument, match="Expected regression signature method_name"):
        await warmed(warming, servable_of(EXAMPLES, pool), directory)


async def test_a_request_after_warmup_is_run_in_the_loop_at_once(
    make_warming: MakeWarming, pool: RunPool, directory: Path
) -> None:
    write_file(directory / REQUESTS_FILE, [predict_log()])
    ticks = itertools.count()
    servable = Servable(
        HALF_PLUS_TWO,
        lambda program, _names: MeasuredProgram(program, pool, clock=lambda: next(ticks) * 1e-6),
    )
    await warmed(make_warming(), servable, directory, Replay(num_iterations=20))
    call = servable.call("serving_default")
    assert call is not None
    outputs = call.start([np.ones(3, np.float32)], timeout_s=None, on_end=lambda: None)
    assert isinstance(outputs, list)


async def test_a_large_request_is_answered(
    make_warming: MakeWarming, pool: RunPool, directory: Path
) -> None:
    write_file(directory / REQUESTS_FILE, [predict_log(values=100_000)])
    await warmed(make_warming(), servable_of(HALF_PLUS_TWO, pool), directory)


def gated(gate: Gate) -> Closing:
    return Closing(
        FunctionModel({"serving_default": (signature({"x": FLOAT}, {"y": FLOAT}), gate)})
    )


async def test_a_stop_ends_the_wait_for_a_run_and_leaves_its_model_open(
    make_warming: MakeWarming, pool: RunPool, directory: Path
) -> None:
    write_file(directory / REQUESTS_FILE, [predict_log()])
    gate, warming = Gate(), make_warming()
    closing = gated(gate)
    warm = asyncio.create_task(warmed(warming, servable_of(closing, pool), directory))
    await asyncio.to_thread(gate.entered.wait, WAIT_S)
    warming.stop()
    with pytest.raises(Unavailable) as caught:
        await asyncio.wait_for(warm, WAIT_S)
    assert caught.value.message == "The server is stopping"
    assert not closing.is_closed.is_set()
    gate.let_go.set()


async def test_after_a_stop_nothing_is_asked_and_the_model_is_closed(
    make_warming: MakeWarming, pool: RunPool, directory: Path
) -> None:
    write_file(directory / REQUESTS_FILE, [predict_log()])
    warming = make_warming()
    warming.stop()
    closing = Closing(HALF_PLUS_TWO)
    with pytest.raises(Unavailable):
        await warmed(warming, servable_of(closing, pool), directory)
    assert closing.is_closed.is_set()


async def test_a_version_without_a_file_is_warm_even_after_a_stop(
    make_warming: MakeWarming, pool: RunPool, directory: Path
) -> None:
    warming = make_warming()
    warming.stop()
    await warmed(warming, servable_of(HALF_PLUS_TWO, pool), directory)


class Lagging:
    """A program whose answer comes before its run is over."""

    def __init__(self) -> None:
        self.ends: list[Callable[[], None]] = []
        self.answered = threading.Event()

    def start(
        self, feeds: list[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> list[Array]:
        self.ends.append(on_end)
        self.answered.set()
        return half_plus_two(feeds[0])


@pytest.mark.parametrize("stops", [False, True])
async def test_a_run_that_goes_on_after_its_answer_is_waited_for_unless_the_server_stops(
    make_warming: MakeWarming, directory: Path, stops: bool
) -> None:
    write_file(directory / REQUESTS_FILE, [predict_log()])
    lagging, warming = Lagging(), make_warming()
    servable = Servable(HALF_PLUS_TWO, lambda *_: lagging)  # type: ignore[arg-type]
    warm = asyncio.create_task(warmed(warming, servable, directory))
    await asyncio.to_thread(lagging.answered.wait, WAIT_S)
    if stops:
        warming.stop()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(warm, WAIT_S)
        lagging.ends[0]()
    else:
        assert not warm.done()
        lagging.ends[0]()
        await asyncio.wait_for(warm, WAIT_S)


async def test_the_records_of_a_file_are_asked_at_once_where_there_are_threads(
    make_warming: MakeWarming, pool: RunPool, directory: Path
) -> None:
    both = threading.Barrier(2, timeout=WAIT_S)

    def meet(x: Array) -> list[Array]:
        both.wait()
        return half_plus_two(x)

    model = FunctionModel({"serving_default": (signature({"x": FLOAT}, {"y": FLOAT}), meet)})
    write_file(directory / REQUESTS_FILE, [predict_log()] * 2)
    await warmed(make_warming(), servable_of(model, pool), directory, Replay(num_threads=2))


async def test_several_versions_are_warmed_at_once(
    make_warming: MakeWarming, pool: RunPool, directory: Path
) -> None:
    write_file(directory / REQUESTS_FILE, [predict_log()] * 3)
    warming = make_warming()
    servables = [servable_of(HALF_PLUS_TWO, pool) for _ in range(4)]
    await asyncio.gather(*map(partial(warmed, warming, directory=directory), servables))

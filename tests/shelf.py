"""Models without a backend, on a real serving map: what the APIs are tested with."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pytest

from salver._pb import message_class
from salver.codecs.protobuf.signature_def import signature_definitions
from salver.errors import InvalidArgument, NotFound, ServingError
from salver.inference.servable import ProgramNames, Servable, StartableProgram
from salver.lifecycle.handles import Entry, ServingMap
from salver.lifecycle.monitor import Monitor, VersionState, VersionStatus
from salver.metrics.registry import Metrics
from salver.scheduling.run_pool import RunPool
from salver.scheduling.runner import MeasuredProgram
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import InternalBatching, Model, Program, TensorNames
from salver.vocabulary.requests import Array, ServableRequest
from salver.vocabulary.servable import ServableId
from salver.vocabulary.signature import PREDICT_METHOD_NAME, Signature, TensorSpec

R = TypeVar("R")
Function = Callable[..., Sequence[Array]]
WAIT_S = 10.0
Specs = Mapping[str, tuple[DataType, tuple[int, ...] | None]]


def signature(inputs: Specs, outputs: Specs, method_name: str = PREDICT_METHOD_NAME) -> Signature:
    """A signature whose tensors are called after their aliases."""
    return Signature(
        inputs={
            alias: TensorSpec(dtype, shape) for alias, (dtype, shape) in sorted(inputs.items())
        },
        outputs={
            alias: TensorSpec(dtype, shape) for alias, (dtype, shape) in sorted(outputs.items())
        },
        method_name=method_name,
    )


@dataclass(frozen=True, slots=True)
class FunctionProgram:
    """Runs a function in whichever thread asks."""

    function: Function
    can_loop: bool = False

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        return list(self.function(*feeds))

    run_in_caller = run
    run_inline = run


@dataclass(frozen=True, slots=True)
class FunctionModel:
    """A model whose signatures are functions: arrays in the order of the inputs → the outputs'.

    Attributes:
        functions: signature name → what it takes and gives, and what computes that.
        has_graph: whether tensors can be asked for by name, as in TensorFlow's models; otherwise
            nothing of the model knows of TensorFlow.
        batching: see `Model.batching`.
    """

    functions: Mapping[str, tuple[Signature, Function]]
    has_graph: bool = True
    batching: InternalBatching | None = None

    @property
    def signatures(self) -> dict[str, Signature]:
        return {name: of for name, (of, _) in self.functions.items()}

    @property
    def definitions(self) -> bytes | None:
        if not self.has_graph:
            return None
        made = message_class("tensorflow.serving.SignatureDefMap")()
        names = FunctionGraph(self.functions).names
        for name, definition in signature_definitions(self.signatures, names).items():
            made.signature_def[name].CopyFrom(definition)
        return bytes(made.SerializeToString())

    @property
    def graph(self) -> "FunctionGraph | None":
        return FunctionGraph(self.functions) if self.has_graph else None

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> FunctionProgram:
        of, function = self.functions[signature_name]
        if "" in (*of.inputs, *(of.outputs if outputs is None else outputs)):
            raise InvalidArgument("Tensor :0 was not found in the Graph")
        if outputs is None or list(outputs) == list(of.outputs):
            return FunctionProgram(function)
        places = [list(of.outputs).index(alias) for alias in outputs]
        return FunctionProgram(_chosen(function, places))

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class FunctionGraph:
    """The tensors of such a model by their names."""

    functions: Mapping[str, tuple[Signature, Function]]

    @property
    def names(self) -> dict[str, TensorNames]:
        return {
            name: TensorNames(
                {alias: f"{alias}:0" for alias in of.inputs},
                {alias: f"{alias}:0" for alias in of.outputs},
            )
            for name, (of, _) in self.functions.items()
        }

    def program(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()
    ) -> FunctionProgram:
        """The function that takes what is fed; the outputs of several that are fetched, each once.

        Targets are outputs that nobody wants to see.
        """
        for of, function in self.functions.values():
            inputs = [f"{alias}:0" for alias in of.inputs]
            outputs = [f"{alias}:0" for alias in of.outputs]
            wanted = {*fetches, *(f"{target}:0" for target in targets)}
            if list(feeds) == inputs and wanted <= {*outputs} and ":0" not in (*feeds, *wanted):
                if list(fetches) == outputs:
                    return FunctionProgram(function)
                places = [outputs.index(name) for name in fetches]
                return FunctionProgram(_chosen(function, places))
        raise InvalidArgument("Tensor :0 was not found in the Graph")


def _chosen(function: Function, places: Sequence[int]) -> Function:
    def choose(*feeds: Array) -> list[Array]:
        outputs = function(*feeds)
        return [outputs[place] for place in places]

    return choose


@dataclass(frozen=True, slots=True)
class InlineProgram:
    """Runs a program where it is started, without asking how long it takes."""

    program: Program
    names: ProgramNames | None = None

    def start(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> list[Array]:
        try:
            return self.program.run_inline(feeds)
        finally:
            on_end()


@dataclass(slots=True)
class Shelf:
    """The models of a server, put there by hand: see `inference.serving.Serving`.

    Attributes:
        pool: runs the models that are put with `is_inline=False`, and what `in_pool` is given.
        pooled: how often `in_pool` was called.
        metrics: count what the models answer.
    """

    pool: RunPool
    names: list[str] = field(default_factory=list)
    pooled: int = 0
    serving: ServingMap[Servable] = field(default_factory=ServingMap)
    monitor: Monitor = field(default_factory=Monitor)
    metrics: Metrics = field(default_factory=Metrics)

    def put(self, name: str, version: int, model: Model, *, is_inline: bool = True) -> None:
        """Make a version available."""

        def pooled(program: Program, _names: ProgramNames) -> StartableProgram:
            return MeasuredProgram(program, self.pool)

        if name not in self.names:
            self.names.append(name)
        id = ServableId(name, version)
        meters = self.metrics.meter_factory(name, version)
        servable = Servable(model, InlineProgram if is_inline else pooled, meters=meters)
        self.serving.publish(id, servable)
        self.publish(name, version, VersionState.AVAILABLE)

    def publish(
        self, name: str, version: int, state: VersionState, error: ServingError | None = None
    ) -> None:
        """Say where a version stands."""
        self.monitor.publish(ServableId(name, version), state, error)

    def in_flight(self) -> int:
        """How many requests hold a version now."""
        return sum(self.serving.in_flight().values())

    async def in_pool(self, call: Callable[[], R], size: int = 0) -> R:
        """Run a function in the pool."""
        self.pooled += 1
        return await asyncio.wrap_future(self.pool.submit(call))

    def acquire(self, request: ServableRequest) -> Entry[Servable]:
        if request.label is not None:
            return self.serving.acquire_label(request.name, request.label)
        return self.serving.acquire(request.name, request.version)

    def statuses(self, name: str, version: int | None = None) -> tuple[VersionStatus, ...]:
        found = self.monitor.statuses(name)
        if version is not None:
            found = tuple(status for status in found if status.id.version == version)
        if not found:
            raise NotFound(f"Could not find any versions of model {name}")
        return found

    def model_names(self) -> list[str]:
        return self.names

    def problem(self, name: str) -> str | None:
        error = self.monitor.last_error(name)
        return None if error is None else error.message

    def labels(self, name: str) -> Mapping[str, int]:
        return self.serving.labels.get(name, {})


async def response_of(answer: "R | Awaitable[R]", *, within_s: float = 10.0) -> R:
    """What a handler answers, now or later."""
    if isinstance(answer, Awaitable):
        return await asyncio.wait_for(answer, within_s)
    return answer


def half_plus_two(x: Array) -> list[Array]:
    """y = x / 2 + 2."""
    return [x * np.float32(0.5) + np.float32(2)]


class Gate:
    """Half plus two that runs until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, x: Array) -> list[Array]:
        self.entered.set()
        assert self.let_go.wait(WAIT_S)
        return half_plus_two(x)


def occupy(pool: RunPool, gate: Gate) -> None:
    """Keep the only thread of a pool busy until the gate opens."""
    pool.submit(lambda: gate(np.ones(1)))
    assert gate.entered.wait(WAIT_S)


async def cancelled(task: "asyncio.Task[Any]") -> None:
    """Let a task begin, and cancel it."""
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


FLOATS = (DataType.FLOAT32, (-1,))
STRINGS = (DataType.STRING, (-1,))
HALF_PLUS_TWO = FunctionModel(
    {"serving_default": (signature({"x": FLOATS}, {"y": FLOATS}), half_plus_two)}
)

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from salver.errors import InvalidArgument, Unimplemented
from salver.inference.servable import (
    MOST_PROGRAMS,
    ProgramNames,
    Runner,
    Servable,
    SignatureCall,
)
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import Program, TensorNames
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature, TensorSpec

SIGNATURES = {
    "serving_default": Signature(
        inputs={
            "a": TensorSpec(DataType.FLOAT32, None),
            "b": TensorSpec(DataType.FLOAT32, None),
        },
        outputs={
            "y": TensorSpec(DataType.FLOAT32, None),
            "z": TensorSpec(DataType.FLOAT32, None),
        },
    ),
    "broken": Signature(inputs={}, outputs={"y": TensorSpec(DataType.INVALID, None)}),
}


NAMES = {
    "serving_default": TensorNames({"a": "in_a:0", "b": "in_b:0"}, {"y": "out:1", "z": "out:0"}),
    "broken": TensorNames({}, {"y": ""}),
}


class Swap:
    """A program of two feeds that gives them back the other way round."""

    can_loop = False

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        return self.run_inline(feeds)

    def run_inline(self, feeds: Sequence[Array]) -> list[Array]:
        return list(reversed(feeds))

    run_in_caller = run_inline


class SwapGraph:
    """The tensors of that model by their names; one name is not there."""

    def __init__(self) -> None:
        self.names = NAMES
        self.resolved: list[tuple[Sequence[str], ...]] = []

    def program(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()
    ) -> Swap:
        if "" in fetches:
            raise InvalidArgument("no such tensor")
        self.resolved.append((feeds, fetches, targets))
        return Swap()


class SwapModel:
    """A model of two signatures, one of which it cannot run."""

    definitions = b"verbatim"
    batching = None

    def __init__(self, *, has_graph: bool = True) -> None:
        self.signatures = SIGNATURES
        self.graph = SwapGraph() if has_graph else None
        self.resolved: list[tuple[str, Sequence[str] | None]] = []
        self.closed = 0

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> Swap:
        if signature_name == "broken":
            raise InvalidArgument("no such tensor")
        self.resolved.append((signature_name, outputs))
        return Swap()

    def close(self) -> None:
        self.closed += 1


class Inline:
    """Starts a program by running it."""

    def __init__(self, program: Program, names: ProgramNames) -> None:
        self._program = program
        self.names = names

    def start(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> list[Array]:
        on_end()
        return self._program.run_inline(feeds)


@pytest.fixture
def model() -> SwapModel:
    return SwapModel()


@pytest.fixture
def graph(model: SwapModel) -> SwapGraph:
    assert model.graph is not None
    return model.graph


@pytest.fixture
def given() -> list[ProgramNames]:
    """What the runner was told of the programs it was given."""
    return []


@pytest.fixture
def noted(given: list[ProgramNames]) -> Runner:
    def runner(program: Program, names: ProgramNames) -> Inline:
        given.append(names)
        return Inline(program, names)

    return runner


def test_a_call_is_one_signature_ready_to_run(model: SwapModel) -> None:
    call = Servable(model, Inline).call("serving_default")
    assert call is not None
    one, two = np.ones(1), np.zeros(1)
    assert call.start([one, two], timeout_s=None, on_end=lambda: None) == [two, one]
    assert (call.name, call.signature, call.output_names) == (
        "serving_default",
        SIGNATURES["serving_default"],
        ("y", "z"),
    )


@pytest.mark.parametrize(("names", "only"), [("", None), ("x", DataType.FLOAT32), ("xy", None)])
def test_the_dtype_of_the_only_input_is_that_of_one_among_no_others(
    names: str, only: DataType | None
) -> None:
    specs = {name: TensorSpec(DataType.FLOAT32, None) for name in names}
    taken = Signature(specs, {"z": TensorSpec(DataType.FLOAT32, None)})
    program = Inline(Swap(), ProgramNames((), ()))
    call = SignatureCall("s", taken, program.names, program, lambda *_: None)
    assert call.only_input is only


def test_a_signature_is_resolved_once(model: SwapModel) -> None:
    servable = Servable(model, Inline)
    assert servable.call("serving_default") is servable.call("serving_default")
    assert model.resolved == [("serving_default", None)]


def test_programs_of_a_graph_are_told_apart_by_its_tensors(
    model: SwapModel, noted: Runner, given: list[ProgramNames]
) -> None:
    servable = Servable(model, noted)
    call = servable.call("serving_default")
    assert call is not None
    servable.part("serving_default", ["z"])
    servable.program_in_graph(["in_b:0"], ["out:0"], ["done"])
    assert given == [
        ProgramNames(("in_a:0", "in_b:0"), ("out:1", "out:0")),
        ProgramNames(("in_a:0", "in_b:0"), ("out:0",)),
        ProgramNames(("in_b:0",), ("out:0",), ("done",)),
    ]
    assert call.names == given[0]


def test_programs_of_a_model_without_a_graph_are_told_apart_by_signature_and_aliases(
    noted: Runner, given: list[ProgramNames]
) -> None:
    servable = Servable(SwapModel(has_graph=False), noted)
    servable.call("serving_default")
    servable.part("serving_default", ["z"])
    assert given == [
        ProgramNames(("a", "b"), ("y", "z"), (), "serving_default"),
        ProgramNames(("a", "b"), ("z",), (), "serving_default"),
    ]
    with pytest.raises(Unimplemented, match=r"^This model has no graph"):
        servable.program_in_graph(["a"], ["y"])


def test_some_outputs_of_a_signature_are_resolved_once(model: SwapModel) -> None:
    servable = Servable(model, Inline)
    assert servable.part("serving_default", ["z"]) is servable.part("serving_default", ("z",))
    servable.part("serving_default", ["z", "y"])
    assert model.resolved == [("serving_default", ("z",)), ("serving_default", ("z", "y"))]


def test_a_signature_the_model_does_not_have_has_no_call(model: SwapModel) -> None:
    assert Servable(model, Inline).call("nope") is None


def test_a_signature_of_an_unknown_tensor_fails_each_time_and_others_do_not(
    model: SwapModel,
) -> None:
    servable = Servable(model, Inline)
    for _ in range(2):
        with pytest.raises(InvalidArgument, match="no such tensor"):
            servable.call("broken")
    assert servable.call("serving_default") is not None


def test_the_signatures_are_the_models(model: SwapModel) -> None:
    assert Servable(model, Inline).signatures is model.signatures


def test_any_tensors_can_be_run_from_and_to(model: SwapModel, graph: SwapGraph) -> None:
    servable = Servable(model, Inline)
    program = servable.program_in_graph(["in_b:0", "in_a:0"], ["out:0"], ["done"])
    one, two = np.ones(1), np.zeros(1)
    assert program.start([one, two], timeout_s=None, on_end=lambda: None) == [two, one]
    assert graph.resolved == [(("in_b:0", "in_a:0"), ("out:0",), ("done",))]


def test_a_program_is_made_once_for_the_same_names(model: SwapModel, graph: SwapGraph) -> None:
    servable = Servable(model, Inline)
    assert servable.program_in_graph(["a"], ["b"]) is servable.program_in_graph(("a",), ("b",), ())
    for others in ((["b"], ["a"]), ([], ["a", "b"]), (["a"], ["b"], ["c"]), (["a"], [], ["b"])):
        assert servable.program_in_graph(*others) is not servable.program_in_graph(["a"], ["b"])
    assert len(graph.resolved) == 5


def test_programs_without_number_are_not_all_remembered(model: SwapModel, graph: SwapGraph) -> None:
    servable = Servable(model, Inline)
    for number in range(MOST_PROGRAMS + 1):
        servable.program_in_graph([str(number)], [])
    last = servable.program_in_graph([str(MOST_PROGRAMS)], [])
    assert len(graph.resolved) == MOST_PROGRAMS + 1
    servable.program_in_graph(["0"], [])
    assert len(graph.resolved) == MOST_PROGRAMS + 2
    assert servable.program_in_graph([str(MOST_PROGRAMS)], []) is last


def test_a_program_of_an_unknown_tensor_is_refused(model: SwapModel) -> None:
    with pytest.raises(InvalidArgument, match="no such tensor"):
        Servable(model, Inline).program_in_graph([], [""])


@pytest.mark.parametrize("what", ["call", "part"])
def test_threads_that_ask_for_the_same_at_the_same_time_are_given_the_same(what: str) -> None:
    start = threading.Barrier(2)

    class SlowModel(SwapModel):
        """Resolves for two threads at the same time."""

        def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> Swap:
            start.wait(10)
            return Swap()

    servable = Servable(SlowModel(), Inline)

    def ask(_: int) -> object:
        if what == "call":
            return servable.call("serving_default")
        return servable.part("serving_default", ["z"])

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(ask, range(2))
    assert one is two


def test_closing_closes_the_model_once(model: SwapModel) -> None:
    servable = Servable(model, Inline)
    servable.call("serving_default")
    servable.close()
    assert model.closed == 1


class Silent:
    def succeeded(self, begun_s: float, ended_s: float, run_s: float) -> None:
        """Count nothing."""

    def exemplify(self, trace_id: int, total_s: float, run_s: float) -> None:
        """Nothing of this is traced."""


def test_a_meter_is_made_once_for_each_method_and_entrypoint(model: SwapModel) -> None:
    made: list[tuple[str, str, str]] = []

    def make(*key: str) -> Silent:
        made.append((key[0], key[1], key[2]))
        return Silent()

    call = Servable(model, Inline, meters=make).call("serving_default")
    assert call is not None
    assert call.meters["predict", "REST"] is call.meters["predict", "REST"]
    assert call.meters["predict", "GRPC"] is not call.meters["predict", "REST"]
    name = "serving_default"
    assert made == [(name, "predict", "REST"), (name, "predict", "GRPC")]


def test_without_a_factory_nobody_counts(model: SwapModel) -> None:
    call = Servable(model, Inline).call("serving_default")
    assert call is not None
    assert call.meters["predict", "REST"] is None


def test_what_runs_the_model_ends_before_it(model: SwapModel) -> None:
    closed: list[int] = []
    Servable(model, Inline, on_close=lambda: closed.append(model.closed)).close()
    assert (closed, model.closed) == ([0], 1)


def test_calls_without_a_signature_of_their_own_are_metered_too() -> None:
    asked: list[tuple[str, str, str]] = []

    class Counter:
        def succeeded(self, begun_s: float, ended_s: float, run_s: float) -> None:
            pass

        def exemplify(self, trace_id: int, total_s: float, run_s: float) -> None:
            """Nothing of this is traced."""

    counter = Counter()

    def meters(signature: str, method: str, entrypoint: str) -> Counter:
        asked.append((signature, method, entrypoint))
        return counter

    servable = Servable(SwapModel(), lambda *_: pytest.fail("nothing runs"), meters=meters)
    assert servable.meter("", "session_run", "GRPC") is counter
    assert asked == [("", "session_run", "GRPC")]


def test_the_signature_of_a_run_is_known_by_what_began_it(model: SwapModel) -> None:
    servable = Servable(model, Inline)
    call = servable.call("serving_default")
    assert call is not None
    assert servable.signature_of(call.start) is SIGNATURES["serving_default"]
    part = servable.part("serving_default", ["z"])
    assert servable.signature_of(part.start) is SIGNATURES["serving_default"]
    same = servable.program_in_graph(["in_a:0", "in_b:0"], ["out:0"])
    assert servable.signature_of(same.start) is SIGNATURES["serving_default"]
    other = servable.program_in_graph(["in_b:0"], ["out:0"])
    assert servable.signature_of(other.start) is None
    assert Servable(model, Inline).signature_of(call.start) is None

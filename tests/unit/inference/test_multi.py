from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from tests.shelf import FLOATS, STRINGS, FunctionModel, InlineProgram, signature

from salver.errors import InvalidArgument, Unimplemented
from salver.inference.multi import MultiRun, MultiTask, check_tasks, multi_results, multi_run
from salver.inference.servable import ProgramNames, Servable
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import ModelInfo, Program, TensorNames
from salver.vocabulary.requests import Array, ClassifyResult, RegressResult
from salver.vocabulary.signature import (
    CLASSIFY_METHOD_NAME,
    PREDICT_METHOD_NAME,
    REGRESS_METHOD_NAME,
    Signature,
    TensorSpec,
)


def signature_for(method_name: str, names: TensorNames) -> Signature:
    def specs(of: Mapping[str, str]) -> dict[str, TensorSpec]:
        return {alias: TensorSpec(DataType.FLOAT32, None) for alias in of}

    return Signature(specs(names.inputs), specs(names.outputs), method_name)


NAMES = {
    "c": TensorNames({"inputs": "tf_example:0"}, {"classes": "labels:0", "scores": "y:0"}),
    "r": TensorNames({"inputs": "tf_example:0"}, {"outputs": "y:0"}),
    "other": TensorNames({"inputs": "other:0"}, {"outputs": "y2:0"}),
    "serving_default": TensorNames({"x": "x:0"}, {"y": "y:0"}),
}
SIGNATURES = {
    "c": signature_for(CLASSIFY_METHOD_NAME, NAMES["c"]),
    "r": signature_for(REGRESS_METHOD_NAME, NAMES["r"]),
    "other": signature_for(REGRESS_METHOD_NAME, NAMES["other"]),
    "serving_default": signature_for(PREDICT_METHOD_NAME, NAMES["serving_default"]),
}
MODEL = FunctionModel({name: (of, list) for name, of in SIGNATURES.items()})
INFO = ModelInfo(SIGNATURES, MODEL.definitions)


def classify(name: str, model: str = "m") -> MultiTask:
    return MultiTask(model, name, CLASSIFY_METHOD_NAME)


def regress(name: str, model: str = "m") -> MultiTask:
    return MultiTask(model, name, REGRESS_METHOD_NAME)


def check(*tasks: MultiTask, is_method_checked: bool = False) -> None:
    check_tasks(tasks, INFO, is_method_checked=is_method_checked)


def refusal(*tasks: MultiTask, is_method_checked: bool = False) -> str:
    with pytest.raises(InvalidArgument) as raised:
        check(*tasks, is_method_checked=is_method_checked)
    return raised.value.message


class Answers:
    """Runs a program by giving what its names stand for."""

    def __init__(self, _program: Program, names: ProgramNames) -> None:
        self.names = names

    def start(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> list[Array]:
        on_end()
        assert len(feeds) == len(self.names.feeds)
        return [FETCHED[name] for name in self.names.fetches]


def run_of(*tasks: MultiTask) -> tuple[MultiRun, list[ProgramNames]]:
    """The run of tasks in a graph, and the programs that it took."""
    given: list[ProgramNames] = []

    def runner(program: Program, names: ProgramNames) -> Answers:
        given.append(names)
        return Answers(program, names)

    return multi_run(tasks, Servable(AnyModel(), runner)), given


class AnyProgram:
    """Is not run."""

    can_loop = False

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        raise NotImplementedError

    run_in_caller = run
    run_inline = run


class AnyModel:
    """A model of a graph that has every tensor."""

    signatures = SIGNATURES
    definitions = MODEL.definitions
    batching = None

    def __init__(self) -> None:
        self.graph = self
        self.names = NAMES

    def program(self, *_names: object) -> AnyProgram:
        return AnyProgram()

    def close(self) -> None:
        pass


def outputs_of(run: MultiRun, examples: Array) -> list[Array]:
    ended: list[int] = []
    feeds = [examples] * run.num_feeds
    outputs = run.start(feeds, timeout_s=None, on_end=lambda: ended.append(1))
    assert ended == [1]
    assert isinstance(outputs, list)
    return outputs


EXAMPLES = np.array([b"", b""], object)


def test_one_run_feeds_and_fetches_what_all_signatures_name() -> None:
    for tasks, feeds, fetches in (
        ((regress("r"), classify("c")), ("tf_example:0",), ("labels:0", "y:0")),
        (
            (classify("c"), regress("other"), regress("r")),
            ("other:0", "tf_example:0"),
            ("labels:0", "y2:0", "y:0"),
        ),
    ):
        run, given = run_of(*tasks)
        assert given == [ProgramNames(feeds, fetches)]
        assert run.num_feeds == len(feeds)


def test_without_a_graph_each_signature_runs_by_itself() -> None:
    model = FunctionModel(
        {
            "c": (
                signature({"inputs": STRINGS}, {"classes": STRINGS, "scores": FLOATS}),
                lambda _: [FETCHED["labels:0"], FETCHED["y:0"]],
            ),
            "r": (
                signature({"inputs": STRINGS}, {"outputs": FLOATS}),
                lambda _: [FETCHED["y2:0"]],
            ),
        },
        has_graph=False,
    )
    tasks = [regress("r"), classify("c")]
    run = multi_run(tasks, Servable(model, InlineProgram))
    results = multi_results(tasks, run, outputs_of(run, EXAMPLES), 2)
    assert isinstance(results[0], RegressResult)
    assert results[0].values.tolist() == [5.0, 6.0]
    assert isinstance(results[1], ClassifyResult)
    assert results[1].labels == [[b"a", b"b"], [b"c", b"d"]]
    assert results[1].scores is FETCHED["y:0"]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([regress("r"), regress("c", "")], "Found ModelSpec with an empty model name."),
        (
            [regress("r"), regress("c", "n")],
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        ([regress("r"), classify("r")], "Duplicate evaluation of signature: r"),
        ([regress("nope")], "Requested signature not found in model graph: nope"),
        ([regress("c")], "Expected one output Tensor."),
    ],
)
def test_what_is_wrong_with_a_task_is_told(tasks: Sequence[MultiTask], message: str) -> None:
    assert refusal(*tasks) == message


def test_a_signature_made_for_something_else_is_told_with_what_it_is() -> None:
    message = refusal(classify("serving_default"))
    assert message.startswith("No classification inputs found in SignatureDef: inputs {")


@pytest.mark.parametrize("method", ["", PREDICT_METHOD_NAME, "classify"])
def test_what_no_task_can_ask_for_is_unimplemented(method: str) -> None:
    with pytest.raises(Unimplemented) as raised:
        check(MultiTask("m", "r", method))
    assert raised.value.message == f"Unsupported signature method_name: {method}"


def test_the_signature_is_looked_for_before_the_method() -> None:
    assert refusal(MultiTask("m", "nope", "")).startswith("Requested signature not found")


def test_the_method_names_of_signatures_are_looked_at_where_a_flag_says_so() -> None:
    info = ModelInfo({"r": signature_for("odd", NAMES["r"])}, b"")
    check_tasks([regress("r")], info, is_method_checked=False)
    with pytest.raises(InvalidArgument, match=r"^Expected regression .* Was: odd$"):
        check_tasks([regress("r")], info, is_method_checked=True)


FETCHED: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {
    "labels:0": np.array([[b"a", b"b"], [b"c", b"d"]], dtype=object),
    "y:0": np.array([[1, 2], [3, 4]], np.float32),
    "y2:0": np.array([[5], [6]], np.float32),
}


def test_results_come_in_the_order_of_the_tasks() -> None:
    tasks = [regress("other"), classify("c")]
    run, _ = run_of(*tasks)
    first, second = multi_results(tasks, run, outputs_of(run, EXAMPLES), 2)
    assert isinstance(first, RegressResult)
    assert first.values.tolist() == [5.0, 6.0]
    assert isinstance(second, ClassifyResult)
    assert second.labels == [[b"a", b"b"], [b"c", b"d"]]
    assert second.scores is FETCHED["y:0"]


def test_a_result_of_another_shape_is_refused() -> None:
    run, _ = run_of(regress("r"))
    with pytest.raises(InvalidArgument, match=r"^Expected output Tensor shape to be either"):
        multi_results([regress("r")], run, outputs_of(run, EXAMPLES), 2)

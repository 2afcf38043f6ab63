from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from tests.shelf import FLOATS, STRINGS, FunctionModel, signature

from salver.dtypes import DataType
from salver.errors import InvalidArgument, Unimplemented
from salver.inference.multi import MultiPlan, MultiTask, multi_plan, multi_results
from salver.requests import ClassifyResult, RegressResult
from salver.signature import (
    CLASSIFY_METHOD_NAME,
    PREDICT_METHOD_NAME,
    REGRESS_METHOD_NAME,
    Signature,
    TensorSpec,
)


def tensors(**names: str) -> dict[str, TensorSpec]:
    return {alias: TensorSpec(name, DataType.FLOAT, None) for alias, name in names.items()}


CLASSIFY = Signature(
    tensors(inputs="tf_example:0"),
    tensors(classes="labels:0", scores="y:0"),
    CLASSIFY_METHOD_NAME,
)
REGRESS = Signature(tensors(inputs="tf_example:0"), tensors(outputs="y:0"), REGRESS_METHOD_NAME)
OTHER = Signature(tensors(inputs="other:0"), tensors(outputs="y2:0"), REGRESS_METHOD_NAME)
PREDICT = Signature(tensors(x="x:0"), tensors(y="y:0"), PREDICT_METHOD_NAME)
SIGNATURES = {"c": CLASSIFY, "r": REGRESS, "other": OTHER, "serving_default": PREDICT}
MAP = FunctionModel(
    {"serving_default": (signature({"x": STRINGS}, {"y": FLOATS}), lambda x: [x])}
).signature_def_map


def classify(name: str, model: str = "m") -> MultiTask:
    return MultiTask(model, name, CLASSIFY_METHOD_NAME)


def regress(name: str, model: str = "m") -> MultiTask:
    return MultiTask(model, name, REGRESS_METHOD_NAME)


def plan(*tasks: MultiTask, is_method_checked: bool = False) -> MultiPlan:
    return multi_plan(tasks, SIGNATURES, MAP, is_method_checked=is_method_checked)


def refusal(*tasks: MultiTask, is_method_checked: bool = False) -> str:
    with pytest.raises(InvalidArgument) as raised:
        plan(*tasks, is_method_checked=is_method_checked)
    return raised.value.message


def test_one_run_feeds_and_fetches_what_all_signatures_name() -> None:
    assert plan(regress("r"), classify("c")) == MultiPlan(("tf_example:0",), ("labels:0", "y:0"))
    assert plan(classify("c"), regress("other"), regress("r")) == MultiPlan(
        ("other:0", "tf_example:0"), ("labels:0", "y2:0", "y:0")
    )


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
        plan(MultiTask("m", "r", method))
    assert raised.value.message == f"Unsupported signature method_name: {method}"


def test_the_signature_is_looked_for_before_the_method() -> None:
    assert refusal(MultiTask("m", "nope", "")).startswith("Requested signature not found")


def test_the_method_names_of_signatures_are_looked_at_where_a_flag_says_so() -> None:
    signatures = {"r": Signature(REGRESS.inputs, REGRESS.outputs, "odd")}
    assert multi_plan([regress("r")], signatures, MAP, is_method_checked=False).fetches == ("y:0",)
    with pytest.raises(InvalidArgument, match=r"^Expected regression .* Was: odd$"):
        multi_plan([regress("r")], signatures, MAP, is_method_checked=True)


FETCHED: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {
    "labels:0": np.array([[b"a", b"b"], [b"c", b"d"]], dtype=object),
    "y:0": np.array([[1, 2], [3, 4]], np.float32),
    "y2:0": np.array([[5], [6]], np.float32),
}


def test_results_come_in_the_order_of_the_tasks() -> None:
    first, second = multi_results([regress("other"), classify("c")], SIGNATURES, FETCHED, 2)
    assert isinstance(first, RegressResult)
    assert first.values.tolist() == [5.0, 6.0]
    assert isinstance(second, ClassifyResult)
    assert second.labels == [[b"a", b"b"], [b"c", b"d"]]
    assert second.scores is FETCHED["y:0"]


def test_a_result_of_another_shape_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"^Expected output Tensor shape to be either"):
        multi_results([regress("r")], SIGNATURES, FETCHED, 2)

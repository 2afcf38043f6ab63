from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from google.protobuf import text_format

from salver._pb import message_class
from salver.errors import InvalidArgument
from salver.inference.examples import (
    check_classify_signature,
    check_regress_signature,
    classify_result,
    example_tensor,
    examples_call,
    examples_signature,
    regress_result,
)
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature, TensorSpec

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
PREDICT = "tensorflow/serving/predict"
Check = Callable[..., None]


def signature(
    inputs: Sequence[str], outputs: Sequence[str], method_name: str = PREDICT
) -> Signature:
    spec = TensorSpec(DataType.STRING, None)
    return Signature(
        inputs=dict.fromkeys(inputs, spec),
        outputs=dict.fromkeys(outputs, spec),
        method_name=method_name,
    )


def verbatim(of: Signature) -> bytes:
    made = message_class("tensorflow.serving.SignatureDefMap")()
    definition = made.signature_def["s"]
    definition.method_name = of.method_name
    for alias in of.inputs:
        definition.inputs[alias].name = "t:0"
    for alias in of.outputs:
        definition.outputs[alias].name = "t:0"
    return bytes(made.SerializeToString())


def message_of(
    check: Check, of: Signature, *, is_method_checked: bool = False
) -> tuple[str, str | None]:
    with pytest.raises(InvalidArgument) as raised:
        check("s", ModelInfo({"s": of}, verbatim(of)), is_method_checked=is_method_checked)
    return raised.value.message, raised.value.hint


def dump(of: Signature) -> str:
    parsed: Any = message_class("tensorflow.serving.SignatureDefMap").FromString(verbatim(of))
    return text_format.MessageToString(parsed.signature_def["s"])


def texts(*rows: Sequence[bytes]) -> Array:
    array = np.empty((len(rows), len(rows[0]) if rows else 0), dtype=object)
    for index, row in enumerate(rows):
        array[index] = row
    return array


def test_an_unknown_signature_is_named_with_those_there_are() -> None:
    model: Any = SimpleNamespace(signatures={"a": None, "b": None}, info=ModelInfo({}, b""))
    with pytest.raises(InvalidArgument) as caught:
        examples_call(model, "classify", "s", [b""], is_method_checked=False)
    assert caught.value.message == "No signature was found with the name: s"
    assert caught.value.hint == "The model has the signatures: a, b"


@pytest.mark.parametrize("method_name", [PREDICT, CLASSIFY, "", "other"])
@pytest.mark.parametrize("outputs", [["scores"], ["classes"], ["classes", "scores"]])
def test_structure_alone_makes_a_classification(method_name: str, outputs: list[str]) -> None:
    check_classify_signature(
        "s",
        ModelInfo({"s": signature(["inputs"], outputs, method_name)}, b""),
        is_method_checked=False,
    )


def test_one_of_two_outputs_is_enough_for_a_classification() -> None:
    check_classify_signature(
        "s", ModelInfo({"s": signature(["inputs"], ["scores", "z"])}, b""), is_method_checked=False
    )


@pytest.mark.parametrize("method_name", [PREDICT, REGRESS, ""])
def test_structure_alone_makes_a_regression(method_name: str) -> None:
    check_regress_signature(
        "s",
        ModelInfo({"s": signature(["inputs"], ["outputs"], method_name)}, b""),
        is_method_checked=False,
    )


@pytest.mark.parametrize(
    ("check", "outputs", "method_name"),
    [
        (check_classify_signature, ["scores"], CLASSIFY),
        (check_regress_signature, ["outputs"], REGRESS),
    ],
)
def test_the_right_method_name_passes_where_it_is_checked(
    check: Check, outputs: list[str], method_name: str
) -> None:
    check(
        "s",
        ModelInfo({"s": signature(["inputs"], outputs, method_name)}, b""),
        is_method_checked=True,
    )


def test_a_wrong_method_name_is_refused_where_it_is_checked_before_all_else() -> None:
    wrong = signature([], [], PREDICT)
    assert message_of(check_classify_signature, wrong, is_method_checked=True)[0] == (
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/predict"
    )
    assert message_of(check_regress_signature, wrong, is_method_checked=True)[0] == (
        "Expected regression signature method_name to be tensorflow/serving/regress. "
        "Was: tensorflow/serving/predict"
    )


@pytest.mark.parametrize("check", [check_classify_signature, check_regress_signature])
@pytest.mark.parametrize(
    ("inputs", "takes"), [([], "nothing"), (["a", "b"], "a, b"), (["inputs", "x"], "inputs, x")]
)
def test_classify_and_regress_feed_one_input(check: Check, inputs: list[str], takes: str) -> None:
    assert message_of(check, signature(inputs, [])) == (
        "Expected one input Tensor.",
        "classify and regress feed tf.Examples to a signature made for them; "
        f"this one takes {takes}: use predict",
    )


@pytest.mark.parametrize("outputs", [[], ["classes", "scores", "z"]])
def test_a_classification_has_one_or_two_outputs(outputs: list[str]) -> None:
    message, hint = message_of(check_classify_signature, signature(["x"], outputs))
    assert message == f"Expected one or two output Tensors, found {len(outputs)}"
    assert hint is not None


@pytest.mark.parametrize("outputs", [[], ["outputs", "z"]])
def test_a_regression_has_one_output(outputs: list[str]) -> None:
    message, hint = message_of(check_regress_signature, signature(["x"], outputs))
    assert message == "Expected one output Tensor."
    assert hint is not None


@pytest.mark.parametrize(
    ("check", "inputs", "outputs", "words"),
    [
        (
            check_classify_signature,
            ["x"],
            ["scores"],
            "No classification inputs found in SignatureDef: ",
        ),
        (
            check_classify_signature,
            ["inputs"],
            ["y", "z"],
            "Expected classification signature outputs to contain at least one of "
            '"classes" or "scores". Signature was: ',
        ),
        (check_regress_signature, ["x"], ["y"], "No regression inputs found in SignatureDef: "),
        (
            check_regress_signature,
            ["inputs"],
            ["y"],
            "No regression outputs found in SignatureDef: ",
        ),
    ],
)
def test_wrong_keys_are_shown_with_the_whole_signature(
    check: Check, inputs: list[str], outputs: list[str], words: str
) -> None:
    wrong = signature(inputs, outputs)
    message, hint = message_of(check, wrong)
    assert message == words + dump(wrong)
    assert "tensorflow/serving/predict" in message
    assert hint is not None


def test_examples_are_fed_as_one_vector_of_bytes() -> None:
    tensor = example_tensor([b"", b"a\0", b"\xff"])
    assert (tensor.shape, tensor.dtype, tensor.tolist()) == (
        (3,),
        np.dtype(object),
        [b"", b"a\0", b"\xff"],
    )


def test_no_examples_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"^Input is empty\.$"):
        example_tensor([])


def test_a_classification_has_labels_and_scores() -> None:
    scores = np.array([[0.25, 0.75], [1, 0]], np.float32)
    result = classify_result(
        {"classes": texts([b"car", b"bike"], [b"a", b"b"]), "scores": scores}, 2
    )
    assert result.labels == [[b"car", b"bike"], [b"a", b"b"]]
    assert result.scores is scores


def test_a_classification_may_lack_labels_or_scores() -> None:
    scores = np.zeros((1, 3), np.float32)
    only_scores = classify_result({"scores": scores, "z": np.zeros(7)}, 1)
    assert (only_scores.labels, only_scores.scores) == (None, scores)
    only_labels = classify_result({"classes": texts([b"a"])}, 1)
    assert (only_labels.labels, only_labels.scores) == ([[b"a"]], None)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            {"scores": np.zeros(2, np.float32)},
            "Expected Tensor shape: [batch_size num_classes] but got [2]",
        ),
        (
            {"scores": np.zeros((2, 1, 3), np.float32)},
            "Expected Tensor shape: [batch_size num_classes] but got [2,1,3]",
        ),
        (
            {"classes": texts([b"a"], [b"b"])[0]},
            "Expected Tensor shape: [batch_size num_classes] but got [1]",
        ),
        (
            {"scores": np.float32(1).reshape(())},
            "Expected Tensor shape: [batch_size num_classes] but got []",
        ),
        (
            {"classes": np.zeros((2, 1), np.int64)},
            "Expected classes Tensor of DT_STRING. Got: DT_INT64",
        ),
        ({"scores": np.zeros((2, 1))}, "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        (
            {"scores": np.zeros((2, 1), ml_dtypes.bfloat16)},
            "Expected scores Tensor of DT_FLOAT. Got: DT_BFLOAT16",
        ),
        ({"classes": texts([b"a"])}, "Expected classes output batch size of 2. Got: 1"),
        (
            {"scores": np.zeros((3, 1), np.float32)},
            "Expected scores output batch size of 2. Got: 3",
        ),
        (
            {"classes": texts([b"a"], [b"b"]), "scores": np.zeros((2, 3), np.float32)},
            "Tensors class and score should match in dim_size(1). Got 1 vs. 3",
        ),
    ],
)
def test_what_is_no_classification_is_refused(outputs: dict[str, Array], message: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        classify_result(outputs, 2)
    assert raised.value.message == message


def test_of_two_faulty_outputs_the_classes_are_named() -> None:
    with pytest.raises(InvalidArgument, match="Expected classes Tensor"):
        classify_result({"scores": np.zeros(1), "classes": np.zeros((1, 1))}, 1)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_a_regression_has_one_value_per_example(shape: tuple[int, ...]) -> None:
    values = np.array([1, 2, np.nan], np.float32).reshape(shape)
    result = regress_result({"outputs": values}, 3).values
    assert result.shape == (3,)
    np.testing.assert_array_equal(result, np.array([1, 2, np.nan], np.float32))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            np.zeros((), np.float32),
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []",
        ),
        (
            np.zeros((2, 2), np.float32),
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
            "but got [2,2]",
        ),
        (
            np.zeros((2, 1, 1)),
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
            "but got [2,1,1]",
        ),
        (np.zeros(3), "Input batch size did not match output batch size: 2 vs. 3"),
        (np.zeros((1, 1)), "Input batch size did not match output batch size: 2 vs. 1"),
        (np.zeros(2), "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
        (np.zeros(2, np.uint16), "Expected output Tensor of DT_FLOAT.  Got: DT_UINT16"),
    ],
)
def test_what_is_no_regression_is_refused(output: Array, message: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        regress_result({"outputs": output}, 2)
    assert raised.value.message == message


CLASSIFIES = Signature(
    {"inputs": TensorSpec(DataType.STRING, (-1,))},
    {"scores": TensorSpec(DataType.FLOAT32, (-1, 2))},
    CLASSIFY,
)
PREDICTS = Signature(
    {"x": TensorSpec(DataType.FLOAT32, (-1, 4))}, {"y": TensorSpec(DataType.FLOAT32, (-1,))}
)


def test_a_model_that_knows_no_tensorflow_classifies_by_the_signature_of_that_name() -> None:
    own = ModelInfo({"classify": CLASSIFIES, "serving_default": PREDICTS})
    assert examples_signature("classify", "", own) == "classify"
    assert examples_signature("classify", "serving_default", own) == "serving_default"
    assert examples_signature("regress", "", own) == "serving_default"


def test_a_model_with_definitions_of_its_own_answers_by_its_default_signature() -> None:
    exported = ModelInfo({"classify": CLASSIFIES, "serving_default": PREDICTS}, definitions=b"")
    assert examples_signature("classify", "", exported) == "serving_default"


def test_a_signature_of_that_name_that_is_for_something_else_is_not_taken() -> None:
    other = ModelInfo({"classify": PREDICTS, "serving_default": PREDICTS})
    assert examples_signature("classify", "", other) == "serving_default"

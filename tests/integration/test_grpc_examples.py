"""Classify, Regress and MultiInference, by a plain client."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.integration.grpc_clients.plain import Client, example, message, model_spec

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def input_of(examples: Sequence[Any], context: Any = None) -> Any:
    made = message("Input")
    if context is None:
        made.example_list.examples.extend(examples)
    else:
        made.example_list_with_context.examples.extend(examples)
        made.example_list_with_context.context.CopyFrom(context)
    return made


def classification(spec: Any, examples: Sequence[Any], context: Any = None) -> Any:
    return message("ClassificationRequest", model_spec=spec, input=input_of(examples, context))


def regression(spec: Any, examples: Sequence[Any], context: Any = None) -> Any:
    return message("RegressionRequest", model_spec=spec, input=input_of(examples, context))


def several(*tasks: tuple[Any, str], examples: Sequence[Any]) -> Any:
    request = message("MultiInferenceRequest", input=input_of(examples))
    for spec, method_name in tasks:
        request.tasks.add(model_spec=spec, method_name=method_name)
    return request


def classes_of(result: Any) -> list[list[tuple[str, float]]]:
    return [
        [(entry.label, entry.score) for entry in each.classes] for each in result.classifications
    ]


def values_of(result: Any) -> list[float]:
    return [each.value for each in result.regressions]


MODEL = {"half_plus_two": "of TensorFlow 1", "half_plus_two_tf2": "of TensorFlow 2"}


@pytest.mark.parametrize("model", MODEL, ids=MODEL.get)
class TestHalfPlusTwo:
    def test_regress_gives_a_value_per_example(self, model: str, client: Client) -> None:
        spec = model_spec(model, signature="regress_x_to_y")
        response = client.call("Regress", regression(spec, [example(x=80.0), example(x=20.0)]))
        assert values_of(response.result) == [42.0, 12.0]
        assert response.model_spec == model_spec(model, 123, signature="regress_x_to_y")

    def test_classify_without_labels_gives_empty_ones(self, model: str, client: Client) -> None:
        spec = model_spec(model, signature="classify_x_to_y")
        response = client.call("Classify", classification(spec, [example(x=20.0), example(x=0.0)]))
        assert classes_of(response.result) == [[("", 12.0)], [("", 2.0)]]
        assert response.model_spec == model_spec(model, 123, signature="classify_x_to_y")

    def test_a_context_is_merged_into_every_example(self, model: str, client: Client) -> None:
        spec = model_spec(model, signature="regress_x_to_y")
        request = regression(spec, [example(), example(x=20.0)], context=example(x=80.0))
        assert values_of(client.call("Regress", request).result) == [42.0, 12.0]

    def test_several_signatures_are_answered_by_one_call(self, model: str, client: Client) -> None:
        request = several(
            (model_spec(model, signature="regress_x_to_y"), REGRESS),
            (model_spec(model, signature="classify_x_to_y"), CLASSIFY),
            (model_spec(model, signature="regress_x_to_y2"), REGRESS),
            examples=[example(x=2.0), example(x=4.0)],
        )
        first, second, third = client.call("MultiInference", request).results
        assert values_of(first.regression_result) == [3.0, 4.0]
        assert classes_of(second.classification_result) == [[("", 3.0)], [("", 4.0)]]
        assert values_of(third.regression_result) == [4.0, 5.0]
        assert second.model_spec == model_spec(model, 123, signature="classify_x_to_y")


def test_classify_gives_labels_and_scores(client: Client) -> None:
    request = classification(model_spec("classes"), [example(scores=[0.5, 0.125]), example()])
    response = client.call("Classify", request)
    assert classes_of(response.result) == [
        [("car", 0.5), ("bike", 0.125)],
        [("car", 0.25), ("bike", 0.75)],
    ]
    assert response.model_spec == model_spec("classes", 1, signature="serving_default")


def test_classify_without_scores_gives_zeros(client: Client) -> None:
    request = classification(model_spec("classes", signature="labels"), [example()])
    assert classes_of(client.call("Classify", request).result) == [[("car", 0.0), ("bike", 0.0)]]


def test_an_older_version_is_asked_by_number_and_label(client: Client) -> None:
    for which in ({"version": 123}, {"label": "stable"}):
        spec = model_spec("versions", signature="regress_x_to_y", **which)
        response = client.call("Regress", regression(spec, [example(x=2.0)]))
        assert response.model_spec.version.value == 123


X = [example(x=2.0)]
OF_CLASSIFY: dict[str, tuple[Any, str, str]] = {
    "no model_spec": (
        message("ClassificationRequest", input=input_of(X)),
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    ),
    "no name": (
        classification(model_spec(""), X),
        "INVALID_ARGUMENT",
        "ModelSpec has no name specified.",
    ),
    "unknown model": (
        classification(model_spec("no"), X),
        "NOT_FOUND",
        "Servable not found for request: Latest(no)",
    ),
    "unknown signature": (
        classification(model_spec("classes", signature="other"), X),
        "INVALID_ARGUMENT",
        "No signature was found with the name: other",
    ),
    "no inputs at all": (
        message("ClassificationRequest", model_spec=model_spec("classes")),
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
    "no examples": (
        classification(model_spec("classes"), []),
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
    "several inputs": (
        classification(model_spec("several"), X),
        "INVALID_ARGUMENT",
        "Expected one input Tensor.",
    ),
}
OF_REGRESS: dict[str, tuple[Any, str, str]] = {
    "no model_spec": (
        message("RegressionRequest", input=input_of(X)),
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    ),
    "unknown signature": (
        regression(model_spec("half_plus_two", signature="other"), X),
        "INVALID_ARGUMENT",
        "No signature was found with the name: other",
    ),
    "no examples": (
        regression(model_spec("half_plus_two", signature="regress_x_to_y"), []),
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
    "two outputs": (
        regression(model_spec("classes"), X),
        "INVALID_ARGUMENT",
        "Expected one output Tensor.",
    ),
}
OF_MULTI_INFERENCE: dict[str, tuple[Any, str, str]] = {
    "no tasks": (several(examples=X), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    "first name empty": (
        several((model_spec(""), REGRESS), examples=X),
        "INVALID_ARGUMENT",
        "ModelSpec has no name specified.",
    ),
    "unknown model": (
        several((model_spec("no"), REGRESS), examples=X),
        "NOT_FOUND",
        "Servable not found for request: Latest(no)",
    ),
    "later name empty": (
        several(
            (model_spec("half_plus_two", signature="regress_x_to_y"), REGRESS),
            (model_spec(""), REGRESS),
            examples=X,
        ),
        "INVALID_ARGUMENT",
        "Found ModelSpec with an empty model name.",
    ),
    "names differ": (
        several(
            (model_spec("half_plus_two", signature="regress_x_to_y"), REGRESS),
            (model_spec("classes"), CLASSIFY),
            examples=X,
        ),
        "INVALID_ARGUMENT",
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    ),
    "same signature twice": (
        several(
            (model_spec("half_plus_two", signature="regress_x_to_y"), REGRESS),
            (model_spec("half_plus_two", signature="regress_x_to_y"), REGRESS),
            examples=X,
        ),
        "INVALID_ARGUMENT",
        "Duplicate evaluation of signature: regress_x_to_y",
    ),
    "unknown signature": (
        several((model_spec("half_plus_two", signature="other"), REGRESS), examples=X),
        "INVALID_ARGUMENT",
        "Requested signature not found in model graph: other",
    ),
    "other method": (
        several(
            (model_spec("half_plus_two", signature="regress_x_to_y"), "tensorflow/serving/predict"),
            examples=X,
        ),
        "UNIMPLEMENTED",
        "Unsupported signature method_name: tensorflow/serving/predict",
    ),
    "no examples": (
        several((model_spec("half_plus_two", signature="regress_x_to_y"), REGRESS), examples=[]),
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
}
REFUSALS = {
    (method, why): case
    for method, cases in (
        ("Classify", OF_CLASSIFY),
        ("Regress", OF_REGRESS),
        ("MultiInference", OF_MULTI_INFERENCE),
    )
    for why, case in cases.items()
}


@pytest.mark.parametrize(("method", "why"), REFUSALS)
def test_what_is_refused_has_the_reference_s_code_and_text(
    method: str, why: str, client: Client
) -> None:
    request, code, text = REFUSALS[method, why]
    assert client.refusal(method, request) == (code, text)


@pytest.mark.parametrize(
    ("method", "begin"),
    [
        ("Classify", "No classification inputs found in SignatureDef: "),
        ("Regress", "No regression inputs found in SignatureDef: "),
    ],
)
def test_a_signature_of_another_kind_is_refused(method: str, begin: str, client: Client) -> None:
    make = classification if method == "Classify" else regression
    code, text = client.refusal(method, make(model_spec("half_plus_two"), X))
    assert code == "INVALID_ARGUMENT"
    assert text.startswith(begin)


def test_an_example_that_is_none_is_refused_by_the_model(client: Client) -> None:
    """The bytes of each example reach the graph as they came, whether or not they are one."""
    spec = model_spec("half_plus_two", signature="regress_x_to_y")
    request = regression(spec, [example(x=1)])  # an integer where the model wants a float
    code, text = client.refusal("Regress", request)
    assert code == "INVALID_ARGUMENT"
    assert "x" in text


def test_a_feature_the_model_requires_is_missed(client: Client) -> None:
    spec = model_spec("half_plus_two", signature="regress_x_to_y")
    code, text = client.refusal("Regress", regression(spec, [example()]))
    assert code == "INVALID_ARGUMENT"
    assert "Feature: x" in text


def test_thousands_of_examples_come_back_in_order(client: Client) -> None:
    spec = model_spec("half_plus_two", signature="regress_x_to_y")
    request = regression(spec, [example(x=float(n)) for n in range(3000)])
    response = client.call("Regress", request)
    assert values_of(response.result) == [n / 2 + 2 for n in range(3000)]

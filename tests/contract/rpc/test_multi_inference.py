"""MultiInference over gRPC, on graphs of TF1 and TF2."""

from typing import Any

import pytest

from salver.errors import Code
from tests.contract.rpc.server import Rpc, refusal
from tests.messages import example, spec

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
INPUT = {"example_list": {"examples": [example(x=[2.0]), example(x=[80.0])]}}


def task(method: str, model: str, signature: str) -> dict[str, Any]:
    return {"model_spec": spec(model, signature), "method_name": method}


@pytest.mark.parametrize("model", ["half_plus_two", "half_plus_two_tf2"])
async def test_several_questions_about_the_same_examples(rpc: Rpc, model: str) -> None:
    response = await rpc.multi_inference(
        tasks=[
            task(REGRESS, model, "regress_x_to_y2"),
            task(CLASSIFY, model, "classify_x_to_y"),
            task(REGRESS, model, "regress_x_to_y"),
        ],
        input=INPUT,
    )
    first, second, third = response.results
    assert [of.value for of in first.regression_result.regressions] == [4.0, 43.0]
    scores = [
        [one.score for one in of.classes] for of in second.classification_result.classifications
    ]
    assert scores == [[3.0], [42.0]]
    assert [of.value for of in third.regression_result.regressions] == [3.0, 42.0]
    assert [of.model_spec for of in response.results] == [
        spec(model, name, version=123)
        for name in ("regress_x_to_y2", "classify_x_to_y", "regress_x_to_y")
    ]


async def test_the_default_signature_is_named_in_the_answer(rpc: Rpc) -> None:
    response = await rpc.multi_inference(
        tasks=[task(CLASSIFY, "classes", ""), task(REGRESS, "classes", "regress")],
        input={"example_list": {"examples": [example()]}},
    )
    classified, regressed = response.results
    assert classified.model_spec == spec("classes", "serving_default", version=1)
    [row] = classified.classification_result.classifications
    assert [(of.label, of.score) for of in row.classes] == [("car", 0.25), ("bike", 0.75)]
    assert [of.value for of in regressed.regression_result.regressions] == [1.0]


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        (
            [task(REGRESS, "half_plus_two", "regress_x_to_y")] * 2,
            Code.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: regress_x_to_y",
        ),
        (
            [task("", "half_plus_two", "regress_x_to_y")],
            Code.UNIMPLEMENTED,
            "Unsupported signature method_name: ",
        ),
        (
            [task(REGRESS, "nope", "regress_x_to_y")],
            Code.NOT_FOUND,
            "Servable not found for request: Latest(nope)",
        ),
    ],
)
async def test_what_is_wrong_is_told(rpc: Rpc, tasks: list[Any], code: Code, message: str) -> None:
    error = await refusal(rpc.multi_inference(tasks=tasks, input=INPUT))
    assert (error.code, error.message) == (code, message)


async def test_an_example_the_model_refuses_fails_all(rpc: Rpc) -> None:
    error = await refusal(
        rpc.multi_inference(
            tasks=[task(REGRESS, "half_plus_two", "regress_x_to_y")],
            input={"example_list": {"examples": [example(x=[b"text"])]}},
        )
    )
    assert error.code is Code.INVALID_ARGUMENT
    assert error.message.startswith("Name: <unknown>, Key: x, Index: 0.")

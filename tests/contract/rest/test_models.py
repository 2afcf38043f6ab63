"""The numbers of TensorFlow Serving's test models: ours, which are made here, and the originals."""

import math
from typing import Any

import pytest

from tests.contract.rest.server import Rest

HALVES = ["half_plus_two", "half_plus_two_tf2", "half_plus_two_2_versions"]
MATRIX = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]


@pytest.mark.parametrize("model", HALVES)
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"instances": [1.0, 2.0, 5.0]}, {"predictions": [2.5, 3.0, 4.5]}),
        ({"instances": [2.0, 3.0, 4.0]}, {"predictions": [3.0, 3.5, 4.0]}),
        ({"instances": [{"x": 2.0}, {"x": 5.0}]}, {"predictions": [3.0, 4.5]}),
        ({"instances": [[1.0], [2.0]]}, {"predictions": [[2.5], [3.0]]}),
        ({"inputs": [2.0, 3.0, 4.0]}, {"outputs": [3.0, 3.5, 4.0]}),
        ({"inputs": {"x": [2.0, 5.0]}}, {"outputs": [3.0, 4.5]}),
        ({"inputs": 1.0}, {"outputs": 2.5}),
        ({"inputs": [[1, 2], [3, 4]]}, {"outputs": [[2.5, 3.0], [3.5, 4.0]]}),
        ({"inputs": []}, {"outputs": []}),
    ],
)
async def test_half_plus_two(twin: Rest, model: str, body: Any, expected: Any) -> None:
    assert (await twin.predict(model, body)).json == expected


@pytest.mark.parametrize("model", HALVES)
@pytest.mark.parametrize(
    ("name", "examples", "expected"),
    [
        ("regress_x_to_y", [{"x": 2.0}, {"x": [5.0]}, {"x": 80.0}], [3.0, 4.5, 42.0]),
        ("regress_x_to_y2", [{"x": 2.0}, {"x": 5.0}], [4.0, 5.5]),
    ],
)
async def test_half_plus_two_regresses(
    twin: Rest, model: str, name: str, examples: Any, expected: Any
) -> None:
    answer = await twin.regress(model, {"signature_name": name, "examples": examples})
    assert answer.json == {"results": expected}


@pytest.mark.parametrize("model", HALVES)
async def test_half_plus_two_classifies(twin: Rest, model: str) -> None:
    body = {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}, {"x": 20.0}]}
    assert (await twin.classify(model, body)).json == {"results": [[["", 3.0]], [["", 12.0]]]}


@pytest.mark.parametrize("model", HALVES)
async def test_a_signature_of_floats_predicts_and_cannot_regress(twin: Rest, model: str) -> None:
    name = "regress_x2_to_y3"
    predicted = await twin.predict(model, {"signature_name": name, "inputs": [2.0]})
    assert predicted.json == {"outputs": [4.0]}
    refused = await twin.regress(model, {"signature_name": name, "examples": [{"x2": 2.0}]})
    assert refused.status == 400
    assert "string" in refused.error


@pytest.mark.parametrize("model", HALVES)
async def test_a_missing_feature_is_named(twin: Rest, model: str) -> None:
    body = {"signature_name": "regress_x_to_y", "examples": [{"x2": 2.0}]}
    answer = await twin.regress(model, body)
    assert answer.status == 400
    assert answer.error.startswith(
        "Name: <unknown>, Feature: x (data type: float) is required but could not be found."
    )


@pytest.mark.parametrize("model", HALVES)
async def test_an_integer_for_a_float_feature_is_refused_by_the_model(
    twin: Rest, model: str
) -> None:
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": 2}]}
    answer = await twin.regress(model, body)
    assert answer.status == 400
    assert "Feature: x" in answer.error or "Key: x" in answer.error


async def test_half_plus_two_has_two_versions(twin: Rest) -> None:
    for which, version in (
        ("", "124"),
        ("/versions/123", "123"),
        ("/versions/000124", "124"),
        ("/labels/stable", "123"),
    ):
        answer = await twin.predict(f"half_plus_two_2_versions{which}", {"instances": [2.0]})
        assert (answer.json, answer.version) == ({"predictions": [3.0]}, version)


async def test_half_plus_three(twin: Rest) -> None:
    predicted = await twin.predict("half_plus_three", {"instances": [1.0, 2.0, 5.0]})
    assert predicted.json == {"predictions": [3.5, 4.0, 5.5]}
    body = {"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2.0}]}
    assert (await twin.regress("half_plus_three", body)).json == {"results": [3.5, 4.0]}


async def test_the_counter_counts(twin: Rest) -> None:
    async def by(delta: float) -> Any:
        body = {"signature_name": "incr_counter_by", "inputs": delta}
        return (await twin.predict("counter", body)).json["outputs"]

    before = await by(0.0)
    assert [await by(3.0), await by(1.0), await by(-4.0)] == [before + 3.0, before + 4.0, before]


@pytest.mark.parametrize("name", ["get_counter", "incr_counter", "reset_counter"])
async def test_signatures_without_inputs_cannot_be_called(twin: Rest, name: str) -> None:
    bodies: list[dict[str, Any]] = [{"inputs": {}}, {"instances": [1.0]}, {}]
    for body in bodies:
        answer = await twin.predict("counter", {"signature_name": name, **body})
        assert (answer.status, answer.error) == (
            400,
            f"Failed to get input map for signature: {name}",
        )


async def test_a_row_cannot_be_added_to_the_counter(twin: Rest) -> None:
    body = {"signature_name": "incr_counter_by", "instances": [1.0]}
    answer = await twin.predict("counter", body)
    assert answer.status == 400
    assert answer.error.startswith("Parameters and update must be the same size")


async def test_the_counter_has_no_default_signature(twin: Rest) -> None:
    answer = await twin.predict("counter", {"instances": [1.0]})
    assert (answer.status, answer.error) == (
        400,
        'Serving signature name: "serving_default" not found in signature def',
    )


async def test_matrix_half_plus_two(twin: Rest) -> None:
    expected = [[2.0, 2.5, 3.0], [3.5, 4.0, 4.5], [5.0, 5.5, 6.0]]
    answer = await twin.predict("matrix_half_plus_two", {"instances": [MATRIX, MATRIX]})
    assert answer.json == {"predictions": [expected, expected]}
    answer = await twin.predict("matrix_half_plus_two", {"inputs": {"x": MATRIX}})
    assert answer.json == {"outputs": expected}


async def test_what_is_not_finite_goes_both_ways(twin: Rest) -> None:
    answer = await twin.predict("half_plus_two", '{"instances": [NaN, Infinity, -Infinity, Inf]}')
    predictions = answer.json["predictions"]
    assert math.isnan(predictions[0])
    assert predictions[1:] == [math.inf, -math.inf, math.inf]


async def test_the_initialiser_of_a_tf2_model_cannot_be_called(twin: Rest) -> None:
    body = {"signature_name": "__saved_model_init_op", "inputs": {}}
    answer = await twin.predict("half_plus_two_tf2", body)
    assert (answer.status, answer.error) == (
        400,
        "Failed to get input map for signature: __saved_model_init_op",
    )

"""Classify and regress: examples in, results out."""

import json
import math
from typing import Any

import pytest

from tests.contract.rest.server import Rest

METHODS = pytest.mark.parametrize("method", ["classify", "regress"])


async def error_of(rest: Rest, method: str, body: Any, model: str = "half_plus_two") -> str:
    if isinstance(body, dict):
        name = "classify_x_to_y" if method == "classify" else "regress_x_to_y"
        body = {"signature_name": name, **body}
    answer = await rest.ask("POST", f"/v1/models/{model}:{method}", body)
    assert answer.status == 400
    error: str = answer.error
    return error


def document(method: str, rest_of_it: str) -> str:
    name = "classify_x_to_y" if method == "classify" else "regress_x_to_y"
    return f'{{\n    "signature_name": "{name}"{rest_of_it}\n}}'


@METHODS
async def test_without_examples(rest: Rest, method: str) -> None:
    assert await error_of(rest, method, {}) == (
        f"JSON Value: {document(method, '')} When method is classify, key 'examples' is expected "
        "and was not found"
    )


@METHODS
@pytest.mark.parametrize("value", ["1", "null", '"a"'])
async def test_examples_that_are_no_list(rest: Rest, method: str, value: str) -> None:
    examples = f',\n    "examples": {value}'
    assert await error_of(rest, method, {"examples": json.loads(value)}) == (
        f"JSON Value: {document(method, examples)} Expecting 'examples' value to be an list/array"
    )


@METHODS
async def test_an_empty_list_of_examples(rest: Rest, method: str) -> None:
    examples = ',\n    "examples": []'
    assert await error_of(rest, method, {"examples": []}) == (
        f"JSON Value: {document(method, examples)} 'examples' value is an empty array"
    )


@METHODS
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "Null"),
        (True, "True"),
        (False, "False"),
        ([], "Array"),
        ("a", "String"),
        (1, "Number"),
    ],
)
async def test_an_example_or_context_that_is_no_object(
    rest: Rest, method: str, value: Any, kind: str
) -> None:
    expected = f"Example must be JSON object but got JSON {kind}"
    bodies: list[dict[str, Any]] = [
        {"examples": [{}, value]},
        {"context": value, "examples": [{}]},
        {"context": value, "examples": 1},
    ]
    for body in bodies:
        assert await error_of(rest, method, body) == expected


@METHODS
@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (None, "Feature: f has element with unexpected JSON type: Null"),
        ([None], "Feature: f has element with unexpected JSON type: Null"),
        ([[1]], "Feature: f has element with unexpected JSON type: Array"),
        ({"a": 1}, "Feature: f has element with unexpected JSON type: Object"),
        ([{"b64": 1}], "Feature: f has element with unexpected JSON type: Object"),
        ([1, 2.0], "Unexpected element type in feature: f expecting type: int64"),
        ([1.0, 2], "Unexpected element type in feature: f expecting type: float"),
        (["a", 1], "Unexpected element type in feature: f expecting type: bytes"),
        ([1, "a"], "Unexpected element type in feature: f expecting type: int64"),
        ([1.5, True], "Unexpected element type in feature: f expecting type: float"),
        ([2**63], "Feature: f has uint64_t element. Only int64_t is supported."),
        ({"b64": "Y"}, "Unable to base64 decode"),
        (["a", {"b64": "?"}], "Unable to base64 decode"),
    ],
)
async def test_a_feature_that_is_none(rest: Rest, method: str, feature: Any, message: str) -> None:
    assert await error_of(rest, method, {"examples": [{"f": feature}]}) == message
    assert await error_of(rest, method, {"context": {"f": feature}, "examples": [{}]}) == message


@METHODS
async def test_the_signature_name_is_checked_before_the_context_and_that_before_the_examples(
    rest: Rest, method: str
) -> None:
    error = await error_of(rest, method, '{"signature_name": 1, "context": 1, "examples": 1}')
    assert "'signature_name' key must be a string value." in error
    error = await error_of(rest, method, {"context": 1, "examples": 1})
    assert error == "Example must be JSON object but got JSON Number"


@pytest.mark.parametrize(
    "examples",
    [
        [{"x": 2.0, "ok": [True, 1, -5]}],
        [{"x": [2.0], "s": "text", "b": {"b64": "YQ=="}}],
        [{"x": 2.0, "none": [], "nan": "NaN"}],
        [{"x": 2.0, "mixed": ["text", {"b64": "YQ=="}]}],
    ],
)
async def test_features_of_every_kind(rest: Rest, examples: Any) -> None:
    body = {"signature_name": "regress_x_to_y", "examples": examples}
    assert (await rest.regress("half_plus_two", body)).json == {"results": [3.0]}


async def test_a_float_feature_may_be_anything_a_float_is(rest: Rest) -> None:
    body = (
        '{"signature_name": "regress_x_to_y", "examples": '
        '[{"x": NaN}, {"x": Infinity}, {"x": -Inf}, {"x": 1e1}]}'
    )
    answer = await rest.regress("half_plus_two", body)
    results = answer.json["results"]
    assert math.isnan(results[0])
    assert results[1:] == [math.inf, -math.inf, 7.0]
    assert b"NaN" in answer.body
    assert b"-Infinity" in answer.body


async def test_the_context_is_part_of_each_example_which_wins(rest: Rest) -> None:
    body = {
        "signature_name": "regress_x_to_y",
        "context": {"x": 2.0},
        "examples": [{}, {"x": 80.0}, {"other": 1.0}],
    }
    assert (await rest.regress("half_plus_two", body)).json == {"results": [3.0, 42.0, 3.0]}


async def test_labels_and_scores(rest: Rest) -> None:
    body = {"examples": [{"scores": [0.2, 0.8]}, {}]}
    assert (await rest.classify("classes", body)).json == {
        "results": [[["car", 0.2], ["bike", 0.8]], [["car", 0.25], ["bike", 0.75]]]
    }


async def test_labels_without_scores_and_scores_without_labels(rest: Rest) -> None:
    body = {"signature_name": "labels", "examples": [{}]}
    assert (await rest.classify("classes", body)).json == {
        "results": [[["car", 0.0], ["bike", 0.0]]]
    }
    body = {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}
    assert (await rest.classify("half_plus_two", body)).json == {"results": [[["", 3.0]]]}


async def test_a_regression_of_one_axis(rest: Rest) -> None:
    body = {"signature_name": "regress", "examples": [{}, {"scores": [1.0, 2.5]}]}
    answer = await rest.regress("classes", body)
    assert answer.json == {"results": [1.0, 3.5]}
    assert answer.body.startswith(b'{\n    "results": [')
    assert answer.version == "1"


@METHODS
async def test_an_unknown_signature(rest: Rest, method: str) -> None:
    body = {"signature_name": "nope", "examples": [{"x": 1.0}]}
    assert await error_of(rest, method, body) == "No signature was found with the name: nope"


@pytest.mark.parametrize(
    ("model", "method", "name", "message"),
    [
        ("several", "classify", "serving_default", "Expected one input Tensor."),
        ("several", "regress", "serving_default", "Expected one input Tensor."),
        ("several", "regress", "constant", "Expected one input Tensor."),
        (
            "half_plus_two",
            "classify",
            "serving_default",
            "No classification inputs found in SignatureDef: ",
        ),
        (
            "half_plus_two",
            "regress",
            "serving_default",
            "No regression inputs found in SignatureDef: ",
        ),
        (
            "half_plus_two",
            "classify",
            "regress_x_to_y",
            "Expected classification signature outputs to contain at least one of "
            '"classes" or "scores". Signature was: ',
        ),
        (
            "half_plus_two",
            "regress",
            "classify_x_to_y",
            "No regression outputs found in SignatureDef: ",
        ),
        ("classes", "regress", "serving_default", "Expected one output Tensor."),
    ],
)
async def test_a_signature_made_for_something_else(
    rest: Rest, model: str, method: str, name: str, message: str
) -> None:
    body = {"signature_name": name, "examples": [{"x": 1.0}]}
    error = await error_of(rest, method, body, model)
    assert error == message if message.endswith(".") else error.startswith(message)


async def test_scores_of_one_axis_are_no_classification(rest: Rest) -> None:
    body = {"signature_name": "classify_x2_to_y3", "examples": [{"x": 1.0}]}
    error = await error_of(rest, "classify", body, "half_plus_two_tf2")
    assert "string" in error  # an example is no float: the run fails before anyone looks


@METHODS
async def test_an_example_that_is_refused_by_the_model(rest: Rest, method: str) -> None:
    error = await error_of(rest, method, {"examples": [{"x": "text"}]})
    assert error.startswith("Name: <unknown>, Key: x, Index: 0.  Data types don't match.")

"""Predict: what a request must look like, and the words for what does not."""

import json
from typing import Any

import pytest

from tests.contract.rest.server import Rest

ROW = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "
KEYED_ROW = "Failed to process element: {} key: {} of 'instances' list. Error: INVALID_ARGUMENT: "
TYPES = "JSON Value: {} Type: {} is not of expected type: {}"
MIXED_INPUTS = {"a": [1.0, 2.0], "b": 3, "text": "t"}


def shown(document: Any) -> str:
    """A small document as the reference's messages show it."""

    def text(value: Any, indent: str) -> str:
        if isinstance(value, dict) and value:
            inner = ",\n".join(
                f'{indent}    "{key}": {text(of, indent + "    ")}' for key, of in value.items()
            )
            return f"{{\n{inner}\n{indent}}}"
        if isinstance(value, list):
            return f"[{', '.join(text(of, indent) for of in value)}]"
        return json.dumps(value)

    return text(document, "")


async def refused(rest: Rest, model: str, body: Any, status: int = 400) -> str:
    answer = await rest.predict(model, body)
    assert answer.status == status, answer.body
    error: str = answer.error
    return error


async def of_dtype(rest: Rest, dtype: str, value: str, *, is_row: bool = False) -> Any:
    """The answer to one value fed to an input of a type, which gives it back."""
    given = f'"instances": [{value}]' if is_row else f'"inputs": {value}'
    return await rest.predict("every_dtype", f'{{"signature_name": "{dtype}", {given}}}')


# -- which keys ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nope", "Serving_default", " "])
async def test_an_unknown_signature(rest: Rest, name: str) -> None:
    body = {"signature_name": name, "instances": [1.0]}
    assert await refused(rest, "half_plus_two", body) == (
        f'Serving signature name: "{name}" not found in signature def'
    )


@pytest.mark.parametrize("body", [{}, {"instances": []}, {"inputs": 1.0}])
async def test_an_empty_signature_name_is_the_default(rest: Rest, body: dict[str, Any]) -> None:
    with_name = await rest.predict("half_plus_two", {"signature_name": "", **body})
    without = await rest.predict("half_plus_two", body)
    assert with_name.status == without.status


async def test_a_signature_without_inputs(rest: Rest) -> None:
    for inputs in ({"inputs": 1}, {"instances": [1]}):
        body = {"signature_name": "get_counter", **inputs}
        assert await refused(rest, "counter", body) == (
            "Failed to get input map for signature: get_counter"
        )


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (
            {"instances": [1.0], "inputs": [1.0]},
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        ),
        ({"instances": 1.0}, "Expecting 'instances' to be an list/array"),
        ({"instances": {"x": [1.0]}}, "Expecting 'instances' to be an list/array"),
        ({"instances": None}, "Expecting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
    ],
)
async def test_instances_are_a_list_and_stand_alone(rest: Rest, document: Any, words: str) -> None:
    assert await refused(rest, "half_plus_two", document) == (
        f"JSON Value: {shown(document)} {words}"
    )


@pytest.mark.parametrize("document", [{}, {"instance": [1.0]}, {"Inputs": 1.0, "examples": []}])
async def test_neither_key(rest: Rest, document: Any) -> None:
    assert await refused(rest, "half_plus_two", document) == "Missing 'inputs' or 'instances' key"


# -- row format ----------------------------------------------------------------------------------


@pytest.mark.parametrize("instances", [[[1.0]], [1.0, 2.0], ["a"], [{"b64": "YQ=="}]])
async def test_plain_rows_for_several_inputs(rest: Rest, instances: Any) -> None:
    assert await refused(rest, "several", {"instances": instances}) == (
        "instances is a plain list, but expecting list of objects as multiple input tensors "
        "required as per tensorinfo_map"
    )


async def test_an_object_among_plain_rows(rest: Rest) -> None:
    for instances in ([1.0, {"x": 2.0}], [1.0, 2.0, {}]):
        assert await refused(rest, "half_plus_two", {"instances": instances}) == (
            f"Expecting value/list but got object at item {len(instances) - 1} of input list"
        )


async def test_a_plain_row_among_objects(rest: Rest) -> None:
    for instances in ([{"x": 1.0}, 2.0], [{"x": 1.0}, {"x": 2.0}, [3.0]]):
        assert await refused(rest, "half_plus_two", {"instances": instances}) == (
            f"Expecting object but got list at item {len(instances) - 1} of input list"
        )


async def test_a_row_that_lacks_a_key(rest: Rest) -> None:
    lacking = {"a": [1.0, 2.0], "b": 3}
    for instances in ([lacking], [MIXED_INPUTS, lacking]):
        assert await refused(rest, "several", {"instances": instances}) == (
            f"Failed to process element: {len(instances) - 1} of 'instances' list. "
            f"JSON object: {shown(lacking)} keys must be equal to: a,b,text"
        )


async def test_a_row_with_a_key_too_many(rest: Rest) -> None:
    for model, row in (("several", {**MIXED_INPUTS, "zz": 1}), ("half_plus_two", {"zz": 1})):
        error = await refused(rest, model, {"instances": [row]})
        assert error == (KEYED_ROW.format(0, "zz") + "JSON object: does not have named input: zz")


async def test_rows_of_several_inputs(rest: Rest) -> None:
    answer = await rest.predict("several", {"instances": [MIXED_INPUTS, MIXED_INPUTS]})
    row = {"next": 4, "product": [3.0, 6.0], "upper": "T"}
    assert answer.json == {"predictions": [row, row]}


async def test_defaults_do_not_relax_the_keys_of_a_row(rest: Rest) -> None:
    body = {"signature_name": "optional", "instances": [{"x": 2.0}]}
    assert (await refused(rest, "several", body)).endswith("keys must be equal to: scale,x")


@pytest.mark.parametrize(
    ("instances", "index", "inner"),
    [
        ([[1, 2], [3, 4], [5, 6, 7]], 2, "Expecting tensor size: 2 but got: 3"),
        ([1, [1]], 1, "Expecting shape [] but got: [1]"),
        ([[1], 1], 1, "Expecting shape [1] but got: []"),
        ([[1, 2], [3, 4], [[5, 6]]], 2, "Expecting shape [2] but got: [1,2]"),
        ([[1, 2], 3], 1, "Expecting tensor size: 2 but got: 1"),
        ([[[1, 2], [3, 4]], [[1, 2, 3, 4]]], 1, "Expecting shape [2,2] but got: [1,4]"),
        ([[], [1]], 1, "Expecting tensor size: 0 but got: 1"),
    ],
)
@pytest.mark.parametrize("dtype", ["int32", "float", "int64", "uint8"])
async def test_rows_of_unequal_shapes(
    rest: Rest, dtype: str, instances: Any, index: int, inner: str
) -> None:
    plain = {"signature_name": dtype, "instances": instances}
    assert await refused(rest, "every_dtype", plain) == ROW.format(index) + inner
    keyed = {"signature_name": dtype, "instances": [{"x": row} for row in instances]}
    assert await refused(rest, "every_dtype", keyed) == KEYED_ROW.format(index, "x") + inner


async def test_a_ragged_list_whose_total_happens_to_fit(rest: Rest) -> None:
    ragged = [[1.0, 2.0, 3.0], [4.0]]
    assert (await rest.predict("half_plus_two", {"instances": ragged})).status == 400
    assert (await rest.predict("half_plus_two", {"inputs": ragged})).status == 400
    large = [[1.0] * 999, [1.0] * 1001] * 8
    assert (await rest.predict("half_plus_two", {"instances": large})).status == 400
    assert (await rest.predict("half_plus_two", {"inputs": large})).status == 400


# -- columnar format -----------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", [[1.0], 1.0, "a", {"b64": "YQ=="}, []])
async def test_plain_inputs_for_several_inputs(rest: Rest, inputs: Any) -> None:
    assert await refused(rest, "several", {"inputs": inputs}) == (
        "inputs is a plain value/list, but expecting an object as multiple input tensors "
        "required as per tensorinfo_map"
    )


@pytest.mark.parametrize(
    ("model", "inputs", "missing"),
    [
        ("several", {"a": [[1.0, 2.0]], "b": [3]}, "text"),
        ("half_plus_two", {"y": 1.0}, "x"),
        ("half_plus_two", {}, "x"),
    ],
)
async def test_an_input_that_is_missing(rest: Rest, model: str, inputs: Any, missing: str) -> None:
    assert await refused(rest, model, {"inputs": inputs}) == (
        f"Missing named input: {missing} in 'inputs' object."
    )


async def test_columns_of_several_inputs_and_keys_too_many(rest: Rest) -> None:
    inputs = {"a": [[1.0, 2.0]], "b": [3], "text": ["t"], "zz": {"any": "thing"}}
    answer = await rest.predict("several", {"inputs": inputs})
    assert answer.json == {"outputs": {"next": [4], "product": [[3.0, 6.0]], "upper": ["T"]}}


async def test_columns_of_unequal_length_are_the_models_business(rest: Rest) -> None:
    inputs = {"a": [[1.0, 2.0]], "b": [3, 4, 5], "text": []}
    answer = await rest.predict("several", {"inputs": inputs})
    assert len(answer.json["outputs"]["product"]) == 3


async def test_a_whole_input_of_no_rows(rest: Rest) -> None:
    assert (await rest.predict("half_plus_two", {"inputs": []})).json == {"outputs": []}


# -- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "inner"),
    [
        (
            [[1, 2], [3, 4, 5]],
            "Encountered list at unexpected size: 3 at level: 1 expected size: 2",
        ),
        (
            [[[1], [2]], [[3]]],
            "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        ([1, [2]], "Encountered list at unexpected level: 1 expected < 1"),
        ([[1], [[2]]], "Encountered list at unexpected level: 2 expected < 2"),
        (
            [[1], 2],
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        (
            [[[1]], [2]],
            "JSON Value: 2 found at incorrect level: 3 in the JSON DOM. Expected at level: 3",
        ),
    ],
)
@pytest.mark.parametrize("dtype", ["int32", "float"])
async def test_lists_of_unequal_length_or_depth(
    rest: Rest, dtype: str, value: Any, inner: str
) -> None:
    body = {"signature_name": dtype, "inputs": value}
    assert await refused(rest, "every_dtype", body) == inner
    body = {"signature_name": dtype, "instances": [value]}
    assert await refused(rest, "every_dtype", body) == ROW.format(0) + inner


@pytest.mark.parametrize("model", ["half_plus_two", "half_plus_two_tf2"])
async def test_shapes_are_not_held_against_the_signature(rest: Rest, model: str) -> None:
    for instances in ([1.0, 2.0, 5.0], [[1.0], [2.0], [5.0]], [[[1.0, 2.0]]]):
        assert (await rest.predict(model, {"instances": instances})).status == 200


# -- types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float", "[1, -1.5, 1e3, -0.0]"),
        ("double", "[1, 1e300, 0.1]"),
        ("half", "[1, 0.5]"),
        ("bfloat16", "[1, 0.5]"),
        ("int32", "[2147483647, -2147483648]"),
        ("int16", "[32767, -32768]"),
        ("int8", "[127, -128]"),
        ("uint8", "[255, 0]"),
        ("int64", "[9223372036854775807, -9223372036854775808]"),
        ("uint32", "[4294967295, 0]"),
        ("uint64", "[18446744073709551615, 0]"),
        ("bool", "[true, false]"),
        ("string", '["a", "", "gr\u00fcn"]'),
    ],
)
async def test_values_go_in_and_come_out(rest: Rest, dtype: str, value: str) -> None:
    columns = await of_dtype(rest, dtype, value)
    assert columns.json == {"outputs": json.loads(value)}
    rows = await of_dtype(rest, dtype, value[1:-1], is_row=True)
    assert rows.json == {"predictions": json.loads(value)}


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("float", "[1e39, -1e39, 1e-46, 16777217]", "[Infinity, -Infinity, 0.0, 16777216.0]"),
        ("float", "[NaN, -NaN, Inf, -Inf, Infinity]", None),
        ("int16", "[65537, -65537]", "[1, -1]"),
        ("int8", "[257, 128]", "[1, -128]"),
        ("uint8", "[257, -1]", "[1, 255]"),
        ("double", "[18446744073709551616]", "[18446744073709551616.0]"),
    ],
)
async def test_values_out_of_range_are_cast_as_the_runtime_does(
    rest: Rest, dtype: str, value: str, expected: str | None
) -> None:
    answer = await of_dtype(rest, dtype, value)
    assert answer.status == 200
    if expected is not None:
        assert answer.json["outputs"] == json.loads(expected)


@pytest.mark.parametrize(
    ("dtype", "value", "kind"),
    [
        ("float", '"1.0"', "String"),
        ("float", "null", "Null"),
        ("float", "true", "True"),
        ("float", "false", "False"),
        ("double", '"a"', "String"),
        ("half", '"a"', "String"),
        ("int32", "1.0", "Number"),
        ("int32", "2147483648", "Number"),
        ("int32", "null", "Null"),
        ("int16", "2147483648", "Number"),
        ("int8", "1.5", "Number"),
        ("uint8", "-2147483649", "Number"),
        ("int64", '"1"', "String"),
        ("int64", "9223372036854775808", "Number"),
        ("int64", "1.0", "Number"),
        ("uint32", "-1", "Number"),
        ("uint32", "4294967296", "Number"),
        ("uint64", "-1", "Number"),
        ("uint64", "1e3", "Number"),
        ("bool", "1", "Number"),
        ("bool", '"true"', "String"),
        ("bool", "null", "Null"),
        ("string", "1", "Number"),
        ("string", "null", "Null"),
        ("string", "true", "True"),
    ],
)
async def test_a_value_of_another_type(rest: Rest, dtype: str, value: str, kind: str) -> None:
    dbg = "1000.0" if value == "1e3" else value
    expected = TYPES.format(dbg, kind, dtype)
    columns = await of_dtype(rest, dtype, f"[{value}]")
    assert (columns.status, columns.error) == (400, expected)
    rows = await of_dtype(rest, dtype, value, is_row=True)
    assert (rows.status, rows.error) == (400, ROW.format(0) + expected)


@pytest.mark.parametrize("dtype", ["float", "int32", "int64", "bool"])
async def test_an_object_for_a_number(rest: Rest, dtype: str) -> None:
    for value in ({"a": 1}, {"b64": "YQ=="}):
        answer = await of_dtype(rest, dtype, json.dumps([value]))
        assert (answer.status, answer.error) == (
            400,
            TYPES.format(shown(value), "Object", dtype),
        )


@pytest.mark.parametrize("value", [{}, {"b64": 1}, {"b64": "YQ==", "c": 1}, {"B64": "YQ=="}])
async def test_an_object_for_a_string_that_is_not_base64(rest: Rest, value: Any) -> None:
    answer = await of_dtype(rest, "string", json.dumps([value]))
    assert (answer.status, answer.error) == (
        400,
        f"JSON Value: {shown(value)} not formatted correctly for base64 data",
    )


@pytest.mark.parametrize("encoded", ["YQ", "YQ==", " Y Q\\n= ="])
async def test_base64_is_decoded(rest: Rest, encoded: str) -> None:
    for value in (f'[{{"b64": "{encoded}"}}]', f'{{"b64": "{encoded}"}}'):
        answer = await of_dtype(rest, "string", value)
        assert answer.json["outputs"] in ("a", ["a"])
    answer = await of_dtype(rest, "string", f'{{"b64": "{encoded}"}}', is_row=True)
    assert answer.json == {"predictions": ["a"]}


@pytest.mark.parametrize("encoded", ["Y", "YQ=", "YQ===", "Y-_", "Ä"])
async def test_base64_that_is_broken(rest: Rest, encoded: str) -> None:
    answer = await of_dtype(rest, "string", f'[{{"b64": "{encoded}"}}]')
    assert (answer.status, answer.error) == (400, "Unable to base64 decode")


@pytest.mark.parametrize(
    "dtype", ["uint16", "complex64", "complex128", "qint8", "quint8", "qint32"]
)
async def test_a_type_that_json_cannot_feed(rest: Rest, dtype: str) -> None:
    inner = f"Conversion of JSON Value: 1 to type: {dtype}"
    columns = await of_dtype(rest, dtype, "[1]")
    assert (columns.status, columns.error) == (501, inner)
    rows = await of_dtype(rest, dtype, "1", is_row=True)
    wrapped = f"Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: {inner}"
    assert (rows.status, rows.error) == (400, wrapped)


# -- the run -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "status", "text"),
    [
        ("serving_default", [-1.0], 400, "assertion failed: [x must not be negative:] [-1]"),
        ("divide", [0], 400, "Integer division by zero"),
        ("read_file", ["/nonexistent"], 404, "/nonexistent; No such file or directory"),
    ],
)
async def test_an_error_of_the_run_is_told_as_it_is(
    rest: Rest, name: str, value: Any, status: int, text: str
) -> None:
    error = await refused(rest, "failing", {"signature_name": name, "inputs": value}, status)
    assert error.startswith(f"{text}\n\t [[")
    assert (await rest.predict("failing", {"inputs": [4.0]})).json == {"outputs": [2.0]}


async def test_shapes_that_do_not_go_together_fail_where_an_operation_meets_them(
    rest: Rest,
) -> None:
    inputs = {"a": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "b": [1, 2], "text": ["t"]}
    error = await refused(rest, "several", {"inputs": inputs})
    assert error.startswith("Incompatible shapes: [")


async def test_a_signature_that_lies_about_its_type_is_fed_as_it_says(rest: Rest) -> None:
    # half_plus_three declares a float where its graph takes serialized examples.
    body = {"signature_name": "tensorflow/serving/regress", "instances": [1.0]}
    error = await refused(rest, "half_plus_three", body)
    assert "string" in error
    assert "float" in error

"""Request bodies as text: what is JSON, what is more than JSON, and what is not."""

from typing import Any

import pytest

from tests.contract.rest.server import Rest

SYNTAX_ERRORS: list[tuple[bytes, str]] = [
    (b"", "The document is empty"),
    (b" \n\t", "The document is empty. at offset: 3"),
    (b'{"instances": [}', "Invalid value. at offset: 15"),
    (b'{"instances": [1.0, ]}', "Invalid value. at offset: 20"),
    (b'{"instances": nil}', "Invalid value. at offset: 15"),
    (b"// no\n{}", "Invalid value. at offset: 0"),
    (b"{1: 2}", "Missing a name for object member. at offset: 1"),
    (b'{"a": 1,}', "Missing a name for object member. at offset: 8"),
    (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
    (b'{"a": 1 "b": 2}', "Missing a comma or '}' after an object member. at offset: 8"),
    (b'{"a": [1 2]}', "Missing a comma or ']' after an array element. at offset: 9"),
    (b'{"a": [1.0', "Missing a comma or ']' after an array element. at offset: 10"),
    (rb'{"a": "\u12x4"}', "Incorrect hex digit after \\u escape in string. at offset: 7"),
    (rb'{"a": "\ud800x"}', "The surrogate pair in string is invalid. at offset: 7"),
    (rb'{"a": "\x"}', "Invalid escape character in string. at offset: 7"),
    (b'{"a": "b', "Missing a closing quotation mark in string. at offset: 8"),
    (b'{"a": 1e400}', "Number too big to be stored in double. at offset: 6"),
    (b'{"a": 1.}', "Miss fraction part in number. at offset: 8"),
    (b'{"a": 1e}', "Miss exponent in number. at offset: 8"),
]


@pytest.mark.parametrize(
    ("body", "message"), SYNTAX_ERRORS, ids=lambda value: value if isinstance(value, str) else ""
)
@pytest.mark.parametrize("call", ["predict", "classify", "regress"])
async def test_what_is_no_json_is_told_with_its_place_even_to_an_unknown_model(
    rest: Rest, call: str, body: bytes, message: str
) -> None:
    for model in ("half_plus_two", "nope"):
        answer = await rest.ask("POST", f"/v1/models/{model}:{call}", body)
        assert (answer.status, answer.error) == (400, f"JSON Parse error: {message}")


@pytest.mark.parametrize(
    ("body", "predictions"),
    [
        (b'\xef\xbb\xbf{"instances": [2.0]}', [3.0]),
        (b'{"instances": [2.0]} and whatever follows {', [3.0]),
        (b'{"instances": [2.0], "instances": [4.0]}', [3.0]),
        (b'{"instances": [2.0], "unknown": {"key": null}}', [3.0]),
        (b'{"instances": [2, 4]}', [3.0, 4.0]),
        (b'{"instances": [18446744073709551615]}', [9.223372e18]),
        (b'{"instances": [2e0, -0.0, 1E1]}', [3.0, 2.0, 7.0]),
        (b'{"instances": [1e-400]}', [2.0]),
        (rb'{"\u0069nstances": [2.0]}', [3.0]),
        (b'{"note": "\xff\xfe", "instances": [2.0]}', [3.0]),
    ],
)
async def test_more_than_json_is_taken(rest: Rest, body: bytes, predictions: Any) -> None:
    assert (await rest.predict("half_plus_two", body)).json == {"predictions": predictions}


@pytest.mark.parametrize("word", ["nan", "inf", "+1", "01", ".5", "'a'", "True", "undefined"])
async def test_other_words_are_refused(rest: Rest, word: str) -> None:
    answer = await rest.predict("half_plus_two", f'{{"instances": [{word}]}}')
    assert answer.status == 400
    assert answer.error.startswith("JSON Parse error: ")


@pytest.mark.parametrize("runner", ["inline"], indirect=True)
async def test_half_a_million_levels_are_answered(rest: Rest) -> None:
    depth = 500_000
    for nested in (b"[" * depth + b"1" + b"]" * depth, b"[" * depth):
        answer = await rest.predict("half_plus_two", b'{"instances": ' + nested + b"}")
        assert answer.status == 400
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    answer = await rest.predict("half_plus_two", b'{"instances": [2.0], "deep": ' + deep + b"}")
    assert answer.json == {"predictions": [3.0]}


@pytest.mark.parametrize("call", ["predict", "classify", "regress"])
@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"[1, 2]", "[1, 2]"),
        (b"1.5", "1.5"),
        (b"null", "null"),
        (b'"text"', '"text"'),
    ],
)
async def test_what_is_no_object_is_refused(rest: Rest, call: str, body: bytes, shown: str) -> None:
    answer = await rest.ask("POST", f"/v1/models/half_plus_two:{call}", body)
    assert (answer.status, answer.error) == (400, f"JSON Value: {shown} Is not object")


@pytest.mark.parametrize("call", ["predict", "classify", "regress"])
@pytest.mark.parametrize("name", ["1", "null", '["serving_default"]'])
async def test_a_signature_name_is_a_string(rest: Rest, call: str, name: str) -> None:
    body = f'{{"signature_name": {name}}}'
    answer = await rest.ask("POST", f"/v1/models/half_plus_two:{call}", body)
    shown = f'{{\n    "signature_name": {name}\n}}'
    assert (answer.status, answer.error) == (
        400,
        f"JSON Value: {shown} not formatted correctly. "
        "'signature_name' key must be a string value.",
    )


async def test_what_is_shown_of_a_value_is_cut(rest: Rest) -> None:
    answer = await rest.predict("half_plus_two", {"instances": ["x" * 1000]})
    assert answer.status == 400
    assert 256 <= len(answer.error) <= 1400

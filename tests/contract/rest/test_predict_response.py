"""Predict: how outputs become JSON."""

import base64
import json
import struct
from typing import Any

import pytest

from tests.contract.rest.server import Rest


def as_float32(value: float) -> float:
    number: float = struct.unpack("f", struct.pack("f", value))[0]
    return number


async def bodies(rest: Rest, model: str, name: str, inputs: str, rows: str) -> list[bytes]:
    """Both answers to one request, in column and in row format."""
    columns = f'{{"signature_name": "{name}", "inputs": {inputs}}}'
    instances = f'{{"signature_name": "{name}", "instances": {rows}}}'
    return [
        (await rest.predict(model, columns)).body,
        (await rest.predict(model, instances)).body,
    ]


async def test_one_output_is_bare(rest: Rest) -> None:
    for body, expected in (
        ({"instances": [1.0, 2.0]}, {"predictions": [2.5, 3.0]}),
        ({"instances": [{"x": 1.0}]}, {"predictions": [2.5]}),
        ({"inputs": {"x": [1.0]}}, {"outputs": [2.5]}),
        ({"inputs": 1.0}, {"outputs": 2.5}),
    ):
        answer = await rest.predict("half_plus_two", body)
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert answer.json == expected


async def test_several_outputs_are_named(rest: Rest) -> None:
    row = {"a": [1.0, 2.0], "b": 3, "text": "t"}
    rows = await rest.predict("several", {"instances": [row]})
    assert rows.json == {"predictions": [{"next": 4, "product": [3.0, 6.0], "upper": "T"}]}
    columns = await rest.predict("several", {"inputs": {key: [row[key]] for key in row}})
    assert columns.json == {"outputs": {"next": [4], "product": [[3.0, 6.0]], "upper": ["T"]}}


async def test_the_key_stands_on_its_own_line(rest: Rest) -> None:
    answer = await rest.predict("half_plus_two", {"instances": [1.0]})
    assert answer.body.startswith(b'{\n    "predictions": [')
    answer = await rest.predict("half_plus_two", {"inputs": [1.0]})
    assert answer.body.startswith(b'{\n    "outputs": [')
    assert not answer.body.endswith(b"\n")


async def test_an_output_without_rows_in_row_format(rest: Rest) -> None:
    body = {"signature_name": "scalar_output", "instances": [1.0, 2.0]}
    answer = await rest.predict("several", body)
    assert (answer.status, answer.error) == (
        400,
        "Tensor name: total has no shape information ",
    )
    body = {"signature_name": "scalar_output", "inputs": [1.0, 2.0]}
    assert (await rest.predict("several", body)).json == {"outputs": 3.0}


async def test_outputs_of_unequal_length_in_row_format(rest: Rest) -> None:
    body = {"signature_name": "uneven", "instances": [1.0, 2.0, 3.0]}
    answer = await rest.predict("several", body)
    assert (answer.status, answer.error) == (
        400,
        "Tensor name: most has inconsistent batch size: 2 expecting: 3",
    )
    body = {"signature_name": "uneven", "inputs": [1.0, 2.0, 3.0]}
    assert (await rest.predict("several", body)).json == {
        "outputs": {"all": [1.0, 2.0, 3.0], "most": [2.0, 3.0]}
    }


async def test_no_rows_are_an_empty_list(rest: Rest) -> None:
    answer = await rest.predict("half_plus_two", {"inputs": [[], []]})
    assert answer.json == {"outputs": [[], []]}


@pytest.mark.parametrize("dtype", ["uint16", "complex64", "qint8"])
async def test_a_type_that_json_can_neither_feed_nor_print(rest: Rest, dtype: str) -> None:
    answer = await rest.predict("every_dtype", {"signature_name": dtype, "inputs": [1]})
    assert answer.status == 501


@pytest.mark.parametrize("dtype", ["half", "bfloat16"])
async def test_half_floats_are_printed(rest: Rest, dtype: str) -> None:
    # The reference answers: Failed to write JSON value for tensor type.
    for body in await bodies(rest, "every_dtype", dtype, "[1, 0.5, -2]", "[1, 0.5, -2]"):
        assert list(json.loads(body).values()) == [[1.0, 0.5, -2.0]]


@pytest.mark.parametrize(
    "value",
    [1.0, 0.1, 1 / 3, 1234567.0, -0.0, 9_000_000.0, 0.00003, 999_999.0, 16_777_216.0, 3.4e38,
     1e-45, 1.17549435e-38, 123456.789, 2.5],
)  # fmt: skip
async def test_a_float_reads_back_as_the_same_float(rest: Rest, value: float) -> None:
    for body in await bodies(rest, "every_dtype", "float", f"[{value}]", f"[{value}]"):
        [[printed]] = json.loads(body).values()
        assert isinstance(printed, float)
        assert struct.pack("f", printed) == struct.pack("f", as_float32(value))


@pytest.mark.parametrize("value", [1.0, 0.1, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308, 1e22])
async def test_a_double_reads_back_as_the_same_double(rest: Rest, value: float) -> None:
    for body in await bodies(rest, "every_dtype", "double", f"[{value!r}]", f"[{value!r}]"):
        [[printed]] = json.loads(body).values()
        assert isinstance(printed, float)
        assert struct.pack("d", printed) == struct.pack("d", value)


async def test_a_whole_float_has_a_point_or_an_exponent(rest: Rest) -> None:
    for body in await bodies(rest, "every_dtype", "float", "[1, 1e6, -3]", "[1, 1e6, -3]"):
        text = body.split(b"[")[1].split(b"]")[0]
        assert all(b"." in number or b"e" in number for number in text.split(b","))


async def test_what_is_not_finite_is_a_bare_word(rest: Rest) -> None:
    body = '{"signature_name": "not_finite", "instances": [1.0, -1.0, 0.0]}'
    answer = await rest.predict("several", body)
    assert b"".join(answer.body.split()) == b'{"predictions":[Infinity,-Infinity,NaN]}'


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int64", "[9223372036854775807, -9223372036854775808]"),
        ("uint64", "[18446744073709551615]"),
        ("uint32", "[4294967295]"),
        ("int32", "[-2147483648]"),
        ("bool", "[true, false]"),
    ],
)
async def test_integers_and_booleans_are_bare(rest: Rest, dtype: str, values: str) -> None:
    for body in await bodies(rest, "every_dtype", dtype, values, values):
        text = body.split(b": ", 1)[1].rstrip(b"\n}").decode()
        assert text.replace(" ", "").replace("\n", "") == values.replace(" ", "")


@pytest.mark.parametrize("raw", [b"", b"a", b"\xff\0\xfe", "grün".encode(), b"x" * 1000])
async def test_an_output_called_bytes_is_base64_and_another_is_text(rest: Rest, raw: bytes) -> None:
    encoded = base64.b64encode(raw).decode()
    body = {"signature_name": "echo_bytes", "instances": [{"b64": encoded}, {"b64": encoded}]}
    answer = await rest.predict("strings", body)
    parsed = json.loads(answer.body.decode(errors="surrogateescape"))
    row = {"image_bytes": {"b64": encoded}, "text": raw.decode(errors="surrogateescape")}
    assert parsed == {"predictions": [row, row]}


async def test_text_is_escaped_as_little_as_may_be(rest: Rest) -> None:
    text = '"\\/\b\f\n\r\t\x01\x1f\x7f grün €'
    body = {"signature_name": "string", "instances": [text]}
    answer = await rest.predict("every_dtype", body)
    expected = r'"\"\\/\b\f\n\r\t\u0001\u001F' + "\x7f grün €" + '"'
    assert expected.encode() in answer.body
    assert answer.json == {"predictions": [text]}


async def test_nested_strings_keep_their_shape(rest: Rest) -> None:
    body: dict[str, Any] = {"signature_name": "split", "instances": ["ab", "c"]}
    answer = await rest.predict("strings", body)
    assert answer.json == {"predictions": [["a", "b"], ["c", ""]]}


async def test_the_version_that_answered_stands_in_a_header(rest: Rest) -> None:
    answer = await rest.predict("half_plus_two", {"instances": [1.0]})
    assert answer.version == "123"


async def test_a_large_image_goes_through(rest: Rest) -> None:
    image = [[[x / 255, y / 255, 0.5] for x in range(64)] for y in range(64)]
    answer = await rest.predict("half_plus_two", {"instances": [image, image]})
    predictions = answer.json["predictions"]
    assert len(predictions) == 2
    assert predictions[0][63][63][0] == pytest.approx(63 / 255 / 2 + 2)

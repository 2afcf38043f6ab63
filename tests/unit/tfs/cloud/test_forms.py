import json
from typing import Any

import pytest

from salver.errors import InvalidArgument
from salver.tfs.cloud.forms import (
    JSON,
    JSON_LINES,
    UnknownForm,
    attributes_of,
    is_call,
    media_type,
    sagemaker_body,
    vertex_body,
    wanted_type,
)

_JSONS, _CSV = "application/jsons", "text/csv"


@pytest.mark.parametrize(
    "body",
    [b'{"instances": [1]}', b' {"signature_name": "s", "inputs" : 1}', b'{"examples":[{}]}'],
)
@pytest.mark.parametrize("kind", [JSON, JSON_LINES, _JSONS])
def test_a_call_stays_as_it_is(kind: str, body: bytes) -> None:
    assert sagemaker_body(kind, body) is body
    assert is_call(body)


@pytest.mark.parametrize(
    ("kind", "body", "instances"),
    [
        (JSON, b"1.0", [1.0]),
        (JSON, b"[1.0, 2.0]", [[1.0, 2.0]]),
        (JSON, b" [ [1.0], [2.0]]\n", [[1.0], [2.0]]),
        (JSON, b'{"x": 1}', [{"x": 1}]),
        (JSON, b'[{"x": 1}, {"x": 2}]', [{"x": 1}, {"x": 2}]),
        (JSON, b'"text"', ["text"]),
        (JSON, b"[1, 2]\n[3, 4]", [[1, 2], [3, 4]]),
        (JSON_LINES, b'{"x": 1}\r\n\n{"x": 2}\r\n', [{"x": 1}, {"x": 2}]),
        (JSON_LINES, b"[1.0, 2.0]\n", [[1.0, 2.0]]),
        (JSON_LINES, b"1\n2\n", [1, 2]),
        (JSON_LINES, b"[[1],\n[2]]", [[1], [2]]),
        (_JSONS, b'{"x": 1}\n{"x": 2}', [{"x": 1}, {"x": 2}]),
        (_CSV, b"1.0,2.0\r\n3,4e1\n", [[1.0, 2.0], [3, 40.0]]),
        (_CSV, b"1\n\n2", [1, 2]),
        (_CSV, b'"a","b, c"\n"d","e"', [["a", "b, c"], ["d", "e"]]),
        (_CSV, b"elephant,two words\nb,c", [["elephant", "two words"], ["b", "c"]]),
        (_CSV, b'1.5,a "b"', [[1.5, 'a "b"']]),
        (_CSV, b"word\nother", ["word", "other"]),
        (_CSV, b"\xef\xbb\xbf1,2", [[1, 2]]),
    ],
)
def test_other_forms_become_instances(kind: str, body: bytes, instances: Any) -> None:
    assert json.loads(sagemaker_body(kind, body)) == {"instances": instances}


def test_csv_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="UTF-8"):
        sagemaker_body(_CSV, b"\xff,1")


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (None, JSON),
        (b"application/json", JSON),
        (b"Application/JSON; charset=utf-8", JSON),
        (b"text/csv", _CSV),
        (b"application/jsonlines", JSON_LINES),
    ],
)
def test_the_media_type_says_the_form(header: bytes | None, kind: str) -> None:
    assert media_type(header) == kind


def test_a_media_type_that_is_not_taken_is_named() -> None:
    with pytest.raises(UnknownForm, match="Unsupported Media Type: application/x-npy"):
        media_type(b"application/x-npy")


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (None, JSON),
        (b"*/*", JSON),
        (b"application/jsonlines", JSON_LINES),
        (b"application/jsonlines;q=1, application/json", JSON_LINES),
        (b"text/csv", JSON),
    ],
)
def test_lines_are_answered_where_they_are_asked_for(header: bytes | None, kind: str) -> None:
    assert wanted_type(header) == kind


@pytest.mark.parametrize(
    ("header", "attributes"),
    [
        (None, {}),
        (b"", {}),
        (
            b"tfs-model-name=m, tfs-method=regress",
            {"tfs-model-name": "m", "tfs-method": "regress"},
        ),
        (b"other=1,tfs-model-name=", {}),
        (b"tfs-" * 20_000, {}),
    ],
)
def test_attributes_for_tensorflow_serving_are_read(
    header: bytes | None, attributes: dict[str, str]
) -> None:
    assert attributes_of(header) == attributes


def test_parameters_of_vertex_may_name_the_signature() -> None:
    body = b'{"instances": [1], "parameters": {"signature_name": "s", "top": 3}}'
    assert json.loads(vertex_body(body)) == {"instances": [1], "signature_name": "s"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [1]}',
        b'{"instances": [1], "parameters": {}}',
        b'{"instances": ["\\"parameters\\""], "signature_name": "s"}',
        b'{"instances": [1], "signature_name": "s", "parameters": 1}',
        b'["parameters", "signature_name"]',
        b'{"parameters" "signature_name"',
    ],
)
def test_other_bodies_of_vertex_stay_as_they_are(body: bytes) -> None:
    assert vertex_body(body) is body

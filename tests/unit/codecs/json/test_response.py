import base64
import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from salver.codecs.json.response import (
    encode_classify,
    encode_error,
    encode_predict,
    encode_predict_in_parts,
    encode_regress,
)
from salver.errors import InvalidArgument
from salver.vocabulary.requests import Array, ClassifyResult, RegressResult

NAN, INF = float("nan"), float("inf")


def strings(*elements: bytes, shape: tuple[int, ...] | None = None) -> Array:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape if shape is not None else (len(elements),))


def rows(*outputs: tuple[str, Array]) -> bytes:
    """The text of the predictions."""
    body = encode_predict(outputs, is_row=True)
    assert body.startswith(b'{\n    "predictions": ')
    assert body.endswith(b"\n}")
    return body[21:-2]


def columns(*outputs: tuple[str, Array]) -> bytes:
    """The text of the outputs."""
    body = encode_predict(outputs, is_row=False)
    assert body.startswith(b'{\n    "outputs": ')
    assert body.endswith(b"\n}")
    return body[17:-2]


def test_the_whole_body() -> None:
    array = np.array([2.5, 3.0, 4.5], np.float32)
    assert encode_predict([("y", array)], True) == b'{\n    "predictions": [2.5,3.0,4.5]\n}'
    assert encode_predict([("y", array)], False) == b'{\n    "outputs": [2.5,3.0,4.5]\n}'


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([1.0, 0.1, 1 / 3, -0.0], np.float32), b"[1.0,0.1,0.33333334,-0.0]"),
        (np.array([1 / 3, 1e300], np.float64), b"[0.3333333333333333,1e+300]"),
        (np.array([16777216, 9000000], np.float32), b"[16777216.0,9000000.0]"),
        (np.array([1.0, 0.75], np.float16), b"[1.0,0.75]"),
        (np.array([1.0, 0.75], ml_dtypes.bfloat16), b"[1.0,0.75]"),
        (np.array([[1, 2], [3, 4]], np.int32), b"[[1,2],[3,4]]"),
        (np.array([-1], np.int8), b"[-1]"),
        (np.array([-1], np.int16), b"[-1]"),
        (np.array([255], np.uint8), b"[255]"),
        (np.array([2**32 - 1], np.uint32), b"[4294967295]"),
        (np.array([-(2**63)], np.int64), b"[-9223372036854775808]"),
        (np.array([2**64 - 1], np.uint64), b"[18446744073709551615]"),
        (np.array([True, False]), b"[true,false]"),
        (np.array([[NAN, INF], [3, -INF]], np.float32), b"[[NaN,Infinity],[3.0,-Infinity]]"),
        (np.array([NAN, 1], np.float64), b"[NaN,1.0]"),
        (np.array([NAN, -INF], np.float16), b"[NaN,-Infinity]"),
        (np.array([INF, 2], ml_dtypes.bfloat16), b"[Infinity,2.0]"),
        (np.zeros((0,), np.float32), b"[]"),
        (np.zeros((0, 2), np.float32), b"[]"),
        (np.zeros((2, 0), np.float32), b"[[],[]]"),
        (np.arange(4).reshape(2, 2).T, b"[[0,2],[1,3]]"),
        (np.array([1, NAN, 2, NAN])[::-1], b"[NaN,2.0,NaN,1.0]"),
        (np.zeros((2, 0), np.complex64), b"[[],[]]"),
    ],
)
def test_one_output_is_the_bare_tensor(array: Array, text: bytes) -> None:
    assert rows(("y", array)) == text
    assert columns(("y", array)) == text


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.float32(2.5).reshape(()), b"2.5"),
        (np.array(NAN), b"NaN"),
        (np.array(7), b"7"),
        (np.array(True), b"true"),
        (strings(b"a", shape=()), b'"a"'),
        (np.array(1.5, ml_dtypes.bfloat16), b"1.5"),
    ],
)
def test_a_scalar_column_is_bare(array: Array, text: bytes) -> None:
    assert columns(("y", array)) == text


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (strings(b'say "hi"', b"\x01\n", b"\xff"), b'["say \\"hi\\"","\\u0001\\n","\xff"]'),
        (strings(b"a", b"b", b"c", b"d", shape=(2, 2)), b'[["a","b"],["c","d"]]'),
        (strings(b"a", b"b", shape=(2, 1, 1)), b'[[["a"]],[["b"]]]'),
        (strings(shape=(2, 0)), b"[[],[]]"),
        (strings(), b"[]"),
        (strings(b"null"), b'["null"]'),
    ],
)  # fmt: skip
def test_strings_are_written_raw(array: Array, text: bytes) -> None:
    assert rows(("y", array)) == text
    assert columns(("y", array)) == text


def test_strings_of_an_output_whose_name_ends_in_bytes_are_base64() -> None:
    array = strings(b"hello", b"\x00\xff")
    text = b'[{"b64":"aGVsbG8="},{"b64":"AP8="}]'
    assert rows(("image_bytes", array)) == text
    assert columns(("image_bytes", array)) == text
    assert rows(("bytes_image", strings(b"a"))) == b'["a"]'
    assert rows(("count_bytes", np.array([1]))) == b"[1]"


def test_several_outputs_are_objects_with_names_in_order() -> None:
    b = ("b", np.array([1.0, 2.0], np.float32))
    a = ("a", np.array([[1, 2], [3, 4]]))
    assert rows(b, a) == b'[{"a":[1,2],"b":1.0},{"a":[3,4],"b":2.0}]'
    assert columns(b, a) == b'{"a":[[1,2],[3,4]],"b":[1.0,2.0]}'


def test_rows_of_several_outputs_of_every_kind() -> None:
    outputs = [
        ("deep", np.array([[[1.5], [NAN]], [[INF], [2]]], np.float32)),
        ("empty", np.zeros((2, 3, 0), np.float32)),
        ("none", np.zeros((2, 0, 3), np.float32)),
        ("null", np.array([NAN, 1])),
        ('100%"', np.array([True, False])),
        ("text", strings(b"null", b"%s", b"x", b"y", shape=(2, 2))),
        ("raw_bytes", strings(b"a", b"b")),
    ]
    first, second = json.loads(rows(*outputs))
    assert first["deep"][0] == [1.5]
    assert second == {
        '100%"': False,
        "deep": [[INF], [2.0]],
        "empty": [[], [], []],
        "none": [],
        "null": 1.0,
        "raw_bytes": {"b64": "Yg=="},
        "text": ["x", "y"],
    }
    assert list(second) == sorted(second)


def test_no_rows_are_an_empty_list() -> None:
    a, b = ("a", np.zeros((0, 2))), ("b", strings())
    assert rows(a, b) == b"[]"
    assert columns(a, b) == b'{"a":[],"b":[]}'


@pytest.mark.parametrize(
    ("outputs", "is_row", "message"),
    [
        ([], True, "Cannot convert empty tensor map to JSON"),
        ([], False, "Cannot convert empty tensor map to JSON"),
        ([("y", np.array(1.0))], True, "Tensor name: y has no shape information "),
        (
            [("b", np.zeros(3)), ("a", np.zeros(2))],
            True,
            "Tensor name: b has inconsistent batch size: 3 expecting: 2",
        ),
        (
            [("y", np.zeros(1, np.complex64))],
            True,
            "Failed to write JSON value for tensor type: complex64",
        ),
        (
            [("y", np.zeros(1, np.uint16))],
            False,
            "Failed to write JSON value for tensor type: uint16",
        ),
        (
            [("a", np.zeros(1)), ("y", np.zeros((1, 1), np.complex128))],
            True,
            "Failed to write JSON value for tensor type: complex128",
        ),
    ],
)
def test_refuses_in_the_reference_s_words(
    outputs: list[tuple[str, Array]], is_row: bool, message: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        encode_predict(outputs, is_row)
    assert refused.value.message == message


SCORES = np.array([[0.2, 0.7], [NAN, 1.0]], np.float32)
LABELS = [[b"car", b"bike"], [b"", b'"\xff']]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (ClassifyResult(LABELS, SCORES),
         b'[[["car",0.2],["bike",0.7]],[["",NaN],["\\"\xff",1.0]]]'),
        (ClassifyResult(None, SCORES), b'[[["",0.2],["",0.7]],[["",NaN],["",1.0]]]'),
        (ClassifyResult([[b"a"]], None), b'[[["a",0.0]]]'),
        (ClassifyResult([[], []], np.zeros((2, 0), np.float32)), b"[[],[]]"),
    ],
)  # fmt: skip
def test_classes_are_pairs_of_label_and_score(result: ClassifyResult, text: bytes) -> None:
    assert encode_classify(result) == b'{\n    "results": ' + text + b"\n}"


@pytest.mark.parametrize(
    "result",
    [
        ClassifyResult([], None),
        ClassifyResult(None, np.zeros((0, 2), np.float32)),
        ClassifyResult(None, None),
    ],
)
def test_no_classifications_are_refused(result: ClassifyResult) -> None:
    with pytest.raises(InvalidArgument) as refused:
        encode_classify(result)
    assert refused.value.message == "Cannot convert empty ClassificationResults to JSON"


def test_regressions_are_a_flat_list() -> None:
    result = RegressResult(np.array([0.2, 1, NAN], np.float32))
    assert encode_regress(result) == b'{\n    "results": [0.2,1.0,NaN]\n}'
    with pytest.raises(InvalidArgument) as refused:
        encode_regress(RegressResult(np.zeros(0, np.float32)))
    assert refused.value.message == "Cannot convert empty RegressionResults to JSON"


def test_errors_have_the_reference_s_layout() -> None:
    assert encode_error("Servable not found", None) == b'{\n    "error": "Servable not found"\n}'
    assert encode_error('a "b"\n', "look") == (
        b'{\n    "error": "a \\"b\\"\\n",\n    "hint": "look"\n}'
    )


@given(st.text(), st.none() | st.text())
def test_error_texts_read_back(message: str, hint: str | None) -> None:
    found = json.loads(encode_error(message, hint))
    assert found["error"] == message
    assert found.get("hint") == hint


@given(st.text(st.characters(categories=["Cs", "L"])))
def test_no_error_text_fails(message: str) -> None:
    assert encode_error(message, message).startswith(b'{\n    "error": "')


def test_error_texts_may_hold_bytes_that_are_no_utf8() -> None:
    assert encode_error("\udcff", None) == b'{\n    "error": "\xff"\n}'


@given(
    st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.int64, np.uint64, np.bool_])
    .flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_side=0, max_dims=4, max_side=3)))
)  # fmt: skip
def test_numbers_read_back_as_the_same_values_of_their_dtype(array: Any) -> None:
    found = np.array(json.loads(rows(("y", array))), array.dtype)
    np.testing.assert_array_equal(found.ravel(), array.ravel())
    pairs = json.loads(rows(("a", array), ("b", array)))
    assert len(pairs) == len(array)
    np.testing.assert_array_equal(
        np.array([row["b"] for row in pairs], array.dtype).ravel(), array.ravel()
    )


@given(st.lists(st.binary()))
def test_any_bytes_read_back_from_base64(elements: list[bytes]) -> None:
    found = json.loads(rows(("y_bytes", strings(*elements))))
    assert [base64.b64decode(element["b64"]) for element in found] == elements


@pytest.mark.parametrize("name", ["?", "e", "f", "d", "i1", "u1", "i2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("shape", [(2,), (0,), (2, 3), (1, 0, 2)])
@pytest.mark.parametrize("is_row", [True, False])
def test_numbers_are_written_the_same_by_whichever_writer(
    name: str, shape: tuple[int, ...], is_row: bool
) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(name)
    turned = np.asfortranarray(array)
    parts = encode_predict_in_parts([("y", array)], is_row, lambda: None)
    assert encode_predict([("y", array)], is_row) == b"".join(parts)
    assert encode_predict([("y", turned)], is_row) == b"".join(parts)

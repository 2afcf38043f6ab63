import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from salver.codecs.oip.dtypes import DATATYPES, datatype_of_array
from salver.codecs.oip.json_response import (
    WrittenOutput,
    write_binary,
    write_json,
    write_json_in_parts,
    write_number,
)
from salver.codecs.oip.tensors import raw_of, raw_strings
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array


def strings(*values: bytes) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def written(name: str, array: Array, *, is_binary: bool = False) -> WrittenOutput:
    return WrittenOutput(name, datatype_of_array(array.dtype), array, is_binary=is_binary)


def in_parts(*outputs: WrittenOutput, id: str = "") -> bytes:
    return b"".join(write_json_in_parts("m", 7, id, outputs, lambda: None))


ARRAYS: list[Array] = [
    np.array([[1.5, -0.1]], np.float32),
    np.array([np.nan, np.inf, -np.inf], np.float64),
    np.array(3, np.int64),
    np.array([], np.uint8),
    np.array([[True], [False]]),
    np.array([0.5, 65504], np.float16),
    np.array([1.25], ml_dtypes.bfloat16),
    np.arange(6, dtype=np.int16).reshape(2, 3).T,
    np.array([(1 << 64) - 1], np.uint64),
    strings(b"a", b'"\\\n\x01', "é".encode()),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_all_writers_write_the_same(array: Array) -> None:
    text = write_json("m", 7, "", [written("y", array)])
    assert in_parts(written("y", array)) == text
    assert write_number("m", 7, "y", array) in (None, text)
    output = json.loads(text)["outputs"][0]
    assert output["shape"] == list(array.shape)
    assert output["datatype"] == datatype_of_array(array.dtype)
    flat: Any = array.ravel().tolist()
    if array.dtype.kind == "O":
        flat = [value.decode() for value in flat]
    if array.dtype == np.float32:
        flat = [np.float32(value) for value in flat]
        output["data"] = [np.float32(value) for value in output["data"]]
    np.testing.assert_array_equal(output["data"], flat)


def test_an_answer_says_who_gave_it() -> None:
    array = np.array([1], np.int8)
    said = json.loads(write_json('mödel"', 7, "i\n", [written('y"', array)]))
    assert (said["model_name"], said["model_version"], said["id"]) == ('mödel"', "7", "i\n")
    assert said["outputs"] == [{"name": 'y"', "datatype": "INT8", "shape": [1], "data": [1]}]
    assert write_number("m", 7, "y", array, "i") == write_json("m", 7, "i", [written("y", array)])


def test_an_answer_may_have_several_outputs_or_none() -> None:
    outputs = [written("a", np.array([1])), written("b", strings(b"x"))]
    text = write_json("m", 7, "", outputs)
    assert [of["data"] for of in json.loads(text)["outputs"]] == [[1], ["x"]]
    assert in_parts(*outputs) == text
    assert in_parts() == write_json("m", 7, "", [])
    assert json.loads(write_json("m", 7, "", []))["outputs"] == []


@pytest.mark.parametrize("datatype", DATATYPES)
def test_raw_outputs_follow_in_their_order(datatype: str) -> None:
    dtype = DATATYPES[datatype]
    first = strings(b"abc", b"") if dtype is DataType.STRING else np.zeros(2, numpy_dtype(dtype))
    last = np.arange(3, dtype=np.int32)
    outputs = [
        written("a", first, is_binary=True),
        written("b", np.array([1.0])),
        written("c", last, is_binary=True),
    ]
    body, length = write_binary("m", 7, "", outputs)
    a, b, c = json.loads(body[:length])["outputs"]
    raw = bytes(raw_of(first))
    assert a["parameters"] == {"binary_data_size": len(raw)}
    assert b["data"] == [1.0]
    assert c["parameters"] == {"binary_data_size": 12}
    assert body[length:] == raw + last.tobytes()


def test_strings_that_are_no_utf_8_pass_through() -> None:
    assert b'["\xff"]' in write_json("m", 7, "", [written("y", strings(b"\xff"))])
    body, length = write_binary("m", 7, "", [written("y", strings(b"\xff"), is_binary=True)])
    assert body[length:] == raw_strings([b"\xff"])


def test_numbers_without_a_form_of_their_own_are_left_to_the_next_writer() -> None:
    assert write_number("m", 7, "y", np.array([np.nan])) is None
    assert write_number("m", 7, "y", np.array([1.5], ml_dtypes.bfloat16)) is None
    assert write_number("m", 7, "y", strings(b"a")) is None

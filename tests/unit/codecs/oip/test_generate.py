import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.codecs.oip.generate import array_of_member, read_members, write_answer
from salver.errors import InvalidArgument, ServingError
from salver.instruments.threads import LARGE_BYTES
from salver.vocabulary.dtypes import DTYPES, DataType
from salver.vocabulary.requests import Array, TakesLong


def read(text: str) -> dict[str, Any]:
    return read_members(text.encode(), None)


def array(value: Any, dtype: str, *declared: int) -> Array:
    return array_of_member(value, DTYPES[dtype], declared, "x")


def test_parameters_are_members_like_all_others() -> None:
    assert read('{"x": "a", "n": [1, 2], "parameters": {"t": 0.5, "b": true}}') == {
        "x": "a", "n": [1, 2], "t": 0.5, "b": True
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "failed to parse the request JSON buffer"),
        ("[1]", "the request is not an object"),
        ("7", "the request is not an object"),
        ('{"x": 1', "failed to parse the request JSON buffer"),
        ('{"x": 1, "x": 2}', "'x' is there twice"),
        ('{"x": 1, "parameters": {"x": 2}}', "'x' is there twice"),
        ('{"parameters": [1]}', "Expected JSON object for keyword: 'parameters'"),
        (json.dumps(dict.fromkeys(map(str, range(1001)), 1)), "more than 1000 members"),
    ],
)
def test_what_is_no_request_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        read(text)
    assert said in raised.value.message


def test_what_is_long_is_not_read_in_the_loop() -> None:
    text = b'{"x": "%b"}' % (b"a" * LARGE_BYTES)
    with pytest.raises(TakesLong):
        read_members(text, None)
    assert len(read_members(text, lambda: True)["x"]) == LARGE_BYTES


@pytest.mark.parametrize(
    ("value", "dtype", "declared", "shape"),
    [
        ("a", "string", [-1], (1,)),
        ("a", "string", [1, 1], (1, 1)),
        (["a", "b"], "string", [-1, 1], (2, 1)),
        (["a", "b"], "string", [-1, -1], (1, 2)),
        ([1, 2, 3, 4], "int64", [-1, 2], (2, 2)),
        ([[1, 2], [3, 4]], "int64", [-1, 2], (2, 2)),
        (7, "uint8", [], ()),
        (1, "float16", [-1], (1,)),
        ([], "float32", [-1], (0,)),
        ([], "float32", [0, 3], (0, 3)),
        (True, "bool", [1], (1,)),
    ],
)
def test_elements_fill_the_declared_axes_and_the_last_of_the_others_has_the_rest(
    value: Any, dtype: str, declared: list[int], shape: tuple[int, ...]
) -> None:
    made = array(value, dtype, *declared)
    assert made.shape == shape
    flat = np.asarray(value).ravel().tolist()
    assert made.ravel().tolist() == [e.encode() if isinstance(e, str) else e for e in flat]


def test_where_any_shape_will_do_it_is_that_of_the_value() -> None:
    assert array_of_member(1, DataType.INT64, None, "x").shape == ()
    assert array_of_member([1, 2], DataType.INT64, None, "x").shape == (2,)


@pytest.mark.parametrize(
    ("value", "dtype", "declared"),
    [
        ([1, 2, 3], "int64", [-1, 2]),
        ([1, 2, 3], "int64", [2]),
        ([1], "int64", [0]),
        ([], "int64", [3]),
        ([1, 2], "int64", []),
        ("a", "int64", [-1]),
        (1, "string", [-1]),
        (True, "int64", [-1]),
        (1.5, "int64", [-1]),
        (None, "float32", [-1]),
        ({"b64": "eA=="}, "string", [-1]),
        (300, "uint8", [-1]),
        (-1, "uint64", [-1]),
        (2**64, "int64", [-1]),
        (0, "bool", [-1]),
    ],
)
def test_what_does_not_fit_is_refused(value: Any, dtype: str, declared: list[int]) -> None:
    with pytest.raises(InvalidArgument, match="'x'"):
        array(value, dtype, *declared)


def test_lists_in_lists_without_end_are_refused() -> None:
    with pytest.raises(ServingError):
        array_of_member(read('{"x": %s}' % ("[" * 500 + "]" * 500))["x"], DataType.INT64, None, "x")


@given(st.binary(max_size=60))
def test_noise_is_refused_or_read(noise: bytes) -> None:
    try:
        members = read_members(noise, None)
    except InvalidArgument:
        return
    assert isinstance(members, dict)


def test_a_tensor_of_one_element_is_that_element() -> None:
    outputs: list[tuple[str, Array]] = [
        ("one", np.array([[b'a "b"\n']], object)),
        ("more", np.array([[1.5, 2.0]], np.float32)),
        ("none", np.array([], np.int64)),
        ("flag", np.array(True)),
    ]
    text = write_answer("m", 7, "", outputs)
    assert b"\n" not in text
    assert json.loads(text) == {
        "model_name": "m",
        "model_version": "7",
        "one": 'a "b"\n',
        "more": [1.5, 2.0],
        "none": [],
        "flag": True,
    }
    assert json.loads(write_answer("m", 7, "r", []))["id"] == "r"

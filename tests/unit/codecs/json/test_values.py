from typing import Any

import numpy as np
import pytest
from tests.json_bodies import Body, inputs_by, signature

from salver.codecs.json.reading import PredictInputs
from salver.codecs.json.values import read_tree_values, read_values
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import Signature

FLOAT = signature(x=DataType.FLOAT32)
INT = signature(x=DataType.INT32)
STRING = signature(x=DataType.STRING)
BOOL = signature(x=DataType.BOOL)
TWO = signature(a=DataType.FLOAT32, b=DataType.STRING)


def read(body: bytes, wanted: Signature) -> PredictInputs | None:
    return inputs_by(read_values, body, wanted)


@pytest.mark.parametrize(
    ("body", "wanted", "arrays"),
    [
        (b'{"instances": [1.0, 2.0, 5.0]}', FLOAT, [[1, 2, 5]]),
        (b'{"instances": [[1.5], [2]]}', FLOAT, [[[1.5], [2]]]),
        (b'{"instances": [1e39]}', FLOAT, [[np.inf]]),
        (b'{"instances": [1, 2, 3]}', INT, [[1, 2, 3]]),
        (b'{"inputs": []}', FLOAT, [[]]),
        (b'{"inputs": 5}', FLOAT, [5]),
        (b'{"inputs": [[1, 2]]}', FLOAT, [[[1, 2]]]),
        (b'{"signature_name": "s", "instances": [1]}', FLOAT, [[1]]),
        (b'{"instances": [true, false]}', BOOL, [[True, False]]),
        (b'{"instances": ["a", "b"]}', STRING, [[b"a", b"b"]]),
        (b'{"instances": ["a: \\"b\\"", "\\u0101"]}', STRING, [[b'a: "b"', "ā".encode()]]),
        (b'{"instances": [{"b64": "aGk="}]}', STRING, [[b"hi"]]),
        (b'{"instances": [{"x": 1}, {"x": 2}]}', FLOAT, [[1, 2]]),
        (b'{"instances": [{"x": {"b64": "aGk="}}]}', STRING, [[b"hi"]]),
        (b'{"instances": [{"a": 1, "b": ":"}, {"b": "r", "a": 2}]}', TWO, [[1, 2], [b":", b"r"]]),
        (b'{"inputs": {"a": [1], "b": [], "c": {}}}', TWO, [[1], []]),
        (b'{"inputs": {"inputs": [1]}}', signature(inputs=DataType.FLOAT32), [[1]]),
        (b'{"inputs": {"b64": "aGk="}}', STRING, [b"hi"]),
    ],
)  # fmt: skip
def test_ordinary_requests_are_read_at_once(
    body: bytes, wanted: Signature, arrays: list[Any]
) -> None:
    found = read(body, wanted)
    assert found is not None
    assert [array.tolist() for array in found.arrays] == arrays
    assert found.is_row == (b"instances" in body)
    from_tree = inputs_by(read_tree_values, body, wanted)
    assert from_tree is not None
    assert [array.tolist() for array in from_tree.arrays] == arrays


def test_digits_alone_overflow_silently_too() -> None:
    found = read(b'{"instances": [1' + b"0" * 60 + b"]}", FLOAT)
    assert found is not None
    assert found.arrays[0].tolist() == [np.inf]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"instances": []}', FLOAT),
        (b'{"instances": 5}', FLOAT),
        (b'{"instances": "a"}', STRING),
        (b'{"instances": [[1], [2, 3]]}', FLOAT),
        (b'{"instances": [[1], [2, 3]]}', INT),
        (b'{"instances": [1.0]}', INT),
        (b'{"instances": [1]}', STRING),
        (b'{"instances": [1, true]}', FLOAT),
        (b'{"instances": [false, 1]}', INT),
        (b'{"instances": ["a"], "inputs": ["a"]}', STRING),
        (b'{"data": ["a"]}', STRING),
        (b'{"in puts": [1]}', FLOAT),
        (b'{"instances1": [1]}', FLOAT),
        (b'{"instances": ["a"]}', TWO),
        (b'{"inputs": ["a"]}', TWO),
        (b'{"inputs": {"a": [1]}}', TWO),
        (b'{"inputs": {"a": ["x"], "b": []}}', TWO),
        (b'{"instances": [{"x": 1}, 2]}', FLOAT),
        (b'{"instances": [{"x": 1}, {"x": 1, "y": 2}]}', FLOAT),
        (b'{"instances": [{"y": 1}]}', FLOAT),
        (b'{"instances": [{"b64": [1]}]}', signature(b64=DataType.FLOAT32)),
    ],
)
def test_what_is_in_doubt_is_left_to_others(body: bytes, wanted: Signature) -> None:
    assert read(body, wanted) is None
    assert inputs_by(read_tree_values, body, wanted) is None


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"instances": ["a"], "instances": ["b"]}', STRING),
        (b'{"instances": ["a"], "\\u0069nstances": ["b"]}', STRING),
        (b'{"instances": [{"x": 1, "x": 2}]}', FLOAT),
        (b'{"instances": [{"x": 1, "\\u0078": 2}]}', FLOAT),
        (b'{"instances": [{"x": {"b64": "aGk=", "b64": "aGk="}}]}', STRING),
        (b'{"inputs": {"x": [1], "x": [2]}}', FLOAT),
        ('{"inputs": {"é": [1], "\\u00e9": [2]}}'.encode(), signature(é=DataType.FLOAT32)),
        (b'{"inputs": {"a/b": [1], "a\\/b": [2]}}', signature(**{"a/b": DataType.FLOAT32})),
    ],
)
def test_a_repeated_key_is_noticed_however_it_is_spelled(body: bytes, wanted: Signature) -> None:
    assert read(body, wanted) is None


def test_a_signature_name_that_is_said_twice_is_noticed() -> None:
    body = b'{"signature_name": "a", "instances": [1]%b}'
    assert read_values(Body(body % b"")) is not None
    assert read_values(Body(body % b', "signature_name": "b"')) is None
    assert read_values(Body(body % b', "signature\\u005fname": 1')) is None

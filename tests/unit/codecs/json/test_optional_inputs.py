"""Inputs that a body may leave out: `Signature.optional`."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.shelf import signature

from salver.codecs.json.document import Document
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import Signature

TEXT = replace(
    signature({"limit": (DataType.INT64, ()), "text": (DataType.STRING, (-1,))}, {}),
    defaults={"limit": np.array(10)},
    optional=frozenset({"limit"}),
)
ROWS = replace(
    signature({"by": (DataType.FLOAT32, (-1,)), "x": (DataType.FLOAT32, (-1,))}, {}),
    defaults={"by": np.array([2], np.float32)},
    optional=frozenset({"by"}),
    row_defaults=frozenset({"by"}),
)
ALL = replace(TEXT, defaults={**TEXT.defaults, "text": np.array([b"-"], object)},
              optional=frozenset({"limit", "text"}))  # fmt: skip


def read(of: Signature, body: Any) -> list[Any]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [array.tolist() for array in Document(text).predict_inputs("", of).arrays]


@pytest.mark.parametrize("padding", [0, 5000, 300_000])
@pytest.mark.parametrize(
    ("of", "body", "arrays"),
    [
        (TEXT, {"inputs": {"text": ["a"]}}, [10, [b"a"]]),
        (TEXT, {"inputs": {"text": ["a"], "limit": 3}}, [3, [b"a"]]),
        (TEXT, {"inputs": ["a", "b"]}, [10, [b"a", b"b"]]),
        (TEXT, {"inputs": {"text": ["limit"]}}, [10, [b"limit"]]),
        (TEXT, {"inputs": {"text": ['"limit"\n']}}, [10, [b'"limit"\n']]),
        (TEXT, {"inputs": ["limit"]}, [10, [b"limit"]]),
        (TEXT, {"instances": ["limit", "b"]}, [10, [b"limit", b"b"]]),
        (TEXT, {"instances": [{"text": "limit"}]}, [10, [b"limit"]]),
        (TEXT, b'{"inputs": {"text": ["a"], "l\\u0069mit": 3}}', [3, [b"a"]]),
        (ROWS, {"instances": [{"x": 1}, {"x": 3}]}, [[2, 2], [1, 3]]),
        (ROWS, {"instances": [1, 3]}, [[2, 2], [1, 3]]),
        (ROWS, {"instances": [{"x": 1, "by": 4}]}, [[4], [1]]),
        (ROWS, {"inputs": {"x": [1, 2, 3]}}, [[2, 2, 2], [1, 2, 3]]),
        (ALL, {"inputs": {}}, [10, [b"-"]]),
        (ALL, {"inputs": {"limit": 3}}, [3, [b"-"]]),
    ],
)
def test_what_is_left_out_has_its_default(
    of: Signature, body: Any, arrays: list[Any], padding: int
) -> None:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert read(of, b" " * padding + text) == arrays


@pytest.mark.parametrize(
    ("of", "body", "said"),
    [
        (TEXT, {"inputs": {"limit": 3}}, "Missing named input: text"),
        (TEXT, {"inputs": {}}, "Missing named input: text"),
        (TEXT, {"inputs": {"limit": "x", "text": ["a"]}}, "limit|int64|value"),
        (ROWS, {"instances": [{"x": 1}, {"x": 3, "by": 4}]}, "by"),
        (ROWS, {"instances": [{"x": 1, "by": 4}, {"x": 3}]}, "keys must be equal to"),
        (ROWS, {"instances": [{"x": 1, "z": 4}]}, "does not have named input: z"),
        (ALL, {"instances": [{}]}, "keys must be equal to"),
        (ALL, {}, "Missing 'inputs' or 'instances' key"),
    ],
)
def test_what_may_not_be_left_out_is_missed(of: Signature, body: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        read(of, body)


def test_defaults_of_other_models_do_not_count() -> None:
    """As in the reference, where JSON has to name all inputs."""
    with pytest.raises(InvalidArgument, match="Missing named input: limit"):
        read(replace(TEXT, optional=frozenset()), {"inputs": {"text": ["a"]}})

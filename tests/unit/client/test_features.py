import json
from typing import Any

import numpy as np
import pytest

from salver._pb import message_class
from salver.client.features import json_example, serialized_example
from salver.errors import Internal, InvalidArgument

CASES = [
    (2.0, "float_list", [2.0]),
    ([1.0, 2.5], "float_list", [1.0, 2.5]),
    (np.array([1, 2], np.float32), "float_list", [1.0, 2.0]),
    (3, "int64_list", [3]),
    (True, "int64_list", [1]),
    (np.array([[1], [2]], np.uint8), "int64_list", [1, 2]),
    ("é", "bytes_list", ["é".encode()]),
    (b"\xff", "bytes_list", [b"\xff"]),
    (["a", b"b"], "bytes_list", [b"a", b"b"]),
    (np.array(["a", "b"]), "bytes_list", [b"a", b"b"]),
    (np.array([b"a"]), "bytes_list", [b"a"]),
    (np.array(["a", b"b"], object), "bytes_list", [b"a", b"b"]),
    ([], "float_list", []),
]


@pytest.mark.parametrize(("value", "kind", "values"), CASES)
def test_a_feature_has_the_kind_of_its_values(value: Any, kind: str, values: list[Any]) -> None:
    example = message_class("tensorflow.Example").FromString(serialized_example({"f": value}))
    feature = example.features.feature["f"]
    assert list(getattr(feature, kind).value) == values


def test_a_serialized_example_is_taken_as_it_is() -> None:
    assert serialized_example(b"\x0a\x00") == b"\x0a\x00"


def test_json_keeps_floats_and_integers_apart() -> None:
    written = json.loads(json_example({"f": [2.0], "i": 2, "s": b"\xff", "none": []}))
    assert {name: repr(values) for name, values in written.items()} == {
        "f": "[2.0]",
        "i": "[2]",
        "s": "[{'b64': '/w=='}]",
        "none": "[]",
    }


def test_a_serialized_example_can_go_as_json() -> None:
    assert json.loads(json_example(serialized_example({"f": 0.5}))) == {"f": [0.5]}
    with pytest.raises(Internal):
        json_example(b"\xff")


def test_a_feature_of_no_kind_is_left_empty() -> None:
    message = message_class("tensorflow.Example")()
    message.features.feature["f"].SetInParent()
    assert json.loads(json_example(message.SerializeToString())) == {"f": []}


@pytest.mark.parametrize(
    "value",
    [
        [1, "a"], None, [[1], [1, 2]], 1j, 2**63, np.array([], object),
        np.array([1, "a"], object),
    ],
)  # fmt: skip
def test_what_no_feature_can_hold_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="Feature 'f' is no list of one kind of values"):
        serialized_example({"f": value})


def test_an_example_outside_of_a_list_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="An example is a dict of features"):
        serialized_example("x")  # type: ignore[arg-type]

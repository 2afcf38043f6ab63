from typing import Any

import pytest

from salver.codecs.json.hints import missing_key, nesting, no_object, wrong_type
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import TensorSpec


def spec(dtype: DataType, shape: tuple[int, ...] | None = None) -> TensorSpec:
    return TensorSpec(dtype, shape)


def test_a_missing_key_is_set_against_the_keys_that_are_there() -> None:
    assert missing_key({"data": 1, "id": 2}).endswith("It has 'data', 'id'.")
    assert missing_key({}).endswith("It has no key.")
    assert "'19'" in missing_key({str(n): n for n in range(100)})
    assert "'20'" not in missing_key({str(n): n for n in range(100)})


def test_a_body_that_is_no_object_is_told_what_it_must_be() -> None:
    assert no_object([1]).startswith("The body must be a JSON object")
    assert no_object("text").startswith("The body must be a JSON object")
    assert "it was written twice" in no_object('{"instances": [1]}')


def test_wrong_nesting_is_set_against_the_declared_shape() -> None:
    found = nesting("x", spec(DataType.FLOAT32, (-1, 2, 2)), [2], is_row=True)
    assert "declared as float, shape [-1, 2, 2], so one row has shape [2, 2]." in found
    assert "This row has shape [2]" in found
    found = nesting("x", spec(DataType.FLOAT32, (-1, 2)), [2], is_row=False)
    assert "so one row" not in found
    assert "This value has shape [2]" in found
    assert "any shape" in nesting("x", spec(DataType.FLOAT32), [2], is_row=True)


@pytest.mark.parametrize(
    ("dtype", "value", "advice"),
    [
        (DataType.FLOAT32, None, "null is accepted nowhere"),
        (DataType.FLOAT32, {"b64": "aGk="}, "not encoded bytes"),
        (DataType.FLOAT32, {"a": 1}, "not objects"),
        (
            DataType.FLOAT32,
            {"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]},
            "a request of the Open Inference Protocol",
        ),
        (DataType.FLOAT32, "1.5", "without quotes"),
        (DataType.STRING, 5, "put quotes around the number"),
        (DataType.BOOL, 1, "write true or false"),
        (DataType.INT32, 1.0, "write 1, not 1.0"),
        (DataType.INT32, 2**40, "out of its range"),
        (DataType.FLOAT32, True, "takes float, and this value"),
    ],
)
def test_a_wrong_type_is_set_right(dtype: DataType, value: Any, advice: str) -> None:
    assert advice in wrong_type("x", spec(dtype), value)

import json
from typing import Any

import pytest

from salver.backends.python.triton.auto_complete import ModelConfig

X = {"name": "X", "data_type": "TYPE_FP32", "dims": [4]}


def config(**more: Any) -> ModelConfig:
    return ModelConfig(
        json.dumps({"name": "m", "max_batch_size": 0, "input": [], "output": [], **more})
    )


def test_what_is_missing_is_added() -> None:
    made = config()
    made.add_input({**X, "optional": True})
    made.add_output(X)
    made.set_max_batch_size(4)
    made.set_dynamic_batching()
    made.set_model_transaction_policy({"decoupled": True})
    assert made.as_dict() == {
        "name": "m",
        "max_batch_size": 4,
        "input": [{**X, "optional": True}],
        "output": [X],
        "dynamic_batching": {},
        "model_transaction_policy": {"decoupled": True},
    }


def test_what_is_there_is_filled_in_and_stays() -> None:
    made = config(input=[{"name": "X", "data_type": "TYPE_INVALID", "dims": []}])
    made.add_input(X)
    made.add_input(X)
    assert made.as_dict()["input"] == [X]


@pytest.mark.parametrize(
    "given",
    [
        {**X, "dims": [5]},
        {**X, "data_type": "TYPE_INT8"},
        {**X, "format": "FORMAT_NHWC"},
        {"name": "X", "dims": [4]},
    ],
)
def test_what_contradicts_is_refused(given: dict[str, Any]) -> None:
    made = config(input=[X])
    with pytest.raises(ValueError, match=r"X|dims|data_type|format"):
        made.add_input(given)


def test_a_smaller_batch_and_another_policy_are_refused() -> None:
    made = config(max_batch_size=8, model_transaction_policy={"decoupled": False})
    with pytest.raises(ValueError, match="max_batch_size 8"):
        made.set_max_batch_size(4)
    with pytest.raises(ValueError, match="decoupled"):
        made.set_model_transaction_policy({"decoupled": True})
    with pytest.raises(ValueError, match="alone"):
        made.set_model_transaction_policy({"else": True})

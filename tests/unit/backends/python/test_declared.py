from typing import Any

import numpy as np
import pytest

from salver.backends.python.declared import declaration_of
from salver.errors import FailedPrecondition
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import TensorSpec


def declared(**attributes: Any) -> Any:
    return declaration_of({"inputs": {}, "outputs": {"y": ("int64", [])}, **attributes}.get)


def test_names_stand_in_alphabetical_order() -> None:
    made = declared(inputs={"b": ("int64", []), "a": ("string", [-1, 3])})
    assert list(made.signatures["serving_default"].inputs.items()) == [
        ("a", TensorSpec(DataType.STRING, (-1, 3))),
        ("b", TensorSpec(DataType.INT64, ())),
    ]


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ("float32", DataType.FLOAT32),
        ("bfloat16", DataType.BFLOAT16),
        ("str", DataType.STRING),
        (np.float16, DataType.FLOAT16),
        (np.dtype("uint8"), DataType.UINT8),
        (str, DataType.STRING),
        (bytes, DataType.STRING),
        (bool, DataType.BOOL),
        (np.bool_, DataType.BOOL),
        (float, DataType.FLOAT64),
        (int, DataType.INT64),
    ],
)
def test_dtypes_are_named_as_people_do(given: Any, dtype: DataType) -> None:
    made = declared(inputs={"x": (given, [])})
    assert made.signatures["serving_default"].inputs["x"].dtype is dtype


def test_shapes_may_leave_sizes_and_the_rank_open() -> None:
    made = declared(inputs={"x": ("int8", (None, 2)), "y": ["int8", None]})
    shapes = [spec.shape for spec in made.signatures["serving_default"].inputs.values()]
    assert shapes == [(-1, 2), None]


def test_a_default_is_an_array_that_nobody_changes() -> None:
    made = declared(
        inputs={"n": ("int64", [], 10), "t": ("string", [-1], ["a", b"b"]), "x": ("int64", [])}
    )
    defaults = made.signatures["serving_default"].defaults
    n, t = defaults["n"], defaults["t"]
    assert n is not None
    assert t is not None
    assert (n.dtype, n.shape, n.tolist()) == (np.int64, (), 10)
    assert t.tolist() == [b"a", b"b"]
    assert defaults.keys() == {"n", "t"}
    with pytest.raises(ValueError, match="read-only"):
        n[...] = 3
    assert not made.signatures["serving_default"].row_defaults


def test_where_requests_are_merged_a_default_is_that_of_one_row() -> None:
    made = declared(
        max_batch_size=4, inputs={"n": ("int64", [-1], 10)}, outputs={"y": ("int64", [-1])}
    )
    signature = made.signatures["serving_default"]
    assert signature.row_defaults == {"n"}
    default = signature.defaults["n"]
    assert default is not None
    assert default.shape == (1,)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"inputs": None}, "inputs is a dict"),
        ({"outputs": {}}, "outputs is a dict"),
        ({"outputs": {"y": ("int64", [], 1)}}, r"outputs\['y'\] is \(dtype, shape\), not"),
        ({"inputs": {"x": "int64"}}, r"inputs\['x'\] is \(dtype, shape\) or"),
        ({"inputs": {"x": ("int65", [])}}, r"inputs\['x'\] has no dtype that is known: 'int65'"),
        ({"inputs": {"x": ("resource", [])}}, "no dtype that is known"),
        ({"inputs": {"x": ("int64", 3)}}, r"inputs\['x'\] has a shape"),
        ({"inputs": {"x": ("int64", [-2])}}, "has a shape"),
        ({"inputs": {"x": ("int64", [1] * 33)}}, "has a shape"),
        ({"inputs": {"x": ("int64", ["a"])}}, "has a shape"),
        ({"inputs": {3: ("int64", [])}}, "a name that is no text"),
        ({"inputs": {"x": ("int64", [], "a")}}, "has a default that is no int64"),
        ({"inputs": {"x": ("string", [], 1)}}, "has a default that is no string"),
        (
            {"inputs": {"x": ("int64", [-1], 1)}},
            r"default of shape \[\], which does not fit \[-1\]",
        ),
        ({"max_batch_size": -1}, "max_batch_size is a whole number"),
        ({"max_batch_size": "2"}, "max_batch_size is a whole number"),
        ({"max_batch_size": 2}, "the first axis of every shape is the rows"),
        ({"signatures": []}, "signatures is a dict"),
        ({"signatures": {"a": 1}}, "signatures is a dict"),
        ({"signatures": {"__init__": {"inputs": {}, "outputs": {}}}}, "cannot have '__init__'"),
        ({"signatures": {"serving_default": {}}}, "cannot have 'serving_default'"),
        ({"signatures": {"a": {"inputs": {}}}}, r"signatures\['a'\].outputs is a dict"),
    ],
)
def test_what_is_declared_wrongly_is_named(attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(FailedPrecondition, match=said) as caught:
        declared(**attributes)
    assert caught.value.is_final


def test_a_model_may_have_further_signatures_alone() -> None:
    parts: dict[str, Any] = {"inputs": {}, "outputs": {"y": ("int64", [])}}
    made = declaration_of({"signatures": {"embed": parts}}.get)
    assert list(made.signatures) == ["embed"]
    with pytest.raises(FailedPrecondition, match="no inputs and outputs"):
        declaration_of(lambda _name: None)

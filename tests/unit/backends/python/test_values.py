from typing import Any

import numpy as np
import pytest
from tests.shelf import signature

from salver.backends.python.values import given_to, taken_from
from salver.errors import Internal, InvalidArgument
from salver.vocabulary.dtypes import DTYPES

NOTHING = signature({}, {})


def taken(dtype: str, value: Any, shape: Any = None) -> Any:
    (array,) = taken_from(signature({}, {"y": (DTYPES[dtype], shape)}), {"y": value}, ["y"])
    assert array.flags.c_contiguous
    assert array.dtype == np.dtype(object if dtype == "string" else dtype)
    return array


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("float32", [0.5, 1], [0.5, 1]),
        ("float32", 1, 1),
        ("float64", np.array([1], np.float32), [1]),
        ("float32", np.array([1], np.int16), [1]),
        ("int64", np.array([True]), [1]),
        ("uint8", [255], [255]),
        ("int64", [], []),
        ("bool", [True, False], [True, False]),
        ("float32", np.array([[1, 2], [3, 4]], np.float32).T, [[1, 3], [2, 4]]),
        ("float32", np.array([1], ">f4"), [1]),
        ("complex64", [1j], [1j]),
        ("string", "ä", "ä".encode()),
        ("string", ["a", b"b"], [b"a", b"b"]),
        ("string", np.array(["a", "bcd"]), [b"a", b"bcd"]),
        ("string", np.array([b"a"]), [b"a"]),
        ("string", [["a"], ["b"]], [[b"a"], [b"b"]]),
        ("string", [], []),
    ],
)
def test_what_can_be_meant_is_taken(dtype: str, value: Any, expected: Any) -> None:
    assert taken(dtype, value).tolist() == expected


def test_numbers_may_be_of_types_that_numpy_has_not() -> None:
    import ml_dtypes

    spec = signature({}, {"y": (DTYPES["bfloat16"], (-1,))})
    (array,) = taken_from(spec, {"y": [0.5, 1]}, ["y"])
    assert array.dtype == ml_dtypes.bfloat16
    with pytest.raises(Internal, match="Output y is float32, and bfloat16 is declared"):
        taken_from(spec, {"y": np.ones(1, np.float32)}, ["y"])


@pytest.mark.parametrize(
    ("dtype", "value", "said"),
    [
        ("float32", np.ones(1), 'y is float64, and float32 is declared: .*astype."float32"'),
        ("int64", [0.5], "y is float64, and int64 is declared"),
        ("int32", np.ones(1, np.int64), "y is int64, and int32 is declared"),
        ("uint8", [256], "y has numbers that uint8 cannot hold"),
        ("uint8", [-1], "y has numbers that uint8 cannot hold"),
        ("float32", ["a"], "y is str32, and float32 is declared"),
        ("float32", [[1], [1, 2]], "y is list, which makes no array of float32"),
        ("float32", object(), "y is "),
        ("float32", None, "y is "),
        ("string", [1], "y has int in it"),
        ("string", None, "y has NoneType in it"),
        ("string", np.ones(1), "y is float64, and string is declared"),
    ],
)
def test_what_is_something_else_is_named(dtype: str, value: Any, said: str) -> None:
    with pytest.raises(Internal, match=f"Output {said}"):
        taken(dtype, value)


def test_an_object_whose_conversion_raises_fails_its_run() -> None:
    class Odd:
        def __array__(self, *_args: Any, **_kwargs: Any) -> Any:
            raise SystemError("no array")

    with pytest.raises(Internal, match="Output y is Odd, which makes no array of float32"):
        taken("float32", Odd())


def test_shapes_are_what_is_declared() -> None:
    assert taken("int64", [[1, 2]], (-1, 2)).shape == (1, 2)
    with pytest.raises(Internal, match=r"Output y has the shape \[2\], and \[-1, 2\] is declared"):
        taken("int64", [1, 2], (-1, 2))


def test_a_scalar_stays_one() -> None:
    assert taken("float32", 1.5, ()).shape == ()
    assert taken("float64", np.float32(1.5), ()).shape == ()


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ([1], "returned list, and not a dict"),
        (None, "returned NoneType, and not a dict"),
        ({}, "not returned a, b"),
        ({"a": 1, "b": 1, "c": 1}, "returned c, which it has not declared"),
        ({"a": 1, "b": 1, **{str(n): 1 for n in range(9)}}, "0, 1, 2, 3, 4 and 4 more"),
    ],
)
def test_outputs_are_those_that_are_declared(outputs: Any, said: str) -> None:
    spec = signature({}, {"a": (DTYPES["int64"], ()), "b": (DTYPES["int64"], ())})
    with pytest.raises(Internal, match=said):
        taken_from(spec, outputs, ["a"])


def test_inputs_are_named_where_they_do_not_fit() -> None:
    spec = signature({"x": (DTYPES["int64"], (-1, 2))}, {})
    assert given_to(spec, [np.zeros((3, 2), np.int64)])["x"].shape == (3, 2)
    with pytest.raises(InvalidArgument, match=r"Input x has the shape \[2\], .* takes \[-1, 2\]"):
        given_to(spec, [np.zeros(2, np.int64)])
    with pytest.raises(InvalidArgument, match="Input x is int32, and the model takes int64"):
        given_to(spec, [np.zeros((3, 2), np.int32)])

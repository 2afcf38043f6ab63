from typing import Any

import numpy as np
import pytest

from salver.codecs.json.arrays import INTEGERS, array_of, narrow, strings_of
from salver.vocabulary.dtypes import DataType, numpy_dtype


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (DataType.FLOAT32, [1, 2.5]),
        (DataType.FLOAT32, [[1, 2], [3, 4]]),
        (DataType.FLOAT64, [[0.1], [float("nan")]]),
        (DataType.FLOAT16, [0.1, 7]),
        (DataType.BFLOAT16, [0.1, 7]),
        (DataType.INT32, [-(2**31), 2**31 - 1]),
        (DataType.INT64, [-(2**63), 2**63 - 1]),
        (DataType.UINT32, [0, 2**32 - 1]),
        (DataType.UINT64, [2**64 - 1, 2**63]),
        (DataType.BOOL, [[True], [False]]),
        (DataType.FLOAT32, 5),
        (DataType.FLOAT32, [[], []]),
    ],
)
def test_regular_lists_become_arrays(dtype: DataType, value: Any) -> None:
    found = array_of(value, dtype)
    assert found is not None
    assert found.dtype == numpy_dtype(dtype)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, np.array(value).astype(numpy_dtype(dtype)))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (DataType.FLOAT32, [[1], [2, 3]]),
        (DataType.FLOAT32, [1, [2]]),
        (DataType.FLOAT32, ["1"]),
        (DataType.FLOAT32, [None]),
        (DataType.FLOAT32, [{}]),
        (DataType.FLOAT32, [True, False]),
        (DataType.FLOAT32, [2**64]),
        (DataType.INT32, [1.0]),
        (DataType.INT32, [2**31]),
        (DataType.INT8, [-(2**31) - 1]),
        (DataType.INT64, [2**63]),
        (DataType.UINT32, [-1]),
        (DataType.UINT64, [-1]),
        (DataType.UINT64, [1.5]),
        (DataType.BOOL, [1]),
        (DataType.BOOL, [True, 1]),
        (DataType.UINT16, [1]),
        (DataType.COMPLEX64, [1.0]),
        (DataType.STRING, [1]),
    ],
)
def test_what_is_in_doubt_is_left_to_others(dtype: DataType, value: Any) -> None:
    assert array_of(value, dtype) is None


def test_the_narrow_types_drop_the_upper_bits() -> None:
    for dtype in (DataType.INT8, DataType.UINT8, DataType.INT16):
        found = array_of([300, -1, 2**31 - 1], dtype)
        assert found is not None
        assert found.tolist() == np.array([300, -1, 2**31 - 1]).astype(numpy_dtype(dtype)).tolist()


def test_what_overflows_a_float_becomes_infinite_silently() -> None:
    for dtype in (DataType.FLOAT32, DataType.FLOAT16, DataType.BFLOAT16):
        found = array_of([1e39, -1e39, 1e-60], dtype)
        assert found is not None
        assert found.astype(np.float64).tolist() == [np.inf, -np.inf, 0.0]


def test_integers_become_floats_by_way_of_double() -> None:
    tricky = 2**60 + 2**36 + 1  # rounded once it would be the next float32
    found = array_of([tricky], DataType.FLOAT32)
    assert found is not None
    assert found[0] == np.float32(float(tricky))


def test_doubles_are_not_copied() -> None:
    doubles = np.zeros(2)
    assert narrow(doubles, DataType.FLOAT64) is doubles


def test_every_integer_type_has_a_range() -> None:
    assert DataType.UINT16 not in INTEGERS  # the reference takes none
    assert INTEGERS[DataType.UINT64] == (0, 2**64 - 1)


@pytest.mark.parametrize(
    ("value", "strings", "shape", "objects"),
    [
        (["a", "é", "x\0"], [b"a", "é".encode(), b"x\0"], (3,), 0),
        ([["a"], ["b"]], [b"a", b"b"], (2, 1), 0),
        ([{"b64": "aGk="}, {"b64": "AA=="}], [b"hi", b"\0"], (2,), 2),
        (["a", {"b64": "aGk="}], [b"a", b"hi"], (2,), 1),
        ("a", [b"a"], (), 0),
        ({"b64": "aGk="}, [b"hi"], (), 1),
        ([], [], (0,), 0),
        ([[], []], [], (2, 0), 0),
    ],
)
def test_strings_become_bytes(
    value: Any, strings: list[bytes], shape: tuple[int, ...], objects: int
) -> None:
    found = strings_of(value)
    assert found is not None
    assert found[0].shape == shape
    assert found[0].ravel().tolist() == strings
    assert found[1] == objects


@pytest.mark.parametrize(
    "value",
    [
        [1],
        [None],
        ["a", {"b64": "aGk="}, 1],
        [{"b64": "?"}],
        [{"c": "aGk="}],
        [["a"], ["b", "c"]],
        [[["a"]], [["b"], ["c"]]],
        [["a"], "b"],
        ["\udcff"],
    ],
)
def test_strings_in_doubt_are_left_to_others(value: Any) -> None:
    assert strings_of(value) is None

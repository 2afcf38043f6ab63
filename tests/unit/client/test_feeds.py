from typing import Any

import ml_dtypes
import numpy as np
import pytest

from salver.client.feeds import as_array, as_feeds
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import Signature, TensorSpec


def takes(**dtypes: DataType) -> Signature:
    return Signature({alias: TensorSpec(of, None) for alias, of in dtypes.items()}, {})


def test_a_value_alone_is_the_only_input() -> None:
    feeds = as_feeds([1, 2], "s", takes(x=DataType.FLOAT32))
    assert feeds["x"].dtype == np.float32
    assert feeds["x"].tolist() == [1.0, 2.0]


def test_several_inputs_must_be_named() -> None:
    signature = takes(a=DataType.FLOAT32, b=DataType.INT32)
    feeds = as_feeds({"b": 1, "a": 2}, "s", signature)
    assert {alias: of.dtype.name for alias, of in feeds.items()} == {"b": "int32", "a": "float32"}
    with pytest.raises(
        InvalidArgument, match=r"^Signature 's' has 2 inputs: name them\.$"
    ) as caught:
        as_feeds([1], "s", signature)
    assert caught.value.hint == "Give a dict with 'a', 'b'."


def test_an_input_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(InvalidArgument, match=r"Signature 's' has no input 'z'\.") as caught:
        as_feeds({"z": 1}, "s", takes(x=DataType.FLOAT32))
    assert caught.value.hint == "It takes 'x'."
    with pytest.raises(InvalidArgument) as caught:
        as_feeds({"z": 1}, "s", takes())
    assert caught.value.hint == "It takes none."


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([1, 2], DataType.FLOAT32, np.float32),
        (np.zeros(2), DataType.FLOAT32, np.float32),
        (np.zeros(2, np.int64), DataType.FLOAT16, np.float16),
        ([0.5], DataType.BFLOAT16, ml_dtypes.bfloat16),
        (np.zeros(2, ml_dtypes.bfloat16), DataType.FLOAT64, np.float64),
        ([1, 2], DataType.UINT8, np.uint8),
        (np.zeros(2, np.uint64), DataType.INT32, np.int32),
        ([1.5], DataType.COMPLEX64, np.complex64),
        ([], DataType.INT32, np.int32),
        ([True], DataType.BOOL, np.bool_),
        (3, DataType.QINT8, np.int8),
        ([0.5], DataType.FLOAT8_E5M2, ml_dtypes.float8_e5m2),
    ],
)
def test_numbers_are_converted_where_only_precision_can_be_lost(
    value: Any, dtype: DataType, expected: Any
) -> None:
    assert as_array("x", value, dtype).dtype == expected


def test_an_array_of_the_right_dtype_is_taken_as_it_is() -> None:
    array = np.zeros(3, np.float32)
    assert as_array("x", array, DataType.FLOAT32) is array


def test_a_number_too_large_becomes_infinite() -> None:
    assert as_array("x", [1e300], DataType.FLOAT32).tolist() == [float("inf")]


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ([1.5], DataType.INT32, "Input 'x' takes int32, not double"),
        ([300], DataType.UINT8, "Input 'x' takes uint8, and 300 is none"),
        ([5, -1], DataType.UINT8, "Input 'x' takes uint8, and -1 is none"),
        ([1], DataType.BOOL, "Input 'x' takes bool, not int64"),
        ([True], DataType.FLOAT32, "Input 'x' takes float, not bool"),
        (["a"], DataType.FLOAT32, "Input 'x' takes float, not strings"),
        ([None], DataType.FLOAT32, "Input 'x' takes float, not values of no one kind"),
        ([1j], DataType.FLOAT32, "Input 'x' takes float, not complex128"),
        (np.array([1], "M8[s]"), DataType.FLOAT32, "takes float, not values of no one kind"),
        ([1], DataType.STRING, r"Input 'x' takes strings \(str or bytes\), not int"),
        ([[1], [1, 2]], DataType.FLOAT32, "Input 'x' is no regular array: "),
        ([1], DataType.RESOURCE, "Input 'x' has type resource, which nothing can be fed to"),
    ],
)
def test_what_would_lose_more_is_refused(value: Any, dtype: DataType, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        as_array("x", value, dtype)


@pytest.mark.parametrize(
    "value",
    [
        ["a", "é"],
        [b"a", "é".encode()],
        np.array(["a", "é"]),
        np.array(["a", b"\xc3\xa9"], object),
        np.array([b"a", b"\xc3\xa9"]),
    ],
)
def test_strings_become_bytes(value: Any) -> None:
    array = as_array("x", value, DataType.STRING)
    assert array.dtype == object
    assert array.tolist() == [b"a", b"\xc3\xa9"]


def test_strings_keep_their_shape() -> None:
    assert as_array("x", "a", DataType.STRING).shape == ()
    assert as_array("x", [["a"], ["b"]], DataType.STRING).shape == (2, 1)
    assert as_array("x", [], DataType.STRING).shape == (0,)


def test_ragged_strings_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"takes strings \(str or bytes\), not list"):
        as_array("x", [["a"], ["b", "c"]], DataType.STRING)
    with pytest.raises(InvalidArgument, match="is no regular array"):
        as_array("x", [np.zeros((2, 3)), np.zeros((2, 4))], DataType.STRING)


def test_integers_of_a_list_stay_exact_where_numpy_makes_floats_of_them() -> None:
    assert as_array("x", [1, 2**64 - 1], DataType.UINT64).tolist() == [1, 2**64 - 1]
    with pytest.raises(InvalidArgument, match="takes int64, and 9223372036854775808 is none"):
        as_array("x", [[1], [2**63]], DataType.INT64)
    with pytest.raises(InvalidArgument, match="takes int64, not double"):
        as_array("x", [2**62, 0.5], DataType.INT64)


def test_the_order_of_bytes_does_not_matter() -> None:
    assert as_array("x", np.array([1, 2], ">f4"), DataType.FLOAT32).tolist() == [1.0, 2.0]


def test_text_without_utf8_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="Input 'x' holds text that has no UTF-8: "):
        as_array("x", ["\udc80"], DataType.STRING)

import pytest
from tests.graph_wire import FLOAT, number, shape, text
from tests.hostile_graphs import list_metadata

from salver._pb import message_class
from salver.backends.tensorflow.tensor_claims import (
    claimed_bytes,
    fault_of_shape,
    fault_of_variant,
    shape_text,
)
from salver.codecs.protobuf.wire import varint

LIST = "tensorflow::TensorList"


@pytest.mark.parametrize(
    "sizes", [[], [0], [5, 7], [-1, 3], [(1 << 63) - 1], [1 << 31, 1 << 31], [1] * 254, [-1] * 254]
)
def test_a_shape_that_tensorflow_survives_has_no_fault(sizes: list[int]) -> None:
    assert fault_of_shape(sizes) is None


@pytest.mark.parametrize(
    "sizes", [[1 << 63], [1 << 32, 1 << 32], [1 << 40, 1 << 40, 0], [0, 1 << 40, 1 << 40]]
)
def test_more_elements_than_can_be_counted_are_a_fault(sizes: list[int]) -> None:
    assert fault_of_shape(sizes) == "with more elements than 64 bits can count"


def test_more_dimensions_than_254_are_a_fault() -> None:
    assert fault_of_shape([1] * 255) == "of 255 dimensions"


def test_a_long_shape_is_told_in_few_words() -> None:
    assert shape_text([]) == "[]"
    assert shape_text([2, 3]) == "[2,3]"
    assert shape_text(range(300)) == "[0,1,2,3,4,5,6,7,…]"


@pytest.mark.parametrize(
    ("dtype", "bytes_each"),
    [(1, 4), (2, 8), (101, 4), (7, 24), (10, 1), (14, 2), (18, 16), (20, 64), (21, 64), (999, 1)],
)
def test_memory_is_that_of_all_elements(dtype: int, bytes_each: int) -> None:
    assert claimed_bytes(dtype, [3, 5]) == 15 * bytes_each
    assert claimed_bytes(dtype, []) == bytes_each
    assert claimed_bytes(dtype, [-1, 5]) == claimed_bytes(dtype, [0, 5]) == 0


def variant(name: str, metadata: bytes = b"") -> object:
    data = text(1, name) + text(2, metadata)
    return message_class("tensorflow.VariantTensorDataProto").FromString(data)


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("", b""),
        (LIST, list_metadata(0, number(3, 1))),
        (LIST, list_metadata(0, shape(2, 3))),
        (LIST, varint(2) + varint(0) + varint(1) + varint(FLOAT) + b"\xff" * 9 + b"\x01"),
    ],
)
def test_a_value_that_tensorflow_survives_has_no_fault(name: str, metadata: bytes) -> None:
    assert fault_of_variant(variant(name, metadata)) is None


@pytest.mark.parametrize(
    ("name", "metadata", "says"),
    [
        ("tensorflow::TensorMap", b"", "of type tensorflow::TensorMap, which no file can hold"),
        (LIST, b"", "cannot be read"),
        (LIST, b"\xff" * 50, "cannot be read"),
        (LIST, varint(0) + b"\xff" * 20, "cannot be read"),
        (LIST, varint(0) + varint(1) + varint(1) + b"\xff", "cannot be read"),
        (LIST, varint(1 << 24) + varint(0), "a list of 16777216 elements, of which 16777216"),
        (LIST, list_metadata(0, shape(*[1] * 300)), "tensors of a shape of 300 dimensions"),
    ],
)
def test_a_value_that_ends_the_process_is_a_fault(name: str, metadata: bytes, says: str) -> None:
    assert says in (fault_of_variant(variant(name, metadata)) or "")

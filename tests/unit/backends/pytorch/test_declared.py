import pytest

from salver.backends.pytorch.declared import parse_leaves
from salver.backends.pytorch.leaves import Leaf
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType


def test_names_dtypes_and_shapes_are_read() -> None:
    assert parse_leaves("x: float32[-1, 3], k:int64[] , any: bool") == (
        Leaf("x", DataType.FLOAT32, (-1, 3)),
        Leaf("k", DataType.INT64, ()),
        Leaf("any", DataType.BOOL, None),
    )


@pytest.mark.parametrize("text", ["", "  "])
def test_nothing_declares_nothing(text: str) -> None:
    assert parse_leaves(text) == ()


@pytest.mark.parametrize(
    "text",
    ["x", "x: float", "x: float32[a]", "x: float32[-2]", "x float32", "x: string[]", "x: int8[--1]",
     "x: int8, x: int8", ": int8", "x: float32[-1", "x: resource"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_leaves(text)

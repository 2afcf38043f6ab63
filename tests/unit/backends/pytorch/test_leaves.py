import json
from typing import Any

import numpy as np
import pytest
from tests.models.pt2 import leaf, mapping, node, sequence, tree

from salver.backends.pytorch.leaves import (
    Constant,
    Interface,
    Leaf,
    input_names,
    output_names,
    paths_of,
)
from salver.errors import FailedPrecondition
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import TensorSpec


@pytest.mark.parametrize(
    ("root", "names"),
    [
        (leaf(), ["y"]),
        (sequence(leaf()), ["y0"]),
        (sequence(leaf(), leaf()), ["y0", "y1"]),
        (mapping(b=leaf(), a=leaf()), ["b", "a"]),
        (sequence(leaf(), mapping(a=sequence(leaf(), leaf()))), ["y0", "y1_a_0", "y1_a_1"]),
        (mapping(a=mapping(b=leaf()), a_b=leaf()), ["a_b", "a_b_1"]),
        (node("collections.defaultdict", '["list", ["k"]]', leaf()), ["k"]),
    ],
)
def test_outputs_are_called_by_their_keys_or_their_place(root: Any, names: list[str]) -> None:
    assert output_names(paths_of(tree(root))) == names


def test_named_tuples_have_the_names_of_their_fields() -> None:
    root = node("my.Output", "null", leaf(), leaf())
    names = output_names(paths_of(tree(root), {"my.Output": ["logits", "loss"]}))
    assert names == ["logits", "loss"]


@pytest.mark.parametrize(
    ("arguments", "named", "names"),
    [
        (sequence(leaf()), mapping(), ["x"]),
        (sequence(leaf(), leaf()), mapping(), ["x0", "x1"]),
        (sequence(mapping(ids=leaf(), mask=leaf())), mapping(), ["ids", "mask"]),
        (sequence(leaf()), mapping(scale=leaf()), ["x", "scale"]),
        (sequence(), mapping(a=leaf(), b=leaf()), ["a", "b"]),
        (sequence(leaf(), mapping(a=leaf())), mapping(), ["x0", "x1_a"]),
    ],
)
def test_arguments_are_called_likewise(arguments: Any, named: Any, names: list[str]) -> None:
    assert input_names(paths_of(tree(sequence(arguments, named)))) == names


def _deep(depth: int) -> Any:
    root = leaf()
    for _ in range(depth):
        root = sequence(root)
    return root


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "[1]", '[1, {"type": "a"}]', "[1, 2]", json.dumps([1, _deep(300)])],
)
def test_what_is_no_tree_is_refused(text: str) -> None:
    with pytest.raises(FailedPrecondition, match="The program's description is wrong"):
        paths_of(text)


def test_a_signature_is_in_the_order_of_the_alphabet_and_leaves_constants_out() -> None:
    interface = Interface(
        (
            Leaf("z", DataType.FLOAT32, ("s0", 3)),
            Constant(7),
            Leaf("k", DataType.INT64, (), int, default=5),
        ),
        (Leaf("b", DataType.BOOL, None), None, Leaf("a", DataType.INT8, (2,))),
    )
    signature = interface.signature
    assert list(signature.inputs) == ["k", "z"]
    assert signature.inputs["z"] == TensorSpec(DataType.FLOAT32, (-1, 3))
    assert list(signature.outputs.items()) == [
        ("a", TensorSpec(DataType.INT8, (2,))),
        ("b", TensorSpec(DataType.BOOL, None)),
    ]
    default = signature.defaults["k"]
    assert default is not None
    np.testing.assert_array_equal(default, np.array(5))

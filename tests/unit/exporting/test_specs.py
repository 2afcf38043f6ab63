from typing import Annotated, Any

import numpy as np
import pytest

from salver.errors import InvalidArgument
from salver.exporting.specs import tensor_of, tensors_of


@pytest.mark.parametrize(
    ("said", "source"),
    [
        (("float32", [-1, 4]), "('float32', [-1, 4])"),
        (["string", ()], "('string', [])"),
        (("int64", [], 10), "('int64', [], 10)"),
        (("float32", [2], np.zeros(2)), "('float32', [2], [0.0, 0.0])"),
        ((np.float16, [3]), "('float16', [3])"),
        ((str, [-1]), "('string', [-1])"),
        (float, "('float64', [])"),
        (bool, "('bool', [])"),
        (Annotated[np.ndarray, ("int8", [1])], "('int8', [1])"),
        (Annotated[np.ndarray, "int8", [1]], "('int8', [1])"),
    ],
)
def test_types_are_written_as_a_python_model_has_them(said: Any, source: str) -> None:
    assert tensor_of(said, "x").source == source


@pytest.mark.parametrize(
    "said",
    ["float32", ("float32",), ("float33", [1]), ("float32", 3), ("float32", [-2]), np.ndarray, None,
     ("float32", ["a"]), ("resource", []), ("int64", [], object()), dict],
)  # fmt: skip
def test_anything_else_is_refused(said: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^what x is"):
        tensor_of(said, "what x is")


@pytest.mark.parametrize("said", [{}, [], "x", {3: ("int8", [])}, {"": ("int8", [])}])
def test_inputs_are_a_dict_by_name(said: Any) -> None:
    with pytest.raises(InvalidArgument, match="inputs"):
        tensors_of(said, "inputs")

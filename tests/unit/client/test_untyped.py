import numpy as np
import pytest

from salver.client.untyped import as_columns, as_they_are
from salver.errors import InvalidArgument


def test_arrays_keep_their_types_and_lists_get_the_usual_ones() -> None:
    found = as_they_are(
        {
            "a": np.zeros(1),
            "b": [1.5],
            "c": [1],
            "d": ["é"],
            "e": np.array([1], ">i2"),
            "f": np.array(["x"]),
        },
        "s",
    )
    assert {name: of.dtype.str for name, of in found.items()} == {
        "a": "<f8", "b": "<f4", "c": "<i8", "d": "|O", "e": "<i2", "f": "|O",
    }  # fmt: skip
    assert found["d"].tolist() == ["é".encode()]


def test_what_has_no_names_or_no_form_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="Name the inputs of signature 's'"):
        as_they_are([1.0], "s")
    with pytest.raises(InvalidArgument, match="no regular array"):
        as_they_are({"x": [[1], [1, 2]]}, "s")


def test_examples_become_columns() -> None:
    assert as_columns([{"x": 1, "y": 2}, {"y": 4, "x": 3}]) == {"x": [1, 3], "y": [2, 4]}
    for other in ([], [[1.0]], "text", {"x": [1]}, b"x"):
        assert as_columns(other) == other
    with pytest.raises(InvalidArgument, match="different features"):
        as_columns([{"x": 1}, {"y": 1}])

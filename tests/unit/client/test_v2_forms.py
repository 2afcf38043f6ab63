import numpy as np
import pytest

from salver.client.exchange import Which
from salver.client.v2_forms import classes_of, metadata_of, number_of, values_of
from salver.errors import Internal


def strings(*rows: list[bytes]) -> "np.ndarray[tuple[int, ...], np.dtype[np.object_]]":
    return np.array(rows, object)


def test_classes_are_read_with_and_without_labels() -> None:
    (row,) = classes_of(strings([b"0.900000:1:cat: a", b"-3:0"]))
    assert [tuple(of) for of in row] == [("cat: a", 0.9), ("0", -3.0)]
    assert len(classes_of(strings([b"1:0"], [b"2:0"]))) == 2
    assert len(classes_of(np.array([b"1:0", b"2:1"], object))) == 1
    for wrong in (b"x:1", b"1", 3):
        with pytest.raises(Internal, match="no class"):
            classes_of(np.array([[wrong]], object))


def test_values_are_one_for_each_row() -> None:
    assert values_of(np.array([[1], [2]])).tolist() == [1.0, 2.0]
    for wrong in (np.zeros((2, 2)), np.array([b"a"], object)):
        with pytest.raises(Internal):
            values_of(wrong)


def test_a_version_is_a_number_or_none() -> None:
    assert [number_of(of) for of in ("12", 3, "", "v1", "-1", "²")] == [
        12,
        3,
        None,
        None,
        None,
        None,
    ]


def test_an_unknown_datatype_is_told() -> None:
    with pytest.raises(Internal, match="'ODD'"):
        metadata_of(Which("m"), {"name": "m", "inputs": [{"name": "x", "datatype": "ODD"}]}, None)

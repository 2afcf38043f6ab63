import ml_dtypes
import numpy as np
import pytest

from salver.errors import InvalidArgument
from salver.oip.classification import MOST_SCORES, classified
from salver.vocabulary.requests import Array


def best(scores: Array, count: int, labels: list[str] | None = None, *, rows: bool = True) -> Array:
    return classified(scores, count, labels, has_rows=rows, name="y")


def test_the_best_classes_of_each_row_come_first() -> None:
    scores = np.array([[0.25, 0.5, 0.125], [3, 1, 2]], np.float32)
    assert best(scores, 2, ["cat", "dog"]).tolist() == [
        [b"0.500000:1:dog", b"0.250000:0:cat"],
        [b"3.000000:0:cat", b"2.000000:2"],
    ]


def test_without_rows_all_scores_are_of_one_thing() -> None:
    scores = np.array([[1, 5], [7, 2]], np.int64)
    assert best(scores, 3, rows=False).tolist() == [b"7:2", b"5:1", b"2:3"]
    assert best(np.array(0.5), 3).tolist() == [b"0.500000:0"]


def test_more_classes_than_there_are_are_all_of_them() -> None:
    assert best(np.zeros((2, 3), np.float32), 1 << 60).shape == (2, 3)
    assert best(np.zeros((0, 3), np.float32), 2).shape == (0, 2)
    assert best(np.zeros((2, 0), np.float32), 2).shape == (2, 0)


def test_equal_scores_keep_the_order_of_their_classes_and_what_is_no_number_is_last() -> None:
    scores = np.array([[1, np.nan, 1, 2]], np.float32)
    assert best(scores, 4).tolist() == [[b"2.000000:3", b"1.000000:0", b"1.000000:2", b"nan:1"]]


@pytest.mark.parametrize("dtype", ["u1", "i1", "u8", "e", "d", ml_dtypes.bfloat16])
def test_every_type_of_numbers_has_an_order(dtype: str) -> None:
    found = best(np.array([[1, 3, 2]]).astype(dtype), 1).tolist()
    assert found[0][0].split(b":")[1] == b"1"


def test_what_has_no_scores_has_no_classes() -> None:
    with pytest.raises(InvalidArgument, match="due to unsupported type 'BYTES'"):
        best(np.array([b"a"], object), 1)
    with pytest.raises(InvalidArgument, match="due to unsupported type 'BOOL'"):
        best(np.array([True]), 1)
    with pytest.raises(InvalidArgument, match="'y' too large"):
        best(np.zeros((1, MOST_SCORES + 1), np.uint8), 1)


def test_a_label_that_is_no_unicode_passes_through() -> None:
    assert best(np.ones((1, 1)), 1, ["\udcff"]).tolist() == [[b"1.000000:0:\xff"]]

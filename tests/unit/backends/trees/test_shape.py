import numpy as np
import pytest

from salver.backends.trees.shape import check_binary_tree, check_within
from salver.errors import DataLoss


def test_a_tree_is_one() -> None:
    check_binary_tree("tree", np.array([1, 2, 3, 4]), 5)
    check_binary_tree("tree", np.array([], np.int64), 1)


@pytest.mark.parametrize(
    "children", [[1, 1], [0, 1], [1, 5], [1, -1]], ids=["twice", "root", "behind", "before"]
)
def test_what_leads_round_or_out_is_none(children: list[int]) -> None:
    with pytest.raises(DataLoss, match=r"^tree$"):
        check_binary_tree("tree", np.array(children), 5)


def test_numbers_are_within() -> None:
    check_within("numbers", np.array([0, 4]), 0, 5)
    with pytest.raises(DataLoss):
        check_within("numbers", np.array([0, 5]), 0, 5)

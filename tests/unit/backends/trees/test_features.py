import numpy as np
import pytest

from salver.backends.trees.features import Feature, Features
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import TensorSpec

CITY = Feature("city", {b"Bonn": 0.0, b"Oslo": 1.0})
FEATURES = Features(dtype=DataType.FLOAT64, count=2, named=(Feature("z"), CITY))
MATRIX = Features(dtype=DataType.FLOAT32, count=2)


def texts(*values: bytes) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    return np.array(values, object)


def test_a_matrix_is_taken_as_it_is() -> None:
    given = np.ones((3, 2), np.float32)
    assert MATRIX.matrix_of([given]) is given


def test_a_matrix_within_a_message_is_copied_to_where_numbers_may_begin() -> None:
    given = np.frombuffer(b"?" + np.ones(4, np.float32).tobytes(), np.float32, offset=1)
    matrix = MATRIX.matrix_of([given.reshape(2, 2)])
    assert matrix.flags.aligned
    np.testing.assert_array_equal(matrix, np.ones((2, 2)))


@pytest.mark.parametrize("shape", [(2,), (3, 3), (1, 1, 2), ()])
def test_a_matrix_of_another_shape_is_refused_by_name(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument, match=r"^Input x must have shape \[-1, 2\], not \["):
        MATRIX.matrix_of([np.ones(shape, np.float32)])


def test_a_matrix_of_another_element_type_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"^Input x must be float32, not int64$"):
        MATRIX.matrix_of([np.ones((1, 2), np.int64)])


def test_columns_are_inputs_sorted_by_name_and_text_where_the_categories_are() -> None:
    assert list(FEATURES.column_specs().items()) == [
        ("city", TensorSpec(DataType.STRING, (-1,))),
        ("z", TensorSpec(DataType.FLOAT64, (-1,))),
    ]


def test_columns_stand_in_the_matrix_in_the_order_of_the_model() -> None:
    matrix = FEATURES.matrix_of_columns([texts(b"Oslo", b"Bonn"), np.array([5.0, 6.0])])
    np.testing.assert_array_equal(matrix, [[5, 1], [6, 0]])


def test_an_unknown_category_is_missing() -> None:
    matrix = FEATURES.matrix_of_columns([texts(b"Rome", b""), np.array([5.0, 6.0])])
    assert np.isnan(matrix[:, 1]).all()


def test_an_unknown_category_may_be_refused_and_an_empty_one_is_still_missing() -> None:
    features = Features(dtype=DataType.FLOAT64, count=1, named=(CITY,), refuses_unknown=True)
    assert np.isnan(features.matrix_of_columns([texts(b"")])).all()
    with pytest.raises(InvalidArgument, match=r"^Rome is no category of city$") as refused:
        features.matrix_of_columns([texts(b"Rome")])
    assert refused.value.hint == "It was trained with Bonn, Oslo."


def test_columns_of_different_lengths_are_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match="city has 1, z has 2"):
        FEATURES.matrix_of_columns([texts(b"Oslo"), np.ones(2)])


def test_a_column_with_two_axes_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match=r"^Input z must have shape \[-1\], not \[1, 1\]$"):
        FEATURES.matrix_of_columns([texts(b"Oslo"), np.ones((1, 1))])


def test_a_column_of_another_element_type_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match=r"^Input z must be float64, not string$"):
        FEATURES.matrix_of_columns([texts(b"Oslo"), texts(b"1")])

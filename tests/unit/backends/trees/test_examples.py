from typing import Any

import numpy as np
import pytest

from salver._pb import message_class
from salver.backends.trees.examples import matrix_of_examples
from salver.backends.trees.features import Feature, Features
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType

CITY = Feature("city", {b"Bonn": 0.0, b"Oslo": 1.0})
FEATURES = Features(dtype=DataType.FLOAT32, count=2, named=(Feature("age"), CITY))
UNNAMED = Features(dtype=DataType.FLOAT32, count=2)


def examples(*each: dict[str, Any]) -> Any:
    made = np.empty(len(each), object)
    for at, features in enumerate(each):
        message = message_class("tensorflow.Example")()
        for name, values in features.items():
            feature = message.features.feature[name]
            if isinstance(values[0], bytes):
                feature.bytes_list.value.extend(values)
            elif isinstance(values[0], int):
                feature.int64_list.value.extend(values)
            else:
                feature.float_list.value.extend(values)
        made[at] = message.SerializeToString()
    return made


def test_features_are_columns_by_their_names() -> None:
    given = examples({"age": [30], "city": [b"Oslo"]}, {"age": [1.5], "city": [b"Bonn"]})
    np.testing.assert_array_equal(matrix_of_examples(FEATURES, given), [[30, 1], [1.5, 0]])


def test_what_an_example_leaves_out_is_missing_and_what_the_model_has_not_is_left_out() -> None:
    (row,) = matrix_of_examples(FEATURES, examples({"age": [30.0], "shoe": [44.0]}))
    assert row[0] == 30
    assert np.isnan(row[1])


def test_an_example_without_features_is_one_of_missing_values() -> None:
    assert np.isnan(matrix_of_examples(FEATURES, examples({}))).all()


def test_all_numbers_may_come_at_once_as_x() -> None:
    matrix = matrix_of_examples(UNNAMED, examples({"x": [1.0, 2.0]}))
    np.testing.assert_array_equal(matrix, [[1, 2]])


@pytest.mark.parametrize(
    ("features", "given", "text"),
    [
        (UNNAMED, {"x": [1.0]}, "Feature x of an example must have 2 numbers"),
        (UNNAMED, {"x": [b"a", b"b"]}, "Feature x of an example must have 2 numbers"),
        (UNNAMED, {"y": [1.0]}, "An example has none of the features of this model"),
        (FEATURES, {"age": [1.0, 2.0]}, "Feature age of an example must have one value"),
        (FEATURES, {"age": [b"old"]}, "Feature age of an example must be a number"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    features: Features, given: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"^{text}$"):
        matrix_of_examples(features, examples(given))


def test_what_is_no_example_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"^Could not parse example input"):
        matrix_of_examples(FEATURES, np.array([b"\xff\x01"], object))


def test_numbers_in_the_place_of_examples_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"serialized tf\.Examples"):
        matrix_of_examples(FEATURES, np.ones(3))

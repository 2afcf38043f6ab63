"""`classify` and `regress` of ONNX models."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.onnx_models import classifier, regressor

from salver._pb import message_class
from salver.backends.onnxruntime.model import OnnxModel
from salver.errors import Code, ServingError

Load = Callable[..., OnnxModel]


def examples(*rows: dict[str, list[Any]]) -> Any:
    made = []
    for row in rows:
        example = message_class("tensorflow.Example")()
        for name, values in row.items():
            feature = example.features.feature[name]
            if not values:
                feature.float_list.SetInParent()
            elif isinstance(values[0], float):
                feature.float_list.value.extend(values)
            elif isinstance(values[0], int):
                feature.int64_list.value.extend(values)
            else:
                feature.bytes_list.value.extend(values)
        made.append(example.SerializeToString())
    array = np.empty(len(made), object)
    array[:] = made
    return array


@pytest.mark.parametrize("how", ["run", "run_in_caller", "run_inline"])
def test_classes_come_with_their_scores(how: str, load: Load) -> None:
    loaded = load(classifier())
    feeds = [examples({"x": [1.0, 0.0, 0.5, 2.0]}, {"x": [1, 0, 0, 2]})]
    classes, scores = getattr(loaded.program("classify"), how)(feeds)
    assert classes.tolist() == [[b"cat", b"dog", b"eel"]] * 2
    x = np.array([[1, 0, 0.5, 2], [1, 0, 0, 2]], np.float32)
    (wanted,) = loaded.program("serving_default", ["probabilities"]).run([x])
    np.testing.assert_array_equal(scores, wanted)
    (alone,) = loaded.program("classify", ["scores"]).run(feeds)
    np.testing.assert_array_equal(alone, wanted)


def test_values_come_of_columns(load: Load) -> None:
    (y,) = (
        load(regressor())
        .program("regress")
        .run([examples({"age": [1.0], "height": [2.0]}, {"height": [0.0], "age": [0.0]})])
    )
    assert y.tolist() == [[9.0], [1.0]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"z": [1.0]}], "Feature: x .* is required but could not be found"),
        ([{"x": [1.0, 2.0]}], "Number of values: 2, and 4 are expected"),
        ([{"x": [b"a"] * 4}], "Data types don't match"),
        ([{"x": []}], "Number of values: 0"),
    ],
)
def test_an_example_that_does_not_fit_is_the_fault_of_the_request(
    rows: list[dict[str, list[Any]]], said: str, load: Load
) -> None:
    program = load(classifier()).program("classify")
    with pytest.raises(ServingError, match=said) as raised:
        program.run([examples(*rows)])
    assert raised.value.code is Code.INVALID_ARGUMENT


def test_what_is_no_example_is_an_error(load: Load) -> None:
    program = load(classifier()).program("classify")
    for feed in (np.array([b"\xff\xff"], object), np.array([[b""]], object)):
        with pytest.raises(ServingError) as raised:
            program.run([feed])
        assert raised.value.code is Code.INVALID_ARGUMENT

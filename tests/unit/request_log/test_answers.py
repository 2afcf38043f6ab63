import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tests.integration.grpc_clients.plain import message, model_spec, tensor

from salver.codecs.protobuf.prediction_log import LogKind
from salver.errors import DataLoss
from salver.request_log.answers import (
    Answer,
    Comparison,
    Tolerance,
    answer_of_json,
    answer_of_message,
    compare,
)
from salver.request_log.json_forms import response_json
from salver.vocabulary.requests import Array

TOLERANCE = Tolerance(rtol=1e-3, atol=0.0)


def lists(answer: Answer) -> dict[str, Any]:
    return {name: array.tolist() for name, array in answer.outputs.items()}


def of_message(kind: LogKind, built: Any) -> Answer:
    return answer_of_message(kind, built.SerializeToString())


class TestReading:
    def test_a_message_of_predict(self) -> None:
        built = message("PredictResponse")
        built.outputs["y"].CopyFrom(tensor([1.0]))
        answer = of_message(LogKind.PREDICT, built)
        assert answer.is_typed
        assert answer.outputs["y"].dtype == np.float32
        assert lists(answer) == {"y": [1.0]}

    def test_messages_of_examples(self) -> None:
        built = message("ClassificationResponse")
        built.result.classifications.add().classes.add(label="a", score=0.5)
        answer = of_message(LogKind.CLASSIFY, built)
        assert lists(answer) == {"classes": [[b"a"]], "scores": [[0.5]]}
        built = message("RegressionResponse")
        built.result.regressions.add(value=2.0)
        assert lists(of_message(LogKind.REGRESS, built)) == {"outputs": [2.0]}

    def test_a_message_of_several_tasks(self) -> None:
        built = message("MultiInferenceResponse")
        first = built.results.add(model_spec=model_spec("m", signature="r"))
        first.regression_result.regressions.add(value=2.0)
        second = built.results.add(model_spec=model_spec("m", signature="c"))
        second.classification_result.classifications.add().classes.add(label="a", score=1.0)
        answer = of_message(LogKind.MULTI_INFERENCE, built)
        expected = {"r/outputs": [2.0], "c/classes": [[b"a"]], "c/scores": [[1.0]]}
        assert lists(answer) == expected
        text = response_json(LogKind.MULTI_INFERENCE, built.SerializeToString())
        assert lists(answer_of_json(LogKind.MULTI_INFERENCE, json.loads(text))) == expected

    def test_a_message_of_a_session(self) -> None:
        built = message("SessionRunResponse")
        built.tensor.add(name="y:0", tensor=tensor([1.0]))
        assert lists(of_message(LogKind.SESSION_RUN, built)) == {"y:0": [1.0]}

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ({"predictions": [1.0, 2.0]}, {"": [1.0, 2.0]}),
            ({"predictions": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]},
             {"a": [1, 2], "b": [b"x", b"y"]}),
            ({"predictions": []}, {"": []}),
            ({"predictions": [{"b64": "/w=="}]}, {"": [b"\xff"]}),
            ({"outputs": [[True]]}, {"": [[True]]}),
            ({"outputs": {"a": [1], "b": "x"}}, {"a": [1], "b": b"x"}),
        ],
    )  # fmt: skip
    def test_the_json_of_predict(self, value: Any, expected: dict[str, Any]) -> None:
        answer = answer_of_json(LogKind.PREDICT, value)
        assert not answer.is_typed
        assert lists(answer) == expected

    def test_the_json_of_examples(self) -> None:
        answer = answer_of_json(LogKind.CLASSIFY, {"results": [[["a", 0.5], ["b", 1]]]})
        assert lists(answer) == {"classes": [[b"a", b"b"]], "scores": [[0.5, 1.0]]}
        assert lists(answer_of_json(LogKind.REGRESS, {"results": [2]})) == {"outputs": [2.0]}

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            (LogKind.PREDICT, {}),
            (LogKind.PREDICT, []),
            (LogKind.PREDICT, {"outputs": [[1], [2, 3]]}),
            (LogKind.CLASSIFY, {"results": [1]}),
            (LogKind.REGRESS, {"results": "x"}),
            (LogKind.SESSION_RUN, {"no": 1}),
        ],
    )
    def test_what_is_no_answer(self, kind: LogKind, value: Any) -> None:
        with pytest.raises(DataLoss, match="This is no "):
            answer_of_json(kind, value)


def array(values: Any, dtype: Any = np.float32) -> Array:
    return np.array(values, dtype)


def strings(*values: bytes) -> Array:
    made = np.empty(len(values), object)
    made[:] = values
    return made


def of(is_typed: bool = True, **outputs: Array) -> Answer:
    return Answer(outputs, is_typed)


def problems(expected: Answer, got: Answer) -> list[str]:
    return [found.problem for found in compare(expected, got, TOLERANCE)]


class TestComparing:
    def test_numbers_within_the_tolerance_are_the_same(self) -> None:
        found = compare(of(y=array([1.0, 2.0])), of(y=array([1.0, 2.001])), TOLERANCE)
        (one,) = found
        assert not one.problem
        assert one.largest == pytest.approx(0.001, rel=1e-3)

    def test_numbers_beyond_it_differ(self) -> None:
        found = compare(of(y=array([[1.0], [2.0]])), of(y=array([[1.0], [2.5]])), TOLERANCE)
        assert found == [Comparison("y", 0.5, "is 2.5, not 2.0 at [1, 0]; 1 of 2 differ")]
        assert problems(of(y=array(1.0)), of(y=array(2.0))) == ["is 2.0, not 1.0"]

    def test_nan_equals_nan_and_infinity_itself(self) -> None:
        special = [np.nan, np.inf, -np.inf]
        assert compare(of(y=array(special)), of(y=array(special)), TOLERANCE) == [
            Comparison("y", 0.0)
        ]
        found = compare(of(y=array([np.nan, np.inf])), of(y=array([1.0, -np.inf])), TOLERANCE)
        assert found == [Comparison("y", np.inf, "is 1.0, not nan at [0]; 2 of 2 differ")]

    def test_integers_and_booleans_are_the_same_only_when_equal(self) -> None:
        large = array([10**6], np.int64)
        assert problems(of(y=large), of(y=large)) == [""]
        assert compare(of(y=large), of(y=large + 1), TOLERANCE)[0].largest == 1.0
        assert problems(of(y=array([True])), of(y=array([False]))) == ["is 0.0, not 1.0 at [0]"]
        assert problems(of(y=array([True], bool)), of(y=array([False], bool))) == [
            "is False, not True at [0]"
        ]

    def test_strings_are_the_same_only_when_equal(self) -> None:
        found = compare(of(y=strings(b"a", b"\xff")), of(y=strings(b"a", b"b" * 99)), TOLERANCE)
        assert found[0].largest == 0.0
        assert found[0].problem == f"is '{'b' * 59}…, not '\\\\xff' at [1]; 1 of 2 differ"
        assert problems(of(y=strings(b"a")), of(y=strings(b"a"))) == [""]

    def test_complex_and_short_floats_are_numbers_too(self) -> None:
        assert problems(of(y=array([1j], np.complex64)), of(y=array([1j], np.complex64))) == [""]
        short = array([1.0], ml_dtypes.bfloat16)
        assert problems(of(y=short), of(y=short * 2)) == ["is 2, not 1 at [0]"]

    def test_outputs_that_are_not_on_both_sides_differ(self) -> None:
        found = compare(of(a=array(1), b=array(1)), of(b=array(1), c=array(1)), TOLERANCE)
        assert [(one.output, one.problem) for one in found] == [
            ("a", "is missing"), ("b", ""), ("c", "was not there before"),
        ]  # fmt: skip
        assert problems(of(a=array(1)), of(b=array(1))) == ["is missing", "was not there before"]

    def test_shapes_and_dtypes_differ(self) -> None:
        assert problems(of(y=array([1.0])), of(y=array([[1.0]]))) == ["has shape [1, 1], not [1]"]
        assert problems(of(y=array([1.0])), of(y=array([1.0], np.float64))) == [
            "has dtype float64, not float32"
        ]

    def test_the_only_output_of_rest_has_the_name_of_the_other_side(self) -> None:
        rest = of(False, **{"": array([1.0], np.float64)})
        assert [one.output for one in compare(rest, of(y=array([1.0])), TOLERANCE)] == ["y"]
        assert [one.output for one in compare(of(y=array([1.0])), rest, TOLERANCE)] == ["y"]
        assert [one.output for one in compare(rest, rest, TOLERANCE)] == [""]

    def test_what_json_says_is_meant_as_the_models_dtype(self) -> None:
        exact = Tolerance(0.0, 0.0)
        text = of(False, y=array([0.1], np.float64))
        for expected, got in ((of(y=array([0.1])), text), (text, of(y=array([0.1])))):
            assert compare(expected, got, exact) == [Comparison("y", 0.0)]
        number = of(False, y=array([3], np.int64))
        assert compare(of(y=array([3], np.uint8)), number, exact) == [Comparison("y", 0.0)]
        large = of(False, y=array([2**64 - 1], np.uint64))
        assert compare(of(y=array([1], np.uint8)), large, exact)[0].problem
        assert compare(of(y=array([3.0])), number, exact) == [Comparison("y", 0.0)]
        flag = of(y=array([True], bool))
        assert compare(flag, of(False, y=array([1.0], np.float64)), exact)[0].problem == ""
        assert problems(of(y=array([3.0])), of(False, y=strings(b"3"))) == [
            "has dtype object, not float32"
        ]

    def test_in_json_an_empty_array_has_no_shape(self) -> None:
        empty = of(False, y=array([], np.float64))
        assert problems(of(y=array([]).reshape(0, 3)), empty) == [""]
        assert problems(of(y=array([]).reshape(0, 3)), of(y=array([]))) == [
            "has shape [0], not [0, 3]"
        ]
        assert problems(of(y=array([1.0])), empty) == ["has shape [0], not [1]"]

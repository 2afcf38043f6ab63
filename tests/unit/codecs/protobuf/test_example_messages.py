from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tests.wire_forms import broken

from salver._pb import message_class
from salver.codecs.protobuf.example_messages import (
    ExamplesRequest,
    InferenceTask,
    decode_classification_request,
    decode_multi_inference_request,
    decode_regression_request,
    encode_classification_response,
    encode_multi_inference_response,
    encode_regression_response,
)
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.room import Room
from salver.errors import Internal, InvalidArgument
from salver.vocabulary.requests import ClassifyResult, RegressResult, TakesLong

EXAMPLE = message_class("tensorflow.Example")
SPEC = ModelSpec("m", 3, None, "s")
DECODERS = {
    "Classification": decode_classification_request,
    "Regression": decode_regression_request,
}
both = pytest.mark.parametrize("method", DECODERS)


def serving(name: str) -> Any:
    return message_class(f"tensorflow.serving.{name}")


def example(**features: float) -> Any:
    made = EXAMPLE()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made


def request(method: str, *examples: Any, context: Any = None) -> bytes:
    message = serving(f"{method}Request")()
    message.model_spec.name = "m"
    if context is None:
        message.input.example_list.examples.extend(examples)
    else:
        message.input.example_list_with_context.examples.extend(examples)
        message.input.example_list_with_context.context.CopyFrom(context)
    data: bytes = message.SerializeToString()
    return data


@both
def test_examples_stay_serialized(method: str) -> None:
    examples = [example(a=1, b=2), example(), example(a=3)]
    found = DECODERS[method](request(method, *examples))
    assert found.spec == ModelSpec("m")
    assert [EXAMPLE.FromString(data) for data in found.examples] == examples


@both
def test_the_context_goes_before_each_example(method: str) -> None:
    data = request(method, example(a=1), example(b=2), context=example(a=0, c=9))
    merged = [EXAMPLE.FromString(one) for one in DECODERS[method](data).examples]
    assert merged == [example(a=1, c=9), example(a=0, b=2, c=9)]


@both
def test_a_context_without_examples_gives_none(method: str) -> None:
    assert DECODERS[method](request(method, context=example(a=1))).examples == []


@both
@pytest.mark.parametrize("data", [b"", b"\x12\x00", b"\x12\x02\x0a\x00"])
def test_no_input_is_no_examples(method: str, data: bytes) -> None:
    assert DECODERS[method](data) == ExamplesRequest(None, [])


@both
def test_the_last_kind_of_input_wins(method: str) -> None:
    listed = request(method, example(a=1))
    with_context = request(method, example(b=1), context=example())
    assert DECODERS[method](listed + with_context).examples == [example(b=1).SerializeToString()]
    assert DECODERS[method](with_context + listed).examples == [example(a=1).SerializeToString()]


@both
@given(broken(st.just(request("Classification", example(a=1), context=example(b=1)))))
def test_broken_bytes_are_an_internal_error_or_a_request(method: str, data: bytes) -> None:
    try:
        serving(f"{method}Request").FromString(data)
    except DecodeError:
        with pytest.raises(Internal, match=f"Failed to parse tensorflow.serving.{method}Request"):
            DECODERS[method](data)
    else:
        DECODERS[method](data)


@both
def test_a_large_context_of_many_examples_takes_room_or_is_refused(method: str) -> None:
    large = EXAMPLE()
    large.features.feature["z"].bytes_list.value.append(b"z" * 30_000)
    ten = request(method, *[example()] * 10, context=large)
    with pytest.raises(TakesLong):
        DECODERS[method](ten, Room(len(ten), made_bytes=1 << 16))
    assert len(DECODERS[method](ten, Room(len(ten))).examples) == 10
    many = request(method, *[example()] * 16_000, context=large)
    with pytest.raises(
        InvalidArgument, match=r"^A context of \d+ bytes for 16000 examples would take more than 64"
    ):
        DECODERS[method](many)


@both
def test_many_examples_take_room(method: str) -> None:
    many = request(method, *[example()] * 2000)
    with pytest.raises(TakesLong):
        DECODERS[method](many, Room(len(many), made_bytes=1 << 16))


def test_a_multi_inference_request_has_tasks_and_examples() -> None:
    message = serving("MultiInferenceRequest")()
    message.tasks.add(method_name="one").model_spec.name = "m"
    message.tasks.add(method_name="two")
    message.input.example_list.examples.append(example(a=1))
    found = decode_multi_inference_request(message.SerializeToString())
    assert found.tasks == (InferenceTask(ModelSpec("m"), "one"), InferenceTask(None, "two"))
    assert found.examples == [example(a=1).SerializeToString()]
    with pytest.raises(TakesLong):
        decode_multi_inference_request(message.SerializeToString(), Room(1, made_bytes=1))
    with pytest.raises(Internal, match="MultiInferenceRequest"):
        decode_multi_inference_request(b"\x0a")


CLASSIFIED: dict[str, tuple[ClassifyResult, list[list[tuple[str, float]]]]] = {
    "both": (
        ClassifyResult([[b"cat", b""], [b"d\xc3\xb6g", b"x"]], np.array([[0.5, 0], [-1, 2]], "f4")),
        [[("cat", 0.5), ("", 0)], [("d\u00f6g", -1), ("x", 2)]],
    ),
    "labels": (
        ClassifyResult([[b"cat"], [b""], [b"dog"]], None),
        [[("cat", 0)], [("", 0)], [("dog", 0)]],
    ),
    "scores": (ClassifyResult(None, np.array([[0.5, 0.25]], "f4")), [[("", 0.5), ("", 0.25)]]),
    "no classes": (ClassifyResult(None, np.empty((2, 0), "f4")), [[], []]),
    "many": (
        ClassifyResult([[b"x" * 200] * 100] * 3, np.ones((3, 100), "f4")),
        [[("x" * 200, 1.0)] * 100] * 3,
    ),
}


def classes(result: Any) -> list[list[tuple[str, float]]]:
    return [[(one.label, one.score) for one in row.classes] for row in result.classifications]


@pytest.mark.parametrize("case", CLASSIFIED)
def test_classes_are_written_so_that_protobuf_reads_them(case: str) -> None:
    result, expected = CLASSIFIED[case]
    data = encode_classification_response(SPEC, result)
    message = serving("ClassificationResponse").FromString(data)
    assert classes(message.result) == expected
    assert (message.model_spec.name, message.model_spec.version.value) == ("m", 3)
    assert message.model_spec.signature_name == "s"


def test_a_label_that_is_not_utf_8_is_written_as_it_is() -> None:
    data = encode_classification_response(SPEC, ClassifyResult([[b"\xff\xfe"]], None))
    assert b"\x0a\x02\xff\xfe" in data


@given(st.lists(st.floats(width=32), max_size=300))
def test_values_are_written_so_that_protobuf_reads_them(values: list[float]) -> None:
    array = np.array(values, np.float32)
    data = encode_regression_response(SPEC, RegressResult(array))
    message = serving("RegressionResponse").FromString(data)
    found = np.array([one.value for one in message.result.regressions], np.float32)
    np.testing.assert_array_equal(found, array)
    assert message.model_spec.name == "m"


def test_results_of_several_questions_are_in_order() -> None:
    classified, expected = CLASSIFIED["both"]
    data = encode_multi_inference_response(
        [(SPEC, RegressResult(np.array([1.5], "f4"))), (ModelSpec("n"), classified)]
    )
    first, second = serving("MultiInferenceResponse").FromString(data).results
    assert [one.value for one in first.regression_result.regressions] == [1.5]
    assert (first.model_spec.name, second.model_spec.name) == ("m", "n")
    assert classes(second.classification_result) == expected
    assert encode_multi_inference_response([]) == b""


@pytest.mark.parametrize(
    ("encode", "result"),
    [
        (encode_classification_response, CLASSIFIED["both"][0]),
        (encode_regression_response, RegressResult(np.array([1.5], "f4"))),
    ],
)
def test_the_result_is_there_before_the_spec(
    encode: Callable[[ModelSpec, Any], bytes], result: Any
) -> None:
    assert encode(SPEC, result)[0] == 0x0A

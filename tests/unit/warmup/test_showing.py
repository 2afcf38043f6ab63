import json
from typing import Any

import numpy as np
import pytest
from tests.shelf import FLOATS, STRINGS, FunctionModel, signature

from salver._pb import message_class
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.prediction_log import (
    LoggedRequest,
    LogKind,
    decode_prediction_log,
    encode_prediction_log,
)
from salver.codecs.protobuf.request_messages import encode_examples_request, encode_predict_request
from salver.codecs.protobuf.tensor_proto import encode_tensor
from salver.errors import Internal
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import Array
from salver.warmup.making import Target, record_of_body
from salver.warmup.showing import describe, document


def predict(spec: ModelSpec | None = None, **inputs: Array) -> LoggedRequest:
    request = encode_predict_request(spec or ModelSpec("m"), inputs)
    return LoggedRequest(LogKind.PREDICT, request, None, b"")


def array(*values: object, dtype: str = "float32") -> Array:
    return np.array(values, dtype)


def example(**features: Any) -> bytes:
    made = message_class("tensorflow.Example")()
    for name, values in features.items():
        feature = made.features.feature[name]
        if values is None:
            feature.SetInParent()
        elif isinstance(values[0], float):
            feature.float_list.value.extend(values)
        elif isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        else:
            feature.bytes_list.value.extend(values)
    data: bytes = made.SerializeToString()
    return data


EXAMPLE = example(a=[0.1, 2.0], b=[3], c=[b"x", b"\xff"], d=None)
FEATURES = {"a": [0.1, 2.0], "b": [3], "c": ["x", {"b64": "/w=="}], "d": []}


def examples(kind: LogKind, *given: bytes) -> LoggedRequest:
    spec = ModelSpec("m", 3, None, "s")
    return LoggedRequest(kind, encode_examples_request(spec, given), b"", b"")


def multi() -> LoggedRequest:
    message = message_class("tensorflow.serving.MultiInferenceRequest")()
    for name in ("c", "r"):
        task = message.tasks.add(method_name=f"tensorflow/serving/{name}")
        task.model_spec.name, task.model_spec.signature_name = "m", name
    message.input.example_list.examples.add().ParseFromString(EXAMPLE)
    return LoggedRequest(LogKind.MULTI_INFERENCE, message.SerializeToString(), None, b"")


def session_run() -> LoggedRequest:
    message = message_class("tensorflow.serving.SessionRunRequest")(fetch=["y:0"], target=["t"])
    message.model_spec.name = "m"
    feed = message.feed.add(name="x:0")
    feed.tensor.ParseFromString(encode_tensor(array(1.5), as_content=False))
    return LoggedRequest(LogKind.SESSION_RUN, message.SerializeToString(), None, b"")


# -- for people ------------------------------------------------------------------------------------


def test_a_predict_is_described_by_its_first_values() -> None:
    logged = predict(
        ModelSpec("m", 7, None, "s"),
        x=np.arange(12, dtype=np.int32).reshape(3, 4),
        empty=np.zeros((0, 2), np.float32),
        scalar=np.float64(0.1) * np.ones(()),
        text=np.array([b"a\n", "ä".encode(), b"\xff", b"z" * 100], object),
    )
    z = '"' + "z" * 79 + "..."
    assert list(describe(logged)) == [
        "predict, model m version 7, signature s",
        "  x: int32 [3, 4] 0, 1, 2, 3, 4, 5, 6, 7, ...",
        "  empty: float [0, 2]",
        "  scalar: double [] 0.1",
        f'  text: string [4] "a\\n", "ä", {{"b64": "/w=="}}, {z}',
    ]


def test_an_output_filter_and_a_response_are_told_of() -> None:
    message = message_class("tensorflow.serving.PredictRequest")(output_filter=["a", "b"])
    message.model_spec.version_label = "stable"
    logged = LoggedRequest(LogKind.PREDICT, message.SerializeToString(), b"", b"")
    assert list(describe(logged)) == [
        "predict, no model label stable, signature serving_default, with a response",
        "  only outputs: a, b",
    ]
    assert document(logged) == {
        "kind": "predict",
        "label": "stable",
        "signature_name": "serving_default",
        "inputs": {},
        "dtypes": {},
        "shapes": {},
        "output_filter": ["a", "b"],
    }


def test_of_examples_the_first_three_are_shown() -> None:
    logged = examples(LogKind.CLASSIFY, EXAMPLE, b"", b"", b"", b"")
    assert list(describe(logged)) == [
        "classify, model m version 3, signature s, with a response",
        '  example: {"a": [0.1, 2.0], "b": [3], "c": ["x", {"b64": "/w=="}], "d": []}',
        "  example: {}",
        "  example: {}",
        "  and 2 more examples",
    ]
    assert next(describe(examples(LogKind.REGRESS, b""))).startswith("regress, model m version 3")


def test_a_request_without_a_model_spec_says_so() -> None:
    message = message_class("tensorflow.serving.ClassificationRequest")()
    logged = LoggedRequest(LogKind.CLASSIFY, message.SerializeToString(), None, b"")
    assert list(describe(logged)) == ["classify, no model, signature serving_default"]


def test_the_tasks_of_a_multi_inference_are_shown() -> None:
    assert list(describe(multi()))[:3] == [
        "multi_inference",
        "  task: tensorflow/serving/c, model m, signature c",
        "  task: tensorflow/serving/r, model m, signature r",
    ]


def test_what_a_warmup_does_not_replay_is_said() -> None:
    assert list(describe(session_run())) == [
        "session_run, model m, signature serving_default: not replayed by a warmup",
        "  x:0: float [1] 1.5",
    ]
    stream = LoggedRequest(LogKind.PREDICT_STREAMED, b"", None, b"")
    assert list(describe(stream)) == ["predict_streamed: not replayed by a warmup"]


@pytest.mark.parametrize("kind", [kind for kind in LogKind if kind is not LogKind.PREDICT_STREAMED])
def test_a_request_that_is_none_is_refused(kind: LogKind) -> None:
    logged = LoggedRequest(kind, b"\x0a", None, b"")
    with pytest.raises(Internal):
        list(describe(logged))
    with pytest.raises(Internal):
        document(logged)


# -- as JSON ---------------------------------------------------------------------------------------


def test_a_predict_has_all_its_values() -> None:
    logged = predict(
        x=array([0.1, 2], [float("nan"), float("-inf")]),
        text=np.array([[b"a"], [b"\xff"]], object),
        complex=np.array([1 + 2j], np.complex64),
    )
    found = json.loads(json.dumps(document(logged)))
    assert str(found.pop("inputs")) == (
        "{'x': [[0.1, 2.0], [nan, -inf]], 'text': [['a'], [{'b64': '/w=='}]], "
        "'complex': ['(1+2j)']}"
    )
    assert found == {
        "kind": "predict",
        "model": "m",
        "signature_name": "serving_default",
        "dtypes": {"x": "float", "text": "string", "complex": "complex64"},
        "shapes": {"x": [2, 2], "text": [2, 1], "complex": [1]},
    }


def test_examples_have_their_features() -> None:
    found = document(examples(LogKind.REGRESS, EXAMPLE))
    assert found == {
        "kind": "regress",
        "model": "m",
        "version": 3,
        "signature_name": "s",
        "examples": [FEATURES],
    }
    assert document(examples(LogKind.CLASSIFY))["kind"] == "classify"


def test_a_multi_inference_has_tasks_and_examples() -> None:
    assert document(multi()) == {
        "kind": "multi_inference",
        "tasks": [
            {"model": "m", "signature_name": name, "method_name": f"tensorflow/serving/{name}"}
            for name in ("c", "r")
        ],
        "examples": [FEATURES],
    }


def test_a_session_run_has_feeds_fetches_and_targets() -> None:
    assert document(session_run()) == {
        "kind": "session_run",
        "model": "m",
        "signature_name": "serving_default",
        "feeds": {"x:0": [1.5]},
        "fetches": ["y:0"],
        "targets": ["t"],
    }


def test_a_stream_is_named_alone() -> None:
    stream = LoggedRequest(LogKind.PREDICT_STREAMED, b"", None, b"")
    assert document(stream) == {"kind": "predict_streamed"}


@pytest.mark.parametrize(
    "logged",
    [
        predict(x=array([0.1, float("inf")], [3, 4]), text=np.array([b"a", b"\xff"], object)),
        examples(LogKind.CLASSIFY, EXAMPLE, b""),
    ],
    ids=["predict", "classify"],
)
def test_what_is_shown_as_json_makes_the_same_record_again(logged: LoggedRequest) -> None:
    floats = (DataType.FLOAT32, (-1, 2))
    model = FunctionModel(
        {
            "serving_default": (
                signature({"x": floats, "text": STRINGS}, {"y": FLOATS}),
                list,
            ),
            "s": (signature({"inputs": STRINGS}, {"scores": FLOATS}), list),
        }
    )
    target = Target("m", ModelInfo(model.signatures, model.definitions))
    body = json.dumps(document(logged)).encode()
    made = record_of_body(body, target)
    assert made.record is not None
    again = decode_prediction_log(made.record)
    assert again is not None
    assert again.kind is logged.kind
    shown, repeated = document(logged), document(again)
    shown.pop("version", None)  # a warmup has none
    for one in (shown, repeated):
        for example_ in one.get("examples", []):
            example_.pop("d", None)  # nor does JSON have a feature without a type
    assert repeated == shown


def test_the_bytes_of_a_record_are_those_of_its_log() -> None:
    logged = predict(x=array(1))
    data = encode_prediction_log(logged.kind, logged.request)
    assert decode_prediction_log(data) == logged

from typing import Any

import numpy as np
import pytest
from tests.integration.grpc_clients.plain import example, message, model_spec, values

from salver._pb import message_class
from salver.codecs.protobuf.prediction_log import LogKind, decode_prediction_log
from salver.errors import Unimplemented
from salver.inference.logged import Bodies, Examples, LoggedCall, Messages, Tensors
from salver.request_log.messages import record_of
from salver.vocabulary.requests import ServableRequest

ASKED = ServableRequest("m", label="stable")
METADATA = b"\x1a\x05serve"  # saved_model_tags


def parsed(name: str, data: bytes | None) -> Any:
    assert data is not None
    return message_class(f"tensorflow.serving.{name}").FromString(data)


def test_messages_are_kept_as_they_are() -> None:
    content = Messages(b"\x0a\x03\x0a\x01m", b"\x12\x00")
    logged = decode_prediction_log(
        record_of(LoggedCall("session_run", ASKED, 7, "", content), 1234.9, METADATA)
    )
    assert logged is not None
    assert (logged.kind, logged.request, logged.response) == (
        LogKind.SESSION_RUN, content.request, content.response,
    )  # fmt: skip
    metadata = parsed("LogMetadata", logged.metadata)
    assert metadata == message(
        "LogMetadata",
        model_spec=model_spec("m", 7, signature="serving_default"),
        saved_model_tags=["serve"],
        timestamp_secs=1234,
    )


def test_who_asked_stands_in_the_metadata() -> None:
    call = LoggedCall("predict", ASKED, 7, "s", Messages(b"", b""), "ada")
    logged = decode_prediction_log(record_of(call, 0, b""))
    assert logged is not None
    assert parsed("LogMetadata", logged.metadata).request_origin == "ada"


def test_arrays_become_predict_messages() -> None:
    text = np.empty(1, object)
    text[:] = [b"\xff"]
    inputs = {"x": np.array([1, 2], np.float32), "s": text}
    content = Tensors(inputs, {"y": np.array([[-3]], np.int64)})
    logged = decode_prediction_log(record_of(LoggedCall("predict", ASKED, 7, "s", content), 0, b""))
    assert logged is not None
    request = parsed("PredictRequest", logged.request)
    assert request.model_spec == model_spec("m", label="stable", signature="s")
    assert {name: values(tensor) for name, tensor in request.inputs.items()} == {
        "x": [1, 2], "s": [b"\xff"],
    }  # fmt: skip
    response = parsed("PredictResponse", logged.response)
    assert response.model_spec == model_spec("m", 7, signature="s")
    assert values(response.outputs["y"]) == [[-3]]


def test_examples_become_classifications_and_regressions() -> None:
    examples = [example(x=1.0).SerializeToString(), example(x=2.0).SerializeToString()]
    scores = {"scores": np.array([[0.5], [0.25]], np.float32)}
    call = LoggedCall("classify", ASKED, 7, "", Examples(examples, scores))
    logged = decode_prediction_log(record_of(call, 0, b""))
    assert logged is not None
    request = parsed("ClassificationRequest", logged.request)
    assert list(request.input.example_list.examples) == [example(x=1.0), example(x=2.0)]
    result = parsed("ClassificationResponse", logged.response).result
    assert [row.classes[0].score for row in result.classifications] == [0.5, 0.25]
    outputs = {"outputs": np.array([[3], [4]], np.float32)}
    call = LoggedCall("regress", ASKED, 7, "", Examples(examples, outputs))
    logged = decode_prediction_log(record_of(call, 0, b""))
    assert logged is not None
    assert logged.kind is LogKind.REGRESS
    result = parsed("RegressionResponse", logged.response).result
    assert [entry.value for entry in result.regressions] == [3, 4]


def test_bodies_have_no_form() -> None:
    with pytest.raises(Unimplemented, match="JSON bodies have no form in a PredictionLog"):
        record_of(LoggedCall("predict", ASKED, 7, "", Bodies(b"{}", b"{}")), 0, b"")

import json
from typing import Any

import numpy as np
import pytest
from tests.integration.grpc_clients.plain import (
    example,
    message,
    model_spec,
    predict_request,
    tensor,
)

from salver.codecs.protobuf.prediction_log import LogKind
from salver.errors import DataLoss, Internal, InvalidArgument, Unimplemented
from salver.request_log.json_forms import (
    classification_of,
    message_from_json,
    outputs_of,
    regression_of,
    request_json,
    response_json,
)


def request(kind: LogKind, built: Any) -> Any:
    text = request_json(kind, built.SerializeToString())
    assert b"\n" not in text
    return json.loads(text)


def response(kind: LogKind, built: Any) -> Any:
    text = response_json(kind, built.SerializeToString())
    assert b"\n" not in text
    return json.loads(text)


def test_a_predict_request_is_written_by_columns() -> None:
    built = predict_request(model_spec("m", signature="s"), {"x": tensor([[1.5], [2.0]])})
    assert request(LogKind.PREDICT, built) == {
        "signature_name": "s", "inputs": {"x": [[1.5], [2.0]]},
    }  # fmt: skip
    built = predict_request(None, {"b": tensor("é"), "a": tensor([1])})
    assert request(LogKind.PREDICT, built) == {"inputs": {"b": "é", "a": [1]}}


def test_bytes_that_are_no_text_are_written_in_base64() -> None:
    built = predict_request(None, {"x": tensor([b"\xff", b"a"])})
    assert request(LogKind.PREDICT, built) == {"inputs": {"x": [{"b64": "/w=="}, {"b64": "YQ=="}]}}


def test_the_only_output_of_predict_has_no_name() -> None:
    built = message("PredictResponse")
    built.outputs["y"].CopyFrom(tensor([3.0]))
    assert response(LogKind.PREDICT, built) == {"outputs": [3.0]}
    built.outputs["a"].CopyFrom(tensor("one\nline"))
    assert response(LogKind.PREDICT, built) == {"outputs": {"a": "one\nline", "y": [3.0]}}


def test_what_json_cannot_write_is_refused() -> None:
    built = message("PredictResponse")
    built.outputs["y"].CopyFrom(tensor(np.array([1j], np.complex64)))
    with pytest.raises(InvalidArgument):
        response(LogKind.PREDICT, built)
    with pytest.raises(Internal):
        response_json(LogKind.PREDICT, b"\xff")
    with pytest.raises(Unimplemented, match="PREDICT_STREAMED has no form in JSON"):
        request_json(LogKind.PREDICT_STREAMED, b"")


def test_examples_are_written_with_their_features() -> None:
    built = message("ClassificationRequest", model_spec=model_spec("m", signature="s"))
    several = example(f=[1.0, 2.5], i=[3, 4], s=["a"])
    several.features.feature["none"].SetInParent()
    built.input.example_list.examples.extend([several])
    assert request(LogKind.CLASSIFY, built) == {
        "signature_name": "s",
        "examples": [{"f": [1.0, 2.5], "i": [3, 4], "none": [], "s": ["a"]}],
    }


def test_a_context_is_written_beside_the_examples() -> None:
    built = message("RegressionRequest")
    built.input.example_list_with_context.examples.extend([example(x=1.0)])
    built.input.example_list_with_context.context.CopyFrom(example(c=2.0))
    assert request(LogKind.REGRESS, built) == {"context": {"c": [2.0]}, "examples": [{"x": [1.0]}]}


def test_classes_and_values_are_written_as_rest_does() -> None:
    built = message("ClassificationResponse")
    built.result.classifications.add().classes.add(label="a", score=0.5)
    assert response(LogKind.CLASSIFY, built) == {"results": [[["a", 0.5]]]}
    built = message("RegressionResponse")
    built.result.regressions.add(value=2.5)
    assert response(LogKind.REGRESS, built) == {"results": [2.5]}


def test_what_rest_has_no_form_for_is_protobufs_json_and_comes_back() -> None:
    built = message("SessionRunRequest", model_spec=model_spec("m", 3), fetch=["y:0"])
    built.feed.add(name="x:0", tensor=tensor([1.0]))
    found = request(LogKind.SESSION_RUN, built)
    assert found["fetch"] == ["y:0"]
    assert message_from_json(LogKind.SESSION_RUN, found, part=0) == built.SerializeToString()
    with pytest.raises(DataLoss, match=r"This is no tensorflow\.serving\.SessionRunRequest"):
        message_from_json(LogKind.SESSION_RUN, {"no": 1}, part=0)


def test_results_are_read_from_their_messages() -> None:
    built = message("ClassificationResult")
    for label, score in (("a", 1.0), ("b", 2.0)):
        built.classifications.add().classes.add(label=label, score=score)
    found = classification_of(built)
    assert found.labels == [[b"a"], [b"b"]]
    assert found.scores is not None
    assert found.scores.tolist() == [[1.0], [2.0]]
    empty = classification_of(message("ClassificationResult")).scores
    assert empty is not None
    assert empty.shape == (0, 0)
    built.classifications[0].classes.add()
    with pytest.raises(DataLoss, match="different numbers of classes"):
        classification_of(built)
    values = message("RegressionResult")
    values.regressions.add(value=1.5)
    assert regression_of(values).values.tolist() == [1.5]
    assert outputs_of({"y": tensor([1.0])})["y"].tolist() == [1.0]


def test_a_task_of_several_is_protobufs_json() -> None:
    built = message("MultiInferenceResponse")
    result = built.results.add(model_spec=model_spec("m"))
    result.regression_result.regressions.add(value=2.5)
    assert response(LogKind.MULTI_INFERENCE, built) == {
        "results": [
            {"model_spec": {"name": "m"}, "regression_result": {"regressions": [{"value": 2.5}]}}
        ]
    }

import json

import numpy as np
import pytest
from tests.integration.grpc_clients.plain import message, model_spec, predict_request, tensor

from salver.errors import ServingError
from salver.inference.logged import Bodies, LoggedCall, Messages, Tensors
from salver.request_log.json_lines import line_of
from salver.vocabulary.requests import ServableRequest


def test_bodies_stand_in_the_line_as_they_were_sent() -> None:
    content = Bodies(b'\r\n{"instances":\n [NaN, 1]}\n', b'{\n    "predictions": [2.0]\n}')
    line = line_of(LoggedCall("predict", ServableRequest("m"), 3, "", content), 1_600_000_000.25)
    assert line == (
        b'{"time":"2020-09-13T12:26:40.250Z","model":"m","version":3,"signature":"serving_default",'
        b'"method":"predict","request":{"instances":  [NaN, 1]},'
        b'"response":{     "predictions": [2.0] }}\n'
    )


def test_what_was_asked_for_by_version_or_label_is_said() -> None:
    content = Bodies(b"{}", b"{}")
    for asked, key, value in (
        (ServableRequest("m", version=3), "asked_version", 3),
        (ServableRequest("m", label="stable"), "asked_label", "stable"),
    ):
        found = json.loads(line_of(LoggedCall("predict", asked, 3, "s", content), 0))
        assert found[key] == value
        assert found["signature"] == "s"


def test_who_asked_is_said_where_it_is_known() -> None:
    content = Bodies(b"{}", b"{}")
    call = LoggedCall("predict", ServableRequest("m"), 3, "s", content, "ada")
    assert json.loads(line_of(call, 0))["principal"] == "ada"


def test_a_body_that_is_no_utf8_does_not_spoil_the_line() -> None:
    content = Bodies(b'{"a": "\xff\xc3\xa9"}', b"{}")
    line = line_of(LoggedCall("predict", ServableRequest("m"), 3, "", content), 0)
    assert json.loads(line)["request"] == {"a": "�é"}


def test_messages_are_written_as_rest_would() -> None:
    request = predict_request(model_spec("m"), {"x": tensor([1.0])})
    response = message("PredictResponse")
    response.outputs["y"].CopyFrom(tensor([2.0]))
    content = Messages(request.SerializeToString(), response.SerializeToString())
    found = json.loads(line_of(LoggedCall("predict", ServableRequest("m"), 3, "", content), 0))
    assert found["request"] == {"inputs": {"x": [1.0]}}
    assert found["response"] == {"outputs": [2.0]}


def test_arrays_are_written_as_the_call_they_amount_to() -> None:
    content = Tensors({"x": np.array([1.5])}, {"y": np.array([2.0])}, ("y",))
    found = json.loads(line_of(LoggedCall("predict", ServableRequest("m"), 3, "s", content), 0))
    assert found["request"] == {"signature_name": "s", "inputs": {"x": [1.5]}}
    assert found["response"] == {"outputs": [2.0]}
    assert found["output_filter"] == ["y"]


def test_what_json_has_no_form_for_is_refused() -> None:
    content = Tensors({"x": np.zeros(1, np.complex64)}, {})
    with pytest.raises(ServingError):
        line_of(LoggedCall("predict", ServableRequest("m"), 3, "", content), 0)

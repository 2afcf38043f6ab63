import numpy as np
import pytest

from salver._pb import message_class
from salver.codecs.protobuf.example_messages import (
    decode_classification_request,
    decode_regression_request,
)
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.predict_message import decode_predict_request
from salver.codecs.protobuf.request_messages import encode_examples_request, encode_predict_request
from salver.codecs.protobuf.tensor_proto import decode_tensor

SPEC = ModelSpec("m", version=3, signature_name="s")


def test_a_predict_request_is_read_back() -> None:
    inputs = {"a": np.array([[1, 2]], np.float32), "b": np.array([b"x", b"\xff"], object)}
    message = decode_predict_request(encode_predict_request(SPEC, inputs))
    assert message.spec == SPEC
    assert message.output_filter == ()
    found = {alias: decode_tensor(tensor) for alias, tensor in message.inputs.items()}
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"], inputs["a"])
    assert found["b"].tolist() == [b"x", b"\xff"]


def test_a_predict_request_may_be_without_inputs() -> None:
    assert decode_predict_request(encode_predict_request(ModelSpec(""), {})).inputs == {}


@pytest.mark.parametrize("decode", [decode_classification_request, decode_regression_request])
def test_a_request_with_examples_is_read_back(decode: object) -> None:
    example = message_class("tensorflow.Example")()
    example.features.feature["x"].float_list.value.append(2.0)
    examples = [example.SerializeToString(), b""]
    assert callable(decode)
    request = decode(encode_examples_request(SPEC, examples))
    assert request.spec == SPEC
    assert request.examples == examples

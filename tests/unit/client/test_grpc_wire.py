from typing import Any

import numpy as np
import pytest

from salver._pb import message_class
from salver.client.exchange import Exchange, Reply, Which
from salver.client.grpc_wire import GrpcWire
from salver.client.wire import Wire
from salver.codecs.protobuf.example_messages import (
    decode_classification_request,
    encode_classification_response,
    encode_regression_response,
)
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.predict_message import decode_predict_request, encode_predict_response
from salver.codecs.protobuf.service_messages import (
    VersionReport,
    decode_metadata_request,
    decode_status_request,
    encode_metadata_response,
    encode_status_response,
)
from salver.codecs.protobuf.tensor_proto import decode_tensor
from salver.errors import Internal, InvalidArgument, NotFound, Unavailable, Unimplemented
from salver.vocabulary.dtypes import DTYPES, QUANTIZED, DataType, numpy_dtype
from salver.vocabulary.requests import Array, ClassifyResult, RegressResult
from salver.vocabulary.signature import Signature
from salver.vocabulary.tensorflow_types import number_of

WIRE: Wire = GrpcWire()
M = Which("m")
ANY = Signature({}, {})


def body_of(exchange: Exchange[Any]) -> bytes:
    assert exchange.body is not None
    return exchange.body


def predicted(body: bytes) -> dict[str, Array]:
    return dict(WIRE.predict(M, "", {}, ()).read(Reply(body)).arrays(ANY))


def test_a_predict_request_has_spec_inputs_and_filter() -> None:
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    text = np.array([b"a"], object)
    exchange = WIRE.predict(Which("m", 0), "s", {"x": x, "t": text}, ["y", "z"])
    assert exchange.path == "/tensorflow.serving.PredictionService/Predict"
    message = decode_predict_request(body_of(exchange))
    assert message.spec == ModelSpec("m", 0, None, "s")
    assert message.output_filter == ("y", "z")
    assert decode_tensor(message.inputs["x"]).tolist() == x.tolist()
    assert decode_tensor(message.inputs["t"]).tolist() == [b"a"]


def test_a_large_request_is_whole() -> None:
    x = np.random.default_rng(0).random((100, 1000))
    message = decode_predict_request(body_of(WIRE.predict(M, "", {"x": x}, ())))
    assert np.array_equal(decode_tensor(message.inputs["x"]), x)


def test_what_no_tensor_holds_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="Input 'x': No tensor has elements"):
        WIRE.predict(M, "", {"x": np.zeros(1, "M8[s]")}, ())


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize(
    "dtype", [of for of in DTYPES.values() if of.storage and of not in QUANTIZED]
)
def test_outputs_of_every_dtype_come_back_and_may_be_written_to(
    dtype: DataType, as_content: bool
) -> None:
    of = numpy_dtype(dtype)
    array = np.array([b"a", b""], object) if of.hasobject else np.ones((2, 1)).astype(of)
    body = encode_predict_response(ModelSpec("m", 3), [("y", array)], as_content=as_content)
    read = predicted(body)["y"]
    assert read.dtype == of
    assert read.tolist() == array.tolist()
    read[0] = read[1]


def test_the_version_that_answered_is_in_the_spec() -> None:
    exchange = WIRE.predict(M, "", {}, ())
    body = encode_predict_response(ModelSpec("m", 3), [], as_content=False)
    assert exchange.read(Reply(body)).version == 3
    assert exchange.read(Reply(b"")).version is None


def test_a_response_in_another_order_is_read_too() -> None:
    message = message_class("tensorflow.serving.PredictResponse")()
    message.model_spec.version.value = 2
    tensor = message.outputs["y"]
    tensor.dtype = number_of(DataType.FLOAT32)
    tensor.tensor_shape.dim.add(size=1)
    tensor.float_val.append(1.5)
    usual = message.SerializeToString()
    value_first = b"\x12" + bytes([len(tensor.SerializeToString())]) + tensor.SerializeToString()
    entry = value_first + b"\x0a\x01y"
    for body in (
        usual,
        b"\x0a" + bytes([len(entry)]) + entry,  # the value before the key
        usual + b"\x7a\x00",  # a field that nobody knows
        b"\x0a" + bytes([len(entry) + 3]) + entry + b"\x0a\x01y",  # the key again
        b"\x0a" + bytes([len(entry) + 3]) + b"\x0a\x01y" + value_first + b"\x0a\x01y",
    ):
        assert predicted(body)["y"].tolist() == [1.5]


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05", b"\x0a\x03\x0a\x01\xff"])
def test_bytes_that_are_no_response_are_told(body: bytes) -> None:
    with pytest.raises(Internal, match="Failed to parse"):
        predicted(body)


def test_an_output_that_is_no_tensor_is_told() -> None:
    message = message_class("tensorflow.serving.PredictResponse")()
    message.outputs["y"].dtype = number_of(DataType.RESOURCE)
    with pytest.raises(Internal, match="The answer is no tensor: "):
        predicted(message.SerializeToString())


def test_examples_go_serialized() -> None:
    exchange = WIRE.classify(M, "s", [{"x": 1.0}, b""])
    assert exchange.path == "/tensorflow.serving.PredictionService/Classify"
    request = decode_classification_request(body_of(exchange))
    assert request.spec == ModelSpec("m", signature_name="s")
    assert len(request.examples) == 2


def test_classes_come_with_their_scores() -> None:
    result = ClassifyResult([[b"cat", b"dog"]], np.array([[0.25, 0.75]], np.float32))
    body = encode_classification_response(ModelSpec("m"), result)
    assert WIRE.classify(M, "", []).read(Reply(body)) == [[("cat", 0.25), ("dog", 0.75)]]


def test_values_are_floats() -> None:
    exchange = WIRE.regress(M, "", [])
    assert exchange.path == "/tensorflow.serving.PredictionService/Regress"
    body = encode_regression_response(ModelSpec("m"), RegressResult(np.array([1.5], np.float32)))
    values = exchange.read(Reply(body))
    assert values.dtype == np.float32
    assert values.tolist() == [1.5]


def test_status_has_every_version_and_its_error() -> None:
    exchange = WIRE.status(Which("m", 2))
    assert exchange.path == "/tensorflow.serving.ModelService/GetModelStatus"
    assert decode_status_request(body_of(exchange)) == ModelSpec("m", 2)
    reports = [VersionReport(2, 30), VersionReport(1, 50, 5, "gone"), VersionReport(0, 77)]
    status = exchange.read(Reply(encode_status_response(reports)))
    assert [of.state for of in status.versions] == ["AVAILABLE", "END", "UNKNOWN"]
    assert isinstance(status.versions[1].error, NotFound)
    assert status.versions[0].error is None


def test_metadata_has_the_signatures() -> None:
    exchange = WIRE.metadata(Which("m", label="l"))
    asked = decode_metadata_request(body_of(exchange))
    assert asked.spec == ModelSpec("m", label="l")
    assert asked.fields == ("signature_def",)
    signatures = message_class("tensorflow.serving.SignatureDefMap")()
    signatures.signature_def["s"].inputs["x"].dtype = 100 + number_of(DataType.FLOAT32)
    body = encode_metadata_response(ModelSpec("m", 4), signatures.SerializeToString())
    metadata = exchange.read(Reply(body))
    assert (metadata.name, metadata.version) == ("m", 4)
    assert metadata.signatures["s"].inputs["x"].dtype is DataType.FLOAT32


def test_models_are_not_listed() -> None:
    with pytest.raises(Unimplemented, match="The gRPC API does not list models"):
        WIRE.models()


def test_a_server_is_ready_when_its_health_says_so() -> None:
    exchange = WIRE.ready()
    assert exchange.read(Reply(b"\x08\x01"))
    with pytest.raises(Unavailable, match="it is not serving"):
        exchange.read(Reply(b"\x08\x02"))

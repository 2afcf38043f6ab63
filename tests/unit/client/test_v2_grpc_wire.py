from typing import Any

import numpy as np
import pytest

from salver._pb import message_class
from salver.client.exchange import Exchange, Reply, Which
from salver.client.v2_grpc_wire import INFER_PATH, V2GrpcWire
from salver.client.wire import TensorWire
from salver.errors import Internal, Unavailable, Unimplemented
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature

WIRE: TensorWire = V2GrpcWire()
M = Which("m")
ANY = Signature({}, {})
RESPONSE = message_class("inference.ModelInferResponse")


def request(exchange: Exchange[Any]) -> Any:
    return message_class("inference.ModelInferRequest").FromString(exchange.body or b"")


def read(response: Any) -> dict[str, Array]:
    exchange = WIRE.predict(M, "serving_default", {}, ())
    return dict(exchange.read(Reply(response.SerializeToString())).arrays(ANY))


def test_a_request_has_its_tensors_as_raw_contents() -> None:
    feeds = {"x": np.array([[1.5]], np.float32), "s": np.array(b"\xff", object)}
    exchange = WIRE.predict(Which("m", 3), "other", feeds, ("y",))
    said = request(exchange)
    assert exchange.path == INFER_PATH
    assert (said.model_name, said.model_version) == ("m", "3")
    assert said.parameters["signature_name"].string_param == "other"
    assert [(of.name, of.datatype, list(of.shape)) for of in said.inputs] == [
        ("x", "FP32", [1, 1]), ("s", "BYTES", []),
    ]  # fmt: skip
    assert list(said.raw_input_contents) == [feeds["x"].tobytes(), b"\x01\0\0\0\xff"]
    assert [of.name for of in said.outputs] == ["y"]


def test_a_label_is_a_version_and_the_default_signature_is_not_named() -> None:
    said = request(WIRE.predict(Which("m", label="stable"), "serving_default", {}, ()))
    assert (said.model_version, dict(said.parameters)) == ("stable", {})


def test_classes_are_asked_of_an_output() -> None:
    said = request(WIRE.classes(M, "serving_default", {}, "y"))
    assert said.outputs[0].parameters["classification"].int64_param == 1_000_000


def test_what_the_protocol_cannot_say_is_refused() -> None:
    with pytest.raises(Unimplemented, match="no datatype for input 'x' of type complex64"):
        WIRE.predict(M, "s", {"x": np.zeros(1, np.complex64)}, ())
    with pytest.raises(Unimplemented):
        WIRE.classify(M, "s", [])
    with pytest.raises(Unimplemented):
        WIRE.regress(M, "s", [])


def test_outputs_are_read_raw_and_typed() -> None:
    response = RESPONSE(model_version="7")
    response.outputs.add(name="y", datatype="FP32", shape=[1, 2])
    response.raw_output_contents.append(np.array([1, 2], np.float32).tobytes())
    exchange = WIRE.predict(M, "serving_default", {}, ())
    answer = exchange.read(Reply(response.SerializeToString()))
    assert answer.version == 7
    assert answer.arrays(ANY)["y"].tolist() == [[1.0, 2.0]]
    assert answer.arrays(ANY)["y"].flags.writeable
    typed = RESPONSE()
    typed.outputs.add(name="y", datatype="INT64", shape=[2]).contents.int64_contents.extend([1, 2])
    assert read(typed)["y"].tolist() == [1, 2]


def test_an_answer_that_lies_is_an_internal_error() -> None:
    short = RESPONSE()
    short.outputs.add(name="y", datatype="FP32", shape=[2**40])
    short.raw_output_contents.append(b"1234")
    few = RESPONSE()
    few.outputs.add(name="y", datatype="FP32", shape=[1])
    few.raw_output_contents.extend([b"1234", b"1234"])
    odd = RESPONSE()
    odd.outputs.add(name="y", datatype="ODD", shape=[1])
    wrong = RESPONSE()
    wrong.outputs.add(name="y", datatype="FP32", shape=[2]).contents.fp32_contents.append(1)
    for response in (short, few, odd, wrong):
        with pytest.raises(Internal):
            read(response)
    for body in (b"\x32\x05a", b"\x08\x01", b"\x32"):
        with pytest.raises(Internal):
            WIRE.predict(M, "s", {}, ()).read(Reply(body))


def test_readiness_models_and_metadata() -> None:
    up = message_class("inference.ModelReadyResponse")
    assert WIRE.is_up(M).read(Reply(up(ready=True).SerializeToString())).available == (0,)
    with pytest.raises(Unavailable):
        WIRE.is_up(M).read(Reply(b""))
    with pytest.raises(Unavailable):
        WIRE.ready().read(Reply(b""))
    index = message_class("inference.RepositoryIndexResponse")()
    index.models.add(name="m", version="2", state="LOADING")
    assert WIRE.models().read(Reply(index.SerializeToString()))[0].name == "m"
    status = WIRE.status(M).read(Reply(index.SerializeToString()))
    assert [(of.version, of.state) for of in status.versions] == [(2, "LOADING")]
    told = message_class("inference.ModelMetadataResponse")(name="m", versions=["4"])
    told.inputs.add(name="x", datatype="FP16", shape=[-1, 3])
    said = WIRE.metadata(M).read(Reply(told.SerializeToString()))
    assert (said.version, said.signatures["serving_default"].inputs["x"].shape) == (4, (-1, 3))

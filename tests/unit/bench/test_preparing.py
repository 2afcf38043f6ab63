import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from tests.shelf import FLOATS, STRINGS, FunctionModel, half_plus_two, signature

from salver._pb import message_class
from salver.bench.preparing import Asked, Target, prepare
from salver.client.exchange import Which
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.predict_message import decode_predict_request
from salver.codecs.protobuf.tensor_proto import decode_tensor
from salver.errors import InvalidArgument, NotFound, ServingError, Unavailable
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import CLASSIFY_METHOD_NAME, REGRESS_METHOD_NAME

SIGNATURES = {
    "serving_default": signature({"x": FLOATS}, {"y": FLOATS}),
    "regress": signature({"inputs": STRINGS}, {"outputs": FLOATS}, REGRESS_METHOD_NAME),
    "classify": signature({"inputs": STRINGS}, {"scores": FLOATS}, CLASSIFY_METHOD_NAME),
    "complex": signature({"z": (DataType.COMPLEX64, (-1,))}, {"y": FLOATS}),
}
MODEL = FunctionModel({name: (of, half_plus_two) for name, of in SIGNATURES.items()})
PREDICTION = "/tensorflow.serving.PredictionService"


class Methods(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    """Answers with the model's signatures, and to anything else nothing."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.refusal = ""

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self.answer(details.method, request, context)
        )

    def answer(self, method: str, request: bytes, context: Any) -> bytes:
        if not method.endswith("/GetModelMetadata"):
            self.received.append((method, request))
            if self.refusal:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, self.refusal)
            return b""
        if b"unknown" in request:
            context.abort(grpc.StatusCode.NOT_FOUND, "Could not find it")
        if b"broken" in request:
            context.abort(grpc.StatusCode.INTERNAL, "It broke")
        response = message_class("tensorflow.serving.GetModelMetadataResponse")()
        response.model_spec.name = "m"
        response.metadata[
            "signature_def"
        ].type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        response.metadata["signature_def"].value = MODEL.definitions
        return bytes(response.SerializeToString())


@contextmanager
def served(methods: Methods) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((methods,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.fixture
def methods() -> Methods:
    return Methods()


@pytest.fixture
def url(methods: Methods) -> Iterator[str]:
    with served(methods) as url:
        yield url


def body(**content: Any) -> bytes:
    return json.dumps(content).encode()


def asked(url: str, *bodies: bytes, **more: Any) -> Target:
    return prepare(Asked(url, more.pop("which", Which("m")), bodies=bodies, **more))


def test_random_requests_differ_and_one_is_tried(url: str, methods: Methods) -> None:
    target = asked(url, which=Which("m", 3), rows=4)
    assert (target.name, target.method) == (f"{url} m version 3", "predict")
    assert target.description == "x float [4], random"
    assert len(set(target.requests)) == len(target.requests) == 8
    assert methods.received == [(f"{PREDICTION}/Predict", target.requests[0])]
    request = decode_predict_request(target.requests[0])
    assert request.spec == ModelSpec("m", 3, signature_name="serving_default")
    assert decode_tensor(request.inputs["x"]).shape == (4,)


def test_every_target_gets_the_same_requests(url: str) -> None:
    assert asked(url).requests == asked(f"grpc://{url}", which=Which("m")).requests


def test_requests_of_a_file_are_written_as_messages(url: str, methods: Methods) -> None:
    target = asked(url, body(instances=[1.0, 5.0]), body(inputs=[2.0]), which=Which("m", None, "l"))
    assert (target.name, target.description) == (f"{url} m label l", "2 from a file")
    arrays = [
        decode_tensor(decode_predict_request(r).inputs["x"]).tolist() for r in target.requests
    ]
    assert arrays == [[1.0, 5.0], [2.0]]
    spec = decode_predict_request(methods.received[0][1]).spec
    assert spec == ModelSpec("m", None, "l", "serving_default")


@pytest.mark.parametrize(
    ("named", "more", "called"),
    [
        ("regress", {}, "Regress"),
        ("classify", {}, "Classify"),
        ("classify", {"method": "regress"}, "Regress"),
        ("", {"signature": "regress"}, "Regress"),
    ],
)
def test_examples_are_asked_for_as_the_signature_was_made(
    url: str, methods: Methods, named: str, more: dict[str, Any], called: str
) -> None:
    content: dict[str, Any] = {"examples": [{"x": 1.0}]}
    target = asked(url, body(**content, **({"signature_name": named} if named else {})), **more)
    assert target.path == f"{PREDICTION}/{called}"
    assert methods.received[0][0] == target.path
    assert target.description == "1 from a file"


@pytest.mark.parametrize(
    ("bodies", "more", "message", "hint"),
    [
        ([b"{"], {}, "The request is no JSON: ", None),
        ([b"[1]"], {}, "The request is no JSON object, as the REST API takes it.", None),
        ([], {"signature": "z"}, "The model has no signature 'z'.", "It has classify, complex, "),
        ([], {"signature": "regress"}, "takes serialized tf.Examples", "--input FILE"),
        ([], {"method": "classify"}, "takes serialized tf.Examples", "--input FILE"),
    ],
)
def test_what_cannot_be_made_is_said(
    url: str, bodies: list[bytes], more: dict[str, Any], message: str, hint: str | None
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        asked(url, *bodies, **more)
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


def test_a_refusal_of_the_server_is_told_before_the_run(url: str, methods: Methods) -> None:
    methods.refusal = "too wide"
    with pytest.raises(ServingError) as caught:
        asked(url)
    assert caught.value.message == "The server refuses the request: too wide"
    assert caught.value.hint == "Give a request of your own with --input FILE."


def test_what_else_a_server_says_of_its_signatures_has_no_advice(
    url: str, methods: Methods
) -> None:
    with pytest.raises(ServingError) as caught:
        asked(url, which=Which("broken"))
    assert (caught.value.message, caught.value.hint) == ("It broke", None)
    assert methods.received == []


def test_a_model_that_is_not_there_and_a_server_that_is_not_there(url: str) -> None:
    with pytest.raises(NotFound) as caught:
        asked(url, which=Which("unknown"))
    assert caught.value.hint == "Is 'unknown' the name that the server knows the model by?"
    with pytest.raises(Unavailable) as nobody:
        asked("grpc://127.0.0.1:1", timeout_s=5.0)
    assert nobody.value.hint == "Is a server running there?"

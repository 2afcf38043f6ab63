import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from salver.client.exchange import Reply, Which
from salver.client.rest_wire import CODE_OF_STATUS, RestWire
from salver.client.wire import Wire
from salver.codecs.json.response import encode_error, encode_predict
from salver.errors import (
    Code,
    Internal,
    InvalidArgument,
    NotFound,
    ServingError,
    Unavailable,
    Unimplemented,
    Unknown,
)
from salver.protocols.rest_errors import HTTP_STATUS
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature, TensorSpec

WIRE: Wire = RestWire()
M = Which("m")


def reply(body: Any, status: int = 200, **headers: Any) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(data, status, {name.replace("_", "-"): of for name, of in headers.items()})


def gives(**dtypes: DataType) -> Signature:
    return Signature({}, {alias: TensorSpec(of, None) for alias, of in dtypes.items()})


def predicted(body: Any, signature: Signature) -> dict[str, Array]:
    exchange = WIRE.predict(M, "s", {}, ())
    return dict(exchange.read(reply(body)).arrays(signature))


@pytest.mark.parametrize(
    ("which", "path"),
    [
        (M, "/v1/models/m"),
        (Which("m", 0), "/v1/models/m/versions/0"),
        (Which("a b/c", label="d:e"), "/v1/models/a%20b%2Fc/labels/d%3Ae"),
    ],
)
def test_the_path_names_model_and_version(which: Which, path: str) -> None:
    assert WIRE.status(which).path == path
    assert WIRE.metadata(which).path == f"{path}/metadata"
    assert WIRE.predict(which, "s", {}, ()).path == f"{path}:predict"
    assert WIRE.classify(which, "s", []).path == f"{path}:classify"
    assert WIRE.regress(which, "s", []).path == f"{path}:regress"


def test_a_request_has_all_inputs_in_column_format() -> None:
    feeds = {
        "x": np.array([[1.0, np.nan]], np.float32),
        "text": np.array(["é".encode(), b"\xff"], object),
        "scalar": np.array(3),
        "half": np.array([0.5], ml_dtypes.bfloat16),
    }
    body = WIRE.predict(M, 'say "s"', feeds, ()).body
    assert body is not None
    assert json.dumps(json.loads(body)) == json.dumps(
        {
            "signature_name": 'say "s"',
            "inputs": {
                "x": [[1.0, float("nan")]],
                "text": ["é", {"b64": "/w=="}],
                "scalar": 3,
                "half": [0.5],
            },
        }
    )


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(Unimplemented, match="JSON has no form for input 'x' of type complex64"):
        WIRE.predict(M, "s", {"x": np.zeros(1, np.complex64)}, ())


@pytest.mark.parametrize(
    ("dtype", "array"),
    [
        (DataType.FLOAT32, np.array([[1.5, np.nan], [np.inf, -0.0]], np.float32)),
        (DataType.FLOAT64, np.array(0.1)),
        (DataType.FLOAT16, np.array([0.5], np.float16)),
        (DataType.BFLOAT16, np.array([0.5], ml_dtypes.bfloat16)),
        (DataType.INT8, np.array([-128, 127], np.int8)),
        (DataType.UINT8, np.array([0, 255], np.uint8)),
        (DataType.INT64, np.array([2**63 - 1, -(2**63)])),
        (DataType.UINT64, np.array([2**64 - 1], np.uint64)),
        (DataType.BOOL, np.array([[True], [False]])),
        (DataType.STRING, np.array([b"a", b"\xff\x00"], object)),
    ],
)
def test_an_output_comes_back_in_the_dtype_of_the_signature(dtype: DataType, array: Array) -> None:
    read = predicted(encode_predict([("y", array)], False), gives(y=dtype))["y"]
    assert read.dtype == array.dtype
    assert read.shape == array.shape
    assert repr(read.tolist()) == repr(array.tolist())


def test_several_outputs_come_by_their_names() -> None:
    outputs = [("a", np.array([1.0], np.float32)), ("b_bytes", np.array([b"\xff"], object))]
    signature = gives(a=DataType.FLOAT32, b_bytes=DataType.STRING)
    read = predicted(encode_predict(outputs, False), signature)
    assert {alias: of.tolist() for alias, of in read.items()} == {"a": [1.0], "b_bytes": [b"\xff"]}


def test_the_header_says_which_version_answered() -> None:
    exchange = WIRE.predict(M, "s", {}, ())
    assert exchange.read(reply({}, salver_model_version="3")).version == 3
    assert exchange.read(reply({})).version is None


def test_outputs_that_are_not_those_of_the_signature_are_told() -> None:
    with pytest.raises(Internal, match="The answer does not fit the signature: "):
        predicted({"outputs": ["a"]}, gives(y=DataType.FLOAT32))


@pytest.mark.parametrize("status", sorted(set(HTTP_STATUS.values()) - {200}))
def test_every_status_of_the_server_has_a_code_that_gives_that_status(status: int) -> None:
    assert HTTP_STATUS[CODE_OF_STATUS[status]] == status


def test_an_error_has_the_message_the_hint_and_the_version() -> None:
    body = encode_error("Servable not found", "Try another.")
    with pytest.raises(NotFound, match=r"^Servable not found$") as caught:
        WIRE.status(M).read(reply(body, 404, salver_model_version="2"))
    assert (caught.value.hint, caught.value.version) == ("Try another.", 2)


def test_an_error_of_tensorflow_serving_has_no_hint() -> None:
    with pytest.raises(InvalidArgument, match=r"^no$") as caught:
        WIRE.predict(M, "", {}, ()).read(reply({"error": "no"}, 400))
    assert caught.value.hint is None


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (502, b"<html>Bad Gateway</html>", Code.UNAVAILABLE, "<html>Bad Gateway</html>"),
        (418, b"", Code.UNKNOWN, "HTTP status 418"),
        (301, b"", Code.UNKNOWN, "HTTP status 301"),
        (500, b"[1]", Code.INTERNAL, "[1]"),
        (503, b'{"reason": "draining"}', Code.UNAVAILABLE, "draining"),
    ],
)
def test_the_error_of_a_proxy_is_told_too(
    status: int, body: bytes, code: Code, message: str
) -> None:
    with pytest.raises(ServingError) as caught:
        WIRE.status(M).read(reply(body, status))
    assert (caught.value.code, str(caught.value)) == (code, message)


def test_status_has_every_version_and_its_error() -> None:
    said = {
        "model_version_status": [
            {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK"}},
            {
                "version": "1",
                "state": "END",
                "status": {"error_code": "DATA_LOSS", "error_message": "torn"},
            },
            {"version": "0", "state": "END", "status": {"error_code": "NEW"}},
        ]
    }
    status = WIRE.status(M).read(reply(said))
    assert status.available == (2,)
    torn, new = status.versions[1].error, status.versions[2].error
    assert torn is not None
    assert (torn.code, torn.message) == (Code.DATA_LOSS, "torn")
    assert isinstance(new, Unknown)


def test_metadata_has_the_signatures() -> None:
    tensor = {"dtype": "DT_FLOAT", "name": "x:0", "tensor_shape": {"dim": [{"size": "-1"}]}}
    said = {
        "model_spec": {"name": "m", "signature_name": "", "version": "4"},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    "s": {
                        "inputs": {"x": tensor},
                        "outputs": {"y": {**tensor, "tensor_shape": {"unknown_rank": True}}},
                        "method_name": "p",
                        "of_a_later_version": 1,
                    }
                }
            }
        },
    }
    metadata = WIRE.metadata(M).read(reply(said))
    assert (metadata.name, metadata.version) == ("m", 4)
    signature = metadata.signatures["s"]
    assert signature.inputs["x"] == TensorSpec(DataType.FLOAT32, (-1,))
    assert signature.outputs["y"].shape is None
    assert signature.method_name == "p"


def test_models_are_listed_with_versions_and_labels() -> None:
    versions = [{"version": "1", "state": "AVAILABLE"}]
    said = {
        "models": [{"name": "m", "model_version_status": versions, "version_labels": {"stable": 1}}]
    }
    (model,) = WIRE.models().read(reply(said))
    assert (model.name, model.status.available, model.labels) == ("m", (1,), {"stable": 1})


def test_tensorflow_serving_cannot_list_models() -> None:
    with pytest.raises(Unimplemented, match="The server does not list its models"):
        WIRE.models().read(reply({"error": "Missing model name in request."}, 400))


def test_examples_go_as_json() -> None:
    exchange = WIRE.classify(M, "s", [{"x": 1.0}, {}])
    assert exchange.body is not None
    assert json.loads(exchange.body) == {"signature_name": "s", "examples": [{"x": [1.0]}, {}]}


def test_classes_come_with_their_scores() -> None:
    body = b'{"results": [[["cat", 0.5], ["\xff", NaN]], []]}'
    classes = WIRE.classify(M, "", []).read(reply(body))
    assert classes[0][0] == ("cat", 0.5)
    assert classes[0][1].label == "\ufffd"
    assert classes[1] == []


def test_values_are_floats() -> None:
    values = WIRE.regress(M, "", []).read(reply({"results": [42.0, 1]}))
    assert values.dtype == np.float32
    assert values.tolist() == [42.0, 1.0]


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"results": 3}', b"[]"])
def test_an_answer_of_something_else_is_told(body: bytes) -> None:
    with pytest.raises(Internal, match="The answer is not that of a model server"):
        WIRE.regress(M, "", []).read(reply(body))


def test_a_server_is_ready_unless_it_says_no() -> None:
    assert WIRE.ready().read(reply({"status": "ok"}))
    assert WIRE.ready().read(reply(b"Not Found", 404))
    with pytest.raises(Unavailable, match="draining"):
        WIRE.ready().read(reply({"reason": "draining"}, 503))


def test_a_redirection_says_where_to() -> None:
    reply = Reply(b"", 307, {"location": "https://other/"})
    with pytest.raises(ServingError, match="HTTP status 307") as raised:
        RestWire().status(Which("m")).read(reply)
    assert raised.value.hint == "Requests are sent on by nobody; it points to https://other/"

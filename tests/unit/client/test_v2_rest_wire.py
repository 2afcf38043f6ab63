import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from salver.client.exchange import Reply, Which
from salver.client.v2_rest_wire import V2RestWire, write_infer
from salver.client.wire import TensorWire
from salver.errors import Internal, InvalidArgument, NotFound, Unavailable, Unimplemented
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature

WIRE: TensorWire = V2RestWire()
M = Which("m")
ANY = Signature({}, {})


def reply(body: Any, status: int = 200, **headers: Any) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(data, status, {name.replace("_", "-"): of for name, of in headers.items()})


def answered(outputs: list[dict[str, Any]], raw: bytes = b"", **more: Any) -> dict[str, Array]:
    text = json.dumps({"model_name": "m", "model_version": "3", "outputs": outputs}).encode()
    headers = {"inference_header_content_length": str(len(text))} if raw else {}
    exchange = WIRE.predict(M, "serving_default", {}, ())
    return dict(exchange.read(reply(text + raw, **{**headers, **more})).arrays(ANY))


@pytest.mark.parametrize(
    ("which", "path"),
    [
        (M, "/v2/models/m"),
        (Which("m", 0), "/v2/models/m/versions/0"),
        (Which("a b/c", label="d:e"), "/v2/models/a%20b%2Fc/versions/d%3Ae"),
    ],
)
def test_the_path_names_model_and_version(which: Which, path: str) -> None:
    assert WIRE.metadata(which).path == path
    assert WIRE.is_up(which).path == f"{path}/ready"
    assert WIRE.predict(which, "s", {}, ()).path == f"{path}/infer"


def test_small_inputs_are_json_and_large_ones_raw() -> None:
    feeds: dict[str, Array] = {
        "small": np.array([[1.5, np.nan]], np.float32),
        "short": np.array([65535], np.uint16),
        "text": np.array(["é".encode()], object),
        "bytes": np.array([b"\xff"], object),
        "half": np.array([0.5], ml_dtypes.bfloat16),
        "large": np.arange(1000, dtype=np.int64),
    }
    exchange = WIRE.predict(M, "other", feeds, ("y",))
    assert exchange.body is not None
    length = int(exchange.headers["Inference-Header-Content-Length"])
    said = json.loads(exchange.body[:length])
    assert said["parameters"] == {"binary_data_output": True, "signature_name": "other"}
    assert said["outputs"] == [{"name": "y"}]
    inputs = {of["name"]: of for of in said["inputs"]}
    assert str(inputs["small"]["data"]) == "[1.5, nan]"
    assert (inputs["small"]["shape"], inputs["small"]["datatype"]) == ([1, 2], "FP32")
    assert (inputs["short"]["data"], inputs["text"]["data"]) == ([65535], ["é"])
    sizes = {
        name: of["parameters"]["binary_data_size"]
        for name, of in inputs.items()
        if "data" not in of
    }
    assert sizes == {"bytes": 5, "half": 2, "large": 8000}
    assert exchange.body[length:] == b"\x01\0\0\0\xff" + b"\x00\x3f" + feeds["large"].tobytes()


def test_a_request_may_be_all_json() -> None:
    body, length = write_infer(
        "serving_default",
        {"x": np.zeros((1000, 1))},
        (),
        small_bytes=1 << 30,
        is_answer_raw=False,
    )
    assert length is None
    assert json.loads(body) == {
        "inputs": [{"name": "x", "shape": [1000, 1], "datatype": "FP64", "data": [0.0] * 1000}]
    }


def test_what_the_protocol_cannot_say_is_refused() -> None:
    with pytest.raises(Unimplemented, match="no datatype for input 'x' of type complex64"):
        WIRE.predict(M, "s", {"x": np.zeros(1, np.complex64)}, ())
    with pytest.raises(Unimplemented, match=r"has no tensorflow\.Example"):
        WIRE.classify(M, "s", [])
    with pytest.raises(Unimplemented, match=r"has no tensorflow\.Example"):
        WIRE.regress(M, "s", [])


def test_outputs_are_read_raw_and_from_json() -> None:
    raw = np.array([1.5, -0.0], np.float32).tobytes()
    found = answered(
        [
            {"name": "a", "datatype": "INT64", "shape": [1, 2], "data": [[2**63 - 1, -(2**63)]]},
            {
                "name": "b",
                "datatype": "FP32",
                "shape": [2],
                "parameters": {"binary_data_size": 8},
            },
            {"name": "c", "datatype": "BYTES", "shape": [2, 1], "data": ["é", ""]},
            {"name": "d", "datatype": "FP64", "shape": [1], "data": [float("nan")]},
        ],
        raw,
    )
    assert found["a"].tolist() == [[2**63 - 1, -(2**63)]]
    assert repr(found["b"].tolist()) == "[1.5, -0.0]"
    assert found["b"].flags.writeable
    assert found["c"].tolist() == [["é".encode()], [b""]]
    assert repr(found["d"].tolist()) == "[nan]"


@pytest.mark.parametrize(
    ("output", "raw"),
    [
        ({"name": "a", "datatype": "FP32", "shape": [2], "data": [1.0]}, b""),
        ({"name": "a", "datatype": "NONE", "shape": [1], "data": [1.0]}, b""),
        ({"name": "a", "datatype": "FP32", "shape": [1]}, b""),
        (
            {
                "name": "a",
                "datatype": "FP32",
                "shape": [2**62],
                "parameters": {"binary_data_size": 4},
            },
            b"1234",
        ),
        (
            {"name": "a", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 9}},
            b"1234",
        ),
    ],
)
def test_an_answer_that_lies_is_an_internal_error(output: dict[str, Any], raw: bytes) -> None:
    with pytest.raises(Internal):
        answered([output], raw)


@pytest.mark.parametrize("length", ["-1", "x", "99999"])
def test_a_length_that_lies_is_told(length: str) -> None:
    with pytest.raises(Internal, match="cannot be"):
        answered([], inference_header_content_length=length)


def test_a_version_that_is_no_number_is_none() -> None:
    exchange = WIRE.predict(M, "s", {}, ())
    assert exchange.read(reply({"model_version": "3", "outputs": []})).version == 3
    assert exchange.read(reply({"model_version": "v1.0", "outputs": []})).version is None
    assert exchange.read(reply({"outputs": []})).version is None


def test_metadata_is_that_of_the_default_signature() -> None:
    said = {
        "name": "m",
        "versions": ["1", "7", "x"],
        "inputs": [{"name": "x", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": "y", "datatype": "COMPLEX64", "shape": [-1, 2]}],
    }
    found = WIRE.metadata(M).read(reply(said))
    signature = found.signatures["serving_default"]
    assert found.version == 7
    assert (signature.inputs["x"].dtype, signature.inputs["x"].shape) == (DataType.STRING, None)
    assert (signature.outputs["y"].dtype, signature.outputs["y"].shape) == (
        DataType.COMPLEX64, (-1, 2),
    )  # fmt: skip
    assert WIRE.metadata(M).read(reply(said, salver_model_version="1")).version == 1
    assert WIRE.metadata(Which("m", 1)).read(reply(said)).version == 1
    assert WIRE.metadata(Which("m", label="l")).read(reply(said)).version == 0


def test_the_index_is_the_list_of_models() -> None:
    index = [
        {"name": "a", "version": "1", "state": "UNAVAILABLE", "reason": "broken"},
        {"name": "a", "version": "2", "state": "READY", "reason": ""},
        {"name": "b"},
        {"name": "c", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"},
    ]
    a, b, c = WIRE.models().read(reply(index))
    assert [(of.version, of.state) for of in a.status.versions] == [(1, "END"), (2, "AVAILABLE")]
    assert str(a.status.versions[0].error) == "broken"
    assert (b.status.versions, c.status.versions[0].error) == ((), None)
    assert WIRE.status(Which("a", 2)).read(reply(index)).available == (2,)
    with pytest.raises(NotFound):
        WIRE.status(Which("a", 3)).read(reply(index))
    with pytest.raises(Unimplemented, match="does not list its models"):
        WIRE.models().read(reply({"detail": "Not Found"}, 404))


def test_readiness_is_read_from_all_kinds_of_servers() -> None:
    assert WIRE.ready().read(reply(b""))
    assert WIRE.is_up(M).read(reply({"name": "m", "ready": True})).versions[0].is_available
    for status in (400, 503):
        with pytest.raises(Unavailable, match="it is not ready"):
            WIRE.ready().read(reply(b"", status))
    with pytest.raises(NotFound, match="unknown"):
        WIRE.is_up(M).read(reply({"error": "unknown"}, 404))


def test_errors_are_those_of_their_statuses() -> None:
    exchange = WIRE.predict(M, "s", {}, ())
    for status, kind in [(400, InvalidArgument), (404, NotFound), (503, Unavailable)]:
        with pytest.raises(kind, match="bad") as caught:
            exchange.read(reply({"error": "bad", "hint": "try"}, status))
        assert caught.value.hint == "try"
    with pytest.raises(Internal, match="not that of a model server"):
        exchange.read(reply(b"<html>"))

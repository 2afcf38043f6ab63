"""What a hostile or broken client may send: each gets a code that is true, and the server lives."""

import random
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from salver.vocabulary.dtypes import DataType
from tests.integration.grpc_clients.plain import (
    METHODS,
    Client,
    connected,
    example,
    message,
    model_spec,
    outcome,
    predict_request,
    tensor,
)
from tests.integration.serving import Server

REFUSED = {
    "INTERNAL",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "RESOURCE_EXHAUSTED",
    "OK",
}
"""What may come of bytes that were spoiled: they can also mean something, or the same."""


def whole_requests() -> dict[str, bytes]:
    """A request of each method that would be answered."""
    regress = message(
        "RegressionRequest", model_spec=model_spec("half_plus_two", signature="regress_x_to_y")
    )
    regress.input.example_list.examples.extend([example(x=2.0), example(x=4.0)])
    classify = message("ClassificationRequest", model_spec=model_spec("classes"))
    classify.input.example_list_with_context.examples.extend([example(scores=[1.0, 2.0])])
    classify.input.example_list_with_context.context.CopyFrom(example(a="b"))
    multi = message("MultiInferenceRequest", input=regress.input)
    multi.tasks.add(model_spec=regress.model_spec, method_name="tensorflow/serving/regress")
    session = message("SessionRunRequest", model_spec=model_spec("half_plus_two"), fetch=["y:0"])
    session.feed.add(name="x:0", tensor=tensor([[2.0]]))
    metadata = message(
        "GetModelMetadataRequest",
        model_spec=model_spec("several", 1),
        metadata_field=["signature_def"],
    )
    return {
        "Predict": predict_request(
            model_spec("several", 1, signature="serving_default"),
            {
                "a": tensor([[1.0, 2.0]], in_fields=True),
                "b": tensor([3], DataType.INT32, in_fields=True),
                "text": ["word"],
            },
            outputs=["upper"],
        ).SerializeToString(),
        "Regress": regress.SerializeToString(),
        "Classify": classify.SerializeToString(),
        "MultiInference": multi.SerializeToString(),
        "SessionRun": session.SerializeToString(),
        "GetModelMetadata": metadata.SerializeToString(),
        "GetModelStatus": message(
            "GetModelStatusRequest", model_spec=model_spec("versions", 123)
        ).SerializeToString(),
    }


def vector(size: int) -> Any:
    shape = message("tensorflow.TensorShapeProto")
    shape.dim.add(size=size)
    return shape


WHOLE = whole_requests()
METHOD = st.sampled_from(sorted(WHOLE))


def sent(client: Client, method: str, data: bytes) -> tuple[str, str]:
    path, _ = METHODS[method]
    return outcome(lambda: client.raw(path, data))


@pytest.mark.parametrize("method", WHOLE)
def test_the_requests_that_are_spoiled_here_are_good_ones(method: str, client: Client) -> None:
    assert sent(client, method, WHOLE[method]) == ("OK", "")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"\x0a\x05abc",  # a field that ends behind the message
        b"\x0a\xff\xff\xff\xff\x0f",  # of 4 GiB
        b"\x0b",  # a group that is not closed
        b"\x07",  # wire type 7
        b"\x00\x01",  # field number 0
        b"\x0a" + b"\xff" * 10 + b"\x01",  # a varint of eleven bytes
        b"\x0a\x04\x0a\x02\xff\xfe",  # a name that is no UTF-8
    ],
    ids=lambda data: data.hex()[:12],
)
def test_bytes_that_are_no_message_are_refused(method: str, data: bytes, client: Client) -> None:
    code, _ = sent(client, method, data)
    assert code in ("INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND")


@pytest.mark.parametrize("method", METHODS)
def test_no_bytes_are_an_empty_message(method: str, client: Client) -> None:
    code, text = sent(client, method, b"")
    assert code == "INVALID_ARGUMENT"
    assert text != ""


@pytest.mark.parametrize("method", WHOLE)
def test_a_message_cut_off_anywhere_is_answered(method: str, client: Client) -> None:
    whole = WHOLE[method]
    for end in range(0, len(whole), max(1, len(whole) // 60)):
        assert sent(client, method, whole[:end])[0] in REFUSED


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(method=METHOD, seed=st.integers(0, 2**32))
def test_a_message_with_bytes_changed_is_answered(method: str, seed: int, client: Client) -> None:
    rng = random.Random(seed)
    data = bytearray(WHOLE[method])
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        match rng.randrange(3):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data.insert(at, rng.randrange(256))
            case _:
                del data[at]
    code, text = sent(client, method, bytes(data))
    assert code in REFUSED, (code, text, bytes(data))


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(method=METHOD, data=st.binary(max_size=200))
def test_any_bytes_are_answered(method: str, data: bytes, client: Client) -> None:
    code, text = sent(client, method, data)
    assert code in REFUSED, (code, text)


def test_messages_nested_deeply_are_answered(client: Client) -> None:
    """Defaults of nothing: a variant holds tensors, which hold variants."""
    proto = message("tensorflow.TensorProto", dtype=21)
    data = proto.SerializeToString()
    for _ in range(500):
        data = b"\x1a" + varint(len(data)) + data  # VariantTensorDataProto.tensors
        data = b"\x7a" + varint(len(data)) + data  # TensorProto.variant_val
    entry = b"\x0a\x01x\x12" + varint(len(data)) + data
    spec = model_spec("half_plus_two").SerializeToString()
    request = b"\x0a" + varint(len(spec)) + spec + b"\x12" + varint(len(entry)) + entry
    code, _ = sent(client, "Predict", request)
    assert code in ("INVALID_ARGUMENT", "INTERNAL")


def test_a_shape_larger_than_its_values_does_not_fill_the_memory(
    all_models_server: Server, client: Client
) -> None:
    """One value may stand for many; it must not stand for 4 TB."""
    before = all_models_server.resident_bytes()
    proto = message("tensorflow.TensorProto", dtype=1, float_val=[1.0])
    proto.tensor_shape.CopyFrom(vector(2**40))
    request = predict_request(model_spec("half_plus_two"), {"x": proto})
    code, _ = client.refusal("Predict", request)
    assert code in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")
    assert all_models_server.resident_bytes() - before < 256 << 20


def test_a_tensor_of_more_axes_than_arrays_have_is_refused(client: Client) -> None:
    proto = message("tensorflow.TensorProto", dtype=1, float_val=[1.0])
    for _ in range(300):
        proto.tensor_shape.dim.add(size=1)
    request = predict_request(model_spec("half_plus_two"), {"x": proto})
    assert client.refusal("Predict", request)[0] == "INVALID_ARGUMENT"


def test_many_names_are_refused_in_a_text_that_is_cut(client: Client) -> None:
    inputs = {f"input-{n}": [1.0] for n in range(1000)}
    code, text = client.refusal("Predict", predict_request(model_spec("half_plus_two"), inputs))
    assert code == "INVALID_ARGUMENT"
    assert len(text) == 1024 + len("...TRUNCATED")


def test_large_metadata_is_refused_and_no_more(client: Client) -> None:
    metadata = tuple((f"x-{n}", "v" * 1000) for n in range(100))
    request = predict_request(model_spec("half_plus_two"), {"x": [2.0]})
    code, _ = client.refusal("Predict", request, metadata=metadata)
    assert code in ("RESOURCE_EXHAUSTED", "OK", "INTERNAL", "UNKNOWN")


class TestConnections:
    @pytest.mark.parametrize(
        "data",
        [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00",
            b"\x00" * 1000,
            bytes(range(256)) * 8,
        ],
        ids=lambda data: repr(data[:20]),
    )
    def test_what_is_no_http2_holds_up_nobody(
        self, data: bytes, all_models_server: Server, client: Client
    ) -> None:
        address = ("127.0.0.1", all_models_server.grpc_port)
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(data)
            assert client.predict("half_plus_two", {"x": [2.0]}) == {"y": [3.0]}

    def test_clients_that_vanish_hold_up_nobody(
        self, all_models_server: Server, client: Client
    ) -> None:
        request = predict_request(model_spec("slow"), {"millis": [200.0]})
        for _ in range(5):
            with connected(all_models_server.grpc_target) as leaver:
                leaver.start("Predict", request)
        assert client.predict("half_plus_two", {"x": [2.0]}) == {"y": [3.0]}


def test_a_stream_of_requests_to_a_unary_method_is_refused(client: Client) -> None:
    path, _ = METHODS["Predict"]
    method = client.channel.stream_stream(path)

    def attempt() -> list[Any]:
        return list(method(iter([WHOLE["Predict"]] * 3), timeout=20))

    assert outcome(attempt)[0] in ("UNIMPLEMENTED", "INTERNAL", "OK", "UNKNOWN")


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])

"""The client against a real server by the Open Inference Protocol, over REST and gRPC."""

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import salver
from salver.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServingError,
    Unimplemented,
)
from salver.vocabulary.dtypes import DataType
from tests.integration.serving import Server


@pytest.fixture(params=["rest", "grpc"])
def url(request: pytest.FixtureRequest, all_models_server: Server) -> str:
    if request.param == "rest":
        return all_models_server.url
    return f"grpc://{all_models_server.grpc_target}"


@pytest.fixture
def client(url: str) -> Iterator[salver.Client]:
    with salver.Client(url, protocol="v2") as client:
        yield client


def test_predict_takes_and_gives_numpy(client: salver.Client) -> None:
    answer = client.predict("half_plus_two", np.array([[1], [2], [5]]))
    assert answer["y"].dtype == np.float32
    assert answer["y"].tolist() == [[2.5], [3.0], [4.5]]
    assert answer.version == 123
    answer["y"][0] = 7  # it is the caller's own


def test_a_version_and_a_label_are_asked_by_name(client: salver.Client) -> None:
    for _ in range(2):
        assert client.predict("versions", [[1.0]], version=123).version == 123
        assert client.predict("versions", [[1.0]], label="canary").version == 124
        assert client.predict("versions", [[1.0]], label="stable").version == 123
    with pytest.raises(NotFound, match="version 9"):
        client.predict("versions", [[1.0]], version=9)


@pytest.mark.parametrize("rows", [1, 2000])
def test_several_inputs_go_by_name_and_outputs_can_be_chosen(
    client: salver.Client, rows: int
) -> None:
    inputs: dict[str, Any] = {
        "a": np.ones((rows, 2)),
        "b": [1] * rows,
        "text": ["one", "é"] * (rows // 2 or 1),
    }
    inputs["text"] = inputs["text"][:rows]
    whole = client.predict("several", inputs)
    names = sorted(whole)
    chosen = client.predict("several", inputs, outputs=names[:1])
    assert list(chosen) == names[:1]
    np.testing.assert_array_equal(chosen[names[0]], whole[names[0]])
    with salver.Client(client.url) as tfs:
        expected = tfs.predict("several", inputs)
    assert {name: of.tolist() for name, of in whole.items()} == {
        name: of.tolist() for name, of in expected.items()
    }


VALUES: dict[str, Any] = {
    "bool": np.array([True, False]),
    "float": np.array([1.5, np.nan, -np.inf], np.float32),
    "double": np.array([0.1, 5e-324]),
    "half": np.array([0.5], np.float16),
    "bfloat16": np.array([0.5], ml_dtypes.bfloat16),
    "int8": np.array([-128, 127], np.int8),
    "uint16": np.array([65535], np.uint16),
    "int64": np.array([2**63 - 1, -(2**63)]),
    "uint64": np.array([2**64 - 1], np.uint64),
    "string": np.array([b"a", b"", "é".encode(), b"\xff\x00"], object),
}


@pytest.mark.parametrize("times", [1, 1000])
@pytest.mark.parametrize("name", list(VALUES))
def test_every_dtype_goes_there_and_back(client: salver.Client, name: str, times: int) -> None:
    with salver.Client(client.url) as tfs:
        if name not in tfs.metadata("every_dtype").signatures:
            pytest.skip(f"this TensorFlow has no {name}")
    array = np.tile(VALUES[name], times)
    back = client.predict("every_dtype", {"x": array}, signature=name)["y"]
    assert back.dtype == array.dtype
    assert repr(back.tolist()) == repr(array.tolist())


def test_a_signature_the_server_does_not_tell_of_takes_named_arrays(client: salver.Client) -> None:
    with pytest.raises(InvalidArgument, match="Name the inputs of signature"):
        client.predict("every_dtype", ["a"], signature="string")
    assert client.predict("every_dtype", {"x": ["a"]}, signature="string")["y"].tolist() == [b"a"]
    assert client.predict("every_dtype", {"x": [1.5]}, signature="float")["y"].tolist() == [1.5]
    with pytest.raises(ServingError, match="not there"):
        client.predict("half_plus_two", {"x": [1.5]}, signature="not there")


def test_classes_come_with_their_scores_and_values_for_each_row(client: salver.Client) -> None:
    (classes,) = client.classify("half_plus_two", [{"x": [80.0]}])
    assert [(of.label, of.score) for of in classes] == [("0", 42.0)]
    assert client.regress("half_plus_two", [{"x": [80.0]}, {"x": [1.0]}]).tolist() == [42.0, 2.5]
    assert client.regress("half_plus_two", [[80.0], [1.0]]).tolist() == [42.0, 2.5]
    with pytest.raises(InvalidArgument, match="different features"):
        client.classify("half_plus_two", [{"x": [80.0]}, {}])


def test_metadata_tells_of_the_default_signature(client: salver.Client) -> None:
    said = client.metadata("half_plus_two")
    assert (said.name, said.version, list(said.signatures)) == (
        "half_plus_two", 123, ["serving_default"],
    )  # fmt: skip
    signature = said.signatures["serving_default"]
    assert signature.inputs["x"].dtype is DataType.FLOAT32
    assert signature.outputs["y"].shape == (-1, 1)


def test_models_are_listed_and_ready(client: salver.Client) -> None:
    names = {of.name: of.status.available for of in client.models()}
    assert names["versions"] == (124, 123)
    assert client.status("half_plus_two").available == (123,)
    assert client.status("versions", version=124).available == (124,)
    client.wait_ready(timeout_s=30)
    client.wait_ready("half_plus_two", timeout_s=30)
    client.wait_ready("half_plus_two", version=123, timeout_s=30)
    with pytest.raises(NotFound):
        client.status("unknown")
    with pytest.raises(DeadlineExceeded, match=r"Model 'unknown' was not ready within 0.2 s"):
        client.wait_ready("unknown", timeout_s=0.2)


def test_errors_have_code_message_and_hint(client: salver.Client) -> None:
    with pytest.raises(NotFound, match="Request for unknown model: 'unknown' is not found"):
        client.predict("unknown", [1.0])
    with pytest.raises(InvalidArgument, match="has no input 'z'") as caught:
        client.predict("half_plus_two", {"z": [1.0]})
    assert caught.value.hint == "It takes 'x'."
    with pytest.raises(InvalidArgument, match="has no output 'z'"):
        client.predict("half_plus_two", [[1.0]], outputs=["z"])
    with pytest.raises(Unimplemented, match="has no datatype for input 'x' of type complex64"):
        client.predict("every_dtype", {"x": np.zeros(1, np.complex64)}, signature="complex64")
    with pytest.raises((FailedPrecondition, InvalidArgument)):
        client.predict("half_plus_two", {"x": ["no number"]})


async def test_the_same_with_a_loop(url: str) -> None:
    async with salver.AsyncClient(url, protocol="v2") as client:
        await client.wait_ready("half_plus_two", timeout_s=30)
        answer = await client.predict("half_plus_two", np.ones((5000, 1)))
        assert (answer.version, answer["y"].sum()) == (123, 12500.0)
        assert {of.name for of in await client.models()} >= {"half_plus_two"}
        assert (await client.metadata("half_plus_two")).version == 123


def test_a_wrong_protocol_is_told() -> None:
    with pytest.raises(InvalidArgument, match="There is no protocol 'v3'"):
        salver.Client("http://localhost:8501", protocol="v3")  # type: ignore[arg-type]

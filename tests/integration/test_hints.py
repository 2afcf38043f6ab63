"""The commonest mistakes, made over every API: what a person is told, and that the server lives."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests

import salver
from salver.errors import InvalidArgument, ServingError
from tests.integration.grpc_clients.plain import connected
from tests.integration.serving import Server, running

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
PICTURE = "the signature says [-1, 8, 8, 1]"
ROWS_MISSING = "the first axis, which counts the rows, is missing"

# Name → shape that is fed, what the hint says.
SHAPES = {
    "no row": ((8, 8, 1), ROWS_MISSING),
    "no channel": ((2, 8, 8), "an axis of 1 is missing, as in [2, 8, 8, 1]"),
    "flat": ((2, 64), "the same numbers would fit as [2, 8, 8, 1]"),
    "one flat row": ((64,), "the same numbers would fit as [1, 8, 8, 1]"),
    "rank": ((2, 3), "it has 2 axes, not 4"),
    "width": ((1, 8, 9, 1), "axis 2 has 9, not 8"),
    "channels first": ((1, 1, 8, 8), "the channels are to be the last axis"),
}


@pytest.fixture(
    scope="module",
    params=[(), ("--grpc_transport=grpcio",), ("--enable_batching",)],
    ids=["native", "grpcio", "batching"],
)
def server(request: pytest.FixtureRequest, model_path: Callable[[str], Path]) -> Iterator[Server]:
    with running(
        f"convnet={model_path('convnet')}",
        f"several={model_path('several')}",
        f"classes={model_path('classes')}",
        *request.param,
        command="salver",
    ) as server:
        yield server


@pytest.fixture(autouse=True)
def _lives_on(server: Server) -> Iterator[None]:
    yield
    good = np.zeros((1, 8, 8, 1)).tolist()
    assert server.predict("convnet", good).status_code == 200
    assert server.process.poll() is None


def refused(server: Server, body: object, model: str = "convnet") -> tuple[str, str]:
    """Error and hint of a predict request over REST."""
    data = body if isinstance(body, bytes) else json.dumps(body)
    answer = requests.post(f"{server.url}/v1/models/{model}:predict", data=data, timeout=60)
    assert answer.status_code == 400, answer.text
    said = answer.json()
    return said["error"], said.get("hint", "")


@pytest.mark.parametrize("name", SHAPES)
def test_a_wrong_shape_is_explained_over_every_api(server: Server, name: str) -> None:
    shape, said = SHAPES[name]
    array = np.zeros(shape, np.float32)
    error, hint = refused(server, {"inputs": array.tolist()})
    assert said in hint
    assert PICTURE in hint
    assert "signature says" not in error
    for url in (server.url, f"grpc://{server.grpc_target}"):
        with salver.Client(url) as client, pytest.raises(InvalidArgument) as caught:
            client.predict("convnet", array)
        assert (caught.value.message, caught.value.hint) == (error, hint)
        assert str(caught.value) == f"{error}\n  {hint}"


def test_a_client_that_knows_no_hints_sees_the_contract_s_text_alone(server: Server) -> None:
    with salver.Client(server.url) as ours:
        (alias,) = ours.metadata("convnet").signatures["serving_default"].inputs
    with connected(server.grpc_target) as client, pytest.raises(grpc.RpcError) as caught:
        client.predict("convnet", {alias: np.zeros((8, 8, 1), np.float32)})
    assert caught.value.details() == "input must be 4-dimensional[8,8,1]"


def test_one_row_without_its_brackets_is_explained(server: Server) -> None:
    _, hint = refused(server, {"instances": np.zeros((8, 8, 1)).tolist()})
    assert f"is [8, 8, 1], {PICTURE}: {ROWS_MISSING}" in hint


def test_inputs_with_different_numbers_of_rows_are_explained(server: Server) -> None:
    inputs = {"a": [[1.0, 2.0]] * 2, "b": [1, 2, 3], "text": ["x"]}
    _, hint = refused(server, {"inputs": inputs}, "several")
    assert hint == "The inputs have different numbers of rows: a has 2, b has 3, text has 1."


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (PNG, "The body is a PNG picture"),
        (JPEG, "The body is a JPEG picture"),
        (b"{'instances': [[1.0]]}", "JSON takes double quotes"),
        (b"", "The body is empty"),
    ],
)
def test_a_body_that_is_no_json_is_explained(server: Server, body: bytes, said: str) -> None:
    error, hint = refused(server, body)
    assert error.startswith("JSON Parse error: ")
    assert said in hint


def test_a_form_is_explained(server: Server) -> None:
    url = f"{server.url}/v1/models/convnet:predict"
    for form in (
        {"files": {"file": ("seven.png", PNG, "image/png")}},
        {"data": {"instances": "[[1.0]]"}},
    ):
        answer = requests.post(url, timeout=60, **form)
        assert answer.status_code == 400
        assert "The body is a form" in answer.json()["hint"]


def test_what_is_not_there_is_named_over_every_api(server: Server) -> None:
    picture = np.zeros((1, 8, 8, 1), np.float32)
    for url in (server.url, f"grpc://{server.grpc_target}"):
        with salver.Client(url) as client:
            with pytest.raises(ServingError, match="Models of this server: convnet, several"):
                client.predict("convent", picture)
            with pytest.raises(ServingError, match=r"Versions of convnet: 2 \(AVAILABLE\)"):
                client.predict("convnet", picture, version=99)
            with pytest.raises(ServingError, match="The model has ") as caught:
                client.predict("convnet", picture, signature="serving_defualt")
            assert "__saved_model" not in str(caught.value)


def test_inputs_that_are_missing_are_listed_over_grpc(server: Server) -> None:
    with connected(server.grpc_target) as client, pytest.raises(grpc.RpcError) as caught:
        client.predict("several", {"a": np.zeros((1, 2), np.float32)})
    hints = [value for key, value in caught.value.trailing_metadata() if key == "salver-hint"]
    assert hints == [
        "The inputs of this signature are: 'a' (float, shape [-1, 2]), 'b' (int32, shape [-1]), "
        "'text' (string, shape [-1])."
    ]

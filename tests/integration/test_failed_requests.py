"""What a request that fails has brought is free again once it is answered.

The server's cyclic collector is off, so that a body which only a collection would free stays, and
shows: after a few requests that settle the allocator, each of those that follow would leave its
body.
"""

import gzip
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
import pytest
import requests

from tests.integration.grpc_clients.plain import (
    METHODS,
    Client,
    connected,
    message,
    model_spec,
    outcome,
    predict_request,
    tensor,
)
from tests.integration.serving import PATIENCE_S, Server, eventually, running

MIB: Final = 1 << 20
BODY_BYTES: Final = 8 * MIB
SETTLING: Final = 3  # requests
COUNTED: Final = 8  # requests; with a leak they would leave eight bodies
MOST_GROWN_BYTES: Final = 5 * BODY_BYTES
LARGEST_BYTES: Final = 12 * MIB
NO_COLLECTOR: Final = "import gc; gc.disable(); gc.enable = lambda: None; gc.collect = lambda *_: 0"

Ask = Callable[[Server], object]


@contextmanager
def without_collector(all_models_config: Path, transport: str) -> Iterator[Server]:
    with running(
        f"--grpc_transport={transport}",
        f"--model_config_file={all_models_config}",
        "--allow_version_labels_for_unavailable_models",
        "--enable_session_service",
        f"--max_request_bytes={LARGEST_BYTES}",
        "--max_inflate_ratio=2000",  # zlib makes less of anything, so these zeros come through
        "--rest_api_timeout_in_ms=3000",
        prelude=NO_COLLECTOR,
    ) as started:
        yield started


@pytest.fixture(scope="module")
def server(all_models_config: Path) -> Iterator[Server]:
    """A server without a collector."""
    with without_collector(all_models_config, "native") as started:
        yield started


@pytest.fixture(scope="module", params=["native", "grpcio"])
def grpc_server(
    request: pytest.FixtureRequest, server: Server, all_models_config: Path
) -> Iterator[Server]:
    """The same over each transport of gRPC."""
    if request.param == "native":
        yield server
        return
    with without_collector(all_models_config, request.param) as started:
        yield started


def check(server: Server, ask: Ask, *, body_bytes: int = BODY_BYTES) -> None:
    """Ask again and again; the server must not grow by the bodies."""
    for _ in range(SETTLING):
        ask(server)
    before = server.resident_bytes()
    for _ in range(COUNTED):
        ask(server)

    def grown_bytes() -> int:
        return server.resident_bytes() - before

    most_bytes = MOST_GROWN_BYTES * body_bytes // BODY_BYTES
    with suppress(AssertionError):  # a client that has left is not waited for
        eventually("it is freed", lambda: grown_bytes() < most_bytes, within_s=10.0)
    assert grown_bytes() < most_bytes
    assert server.predict("half_plus_two", [2.0]).status_code == 200


# -- REST -----------------------------------------------------------------------------------------

BLANKS: Final = b" " * BODY_BYTES
NUMBERS: Final = b"1.25," * (BODY_BYTES // 5)
TEXTS: Final = b'"abc",' * (BODY_BYTES // 6)
ROWS: Final = b"[1.5,2.5]," * (BODY_BYTES // 10)
HALF: Final = "/v1/models/half_plus_two:predict"

# What is posted where → the status it gets.
REFUSED: Final[dict[str, tuple[str, bytes, int]]] = {
    "no keys": (HALF, BLANKS + b"{}", 400),
    "blanks": (HALF, BLANKS, 400),
    "no JSON": (HALF, b'{"instances": [' + NUMBERS + b"x]}", 400),
    "cut short": (HALF, b'{"instances": [' + NUMBERS + b"1.0]", 400),
    "a list": (HALF, b"[" + NUMBERS + b"1.0]", 400),
    "a long string": (HALF, b'{"instances": ["' + b"a" * BODY_BYTES + b'"]}', 400),
    "a long number": (HALF, b'{"instances": [' + b"1" * BODY_BYTES + b"]}", 400),
    "a wrong type at the end": (HALF, b'{"instances": [' + NUMBERS + b'"x"]}', 400),
    "a wrong type at the beginning": (HALF, b'{"instances": [' + TEXTS + b"1.0]}", 400),
    "ragged": (HALF, b'{"instances": [' + ROWS + b"[1.0]]}", 400),
    "both keys": (HALF, b'{"instances": [' + NUMBERS + b'1.0], "inputs": 1}', 400),
    "a wrong signature": (
        HALF,
        b'{"signature_name": "none", "instances": [' + NUMBERS + b"1.0]}",
        400,
    ),
    "a signature that is no string": (
        HALF,
        b'{"signature_name": 1, "instances": [' + NUMBERS + b"1.0]}",
        400,
    ),
    "an input that is not there": (
        HALF,
        b'{"instances": [{"y": [' + NUMBERS + b"1.0]}]}",
        400,
    ),
    "half of the inputs": (
        "/v1/models/several:predict",
        b'{"inputs": {"a": [' + NUMBERS + b"1.0]}}",
        400,
    ),
    "broken base64": (
        "/v1/models/strings:predict",
        b'{"instances": [{"b64": "' + b"A" * BODY_BYTES + b'!"}]}',
        400,
    ),
    "bytes that are no UTF-8": (HALF, b'{"instances": ["' + b"\xff" * BODY_BYTES + b'"]}', 400),
    "a model that is not there": (
        "/v1/models/none:predict",
        b'{"instances": [' + NUMBERS + b"1.0]}",
        404,
    ),
    "a version that is not there": (
        "/v1/models/half_plus_two/versions/9:predict",
        b'{"instances": [' + NUMBERS + b"1.0]}",
        404,
    ),
    "a label that is not there": (
        "/v1/models/half_plus_two/labels/x:predict",
        b'{"instances": [' + NUMBERS + b"1.0]}",
        400,
    ),
    "a method that is not there": ("/v1/models/half_plus_two:explain", BLANKS, 400),
    "a page that is not there": ("/nothing", BLANKS, 404),
    "a run that fails": (
        "/v1/models/failing:predict",
        b'{"instances": [-1.0,' + NUMBERS + b"1.0]}",
        400,
    ),
    "a deadline that passes": (
        "/v1/models/slow:predict",
        b'{"instances": [4000.0,' + NUMBERS + b"1.0]}",
        504,
    ),
    "no examples": ("/v1/models/classes:classify", BLANKS + b"{}", 400),
    "examples of a wrong kind": (
        "/v1/models/classes:classify",
        b'{"examples": [{"scores": [' + NUMBERS + b'"x"]}]}',
        400,
    ),
    "examples for a signature of tensors": (
        "/v1/models/matrix_half_plus_two:regress",
        b'{"examples": [{"x": [' + NUMBERS + b"1.0]}]}",
        400,
    ),
    "too large": (HALF, b" " * (LARGEST_BYTES + 1), 413),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_rest_request_leaves_nothing(server: Server, case: str) -> None:
    target, body, status = REFUSED[case]

    def ask(server: Server) -> None:
        with suppress(requests.ConnectionError):  # one that is too large need not be read
            answer = server.session.post(server.url + target, data=body, timeout=PATIENCE_S)
            assert answer.status_code == status, answer.text[:500]

    check(server, ask)


@pytest.mark.parametrize(
    "case", ["no keys", "no JSON", "a wrong signature", "a run that fails", "too large"]
)
def test_a_refused_request_over_http2_leaves_nothing(
    server: Server, case: str, tmp_path: Path
) -> None:
    target, body, status = REFUSED[case]
    file = tmp_path / "body"
    file.write_bytes(body)

    def ask(server: Server) -> None:
        command = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "-H", "Expect:"]
        command += ["--http2-prior-knowledge", "--data-binary", f"@{file}", server.url + target]
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)
        assert done.stdout.decode() == str(status), done

    check(server, ask)


COMPRESSED: Final = {
    "blanks": (gzip.compress(BLANKS + b"{}", 1), 400),
    "cut short": (gzip.compress(BLANKS + b"{}", 1)[:-20], 400),
    "broken": (b"\x1f\x8b\x08" + bytes(range(256)) * (BODY_BYTES // 256), 400),
    "too large": (gzip.compress(os.urandom(MIB) * (1 + LARGEST_BYTES // MIB), 1), 413),
}


@pytest.mark.parametrize("case", COMPRESSED)
def test_a_refused_compressed_request_leaves_nothing(server: Server, case: str) -> None:
    body, status = COMPRESSED[case]

    def ask(server: Server) -> None:
        answer = server.session.post(
            server.url + HALF,
            data=body,
            headers={"Content-Encoding": "gzip"},
            timeout=PATIENCE_S,
        )
        assert answer.status_code == status, answer.text[:500]

    check(server, ask)


def _head(length: int) -> bytes:
    return (
        b"POST /v1/models/slow:predict HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: %d\r\n\r\n" % length
    )


def test_a_client_that_leaves_in_the_middle_of_a_body_leaves_nothing(server: Server) -> None:
    def ask(server: Server) -> None:
        with server.connect() as client:
            client.sendall(_head(BODY_BYTES + 1) + BLANKS)

    check(server, ask)


def test_a_client_that_leaves_before_its_answer_leaves_nothing(server: Server) -> None:
    body = b'{"instances": [500.0,' + NUMBERS + b"1.0]}"

    def ask(server: Server) -> None:
        with server.connect() as client:
            client.sendall(_head(len(body)) + body)

    check(server, ask)


def test_a_broken_chunk_leaves_nothing(server: Server) -> None:
    head = _head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")

    def ask(server: Server) -> None:
        with server.connect() as client, suppress(ConnectionError):
            client.sendall(head + b"%x\r\n" % BODY_BYTES + BLANKS + b"no end")
            client.shutdown(socket.SHUT_WR)
            assert b" 400 " in client.makefile("rb").readline()

    check(server, ask)


# -- gRPC -----------------------------------------------------------------------------------------

ZEROS: Final = np.zeros(BODY_BYTES // 4, np.float32)


@pytest.fixture
def client(grpc_server: Server) -> Iterator[Client]:
    with connected(grpc_server.grpc_target) as made:
        yield made


def asked(model: str, inputs: dict[str, Any], **spec: Any) -> bytes:
    request = predict_request(model_spec(model, **spec), inputs)
    sent: bytes = request.SerializeToString()
    return sent


def misshapen() -> Any:
    made = tensor(ZEROS)
    made.tensor_shape.dim[0].size += 1
    return made


def of_examples(request: str, **spec: Any) -> bytes:
    made = message(request, model_spec=model_spec(**spec))
    one = made.input.example_list.examples.add().features.feature["x"]
    one.bytes_list.value.append(bytes(BODY_BYTES))
    sent: bytes = made.SerializeToString()
    return sent


CALLS: Final[dict[str, tuple[str, Callable[[], bytes], str]]] = {
    "a model that is not there": ("Predict", lambda: asked("none", {"x": ZEROS}), "NOT_FOUND"),
    "a version that is not there": (
        "Predict",
        lambda: asked("half_plus_two", {"x": ZEROS}, version=9),
        "NOT_FOUND",
    ),
    "a wrong signature": (
        "Predict",
        lambda: asked("half_plus_two", {"x": ZEROS}, signature="none"),
        "FAILED_PRECONDITION",
    ),
    "an input that is not there": (
        "Predict",
        lambda: asked("half_plus_two", {"y": ZEROS}),
        "INVALID_ARGUMENT",
    ),
    "a shape that is not that of the content": (
        "Predict",
        lambda: asked("half_plus_two", {"x": misshapen()}),
        "INVALID_ARGUMENT",
    ),
    "a run that fails": (
        "Predict",
        lambda: asked("failing", {"x": ZEROS - 1.0}),
        "INVALID_ARGUMENT",
    ),
    "a wrong dtype": (
        "Predict",
        lambda: asked("half_plus_two", {"x": ZEROS.astype(np.int32)}),
        "INVALID_ARGUMENT",
    ),
    "no message": ("Predict", lambda: b"\x12" * BODY_BYTES, "INTERNAL"),
    "cut short": (
        "Predict",
        lambda: asked("half_plus_two", {"x": ZEROS})[:-1],
        "INTERNAL",
    ),
    "examples for another signature": (
        "Classify",
        lambda: of_examples("ClassificationRequest", name="half_plus_two"),
        "INVALID_ARGUMENT",
    ),
    "examples that are none": (
        "Regress",
        lambda: of_examples("RegressionRequest", name="half_plus_two", signature="regress_x_to_y"),
        "INVALID_ARGUMENT",
    ),
    "a tensor that the graph does not have": (
        "SessionRun",
        lambda: message(
            "SessionRunRequest",
            model_spec=model_spec("half_plus_two"),
            feed=[message("tensorflow.NamedTensorProto", name="none:0", tensor=tensor(ZEROS))],
            fetch=["y:0"],
        ).SerializeToString(),
        "INVALID_ARGUMENT",
    ),
}


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
@pytest.mark.parametrize("case", CALLS)
def test_a_refused_call_leaves_nothing(
    grpc_server: Server, client: Client, case: str, compression: Any
) -> None:
    method, make, code = CALLS[case]
    request = make()

    def ask(_server: Server) -> None:
        path, _ = METHODS[method]
        got = outcome(lambda: client.raw(path, request, compression=compression))
        assert got[0] == code, got

    check(grpc_server, ask)


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_a_call_whose_deadline_passes_leaves_nothing(
    grpc_server: Server, client: Client, compression: Any
) -> None:
    millis = ZEROS.copy()
    millis[0] = 600.0
    request = asked("slow", {"millis": millis})

    def ask(_server: Server) -> None:
        path, _ = METHODS["Predict"]
        got = outcome(lambda: client.raw(path, request, timeout=0.4, compression=compression))
        assert got[0] == "DEADLINE_EXCEEDED", got

    check(grpc_server, ask)


def test_a_call_that_is_cancelled_leaves_nothing(grpc_server: Server, client: Client) -> None:
    millis = ZEROS.copy()
    millis[0] = 300.0
    request = predict_request(model_spec("slow"), {"millis": millis})

    def ask(_server: Server) -> None:
        call = client.start("Predict", request)
        threading.Event().wait(0.2)  # some are under way by then, others are still being read
        call.cancel()

    check(grpc_server, ask)


# -- as it was found -------------------------------------------------------------------------------


def test_little_gzip_that_becomes_much_leaves_nothing(
    all_models_config: Path,
) -> None:
    """With the collector on: 24 such requests, and 16 at once."""
    body = gzip.compress(b" " * 104_000_000 + b"{}")
    flags = [
        f"--model_config_file={all_models_config}",
        "--allow_version_labels_for_unavailable_models",
    ]
    with running(*flags) as server:
        assert server.predict("half_plus_two", [2.0]).status_code == 200

        def ask(_index: int) -> int:
            return requests.post(
                server.url + HALF,
                data=body,
                headers={"Content-Encoding": "gzip"},
                timeout=PATIENCE_S,
            ).status_code

        before = server.resident_bytes()
        assert {ask(index) for index in range(24)} <= {400, 413}
        assert server.resident_bytes() - before < 250_000_000
        with ThreadPoolExecutor(16) as clients:
            assert set(clients.map(ask, range(16))) <= {400, 413}
        with suppress(AssertionError):
            eventually(
                "it is freed",
                lambda: server.resident_bytes() - before < 300_000_000,
                within_s=8.0,
            )
        assert server.resident_bytes() - before < 300_000_000
        assert server.predict("half_plus_two", [2.0]).status_code == 200

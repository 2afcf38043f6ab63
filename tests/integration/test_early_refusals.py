"""Who may not ask is told so before the body is there, and the body is not received."""

import hashlib
import http.client
import json
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import grpc
import pytest

from salver.transport.http2.frames import PREFACE, settings, window_update
from salver.transport.http2.header_blocks import encode_block
from tests.integration.serving import PATIENCE_S, Server, running

READER = "salver_reader_" + "r" * 32
FEW = "salver_few_" + "f" * 32
WRONG = "salver_reader_" + "w" * 32
PREDICT = "/v1/models/half_plus_two:predict"
METHOD = "/tensorflow.serving.PredictionService/Predict"
LARGE_BYTES = 50_000_000
MIB = 1 << 20
HEADERS, RST_STREAM, GOAWAY, WINDOW_UPDATE = 1, 3, 7, 8


@pytest.fixture(scope="module", params=["native", "grpcio"])
def server(
    request: pytest.FixtureRequest,
    model_path: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    auth = tmp_path_factory.mktemp("auth") / "auth.json"
    lines = [
        f"{name} {hashlib.sha256(key.encode()).hexdigest()} {name}\n"
        for name, key in (("reader", READER), ("few", FEW))
    ]
    auth.with_name("keys.txt").write_text("".join(lines))
    roles = {"reader": {"verbs": ["predict"]}, "few": {"verbs": ["predict"], "models": ["other"]}}
    rules = {"anonymous": {"verbs": ["health"]}, "api_keys": {"file": "keys.txt"}, "roles": roles}
    auth.write_text(json.dumps(rules))
    path = model_path("half_plus_two")
    with running(
        "--model_name=half_plus_two",
        f"--model_base_path={path}",
        f"--auth_config_file={auth}",
        f"--grpc_transport={request.param}",
        command="salver",
    ) as server:
        yield server


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "body"
    with path.open("wb") as file:
        file.truncate(LARGE_BYTES)
    return path


def head(*more: str, target: str = PREDICT, method: str = "POST") -> bytes:
    fields = (f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *more, "", "")
    return "\r\n".join(fields).encode()


def announced(*more: str, **line: str) -> bytes:
    """The head of a request whose body would be huge."""
    return head(f"Content-Length: {900 * MIB}", *more, **line)


@dataclass
class Answer:
    status: int
    connection: str | None
    body: bytes


def answer_to(connection: socket.socket) -> Answer:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    with answer:
        return Answer(answer.status, answer.getheader("connection"), answer.read())


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ("X-None: 1", 401),
        (f"Authorization: Bearer {WRONG}", 401),
        (f"x-api-key: {WRONG}", 401),
        (f"x-api-key: {FEW}", 403),  # of another model
        ("Expect: 100-continue", 401),  # in the place of 100
    ],
)
def test_the_header_fields_alone_are_answered(server: Server, field: str, status: int) -> None:
    with server.connect() as connection:
        connection.sendall(announced(field))
        answer = answer_to(connection)
        assert answer.status == status
        assert answer.connection == "close"
        assert "error" in json.loads(answer.body)
        connection.sendall(b"a part of what was announced")  # which nobody resets
        assert connection.recv(1) == b""


def test_so_are_those_of_chunks_of_no_route_and_of_what_is_open(server: Server) -> None:
    for data, status in (
        (head("Transfer-Encoding: chunked") + b"5\r\nhello\r\n", 401),
        (announced(target="/nothing/here"), 401),
        (announced(target="/healthz/ready", method="GET"), 200),
        (announced(method="OPTIONS"), 400),
    ):
        with server.connect() as connection:
            connection.sendall(data)
            assert answer_to(connection).status == status


def test_bodies_of_those_who_are_let_in_are_taken_on_the_same_connection(server: Server) -> None:
    body = b'{"instances": [2.0]}'
    fields = (f"x-api-key: {READER}", f"Content-Length: {len(body)}")
    with server.connect() as connection:
        for more in ((), (), ("Expect: 100-continue",)):
            connection.sendall(head(*fields, *more))
            if more:
                assert connection.recv(100).startswith(b"HTTP/1.1 100")
            connection.sendall(body[:5])
            connection.sendall(body[5:])
            answer = answer_to(connection)
            assert answer.status == 200
            assert answer.connection is None
            assert json.loads(answer.body) == {"predictions": [3.0]}


def test_a_hundred_who_send_on_take_no_memory(server: Server) -> None:
    with ExitStack() as stack:
        before = server.resident_bytes()
        for _ in range(100):
            connection = stack.enter_context(server.connect())
            connection.sendall(announced() + b"\0" * 4 * MIB)
            assert answer_to(connection).status == 401
        assert server.resident_bytes() - before < 32 * MIB


def test_who_looks_only_when_all_is_sent_reads_the_answer(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    connection.request("POST", PREDICT, b"\0" * LARGE_BYTES)
    assert connection.getresponse().status == 401
    connection.close()


@pytest.mark.skipif(which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(
    ("server", "flag"),
    [("native", "--http1.1"), ("native", "--http2-prior-knowledge"), ("grpcio", "--http1.1")],
    indirect=["server"],
)
@pytest.mark.parametrize("expect", ["Expect:", "Expect: 100-continue"])
def test_curl_reads_the_answer_to_a_large_upload(
    server: Server, large_file: Path, flag: str, expect: str
) -> None:
    command = ["curl", "-sS", "-w", "%{http_code} %{size_upload}", flag, "-H", expect]
    done = subprocess.run(
        [*command, "--data-binary", f"@{large_file}", server.url + PREDICT],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Credentials are missing" in done.stdout
    status, uploaded = done.stdout.rpartition("}")[2].split()
    assert status == "401"
    assert int(uploaded) < LARGE_BYTES


class Frames:
    """A client of HTTP/2 that does as it is told."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rb")
        self._connection = connection
        connection.sendall(PREFACE + settings(()) + window_update(0, MIB))

    def __enter__(self) -> "Frames":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def send(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload) << 8 | kind
        self._connection.sendall(struct.pack(">IBI", size, flags, stream_id) + payload)

    def ask(self, stream_id: int, *fields: tuple[bytes, bytes], target: bytes) -> None:
        pseudo = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", target)]
        block = encode_block([*pseudo, (b":authority", b"127.0.0.1"), *fields])
        self.send(HEADERS, 4, stream_id, block)

    def next_of(self, *kinds: int) -> tuple[int, int, bytes]:
        """Kind, stream and payload of the next frame that is one of these."""
        while True:
            word, _flags, stream_id = struct.unpack(">IBI", self._file.read(9))
            payload = self._file.read(word >> 8)
            if word & 0xFF in kinds:
                return word & 0xFF, stream_id, payload


over_http2 = pytest.mark.parametrize("server", ["native"], indirect=True)
"""The gRPC library has its port for itself."""

GRPC = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))


@over_http2
def test_header_fields_of_http2_are_answered_and_the_stream_is_reset(server: Server) -> None:
    with server.connect() as connection, Frames(connection) as frames:
        for stream_id, fields, target in (
            (1, (), PREDICT),
            (3, ((b"x-api-key", FEW.encode()),), PREDICT),
            (5, GRPC, METHOD),
            (7, (*GRPC, (b"x-api-key", WRONG.encode())), METHOD),
        ):
            frames.ask(stream_id, *fields, target=target.encode())
        seen = [frames.next_of(HEADERS, RST_STREAM) for _ in range(8)]
    assert {stream_id for kind, stream_id, _ in seen if kind == HEADERS} == {1, 3, 5, 7}
    resets = {stream_id: code for kind, stream_id, code in seen if kind == RST_STREAM}
    assert resets == dict.fromkeys((1, 3, 5, 7), bytes(4))  # NO_ERROR


@over_http2
def test_what_is_sent_to_a_reset_stream_gets_no_window(server: Server) -> None:
    with server.connect() as connection, Frames(connection) as frames:
        frames.ask(1, *GRPC, target=METHOD.encode())
        frames.next_of(RST_STREAM)
        with suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(5 * 64):  # of 16 KiB: a window is 4 MiB
                frames.send(0, 0, 1, bytes(16 * 1024))
        kind, _, payload = frames.next_of(GOAWAY, RST_STREAM)
        assert kind == GOAWAY
        assert b"goes on" in payload


def peak_bytes(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM:")).split()[1]) * 1024


@pytest.mark.parametrize("key", [None, WRONG])
def test_a_large_message_of_a_stranger_is_refused(server: Server, key: str | None) -> None:
    metadata = None if key is None else (("x-api-key", key),)
    before = server.resident_bytes()
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # the peak begins anew
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.grpc_target, options=options) as channel:
        call = channel.unary_unary(METHOD)
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as caught:
                call(bytes(LARGE_BYTES), timeout=PATIENCE_S, metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert peak_bytes(server) - before < 32 * MIB

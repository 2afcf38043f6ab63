"""What a hostile or broken client may send to a real socket: each gets its answer or none, and the
server answers the next one as ever."""

import gzip
import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.integration.serving import Server, running

MAX_REQUEST_BYTES = 8 << 20
PREDICT = "/v1/models/m:predict"
GOOD_BODY = b'{"instances": [2.0]}'


@pytest.fixture(scope="module")
def shared_server(model_path: Callable[[str], Path]) -> Iterator[Server]:
    with running(
        "--model_name=m",
        f"--model_base_path={model_path('half_plus_two')}",
        f"--max_request_bytes={MAX_REQUEST_BYTES}",
        "--max_header_bytes=16384",
    ) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The one server of this module, which must have survived each test."""
    yield shared_server
    answer = shared_server.predict("m", [1.0, 2.0, 5.0])
    assert answer.json() == {"predictions": [2.5, 3.0, 4.5]}
    assert shared_server.process.poll() is None


def request(body: bytes, *headers: str, target: str = PREDICT) -> bytes:
    head = [f"POST {target} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def read_response(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of one response; status 0 when the server closed without one.

    Interim responses are passed over, as every client must.
    """
    with connection.makefile("rb") as stream, suppress(ConnectionResetError):
        while status_line := stream.readline():
            status, fields = int(status_line.split()[1]), {}
            while line := stream.readline().strip():
                name, _, value = line.partition(b":")
                fields[name.lower()] = value
            if status >= 200:
                return status, stream.read(int(fields.get(b"content-length", b"0")))
    return 0, b""


def exchange(server: Server, sent: bytes) -> tuple[int, bytes]:
    with server.connect() as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
            connection.sendall(sent)
        return read_response(connection)


def error_of(server: Server, body: bytes) -> tuple[int, str]:
    status, answer = exchange(server, request(body))
    return status, json.loads(answer)["error"]


class TestHttp:
    @pytest.mark.parametrize(
        "sent",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,  # a TLS ClientHello
            b"PRI * HTTP/2.0\r\n\r\nno preface\r\n\r\n",
            b"hello\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /v1/models/m HTTP/9.9\r\n\r\n",
            b"GET /v1/models/m HTTP/1.1\r\nHost: a\r\nbroken header\r\n\r\n",
            b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nContent-Length: minus\r\n\r\n",
            b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nContent-Length: 3\r\n"
            b"Content-Length: 4\r\n\r\nabcd",
            b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
            b"\x00" * 1000 + b"\r\n\r\n",
            bytes(range(256)) * 4,
        ],
        ids=lambda sent: repr(sent[:24]),
    )
    def test_what_is_no_http_is_refused_and_the_connection_closed(
        self, sent: bytes, server: Server
    ) -> None:
        with server.connect() as connection:
            connection.sendall(sent)
            status, _ = read_response(connection)
            assert status in (0, 400, 404, 501, 505)

    def test_a_head_past_the_limit_is_431(self, server: Server) -> None:
        status, body = exchange(server, request(GOOD_BODY, "X-Long: " + "a" * 20000))
        assert status == 431
        assert "16384" in json.loads(body)["error"]

    def test_a_head_without_end_is_431(self, server: Server) -> None:
        status, _ = exchange(server, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 10000)
        assert status == 431

    def test_a_declared_body_past_the_limit_is_413_before_it_is_sent(self, server: Server) -> None:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: {1 << 40}\r\n\r\n"
        status, body = exchange(server, head.encode())
        assert status == 413
        assert str(MAX_REQUEST_BYTES) in json.loads(body)["error"]

    def test_a_chunked_body_past_the_limit_is_413(self, server: Server) -> None:
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        status, _ = exchange(server, head.encode() + chunk * 9 + b"0\r\n\r\n")
        assert status == 413

    def test_a_gzip_bomb_is_413_and_is_not_unpacked(self, server: Server) -> None:
        before = server.resident_bytes()
        bomb = gzip.compress(b" " * (256 << 20))
        status, _ = exchange(server, request(bomb, "Content-Encoding: gzip"))
        assert status == 413
        assert server.resident_bytes() - before < 64 << 20

    def test_broken_gzip_is_the_reference_s_empty_document(self, server: Server) -> None:
        whole = gzip.compress(GOOD_BODY)
        for body in (whole[:-10], b"no gzip", whole[:5] + b"\xff" * 9):
            status, answer = exchange(server, request(body, "Content-Encoding: gzip"))
            assert status == 400
            assert json.loads(answer)["error"] == "JSON Parse error: The document is empty"

    def test_a_client_that_dribbles_is_answered_and_holds_up_nobody(self, server: Server) -> None:
        with server.connect() as slow:
            for byte in request(GOOD_BODY):
                slow.sendall(bytes([byte]))
            assert server.predict("m", [2.0]).status_code == 200
            assert read_response(slow)[0] == 200

    def test_a_client_that_stops_half_way_holds_up_nobody(self, server: Server) -> None:
        with server.connect() as stalled:
            stalled.sendall(request(GOOD_BODY)[:-5])
            assert server.predict("m", [2.0]).status_code == 200

    def test_a_half_closed_socket_still_gets_its_answer(self, server: Server) -> None:
        with server.connect() as connection:
            connection.sendall(request(GOOD_BODY))
            connection.shutdown(socket.SHUT_WR)
            assert read_response(connection)[0] == 200
            assert connection.recv(1) == b""

    def test_a_reset_in_the_middle_is_nothing_to_the_server(self, server: Server) -> None:
        for cut in (10, 60, -3):
            connection = server.connect()
            connection.sendall(request(GOOD_BODY)[:cut])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    def test_a_client_that_does_not_read_does_not_fill_the_memory(self, server: Server) -> None:
        """Responses are not computed for pipelined requests whose answers nobody takes."""
        before = server.resident_bytes()
        with server.connect() as deaf:
            deaf.settimeout(1.0)
            large = request(b'{"instances": [' + b"2.0," * 50000 + b"2.0]}")
            with suppress(TimeoutError):  # the server stops reading, as it should
                for _ in range(300):
                    deaf.sendall(large)
            assert server.resident_bytes() - before < 128 << 20
            assert server.predict("m", [2.0]).status_code == 200

    def test_pipelined_requests_are_answered_in_order(self, server: Server) -> None:
        sent = b"".join(request(b'{"instances": [%d.0]}' % n) for n in range(20))
        with server.connect() as connection, connection.makefile("rb") as stream:
            connection.sendall(sent)
            for n in range(20):
                assert stream.readline().startswith(b"HTTP/1.1 200")
                length = 0
                while (line := stream.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                assert json.loads(stream.read(length)) == {"predictions": [n / 2 + 2]}

    def test_expect_100_continue_is_answered_before_the_body(self, server: Server) -> None:
        head, body = request(GOOD_BODY, "Expect: 100-continue").split(b"\r\n\r\n")
        with server.connect() as connection:
            connection.sendall(head + b"\r\n\r\n")
            assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body)
            assert read_response(connection)[0] == 200


class TestJson:
    @pytest.mark.parametrize("levels", [1000, 500_000])
    def test_json_nested_deeply_is_answered(self, levels: int, server: Server) -> None:
        status, body = exchange(
            server, request(b'{"instances": ' + b"[" * levels + b"]" * levels + b"}")
        )
        assert status in (200, 400)
        json.loads(body)

    def test_objects_nested_deeply_are_answered(self, server: Server) -> None:
        levels = 100_000
        body = b'{"instances": [' + b'{"a":' * levels + b"1" + b"}" * levels + b"]}"
        assert exchange(server, request(body))[0] == 400

    @pytest.mark.parametrize(
        ("body", "error"),
        [
            (b"", "JSON Parse error: The document is empty"),
            (b"{", "JSON Parse error: Missing a name for object member. at offset: 1"),
            (b"[1]", "JSON Value: [1] Is not object"),
            (b"{}", "Missing 'inputs' or 'instances' key"),
            (
                b'{"instances": ["2.0"]}',
                "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
                'JSON Value: "2.0" Type: String is not of expected type: float',
            ),
            (
                b'{"instances": [[1.0, 2.0], [3.0, 4.0, 5.0]]}',
                "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
                "Expecting tensor size: 2 but got: 3",
            ),
            (
                b'{"inputs": [[1.0, 2.0, 3.0], [4.0], [5.0, 6.0]]}',
                "Encountered list at unexpected size: 1 at level: 1 expected size: 3",
            ),
            (
                b'{"instances": [2.0], "signature_name": "nothing"}',
                'Serving signature name: "nothing" not found in signature def',
            ),
        ],
        ids=lambda value: value[:30] if isinstance(value, bytes) else "",
    )
    def test_wrong_bodies_get_the_reference_s_text(
        self, body: bytes, error: str, server: Server
    ) -> None:
        assert error_of(server, body) == (400, error)

    @pytest.mark.parametrize(
        "rows",
        [
            [[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]],
            [[[1.0], [2.0, 3.0]], [[4.0, 5.0], [6.0]]],
            [1.0, [2.0], 3.0],
        ],
    )
    def test_ragged_lists_whose_total_fits_are_refused(self, rows: Any, server: Server) -> None:
        for key in ("instances", "inputs"):
            assert server.post(PREDICT, {key: rows}).status_code == 400

    @pytest.mark.parametrize(
        ("path", "status", "error"),
        [
            ("/v1/models/no:predict", 404, "Servable not found for request: Latest(no)"),
            (
                "/v1/models/m/versions/7:predict",
                404,
                "Servable not found for request: Specific(m, 7)",
            ),
            (
                "/v1/models/m/labels/stable:predict",
                400,
                "Unrecognized servable version label: stable",
            ),
            ("/v1/models/m/predict", 400, "Malformed request: POST /v1/models/m/predict"),
        ],
    )
    def test_what_is_not_there_gets_the_reference_s_text_and_a_hint(
        self, path: str, status: int, error: str, server: Server
    ) -> None:
        answer = server.post(path, {"instances": [2.0]})
        assert (answer.status_code, answer.json()["error"]) == (status, error)

    def test_a_wrong_url_is_answered_in_json_with_a_hint(self, server: Server) -> None:
        answer = server.get("/predict")
        assert answer.status_code == 404
        assert "/v1/models" in answer.json()["hint"]

    def test_bytes_that_are_no_utf_8_do_no_harm(self, server: Server) -> None:
        status, body = exchange(server, request(b'{"instances": ["\xff\xfe"]}'))
        assert status == 400
        assert b"error" in body

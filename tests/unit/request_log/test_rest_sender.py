import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.grpc_clients.plain import model_spec, predict_request, tensor

from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.prediction_log import LogKind
from salver.errors import DataLoss, InvalidArgument, Unavailable, Unimplemented, Unknown
from salver.request_log.reading import LoggedRecord
from salver.request_log.rest_sender import RestSender
from salver.request_log.sending import Redirection


class Canned(http.server.ThreadingHTTPServer):
    """Gives the answers it has, one after the other, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answers: list[tuple[int, bytes]] = []
        self.hangs_up = 0
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Canned

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.hangs_up:
            self.server.hangs_up -= 1
            self.close_connection = True
            return
        self.server.asked.append((self.path, json.loads(body)))
        status, answer = self.server.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def canned() -> Iterator[Canned]:
    with Canned() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def record(
    kind: LogKind = LogKind.PREDICT, spec: ModelSpec | None = None, request: Any = None
) -> LoggedRecord:
    body = {"instances": [1.0]} if request is None else request
    return LoggedRecord("log:1", kind, spec or ModelSpec("m"), body, None)


def send(canned: Canned, sent: LoggedRecord, redirection: Redirection | None = None) -> Any:
    url = f"http://127.0.0.1:{canned.server_port}/under/"
    sender = RestSender(url, redirection or Redirection(), 10)
    try:
        return {name: array.tolist() for name, array in sender(sent).outputs.items()}
    finally:
        sender.close()


def test_a_body_is_sent_as_it_was(canned: Canned) -> None:
    canned.answers.append((200, b'{"predictions": [3.0]}'))
    assert send(canned, record(spec=ModelSpec("a b/c", 3))) == {"": [3.0]}
    assert canned.asked == [("/under/v1/models/a%20b%2Fc/versions/3:predict", {"instances": [1.0]})]


def test_a_message_is_sent_as_json(canned: Canned) -> None:
    canned.answers.append((200, b'{"results": [3.0]}'))
    sent = record(LogKind.REGRESS, ModelSpec("m", None, "the best"), b"\x12\x04\x0a\x02\x0a\x00")
    assert send(canned, sent) == {"outputs": [3.0]}
    assert canned.asked == [("/under/v1/models/m/labels/the%20best:regress", {"examples": [{}]})]


def test_another_signature_is_written_into_the_body(canned: Canned) -> None:
    canned.answers += [(200, b'{"outputs": [3.0]}')] * 3
    other = Redirection(signature="s")
    send(canned, record(), other)
    built = predict_request(model_spec("m"), {"x": tensor([1.0])})
    send(canned, record(request=built.SerializeToString()), other)
    send(
        canned,
        record(
            request={"inputs": 1, "signature_name": "s"}, spec=ModelSpec("m", signature_name="s")
        ),
    )
    assert [body for _, body in canned.asked] == [
        {"instances": [1.0], "signature_name": "s"},
        {"inputs": {"x": [1.0]}, "signature_name": "s"},
        {"inputs": 1, "signature_name": "s"},
    ]


def test_only_the_outputs_that_were_asked_for_are_compared(canned: Canned) -> None:
    canned.answers += [(200, b'{"outputs": {"a": 1, "b": 2}}'), (200, b'{"outputs": [3.0]}')]
    built = predict_request(model_spec("m"), {"x": tensor([1.0])}, outputs=["b"])
    sent = record(request=built.SerializeToString())
    assert send(canned, sent) == {"b": 2}
    assert send(canned, sent) == {"": [3.0]}


@pytest.mark.parametrize(
    ("status", "body", "error", "text"),
    [
        (404, b'{"error": "no model"}', Unknown, "HTTP 404: no model"),
        (502, b"<html>", Unknown, "HTTP 502: <html>"),
        (500, b"{}", Unknown, "HTTP 500: {}"),
        (200, b"<html>", DataLoss, "The answer is no JSON"),
        (200, b"{}", DataLoss, "This is no answer to predict"),
    ],
)
def test_what_is_no_answer_is_an_error(
    status: int, body: bytes, error: type[Exception], text: str, canned: Canned
) -> None:
    canned.answers.append((status, body))
    with pytest.raises(error, match=text):
        send(canned, record())


def test_rest_has_no_sessions(canned: Canned) -> None:
    with pytest.raises(Unimplemented, match="REST has no session_run: send it over gRPC"):
        send(canned, record(LogKind.SESSION_RUN))


def test_a_connection_that_was_idle_may_be_closed_by_the_server(canned: Canned) -> None:
    canned.answers += [(200, b'{"outputs": [3.0]}')] * 2
    sender = RestSender(f"http://127.0.0.1:{canned.server_port}", Redirection(), 10)
    sender(record())
    canned.hangs_up = 1
    sender(record())
    assert len(canned.asked) == 2
    canned.hangs_up = 2
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1: "):
        sender(record())
    sender.close()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    for scheme in ("http", "https"):
        sender = RestSender(f"{scheme}://127.0.0.1:1", Redirection(), 10)
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1: "):
            sender(record())
        sender.close()


def test_a_certificate_is_verified(canned: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [ssl.create_default_context()]
    monkeypatch.setattr(ssl, "create_default_context", lambda: made[0])
    sender = RestSender(f"https://127.0.0.1:{canned.server_port}", Redirection(), 10)
    with pytest.raises(Unavailable, match="SSL"):
        sender(record())
    assert made[0].verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("url", ["http://", "http://127.0.0.1:x"])
def test_a_url_without_a_host_or_port_is_no_server(url: str) -> None:
    with pytest.raises(InvalidArgument, match="is no server"):
        RestSender(url, Redirection(), 1)

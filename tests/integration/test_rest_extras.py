"""What lies around the API calls: TLS, gzip, CORS, the access log, health, kinds of model."""

import gzip
import json
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
import trustme

from tests.integration.certificates import ssl_config
from tests.integration.serving import Server, eventually

StartServer = Callable[..., Server]


@pytest.fixture
def half_plus_two(model_path: Callable[[str], Path]) -> tuple[str, str]:
    return "--model_name=m", f"--model_base_path={model_path('half_plus_two')}"


def status_line(server: Server, context: ssl.SSLContext) -> bytes:
    """The beginning of a response over TLS; empty when the server turns the client away."""
    try:
        with context.wrap_socket(server.connect(), server_hostname="localhost") as tls:
            tls.sendall(b"GET /v1/models/m HTTP/1.1\r\nHost: a\r\n\r\n")
            return tls.recv(12)
    except (ssl.SSLError, ConnectionError):
        return b""


class TestTls:
    def test_with_an_ssl_config_the_rest_port_speaks_tls(
        self, half_plus_two: tuple[str, str], tmp_path: Path, launch_server: StartServer
    ) -> None:
        authority = trustme.CA()
        config, trusted = tmp_path / "ssl.conf", tmp_path / "ca.pem"
        config.write_text(ssl_config(authority))
        authority.cert_pem.write_to_path(str(trusted))
        server = launch_server(*half_plus_two, f"--rest_ssl_config_file={config}")
        server.err.wait_for("Exporting HTTP/REST API at:localhost:")
        url = f"https://127.0.0.1:{server.port}/v1/models/m:predict"
        answer = requests.post(url, json={"instances": [2.0]}, verify=str(trusted), timeout=30)
        assert answer.json() == {"predictions": [3.0]}
        with pytest.raises(requests.exceptions.SSLError):
            requests.post(url, json={"instances": [2.0]}, timeout=30)
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:{server.port}/v1/models/m", timeout=30)

    def test_an_idle_client_does_not_hold_up_the_stop(
        self, half_plus_two: tuple[str, str], tmp_path: Path, launch_server: StartServer
    ) -> None:
        """It need not answer the farewell of TLS."""
        authority = trustme.CA()
        config = tmp_path / "ssl.conf"
        config.write_text(ssl_config(authority))
        context = ssl.create_default_context()
        authority.configure_trust(context)
        server = launch_server(*half_plus_two, f"--rest_ssl_config_file={config}")
        server.err.wait_for("Exporting HTTP/REST API at:localhost:")
        with context.wrap_socket(server.connect(), server_hostname="localhost") as idle:
            idle.sendall(b"GET /v1/models/m HTTP/1.1\r\nHost: a\r\n\r\n")
            assert idle.recv(12) == b"HTTP/1.1 200"
            server.process.terminate()
            assert server.wait(within_s=15) == 0

    def test_a_client_without_a_certificate_is_turned_away_where_one_is_asked_for(
        self, half_plus_two: tuple[str, str], tmp_path: Path, launch_server: StartServer
    ) -> None:
        authority = trustme.CA()
        config = tmp_path / "ssl.conf"
        config.write_text(ssl_config(authority, verify_clients=True))
        context = ssl.create_default_context()
        authority.configure_trust(context)
        server = launch_server(*half_plus_two, f"--rest_ssl_config_file={config}")
        server.err.wait_for("Exporting HTTP/REST API at:localhost:")
        assert status_line(server, context) == b""
        authority.issue_cert("client@example.org").configure_cert(context)
        assert status_line(server, context) == b"HTTP/1.1 200"


def test_a_gzip_body_is_unpacked(half_plus_two: tuple[str, str], start_server: StartServer) -> None:
    server = start_server(*half_plus_two)
    answer = server.session.post(
        f"{server.url}/v1/models/m:predict",
        data=gzip.compress(b'{"instances": [1.0, 2.0, 5.0]}'),
        headers={"Content-Encoding": "gzip"},
        timeout=30,
    )
    assert answer.json() == {"predictions": [2.5, 3.0, 4.5]}


def test_the_access_log_has_one_json_line_a_request(
    half_plus_two: tuple[str, str], tmp_path: Path, start_server: StartServer
) -> None:
    log = tmp_path / "access.log"
    server = start_server(*half_plus_two, f"--access_log={log}")
    server.predict("m", [2.0])
    server.predict("unknown", [2.0])
    server.stop()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    posts = [line for line in lines if line["method"] == "POST"]
    assert [line["status"] for line in posts] == [200, 404]


def test_cors_headers_come_with_the_flag(
    half_plus_two: tuple[str, str], start_server: StartServer
) -> None:
    without = start_server(*half_plus_two).get("/v1/models/m")
    assert "Access-Control-Allow-Origin" not in without.headers
    given = start_server(*half_plus_two, "--rest_api_enable_cors_support").get("/v1/models/m")
    assert given.headers["Access-Control-Allow-Origin"] == "*"


def test_a_run_past_its_time_is_504_at_the_deadline_and_the_server_goes_on(
    model_path: Callable[[str], Path], start_server: StartServer
) -> None:
    server = start_server(
        "--model_name=slow",
        f"--model_base_path={model_path('slow')}",
        "--rest_api_timeout_in_ms=300",
    )
    server.predict("slow", [1.0])
    answer = server.predict("slow", [3000.0])
    assert answer.status_code == 504
    assert answer.json()["error"] == "Timed out waiting for notification"
    assert answer.elapsed.total_seconds() < 2.0
    assert server.predict("slow", [1.0]).json() == {"predictions": [1.0]}


def test_runs_of_one_model_do_not_hold_up_another_request(
    model_path: Callable[[str], Path], start_server: StartServer
) -> None:
    """A long run is not in the event loop: the status is answered meanwhile."""
    server = start_server("--model_name=slow", f"--model_base_path={model_path('slow')}")
    server.predict("slow", [1.0])
    body = b'{"instances": [1500.0]}'
    head = (
        f"POST /v1/models/slow:predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with server.connect() as connection:
        connection.sendall(head.encode() + body)
        for _ in range(5):
            assert server.get("/v1/models/slow").elapsed.total_seconds() < 1.0
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_models_of_all_kinds_answer(
    model_path: Callable[[str], Path], tmp_path: Path, start_server: StartServer
) -> None:
    names = ("half_plus_two_tf2", "several", "strings", "classes", "failing", "mlp", "counter")
    config = tmp_path / "models.conf"
    blocks = [
        f'config {{ name: "{n}" base_path: "{model_path(n)}" model_platform: "tensorflow" }}'
        for n in names
    ]
    config.write_text(f"model_config_list {{ {' '.join(blocks)} }}")
    server = start_server(f"--model_config_file={config}")
    for name, request, expected in ANSWERS:
        method = "classify" if name == "classes" else "predict"
        answer = server.post(f"/v1/models/{name}:{method}", request)
        assert (answer.status_code, answer.json()) == (200, expected), answer.text
    failed = server.predict("failing", [-1.0])
    assert failed.status_code == 400
    assert "x must not be negative" in failed.json()["error"]
    image = [[[0.5] * 28] * 28] * 2
    probabilities = server.predict("mlp", image).json()["predictions"]
    assert [sum(row) for row in probabilities] == pytest.approx([1.0, 1.0], abs=1e-5)


ANSWERS = [
    ("half_plus_two_tf2", {"instances": [1.0, 2.0, 5.0]}, {"predictions": [2.5, 3.0, 4.5]}),
    (
        "several",
        {"instances": [{"a": [1.0, 2.0], "b": 3, "text": "x"}]},
        {"predictions": [{"next": 4, "product": [3.0, 6.0], "upper": "X"}]},
    ),
    ("several", {"signature_name": "scalar_output", "inputs": [1.0, 2.0]}, {"outputs": 3.0}),
    (
        "strings",
        {"inputs": ["fox", "dog"]},
        {"outputs": {"ids": [3, 4], "lengths": [3, 3]}},
    ),
    (
        "strings",
        {"signature_name": "echo_bytes", "instances": [{"b64": "aGk="}]},
        {"predictions": [{"image_bytes": {"b64": "aGk="}, "text": "hi"}]},
    ),
    ("classes", {"examples": [{}]}, {"results": [[["car", 0.25], ["bike", 0.75]]]}),
    (
        "counter",
        {"signature_name": "incr_counter_by", "inputs": 3.0},
        {"outputs": 3.0},
    ),
]  # fmt: skip


def test_the_server_never_imports_the_tensorflow_package(
    half_plus_two: tuple[str, str], start_server: StartServer
) -> None:
    server = start_server(*half_plus_two)
    assert server.predict("m", [2.0]).status_code == 200
    mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "libtensorflow_cc" in mapped
    assert "/tensorflow/python/" not in mapped


def test_readiness_says_no_while_draining(
    half_plus_two: tuple[str, str], start_server: StartServer
) -> None:
    server = start_server(*half_plus_two, "--drain_delay_seconds=1")
    server.process.terminate()
    eventually("not ready", lambda: server.get("/healthz/ready").status_code == 503, within_s=0.9)
    assert server.predict("m", [2.0]).status_code == 200
    assert server.wait() == 0

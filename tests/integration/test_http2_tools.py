"""What the tools that speak HTTP/2 by themselves see: curl, nghttp and h2load."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.integration.certificates import ssl_config
from tests.integration.grpc_clients.plain import METHODS, message, model_spec, predict_request
from tests.integration.serving import Server

StartServer = Callable[..., Server]
PATH = METHODS["Predict"][0]


def run_tool(name: str, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """What a tool prints; the test is skipped where it is missing, unless `SALVER_CI` is set."""
    if shutil.which(name) is None:
        if os.environ.get("SALVER_CI"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return subprocess.run([name, *arguments], capture_output=True, timeout=60, check=False)


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    """A call of half_plus_two, as the body of a request."""
    data = predict_request(model_spec("half_plus_two"), {"x": [2.0]}).SerializeToString()
    file = tmp_path / "request"
    file.write_bytes(b"\0" + len(data).to_bytes(4, "big") + data)
    return file


def as_grpc(*more: str) -> tuple[str, ...]:
    return ("-H", "content-type: application/grpc", "-H", "te: trailers", *more)


class TestCurl:
    def test_a_call_is_answered_with_trailers(
        self, all_models_server: Server, request_file: Path
    ) -> None:
        url = f"http://{all_models_server.grpc_target}{PATH}"
        body = f"@{request_file}"
        done = run_tool(
            "curl", "-s", "-v", "--http2-prior-knowledge", *as_grpc("--data-binary", body), url
        )
        assert done.returncode == 0, done.stderr
        answer = message("PredictResponse").FromString(done.stdout[5:])
        assert list(answer.outputs["y"].float_val) == [3.0]
        assert b"< HTTP/2 200" in done.stderr
        assert b"< grpc-status: 0" in done.stderr

    def test_an_error_is_in_the_head(self, all_models_server: Server, tmp_path: Path) -> None:
        (tmp_path / "none").write_bytes(bytes(5))
        url = f"http://{all_models_server.grpc_target}{PATH}"
        body = f"@{tmp_path / 'none'}"
        done = run_tool(
            "curl", "-s", "-i", "--http2-prior-knowledge", *as_grpc("--data-binary", body), url
        )
        assert b"\r\ngrpc-status: 3\r\ngrpc-message: Missing ModelSpec\r\n" in done.stdout

    def test_rest_is_answered_by_http2_too(self, all_models_server: Server) -> None:
        url = f"{all_models_server.url}/v1/models/half_plus_two:predict"
        data = '{"instances": [2.0]}'
        done = run_tool("curl", "-s", "-i", "--http2-prior-knowledge", "-d", data, url)
        assert done.stdout.startswith(b"HTTP/2 200")
        assert done.stdout.endswith(b'"predictions": [3.0]\n}')

    def test_a_body_over_the_limit_is_refused(
        self, model_path: Callable[[str], Path], start_server: StartServer, tmp_path: Path
    ) -> None:
        server = start_server(
            "--model_name=m",
            f"--model_base_path={model_path('half_plus_two')}",
            "--max_request_bytes=1000",
        )
        (tmp_path / "body").write_bytes(bytes(100_000))
        url = f"{server.url}/v1/models/m:predict"
        done = run_tool(
            "curl", "-s", "-i", "--http2-prior-knowledge", "--data-binary",
            f"@{tmp_path / 'body'}", url,
        )  # fmt: skip
        assert done.stdout.startswith(b"HTTP/2 413")
        assert server.predict("m", [2.0]).status_code == 200

    def test_it_agrees_on_http2_where_there_is_tls(
        self, model_path: Callable[[str], Path], start_server: StartServer, tmp_path: Path
    ) -> None:
        authority = trustme.CA()
        (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
        (tmp_path / "ssl").write_text(ssl_config(authority))
        server = start_server(
            "--model_name=m",
            f"--model_base_path={model_path('half_plus_two')}",
            f"--ssl_config_file={tmp_path / 'ssl'}",
        )
        url = f"https://localhost:{server.grpc_port}{PATH}"
        (tmp_path / "none").write_bytes(bytes(5))
        body = f"@{tmp_path / 'none'}"
        trust = ("--cacert", str(tmp_path / "ca.pem"))
        done = run_tool("curl", "-s", "-i", *trust, *as_grpc("--data-binary", body), url)
        assert done.stdout.startswith(b"HTTP/2 200")
        assert b"\r\ngrpc-status: 3\r\n" in done.stdout


def test_nghttp_is_answered(all_models_server: Server, request_file: Path) -> None:
    url = f"http://{all_models_server.grpc_target}{PATH}"
    done = run_tool("nghttp", "-v", *as_grpc("-d", str(request_file)), url)
    assert b":status: 200" in done.stdout
    assert b"grpc-status: 0" in done.stdout
    assert b"GOAWAY" not in done.stdout.partition(b"grpc-status")[0]


@pytest.mark.parametrize("path", [PATH, "/v1/models/half_plus_two"])
def test_h2load_has_every_request_answered(
    path: str, all_models_server: Server, request_file: Path
) -> None:
    calls = as_grpc("-d", str(request_file)) if path == PATH else ()
    port = all_models_server.grpc_target
    if path != PATH:
        port = all_models_server.url.removeprefix("http://")
    done = run_tool("h2load", "-n3000", "-c5", "-m20", *calls, f"http://{port}{path}")
    assert re.search(rb"3000 done, 3000 succeeded, 0 failed", done.stdout), done.stdout
    assert b"status codes: 3000 2xx" in done.stdout

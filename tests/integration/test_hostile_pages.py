"""What a web page may ask of a server that listens on the machine of whoever looks at the page."""

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.integration.chromium import Page, browsing
from tests.integration.grpc_clients.plain import connected
from tests.integration.serving import PATIENCE_S, Server, running

PREDICT = "/v1/models/m:predict"
BODY = '{"instances": [2.0]}'
ANSWER = {"predictions": [3.0]}
PATHS = (
    "/v1/models",
    "/v1/models/m",
    "/v1/models/m/metadata",
    "/metrics",
    "/monitoring/prometheus/metrics",
    "/healthz/live",
    "/healthz/ready",
    "/",
    "/playground/about",
    "/nothing",
)

Answer = tuple[int, dict[str, Any]]


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def server(request: pytest.FixtureRequest, model_path: Callable[[str], Path]) -> Iterator[Server]:
    model = f"m={model_path('half_plus_two')}"
    with running(model, f"--workers={request.param}", command="salver") as server:
        yield server


def ask(server: Server, method: str, path: str, body: str = "", **fields: str) -> Answer:
    """One request with just these fields; gives status and JSON, empty where it is none."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in fields.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body.encode())
        answer = connection.getresponse()
        text = answer.read()
        is_json = (answer.getheader("Content-Type") or "").startswith("application/json")
        return answer.status, json.loads(text) if is_json and text else {}
    finally:
        connection.close()


def ask_by_http2(server: Server, path: str, *fields: str, host: str) -> Answer:
    command = [
        "curl",
        "-s",
        "--http2-prior-knowledge",
        "-m",
        str(PATIENCE_S),
        "-w",
        "\n%{http_code}",
    ]
    for field in (f"Host: {host}", *fields):
        command += ["-H", field]
    if path == PREDICT:
        command += ["-d", BODY]
    done = subprocess.run([*command, server.url + path], capture_output=True, text=True, check=True)
    text, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(text) if text.startswith("{") else {}


class TestRebinding:
    @pytest.mark.parametrize("path", PATHS)
    def test_no_page_is_shown_to_who_calls_the_server_by_another_name(
        self, path: str, server: Server
    ) -> None:
        host = f"evil.example:{server.port}"
        for method in ("GET", "HEAD", "OPTIONS"):
            assert ask(server, method, path, Host=host)[0] == 403
        _, text = ask(server, "GET", path, Host=host)
        assert "evil.example" in text["error"]
        assert "--allowed_hosts=evil.example" in text["hint"]

    def test_no_prediction_is_made_for_it(self, server: Server) -> None:
        host = f"evil.example:{server.port}"
        origin = f"http://{host}"
        assert ask(server, "POST", PREDICT, BODY, Host=host)[0] == 403
        assert ask(server, "POST", PREDICT, BODY, Host=host, Origin=origin)[0] == 403
        assert ask(server, "POST", "/v1/models/m:reload", BODY, Host=host)[0] == 403

    @pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "m.localhost", ""])
    def test_this_machine_is_called_by_its_names_and_by_any_port(
        self, name: str, server: Server
    ) -> None:
        for port in (server.port, 9999):
            host = f"{name or socket.gethostname()}:{port}"
            for path in ("/v1/models/m", "/healthz/ready", "/metrics", "/"):
                assert ask(server, "GET", path, Host=host)[0] == 200
            origin = f"http://{host}"
            answer = ask(server, "POST", PREDICT, BODY, Host=host, Origin=origin)
            assert answer == (200, ANSWER)

    def test_a_name_in_the_target_is_as_good_as_one_in_the_field(self, server: Server) -> None:
        target = f"http://evil.example:{server.port}/v1/models"
        assert ask(server, "GET", target, Host="localhost")[0] == 403
        assert ask(server, "GET", target.replace("evil.example", "localhost"), Host="x")[0] == 200

    def test_a_large_body_from_it_is_refused_unread(self, server: Server) -> None:
        with server.connect() as connection:
            head = f"POST {PREDICT} HTTP/1.1\r\nHost: evil.example\r\nContent-Length: {1 << 29}"
            connection.sendall(f"{head}\r\n\r\n".encode())
            assert connection.recv(12) == b"HTTP/1.1 403"

    def test_http_1_0_needs_no_name(self, server: Server) -> None:
        with server.connect() as connection:
            connection.sendall(b"GET /v1/models/m HTTP/1.0\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.0 200"
        with server.connect() as connection:
            connection.sendall(b"GET /v1/models/m HTTP/1.0\r\nHost: evil.example\r\n\r\n")
            assert connection.recv(12)[9:] == b"403"

    @pytest.mark.skipif(which("curl") is None, reason="needs curl")
    def test_http_2_is_no_way_round(self, server: Server) -> None:
        own = f"localhost:{server.port}"
        assert ask_by_http2(server, PREDICT, host=own) == (200, ANSWER)
        for path in (*PATHS, PREDICT):
            status, text = ask_by_http2(server, path, host="evil.example")
            assert status == 403
            assert "evil.example" in text["error"]
        foreign = "Origin: http://evil.example"
        assert ask_by_http2(server, PREDICT, foreign, host=own)[0] == 403
        assert ask_by_http2(server, PREDICT, f"Origin: http://{own}", host=own)[0] == 200

    def test_the_other_port_is_no_way_round(self, server: Server) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.grpc_port, timeout=PATIENCE_S)
        connection.request("GET", "/v1/models", headers={"Host": "evil.example"})
        assert connection.getresponse().status == 403
        connection.close()

    def test_grpc_has_no_pages(self, server: Server) -> None:
        options = [("grpc.default_authority", "evil.example")]
        for port in (server.port, server.grpc_port):
            with connected(f"127.0.0.1:{port}", options=options) as client:
                assert client.predict("m", {"x": [2.0]}) == {"y": [3.0]}


class TestForeignPages:
    @pytest.mark.parametrize(
        "origin", ["http://evil.example", "null", "http://localhost:3000", "https://localhost"]
    )
    def test_none_may_post(self, origin: str, server: Server) -> None:
        status, text = ask(
            server, "POST", PREDICT, BODY, Host=f"localhost:{server.port}", Origin=origin
        )
        assert status == 403
        assert origin in text["error"]
        assert "--rest_api_enable_cors_support" in text["hint"]

    def test_programs_that_are_no_pages_may(self, server: Server) -> None:
        assert ask(server, "POST", PREDICT, BODY, Host="localhost") == (200, ANSWER)

    def test_a_preflight_is_answered_as_ever(self, server: Server) -> None:
        fields = {"Host": "localhost", "Access_Control_Request_Method": "POST"}
        assert ask(server, "OPTIONS", PREDICT, Origin="http://a.example", **fields) == (200, {})
        assert ask(server, "OPTIONS", PREDICT, Origin="null", **fields) == (400, {})


POST_FROM_THE_PAGE = """
const [url, body, done] = arguments;
fetch(url, {method: "POST", body}).then(
  async (answer) => done([answer.status, await answer.text()]), (error) => done([0, `${error}`]));
"""


FORWARD = """
import asyncio, contextlib, sys

async def copy(source, target):
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()

async def forward(reader, writer):
    there, here = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    await asyncio.gather(copy(reader, here), copy(there, writer))

async def main():
    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@contextmanager
def forwarding(port: int) -> Iterator[int]:
    """A port that leads to another one, as `ssh -L` and `kubectl port-forward` make them."""
    command = [sys.executable, "-c", FORWARD, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield int(child.stdout.readline())
        finally:
            child.kill()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browsing("--host-resolver-rules=MAP *.example 127.0.0.1") as page:
        yield page


def answered(server: Server) -> int:
    """How many predictions there were."""
    lines = server.get("/metrics").text.splitlines()
    counts = [line for line in lines if line.startswith("salver_request_seconds_count")]
    return sum(int(float(line.rpartition(" ")[2])) for line in counts)


class TestBrowser:
    """The same in a browser, for which all names lead to this machine."""

    def test_a_page_whose_name_was_made_to_lead_here_is_shown_nothing(
        self, page: Page, server: Server
    ) -> None:
        page.open(f"http://evil.example:{server.port}/playground/about")
        assert "--allowed_hosts=evil.example" in page.text("body")
        url = f"http://evil.example:{server.port}{PREDICT}"
        status, text = page.driver.execute_async_script(POST_FROM_THE_PAGE, url, BODY)
        assert (status, "predictions" in text) == (403, False)

    def test_a_page_of_another_server_here_has_nothing_predicted(
        self, page: Page, server: Server
    ) -> None:
        assert server.predict("m", [2.0]).status_code == 200
        before = answered(server)
        with forwarding(server.port) as port:
            page.open(f"http://localhost:{port}/playground/about")
            status, _ = page.driver.execute_async_script(
                POST_FROM_THE_PAGE, server.url + PREDICT, BODY
            )
            assert status == 0  # the browser keeps even the refusal from it
        assert answered(server) == before > 0

    def test_the_playground_works_by_name_and_through_a_forwarded_port(
        self, page: Page, server: Server
    ) -> None:
        with forwarding(server.port) as port:
            for address in (f"localhost:{server.port}", f"m.localhost:{port}", f"127.0.0.1:{port}"):
                page.open(f"http://{address}/#/model/m")
                page.wait_for_text("h1", "m")
                url = f"http://{address}{PREDICT}"
                answer = page.driver.execute_async_script(POST_FROM_THE_PAGE, url, BODY)
                assert (answer[0], json.loads(answer[1])) == (200, ANSWER)


class TestFlags:
    def test_what_is_allowed_may_be_told_and_cors_lets_pages_post(
        self, model_path: Callable[[str], Path], start_server: Callable[..., Server]
    ) -> None:
        server = start_server(
            f"m={model_path('half_plus_two')}",
            "--allowed_hosts=*.corp.example,models.example",
            "--rest_api_enable_cors_support",
            command="salver",
        )
        for host in ("models.example", "a.b.corp.example:80", "localhost"):
            answer = ask(server, "POST", PREDICT, BODY, Host=host, Origin="http://evil.example")
            assert answer == (200, ANSWER)
        assert ask(server, "GET", "/v1/models", Host="corp.example")[0] == 403

    def test_the_references_command_checks_nothing_until_it_is_told_to(
        self, model_path: Callable[[str], Path], start_server: Callable[..., Server]
    ) -> None:
        flags = ("--model_name=m", f"--model_base_path={model_path('half_plus_two')}")
        foreign = {"Host": "evil.example", "Origin": "http://other.example"}
        server = start_server(*flags)
        assert ask(server, "POST", PREDICT, BODY, **foreign) == (200, ANSWER)
        server = start_server(*flags, "--allowed_hosts=models.example")
        assert ask(server, "POST", PREDICT, BODY, **foreign)[0] == 403
        assert ask(server, "POST", PREDICT, BODY, Host="models.example") == (200, ANSWER)
        assert ask(server, "POST", PREDICT, BODY, Host="localhost") == (200, ANSWER)

    def test_what_is_no_host_ends_the_start(
        self, model_path: Callable[[str], Path], launch_server: Callable[..., Server]
    ) -> None:
        model = f"m={model_path('half_plus_two')}"
        server = launch_server(model, "--allowed_hosts=http://a", command="salver")
        assert server.wait() == 1
        assert "--allowed_hosts: 'http://a' is no host" in server.err.text()

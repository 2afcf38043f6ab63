"""SIGTERM and SIGINT: what is in flight finishes, nothing new begins, the exit status is 0."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.integration.serving import Server, eventually, running, start

StartServer = Callable[..., Server]


@pytest.fixture
def slow_server(model_path: Callable[[str], Path], start_server: StartServer) -> Server:
    server = start_server("--model_name=slow", f"--model_base_path={model_path('slow')}")
    server.predict("slow", [1.0])  # the first run is slower than its time
    return server


def post_slow(server: Server, millis: float) -> requests.Response:
    return requests.post(
        f"{server.url}/v1/models/slow:predict", json={"instances": [millis]}, timeout=60
    )


def in_flight(
    server: Server, pool: ThreadPoolExecutor, millis: float
) -> "Future[requests.Response]":
    """A request whose model run has begun, as the CPU time of the server shows."""

    def cpu_ticks() -> int:
        fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = cpu_ticks()
    future = pool.submit(post_slow, server, millis)
    ticks = 0.2 * os.sysconf("SC_CLK_TCK")
    eventually("the model runs", lambda: cpu_ticks() - before > ticks)
    return future


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_is_answered_and_the_exit_status_is_0(
    how: signal.Signals, slow_server: Server
) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = in_flight(slow_server, pool, 1500.0)
        slow_server.process.send_signal(how)
        assert answer.result().json() == {"predictions": [1500.0]}
    assert slow_server.wait(within_s=20) == 0


def test_while_draining_no_new_connection_is_taken(slow_server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = in_flight(slow_server, pool, 2000.0)
        slow_server.process.send_signal(signal.SIGTERM)
        eventually("connections are refused", lambda: not _accepts(slow_server), within_s=1.5)
        assert not answer.done()
        assert answer.result().status_code == 200


def test_an_idle_keep_alive_connection_does_not_hold_up_the_stop(slow_server: Server) -> None:
    with slow_server.connect() as idle:
        idle.sendall(b"GET /v1/models/slow HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.recv(12) == b"HTTP/1.1 200"
        slow_server.process.send_signal(signal.SIGTERM)
        assert slow_server.wait(within_s=15) == 0


def test_a_second_signal_ends_the_server_at_once(slow_server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = in_flight(slow_server, pool, 20_000.0)
        slow_server.process.send_signal(signal.SIGTERM)
        eventually("the server drains", lambda: not _accepts(slow_server))
        slow_server.process.send_signal(signal.SIGTERM)
        assert slow_server.wait(within_s=5) != 0
        with pytest.raises(requests.ConnectionError):
            answer.result()


def test_the_drain_ends_at_its_limit(
    model_path: Callable[[str], Path], start_server: StartServer
) -> None:
    server = start_server(
        "--model_name=slow",
        f"--model_base_path={model_path('slow')}",
        "--drain_timeout_seconds=0.5",
    )
    server.predict("slow", [1.0])
    with ThreadPoolExecutor(1) as pool:
        answer = in_flight(server, pool, 30_000.0)
        server.process.send_signal(signal.SIGTERM)
        server.wait(within_s=15)
        with pytest.raises(requests.ConnectionError):
            answer.result()


def test_a_model_is_unloaded_before_the_end(slow_server: Server) -> None:
    assert slow_server.stop() == 0
    slow_server.err.wait_for("Done unloading servable version {name: slow version: 1}")


def test_the_port_is_free_again_at_once(model_path: Callable[[str], Path]) -> None:
    flags = ("--model_name=m", f"--model_base_path={model_path('half_plus_two')}")
    with running(*flags) as first:
        assert first.predict("m", [2.0]).status_code == 200
        assert first.stop() == 0
    second = start(*flags, port=first.port)
    try:
        second.err.wait_for(f"Exporting HTTP/REST API at:localhost:{first.port}")
        assert second.predict("m", [2.0]).json() == {"predictions": [3.0]}
    finally:
        second.dispose()


def test_a_signal_while_models_load_ends_the_server(
    tmp_path: Path, launch_server: StartServer
) -> None:
    """A model without a version is waited for without end."""
    base = tmp_path / "empty"
    base.mkdir()
    server = launch_server("--model_name=m", f"--model_base_path={base}")
    server.err.wait_for("No versions of servable m found under base path")
    assert server.stop() == 0


def _accepts(server: Server) -> bool:
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return False
    return True

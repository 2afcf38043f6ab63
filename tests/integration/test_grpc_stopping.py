"""Deadlines, clients that leave, and servers that are told to stop, with calls in flight."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.integration.grpc_clients.plain import (
    METHODS,
    Client,
    connected,
    message,
    model_spec,
    outcome,
    predict_request,
    values,
)
from tests.integration.serving import Server, eventually, running

StartServer = Callable[..., Server]


def slow_request(millis: float) -> Any:
    return predict_request(model_spec("slow"), {"millis": [millis]})


@pytest.fixture
def slow_flags(model_path: Callable[[str], Path]) -> tuple[str, ...]:
    return (
        "--model_name=slow",
        f"--model_base_path={model_path('slow')}",
        "--enable_grpc_healthcheck_service",
    )


@pytest.fixture
def server(slow_flags: tuple[str, ...], grpc_flags: tuple[str, ...]) -> Iterator[Server]:
    with running(*grpc_flags, *slow_flags) as server, connected(server.grpc_target) as client:
        client.predict("slow", {"millis": [1.0]})  # the first run is slower than its time
        yield server


@pytest.fixture
def own(server: Server) -> Iterator[Client]:
    with connected(server.grpc_target) as client:
        yield client


def begin(server: Server, client: Client, millis: float, **more: Any) -> Any:
    """A call whose model run has begun, as the CPU time of the server shows."""

    def cpu_ticks() -> int:
        fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = cpu_ticks()
    call = client.start("Predict", slow_request(millis), **more)
    ticks = 0.2 * os.sysconf("SC_CLK_TCK")
    eventually("the model runs", lambda: cpu_ticks() - before > ticks)
    return call


class TestDeadlines:
    def test_a_run_that_takes_too_long_is_answered_at_the_deadline(self, client: Client) -> None:
        client.predict("slow", {"millis": [1.0]})
        begun = time.monotonic()
        assert client.refusal("Predict", slow_request(4000.0), timeout=0.5)[0] == (
            "DEADLINE_EXCEEDED"
        )
        assert 0.4 < time.monotonic() - begun < 2.0

    def test_others_are_served_while_a_run_goes_on_unseen(
        self, server: Server, own: Client
    ) -> None:
        call = begin(server, own, 1500.0, timeout=0.5)
        assert outcome(call.result)[0] == "DEADLINE_EXCEEDED"
        assert own.predict("slow", {"millis": [1.0]}) == {"y": [1.0]}

    def test_a_deadline_that_is_met_is_no_matter(self, client: Client) -> None:
        assert client.predict("slow", {"millis": [50.0]}, timeout=20) == {"y": [50.0]}

    def test_a_call_without_a_deadline_may_take_as_long_as_it_likes(
        self, server: Server, own: Client
    ) -> None:
        answer = begin(server, own, 1000.0, timeout=None).result()
        assert values(answer.outputs["y"]) == [1000.0]

    def test_a_deadline_that_has_passed_is_no_run(self, client: Client) -> None:
        for _ in range(20):
            code, _ = client.refusal("Predict", slow_request(1.0), timeout=1e-6)
            assert code == "DEADLINE_EXCEEDED"


class TestClientsThatLeave:
    def test_a_call_that_is_cancelled_is_released(self, server: Server, own: Client) -> None:
        call = begin(server, own, 1500.0)
        call.cancel()
        assert call.cancelled()
        assert own.predict("slow", {"millis": [1.0]}) == {"y": [1.0]}

    def test_queued_work_of_a_client_that_left_is_dropped(
        self, slow_flags: tuple[str, ...], start_server: StartServer
    ) -> None:
        """One thread for runs: what waits for it must not run once its client is gone."""
        server = start_server(*slow_flags, "--rest_api_num_threads=1", "--grpc_max_threads=1")
        with connected(server.grpc_target) as client:
            client.predict("slow", {"millis": [1.0]})
            with connected(server.grpc_target) as leaver:
                busy = begin(server, client, 1000.0)
                calls = [leaver.start("Predict", slow_request(60_000.0)) for _ in range(3)]
                eventually("they were sent", lambda: not any(call.done() for call in calls))
            # The channel is closed, and with it the calls: nobody waits for these minutes.
            assert values(busy.result().outputs["y"]) == [1000.0]
            assert client.predict("slow", {"millis": [1.0]}, timeout=30) == {"y": [1.0]}

    def test_a_thousand_cancelled_calls_leave_nothing_behind(self, client: Client) -> None:
        request = predict_request(model_spec("half_plus_two"), {"x": [2.0]})
        calls = [client.start("Predict", request) for _ in range(1000)]
        for call in calls[::2]:
            call.cancel()
        for call in calls[1::2]:
            assert values(call.result().outputs["y"]) == [3.0]


class TestStopping:
    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
    def test_a_call_in_flight_is_answered_and_the_exit_status_is_0(
        self, how: signal.Signals, server: Server, own: Client
    ) -> None:
        call = begin(server, own, 1500.0)
        server.process.send_signal(how)
        assert values(call.result().outputs["y"]) == [1500.0]
        assert server.wait(within_s=20) == 0

    def test_while_draining_no_new_call_is_taken(self, server: Server, own: Client) -> None:
        call = begin(server, own, 3000.0)
        server.process.terminate()
        eventually("the port is closed", lambda: not accepts(server), within_s=2.5)
        code = own.refusal("Predict", slow_request(1.0), wait_for_ready=False, timeout=2.0)[0]
        assert code in ("UNAVAILABLE", "CANCELLED")
        assert not call.done()
        assert values(call.result().outputs["y"]) == [3000.0]

    def test_an_idle_channel_does_not_hold_up_the_stop(self, server: Server, own: Client) -> None:
        own.predict("slow", {"millis": [1.0]})
        server.process.terminate()
        assert server.wait(within_s=10) == 0

    @pytest.mark.parametrize(
        "said",
        [b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"],
        ids=["nothing", "no more than hello"],
    )
    def test_a_silent_connection_does_not_either(self, server: Server, said: bytes) -> None:
        with socket.create_connection(("127.0.0.1", server.grpc_port)) as client:
            client.sendall(said)
            server.process.terminate()
            assert server.wait(within_s=10) == 0

    def test_a_call_that_never_sends_its_message_does_not_either(
        self, server: Server, own: Client
    ) -> None:
        never = threading.Event()
        call = own.channel.stream_unary(METHODS["Predict"][0]).future(
            never.wait() and b"" for _ in range(1)
        )
        own.predict("slow", {"millis": [1.0]})  # by now the other has arrived as well
        server.process.terminate()
        assert server.wait(within_s=10) == 0
        assert outcome(call.result)[0] in ("UNAVAILABLE", "CANCELLED")
        never.set()

    def test_a_monitoring_is_answered_with_what_it_has_seen(
        self, server: Server, own: Client
    ) -> None:
        request = message("tensorflow.MonitorRequest", duration_ms=60_000).SerializeToString()
        call = own.channel.unary_unary("/tensorflow.ProfilerService/Monitor").future(request)
        own.predict("slow", {"millis": [1.0]})  # by now the other has arrived as well
        server.process.terminate()
        assert server.wait(within_s=10) == 0
        assert b"Requests in flight: 0" in call.result()

    def test_a_second_signal_ends_the_server_at_once(self, server: Server, own: Client) -> None:
        call = begin(server, own, 20_000.0)
        server.process.terminate()
        eventually("the port is closed", lambda: not accepts(server))
        server.process.terminate()
        assert server.wait(within_s=5) != 0
        assert outcome(call.result)[0] == "UNAVAILABLE"

    def test_the_drain_ends_at_its_limit(
        self, slow_flags: tuple[str, ...], start_server: StartServer
    ) -> None:
        server = start_server(*slow_flags, "--drain_timeout_seconds=0.5")
        with connected(server.grpc_target) as client:
            client.predict("slow", {"millis": [1.0]})
            call = begin(server, client, 30_000.0)
            begun = time.monotonic()
            server.process.terminate()
            server.wait(within_s=15)
            assert time.monotonic() - begun < 10
            assert outcome(call.result)[0] in ("UNAVAILABLE", "CANCELLED")

    def test_the_socket_file_is_gone_afterwards(
        self, slow_flags: tuple[str, ...], tmp_path: Path, start_server: StartServer
    ) -> None:
        path = tmp_path / "grpc.sock"
        server = start_server(*slow_flags, f"--grpc_socket_path={path}")
        assert path.is_socket()
        assert server.stop() == 0
        assert not path.exists()

    def test_a_rolling_restart_loses_no_call(
        self, model_path: Callable[[str], Path], start_server: StartServer
    ) -> None:
        """A client that tries UNAVAILABLE again, as they all do, sees no failure."""
        flags = ("--model_name=m", f"--model_base_path={model_path('half_plus_two')}")
        servers = [start_server(*flags) for _ in range(2)]
        policy = (
            '{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 5,'
            ' "initialBackoff": "0.05s", "maxBackoff": "1s", "backoffMultiplier": 2,'
            ' "retryableStatusCodes": ["UNAVAILABLE"]}}],'
            ' "loadBalancingConfig": [{"round_robin": {}}]}'
        )
        target = "ipv4:" + ",".join(server.grpc_target for server in servers)
        with connected(target, options=(("grpc.service_config", policy),)) as client:
            request = predict_request(model_spec("m"), {"x": [2.0]})
            for n in range(600):
                if n == 200:
                    servers[0].process.terminate()
                assert values(client.call("Predict", request).outputs["y"]) == [3.0]
        assert servers[0].wait() == 0


def accepts(server: Server) -> bool:
    """Whether the port of gRPC takes connections."""
    with connected(server.grpc_target) as client:
        try:
            grpc.channel_ready_future(client.channel).result(timeout=0.3)
        except grpc.FutureTimeoutError:
            return False
    return True

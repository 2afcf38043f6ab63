"""Clients that ask for large answers and leave: what was made for them is let go, and no more of it
is made. The model answers with as many rows of a thousand numbers as it is asked for."""

import http.client
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from shutil import which
from typing import Any

import grpc
import numpy as np
import pytest

from tests.integration.grpc_clients.plain import METHODS, UNLIMITED, model_spec, predict_request
from tests.integration.serving import PATIENCE_S, Server, eventually, running

PREDICT = "/v1/models/growing:predict"
ROWS = 25_000
TENSOR_BYTES = ROWS * 1000 * 4
TEXT_BYTES = ROWS * 1000 * 11
SPARE_BYTES = 64 << 20  # for what the allocator keeps, and what else goes on
RUN_BYTES = 2 * TENSOR_BYTES  # a run that goes on, and the copy of what it gives
HALF_BYTES = TENSOR_BYTES + TEXT_BYTES // 2  # is held while half of the text is made
SOON_S = 30.0  # only a broken server takes so long


def body_of(rows: int) -> str:
    return f'{{"inputs": {{"rows": [{rows}]}}}}'


def request_of(rows: int) -> bytes:
    body = body_of(rows)
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def ask_each_process(server: Server, num_processes: int) -> None:
    """Then TensorFlow has, in each of them, the memory that it will keep."""
    with ExitStack() as stack:
        connections = [
            stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", server.port)))
            for _ in range(num_processes)
        ]
        for connection in connections:
            connection.connect()
            connection.request("GET", "/healthz/live")
            connection.getresponse().read()
        for connection in connections:
            connection.request("POST", PREDICT, body_of(ROWS))
            assert len(connection.getresponse().read()) > TEXT_BYTES


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def shared_server(
    request: pytest.FixtureRequest, model_path: Callable[[str], Path]
) -> Iterator[Server]:
    models = [f"{name}={model_path(name)}" for name in ("growing", "half_plus_two")]
    with running(*models, f"--workers={request.param}", command="salver") as server:
        ask_each_process(server, request.param)
        yield server


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The one server of this module, which must have survived each test."""
    yield shared_server
    assert shared_server.predict("half_plus_two", [2.0]).json() == {"predictions": [3.0]}
    assert shared_server.process.poll() is None


@pytest.fixture(scope="module")
def first_bytes(shared_server: Server) -> int:
    """What the server holds before any client has left."""
    return memory_of(shared_server)


@pytest.fixture
def memory(server: Server, first_bytes: int) -> "Memory":
    return Memory(server, first_bytes)


def memory_of(server: Server, what: str = "VmRSS") -> int:
    """What all processes of a server hold; `VmHWM`: have held since `forget_peaks`."""
    held = 0
    for pid in processes_of(server):
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        line = next(line for line in status if line.startswith(f"{what}:"))
        held += int(line.split()[1]) * 1024
    return held


def forget_peaks(server: Server) -> None:
    for pid in processes_of(server):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def processes_of(server: Server) -> list[int]:
    return [server.process.pid, *server.workers()]


def in_flight(server: Server) -> int:
    """How many runs there are."""
    lines = server.get("/metrics").text.splitlines()
    counts = [line for line in lines if line.startswith("salver_in_flight_requests{")]
    return sum(int(line.rpartition(" ")[2]) for line in counts)


class Memory:
    """What a server holds more than at first.

    Attributes:
        spare_bytes: what it may keep: in a process that is asked for the first time, TensorFlow
            keeps a tensor's worth.
    """

    def __init__(self, server: Server, first_bytes: int) -> None:
        self._server = server
        self._first = first_bytes
        self._at_leaving = 0
        has_workers = len(processes_of(server)) > 1
        self.spare_bytes = SPARE_BYTES + TENSOR_BYTES * has_workers

    @property
    def more(self) -> int:
        return memory_of(self._server) - self._first

    def wait_for(self, n_bytes: int) -> None:
        """Wait until so much has been made. Its client leaves after this."""
        eventually(f"{n_bytes} bytes are made", lambda: self.more > n_bytes)
        self._leave()

    def watch(self) -> None:
        """Look for a moment how much there is. The client leaves at any time of its answer."""
        for _ in range(50):
            self._leave()

    def _leave(self) -> None:
        forget_peaks(self._server)
        self._at_leaving = max(self._at_leaving, self.more)

    def check_let_go(self) -> None:
        """See that no more is made, and that nothing of it is kept."""
        # A run goes on unseen. Where two of them overlap, TensorFlow keeps room for two.
        eventually("the run has ended", lambda: not in_flight(self._server))
        eventually("it is let go", lambda: self.more < self.spare_bytes, within_s=SOON_S)
        peak = memory_of(self._server, "VmHWM") - self._first
        assert peak < max(self._at_leaving, RUN_BYTES) + self.spare_bytes


def test_the_text_for_a_client_that_has_left_is_not_finished(
    server: Server, memory: Memory
) -> None:
    with server.connect() as connection:
        connection.sendall(request_of(ROWS))
        memory.wait_for(HALF_BYTES)
    memory.check_let_go()


def test_a_text_that_is_partly_sent_goes_with_its_client(server: Server, memory: Memory) -> None:
    with server.connect() as connection:
        connection.sendall(request_of(ROWS))
        assert connection.recv(12) == b"HTTP/1.1 200"
        memory.wait_for(TEXT_BYTES - SPARE_BYTES)
    memory.check_let_go()


@pytest.mark.skipif(which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("made_bytes", [HALF_BYTES, TEXT_BYTES + TENSOR_BYTES // 2])
def test_over_http_2_it_is_the_same(made_bytes: int, server: Server, memory: Memory) -> None:
    command = ["curl", "-s", "--http2-prior-knowledge", "--limit-rate", "1M", "-d", body_of(ROWS)]
    with subprocess.Popen([*command, server.url + PREDICT], stdout=subprocess.DEVNULL) as curl:
        memory.wait_for(made_bytes)
        curl.kill()
    memory.check_let_go()


def call_of(channel: Any) -> Any:
    request = predict_request(model_spec("growing"), {"rows": np.array([ROWS], np.int32)})
    method = channel.unary_unary(METHODS["Predict"][0])
    return method.future(request.SerializeToString(), timeout=PATIENCE_S)


@pytest.mark.parametrize("times", [1, 2, 4])
def test_a_message_for_a_client_that_has_cancelled_is_let_go(
    times: int, server: Server, memory: Memory
) -> None:
    with grpc.insecure_channel(server.grpc_target, options=UNLIMITED) as channel:
        call = call_of(channel)
        for _ in range(times):
            memory.watch()
        call.cancel()
    memory.check_let_go()


@pytest.mark.parametrize("times", [1, 2, 4])
def test_a_message_for_a_client_that_has_gone_is_let_go(
    times: int, server: Server, memory: Memory
) -> None:
    with grpc.insecure_channel(server.grpc_target, options=UNLIMITED) as channel:
        call_of(channel)
        for _ in range(times):
            memory.watch()
    memory.check_let_go()


@pytest.mark.stress
def test_a_client_that_does_not_read_holds_its_answer_for_a_minute_at_most(
    server: Server, memory: Memory
) -> None:
    with server.connect() as deaf:
        deaf.sendall(request_of(ROWS))
        memory.wait_for(TEXT_BYTES + TENSOR_BYTES // 2)
        eventually("it is cut off", lambda: memory.more < memory.spare_bytes, within_s=90)


@pytest.mark.stress
def test_many_that_ask_and_leave_leave_nothing_behind(server: Server) -> None:
    """Runs of the model go on unseen, and TensorFlow keeps what as many at once have needed."""
    held = []
    for _ in range(5):
        for number in range(200):
            with server.connect() as connection:
                connection.sendall(request_of(500 + number))
                if number % 3 == 0:
                    connection.recv(1000)
        for _ in range(20):
            assert server.predict("half_plus_two", [2.0]).status_code == 200
        held.append(memory_of(server))
    assert min(held[3:]) < held[2] + SPARE_BYTES

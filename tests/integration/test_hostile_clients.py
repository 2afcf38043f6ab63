"""All kinds of hostile clients at once: each gets what is its due, memory stays bounded, and others
are answered meanwhile. The long run is for scripts/stress."""

import http.client
import json
import random
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests

from tests.integration.grpc_clients.plain import METHODS, UNLIMITED, model_spec, predict_request
from tests.integration.serving import PATIENCE_S, Server, eventually, running

LIMIT_S = 50.0  # of the server, for a head, for a reader
GRACE_S = 20.0  # a busy machine may look at its clients late
LONGEST_WAIT_S = 10.0  # of somebody else; only a server that stands still takes so long
MOST_BYTES = 1 << 30  # more than at first, while all of them are at it
KEPT_BYTES = 400 << 20  # by each process afterwards; most of it for runs that overlapped
ROWS = 2000  # of a thousand numbers: 8 MB, 22 MB as text
PREDICT = "/v1/models/half_plus_two:predict"
ASK_FOR_MUCH = json.dumps({"inputs": {"rows": [ROWS]}}).encode()


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def server(request: pytest.FixtureRequest, model_path: Callable[[str], Path]) -> Iterator[Server]:
    models = [f"{name}={model_path(name)}" for name in ("growing", "half_plus_two")]
    with running(*models, f"--workers={request.param}", command="salver") as server:
        yield server


def request_of(path: str, body: bytes, *fields: str, host: str = "Host: localhost") -> bytes:
    lines = [f"POST {path} HTTP/1.1", host, f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(line for line in lines[:-2] if line).encode() + b"\r\n\r\n" + body


def status_of(server: Server, sent: bytes) -> int:
    with server.connect() as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.read()
        return answer.status


class Attacks:
    """What hostile clients do, each in a thread of its own until it is over."""

    def __init__(self, server: Server, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)
        self._over = threading.Event()
        self.errors: list[str] = []

    @contextmanager
    def going_on(self) -> Iterator[None]:
        each = (
            self.silence,
            self.slow_heads,
            self.wrong_hosts,
            self.foreign_pages,
            self.deep_documents,
            self.leaving_readers,
            self.deaf_readers,
            self.cancelled_calls,
        )
        threads = [threading.Thread(target=self._run, args=[attack]) for attack in each]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _run(self, attack: Callable[[], None]) -> None:
        try:
            while not self._over.is_set():
                attack()
        except Exception as error:  # noqa: BLE001 - told by the test
            self.errors.append(f"{attack.__name__}: {error!r}")

    def silence(self) -> None:
        """Connections that say nothing, or stop in the middle of a preface."""
        with ExitStack() as stack:
            connections = [stack.enter_context(self._server.connect()) for _ in range(100)]
            for connection in connections[:30]:
                connection.sendall(b"PRI * HT")
            self._wait_for_end(connections)

    def slow_heads(self) -> None:
        with ExitStack() as stack:
            connections = [stack.enter_context(self._server.connect()) for _ in range(30)]
            begun = time.monotonic()
            for byte in b"GET / HTTP/1.1\r\nX-" + b"y" * 200:
                for connection in connections:
                    with suppress(OSError):
                        connection.sendall(bytes([byte]))
                if self._over.wait(0.4) or time.monotonic() - begun > LIMIT_S:
                    break
            self._wait_for_end(connections, since=begun)

    def _wait_for_end(self, connections: list[socket.socket], since: float | None = None) -> None:
        """Wait until the server has ended them, which it must in time."""
        since = time.monotonic() if since is None else since
        left = list(connections)
        while left and not self._over.is_set():
            readable, _, _ = select.select(left, [], [], 0.2)
            for connection in readable:
                with suppress(ConnectionResetError):
                    if connection.recv(65536):
                        continue
                left.remove(connection)
            assert time.monotonic() - since < LIMIT_S + GRACE_S, f"{len(left)} are still open"

    def wrong_hosts(self) -> None:
        body = b'{"instances": [2.0]}'
        for host, status in (
            ("", 400),
            ("Host: localhost\r\nHost: localhost", 400),
            ("Host: localhost\r\nhost: evil.example", 400),
            ("Host: a b", 400),
            ("Host: me@localhost", 400),
            ("Host:", 403),
            ("Host: evil.example", 403),
            ("Host: localhost.evil.example", 403),
            (f"Host: {self._random.randbytes(8).hex()}.example", 403),
            ("Host: localhost", 200),
        ):
            found = status_of(self._server, request_of(PREDICT, body, host=host))
            assert found == status, f"{host!r}: {found}"

    def foreign_pages(self) -> None:
        body = b'{"instances": [2.0]}'
        for origin in ("null", "http://evil.example", "http://localhost:1", "a" * 5000):
            found = status_of(self._server, request_of(PREDICT, body, f"Origin: {origin}"))
            assert found == 403, f"{origin[:50]!r}: {found}"

    def deep_documents(self) -> None:
        levels = self._random.choice([30, 64, 65, 500, 1000, 1020, 1025, 5000, 50_000])
        opening, closing = self._random.choice([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"x":', b"}]")])
        value = opening * levels + b"1.0" + closing * levels
        body = self._random.choice([b'{"instances":%b}', b'{"inputs":%b}', b'{"instances":[%b]}'])
        found = status_of(self._server, request_of(PREDICT, body % value + b" " * 2000))
        assert found in (200, 400), f"{levels} of {opening!r}: {found}"

    def leaving_readers(self) -> None:
        with self._server.connect() as connection:
            connection.sendall(request_of("/v1/models/growing:predict", ASK_FOR_MUCH))
            self._over.wait(self._random.choice([0, 0.05, 0.2, 0.5]))
            if self._random.random() < 0.3:
                connection.recv(1000)

    def deaf_readers(self) -> None:
        with ExitStack() as stack:
            deaf = [stack.enter_context(self._server.connect()) for _ in range(8)]
            for connection in deaf:
                connection.sendall(request_of("/v1/models/growing:predict", ASK_FOR_MUCH))
            self._over.wait(LIMIT_S + GRACE_S)

    def cancelled_calls(self) -> None:
        request = predict_request(model_spec("growing"), {"rows": np.array([ROWS], np.int32)})
        message = request.SerializeToString()
        with grpc.insecure_channel(self._server.grpc_target, options=UNLIMITED) as channel:
            method = channel.unary_unary(METHODS["Predict"][0])
            for _ in range(20):
                call = method.future(message, timeout=PATIENCE_S)
                if self._over.wait(self._random.choice([0, 0.02, 0.1])):
                    return
                call.cancel()


def memory_of(server: Server) -> int:
    held = 0
    for pid in (server.process.pid, *server.workers()):
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        held += int(next(line for line in status if line.startswith("VmRSS:")).split()[1]) * 1024
    return held


@pytest.mark.parametrize("seconds", [5, pytest.param(290, marks=pytest.mark.stress)])
def test_hostile_clients_get_their_due_and_others_are_answered(
    seconds: int, server: Server
) -> None:
    pids, first = server.workers(), memory_of(server)
    attacks = Attacks(server, seconds)
    waits, held = [], []
    with attacks.going_on(), requests.Session() as session:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not attacks.errors:
            begun = time.monotonic()
            answer = session.post(server.url + PREDICT, data=b'{"instances": [2.0]}', timeout=60)
            waits.append(time.monotonic() - begun)
            assert answer.json() == {"predictions": [3.0]}
            held.append(memory_of(server) - first)
            threading.Event().wait(0.02)
    assert attacks.errors == []
    assert max(waits) < LONGEST_WAIT_S
    assert max(held) < MOST_BYTES
    assert server.workers() == pids
    most = KEPT_BYTES * max(1, len(pids))
    eventually("it is let go", lambda: memory_of(server) - first < most)

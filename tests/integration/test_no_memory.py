"""Requests that the process has no memory for: each is refused in words, and leaves nothing.

The server's address space is limited from here, beyond what it has, while a request is made. Where
even the event loop has no room for what a socket brings, the connection ends without a word.
"""

import gzip
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests

from tests.integration.grpc_clients.plain import METHODS, connected, outcome
from tests.integration.serving import Server, running

pytestmark = pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="another process can be limited on Linux alone"
)
MANY = 15_000_000  # numbers: 60 MB of JSON
KEPT_BYTES = 300 << 20  # TensorFlow's own pool for the tensors that could be made among it
GROW = b'{"inputs": {"rows": [%d]}}'
NOISE = random.Random(1).randbytes(1 << 20)  # so that --max_inflate_ratio allows the rest
WORDS = b'{"signature_name": "words", "inputs": {"rows": [%d]}}'


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def shared_server(
    request: pytest.FixtureRequest, model_path: Callable[[str], Path]
) -> Iterator[Server]:
    models = [f"{name}={model_path(name)}" for name in ("growing", "half_plus_two")]
    with running(*models, f"--workers={request.param}", command="salver") as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The one server of this module, which must have survived each test, no larger than before."""
    before = server_bytes(shared_server)
    yield shared_server
    for _ in range(3):
        assert shared_server.predict("half_plus_two", [2.0]).json() == {"predictions": [3.0]}
    assert shared_server.process.poll() is None
    assert server_bytes(shared_server) - before < KEPT_BYTES


def processes(server: Server) -> list[int]:
    """Those that answer."""
    return server.workers() or [server.process.pid]


def size_of(pid: int, what: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{what}:"))
    return int(line.split()[1]) * 1024


def server_bytes(server: Server) -> int:
    return sum(size_of(pid, "VmRSS") for pid in processes(server))


@contextmanager
def room_for(n_bytes: int, server: Server) -> Iterator[None]:
    """Each process may take so much more than it has."""
    pids = processes(server)
    for pid in pids:
        most = size_of(pid, "VmSize") + n_bytes
        resource.prlimit(pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        for pid in pids:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(pid, resource.RLIMIT_AS, unlimited)


def numbers(last: bytes) -> bytes:
    return b'{"instances": [' + b"1.5," * MANY + last + b"]}"


@pytest.mark.parametrize(
    ("what", "room_mb"),
    [
        ("a body", 10),
        ("a body in chunks", 100),
        ("numbers", 100),
        ("numbers, read slowly", 80),
        ("a gzipped body", 50),
        ("the text of numbers", 150),
    ],
)
def test_rest_says_in_words_that_there_is_no_memory(
    what: str, room_mb: int, server: Server
) -> None:
    body: Any = numbers(b"1.5")
    model, headers = "half_plus_two", {}
    if what == "a body in chunks":
        whole = body
        body = (whole[at : at + 1_000_000] for at in range(0, len(whole), 1_000_000))
    elif what == "numbers, read slowly":
        body = numbers(b"NaN")
    elif what == "a gzipped body":
        body = gzip.compress(NOISE + bytes(90_000_000))
        headers = {"Content-Encoding": "gzip"}
    elif what == "the text of numbers":
        model, body = "growing", GROW % 20_000
    # The connection on which the body before was refused is closed, maybe in this moment.
    post = requests.post if what == "a body in chunks" else server.session.post
    with room_for(room_mb << 20, server):
        answer = post(
            f"{server.url}/v1/models/{model}:predict", data=body, headers=headers, timeout=60
        )
    assert answer.status_code == 429
    assert answer.json()["error"].startswith("Out of memory")
    assert "hint" in answer.json()


@pytest.mark.parametrize("shared_server", [1], indirect=True, ids=["one process"])
def test_words_for_which_there_is_no_memory_are_told_of(server: Server) -> None:
    """TensorFlow makes them in what earlier requests have left, or it ends the process."""
    with room_for(20 << 20, server):
        answer = server.session.post(
            f"{server.url}/v1/models/growing:predict", data=WORDS % 60_000, timeout=60
        )
    assert answer.status_code == 429
    assert answer.json()["error"].startswith("Out of memory")


def test_what_tensorflow_has_no_memory_for_is_told_alike(server: Server) -> None:
    with room_for(100 << 20, server):
        answer = server.session.post(
            f"{server.url}/v1/models/growing:predict", data=GROW % 100_000, timeout=60
        )
    assert answer.status_code == 429
    assert "OOM when allocating tensor" in answer.json()["error"]


def test_grpc_says_in_words_that_there_is_no_memory_for_an_answer(server: Server) -> None:
    rows = {"rows": np.array([40_000], np.int32)}
    with connected(server.grpc_target) as client, room_for(300 << 20, server):
        code, said = outcome(lambda: client.predict("growing", rows))
    assert (code, said.partition(":")[0]) == ("RESOURCE_EXHAUSTED", "Out of memory")


def test_grpc_says_in_words_that_there_is_no_memory_to_inflate_a_message(server: Server) -> None:
    with connected(server.grpc_target) as client, room_for(50 << 20, server):
        code, said = outcome(
            lambda: client.raw(
                METHODS["Predict"][0], NOISE + bytes(95_000_000), compression=grpc.Compression.Gzip
            )
        )
    assert (code, said.partition(":")[0]) == ("RESOURCE_EXHAUSTED", "Out of memory")

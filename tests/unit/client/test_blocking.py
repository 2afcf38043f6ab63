"""The two clients are one: each call is tried with both."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tests.canned import CLOSE, Canned, canned, http

from salver.client import AsyncClient, Client
from salver.client.blocking import which_of
from salver.errors import DeadlineExceeded, InvalidArgument, NotFound, Unavailable

TENSOR = {"dtype": "DT_FLOAT", "name": "t:0"}
METADATA = {
    "model_spec": {"name": "m", "version": "1"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "serving_default": {"inputs": {"x": TENSOR}, "outputs": {"y": TENSOR}}
            }
        }
    },
}
STATUS = {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}


def answer(path: str, _: int) -> bytes:
    body: Any = {"error": f"no {path}"}
    call = path.rpartition("/")[2].partition(":")[2]
    if path.endswith("/metadata"):
        body = METADATA
    elif path == "/v1/models":
        body = {"models": []}
    elif path == "/healthz/ready" or path.startswith("/v1/models/m"):
        body = {"predict": {"outputs": [1.5]}, "classify": {"results": [[["a", 1.0]]]}}.get(
            call, {"results": [2.5]} if call else STATUS
        )
    else:
        return http(404, json.dumps(body).encode())
    return http(200, json.dumps(body).encode())


@pytest.fixture
def server() -> Iterator[Canned]:
    with canned(answer) as server:
        yield server


def ask(is_async: bool, url: str, call: Callable[[Any], Any], **more: Any) -> Any:
    """What a call on a client gives."""
    if not is_async:
        with Client(url, **more) as client:
            return call(client)

    async def asked() -> Any:
        async with AsyncClient(url, **more) as client:
            return await call(client)

    return asyncio.run(asked())


both = pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "async"])


@both
def test_every_call_reaches_its_path(is_async: bool, server: Canned) -> None:
    def asked(call: Callable[[Any], Any]) -> Any:
        return ask(is_async, server.url, call)

    assert asked(lambda of: of.predict("m", [1.0]))["y"].tolist() == [1.5]
    assert asked(lambda of: of.predict("m", {"x": 1}, label="l", outputs=["y"])).version is None
    assert asked(lambda of: of.predict("m", {"x": 1}, version=1)).version == 1
    assert asked(lambda of: of.classify("m", [{"x": 1.0}], label="l")) == [[("a", 1.0)]]
    assert asked(lambda of: of.regress("m", [{"x": 1.0}], version=2)).tolist() == [2.5]
    assert asked(lambda of: of.status("m", version=1)).available == (1,)
    assert asked(lambda of: of.metadata("m", label="l")).version == 1
    assert asked(lambda of: of.models()) == ()
    assert asked(lambda of: of.wait_ready()) is None
    assert asked(lambda of: of.wait_ready("m", version=1)) is None
    assert [path.removeprefix("/v1/models") for path in server.paths] == [
        "/m/metadata", "/m:predict",
        "/m/labels/l/metadata", "/m/labels/l:predict",
        "/m/versions/1/metadata", "/m/versions/1:predict",
        "/m/labels/l:classify", "/m/versions/2:regress",
        "/m/versions/1", "/m/labels/l/metadata", "", "/healthz/ready", "/m/versions/1",
    ]  # fmt: skip


@both
def test_errors_are_raised(is_async: bool, server: Canned) -> None:
    with pytest.raises(NotFound, match="no /v1/models/other:predict"):
        ask(is_async, server.url, lambda of: of.predict("other", [1]))
    with pytest.raises(InvalidArgument, match="Give a version or a label, not both"):
        ask(is_async, server.url, lambda of: of.predict("m", [1], version=1, label="l"))


@both
def test_a_connection_that_closes_is_tried_again(is_async: bool) -> None:
    def closes_twice(path: str, number: int) -> bytes:
        return CLOSE if number < 3 else answer(path, number)

    with canned(closes_twice) as server:
        status = ask(is_async, server.url, lambda of: of.status("m"))
        assert status.available == (1,)
        assert len(server.requests) == 3


@both
def test_without_retries_it_is_not(is_async: bool) -> None:
    with canned([CLOSE]) as server:
        with pytest.raises(Unavailable):
            ask(is_async, server.url, lambda of: of.status("m"), retries=0)
        assert len(server.requests) == 1


@both
def test_a_call_ends_in_time(is_async: bool) -> None:
    with canned([b"HTTP/1.1 200 X\r\n"]) as server:
        with pytest.raises(DeadlineExceeded):
            ask(is_async, server.url, lambda of: of.status("m"), timeout_s=0.05)
        with pytest.raises(DeadlineExceeded):
            ask(is_async, server.url, lambda of: of.status("m", timeout_s=0.05))


@both
def test_a_server_that_is_not_ready_is_waited_for(is_async: bool) -> None:
    with canned([http(503, b'{"reason": "loading"}'), http(200)]) as server:
        ask(is_async, server.url, lambda of: of.wait_ready())
        assert len(server.requests) == 2


@both
def test_headers_go_with_each_call(is_async: bool, server: Canned) -> None:
    headers = {"Authorization": "Bearer t"}
    ask(is_async, server.url, lambda of: of.predict("m", np.ones(1)), headers=headers)
    assert [sent["authorization"] for _, sent, _ in server.requests] == ["Bearer t"] * 2


def test_threads_share_a_client(server: Canned) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Client(server.url) as client, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda x: client.predict("m", [x])["y"].tolist(), range(40)))
    assert answers == [[1.5]] * 40
    assert server.connections <= 8


async def test_calls_of_one_loop_go_side_by_side(server: Canned) -> None:
    async with AsyncClient(server.url) as client:
        calls: list[Awaitable[Any]] = [client.predict("m", [x]) for x in range(20)]
        answers = await asyncio.gather(*calls)
    assert len(answers) == 20


async def test_an_async_client_that_asked_nothing_closes() -> None:
    client = AsyncClient("grpc://127.0.0.1:1")
    await client.close()
    await client.close()


def test_clients_show_their_server() -> None:
    assert repr(Client("grpc://h:1")) == "Client('grpc://h:1')"
    assert repr(AsyncClient("http://h:1")) == "AsyncClient('http://h:1')"


@pytest.mark.parametrize("version", ["1", 1.5, 2**63])
def test_a_version_is_a_number_of_64_bits(version: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"A version (is an integer|has 64 bits)"):
        which_of("m", version, None)

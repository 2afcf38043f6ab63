import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from salver._pb import message_class
from salver.errors import InvalidArgument, NotFound
from salver.operations.health_service import Health
from salver.protocols.methods import Call, Stream

_Request = message_class("grpc.health.v1.HealthCheckRequest")
_Response = message_class("grpc.health.v1.HealthCheckResponse")
_MODEL_SERVICE = "tensorflow.serving.ModelService"


class _Server:
    def __init__(self) -> None:
        self.is_serving = True
        self.health = Health([_MODEL_SERVICE], lambda: self.is_serving, poll_every_s=3600.0)


@pytest.fixture
async def server() -> _Server:
    return _Server()


def _request(service: str) -> bytes:
    return bytes(_Request(service=service).SerializeToString())


def _status(data: bytes) -> str:
    response = _Response.FromString(data)
    return str(_Response.ServingStatus.Name(response.status))


def _check(health: Health, service: str) -> str:
    return _status(health.check(_request(service), Call()))


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _watch(health: Health, service: str) -> "AsyncGenerator[bytes, None]":
    return health.watch(_one(_request(service)), Call())


@pytest.mark.parametrize("service", ["", "ModelService", _MODEL_SERVICE])
async def test_a_service_is_known_by_its_short_and_its_full_name(
    server: _Server, service: str
) -> None:
    assert _check(server.health, service) == "SERVING"
    server.is_serving = False
    assert _check(server.health, service) == "NOT_SERVING"


async def test_an_unknown_service_is_not_found(server: _Server) -> None:
    with pytest.raises(NotFound) as caught:
        _check(server.health, "PredictionService")
    assert caught.value.message == "service name unknown"


async def test_bytes_that_are_no_request_are_refused(server: _Server) -> None:
    with pytest.raises(InvalidArgument) as caught:
        server.health.check(b"\x0a\xff", Call())
    assert caught.value.message == "could not parse request"
    with pytest.raises(InvalidArgument):
        await anext(server.health.watch(_one(b"\x0a\xff"), Call()))


async def test_an_empty_message_asks_for_the_whole_server(server: _Server) -> None:
    assert _status(server.health.check(b"", Call())) == "SERVING"


async def test_a_watch_tells_the_status_and_each_change_once(server: _Server) -> None:
    watch = _watch(server.health, "")
    assert _status(await anext(watch)) == "SERVING"
    following = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    server.health.refresh()  # nothing has changed
    await asyncio.sleep(0)
    assert not following.done()
    server.is_serving = False
    server.health.refresh()
    assert _status(await following) == "NOT_SERVING"
    server.is_serving = True
    server.health.refresh()
    assert _status(await anext(watch)) == "SERVING"
    await watch.aclose()


async def test_a_change_nobody_told_of_is_seen_soon() -> None:
    states = iter([True, True, False])
    health = Health([], lambda: next(states), poll_every_s=0.001)
    watch = _watch(health, "")
    assert [_status(await anext(watch)), _status(await anext(watch))] == ["SERVING", "NOT_SERVING"]
    await watch.aclose()


async def test_a_watch_of_an_unknown_service_says_so_and_stays(server: _Server) -> None:
    watch = _watch(server.health, "nothing")
    assert _status(await anext(watch)) == "SERVICE_UNKNOWN"
    following = asyncio.ensure_future(anext(watch, None))
    await asyncio.sleep(0)
    assert not following.done()
    server.health.close()
    assert await following is None


async def test_a_watch_ends_with_the_server_and_says_the_last_status(server: _Server) -> None:
    watch = _watch(server.health, "")
    await anext(watch)
    following = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    server.is_serving = False
    server.health.close()
    assert _status(await following) == "NOT_SERVING"
    assert [message async for message in watch] == []


async def test_a_watch_that_comes_too_late_is_told_once(server: _Server) -> None:
    server.is_serving = False
    server.health.close()
    assert [_status(message) async for message in _watch(server.health, "")] == ["NOT_SERVING"]


async def test_a_client_that_leaves_ends_its_watch(server: _Server) -> None:
    watch = _watch(server.health, "")
    await anext(watch)
    following = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


async def test_a_stream_without_a_request_is_not_answered(server: _Server) -> None:
    async def none() -> AsyncIterator[bytes]:
        nothing: list[bytes] = []
        for data in nothing:
            yield data

    assert [message async for message in server.health.watch(none(), Call())] == []


async def test_its_methods_are_in_the_table_under_their_full_names(server: _Server) -> None:
    table = server.health.methods()
    assert set(table) == {"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"}
    watch = table["/grpc.health.v1.Health/Watch"]
    assert isinstance(watch, Stream)
    assert watch.is_request_single

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from salver._pb import message_class
from salver.config.grpc import read_grpc_config
from salver.config.options import ServerOptions
from salver.inference.logged import NO_LOGS
from salver.inference.servable import Servable
from salver.metrics.registry import Metrics
from salver.rpc.aio_server import CannotListen
from salver.servable import ServableId
from salver.server.core import CoreOptions, ServerCore
from salver.server.rpc_door import RpcDoor

HOST = "127.0.0.1"
_STATUS_CALL = "/tensorflow.serving.ModelService/GetModelStatus"


def _load(platform: str, id: ServableId, directory: str) -> Servable:
    raise NotImplementedError


@pytest.fixture
def core() -> Iterator[ServerCore]:
    core = ServerCore(_load, ("tensorflow",), CoreOptions(is_watching=False))
    yield core
    core.close()


@pytest.fixture
def port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


async def _here(call: Callable[[], Any]) -> Any:
    return call()


class _Serving:
    is_serving = True


def _door(core: ServerCore, serving: _Serving | None = None, **flags: Any) -> RpcDoor:
    options = ServerOptions(**{"host": HOST, **flags})
    config = read_grpc_config(options)
    assert config is not None
    state = serving or _Serving()
    return RpcDoor(
        core,
        options,
        config,
        in_pool=_here,
        in_control=_here,
        is_serving=lambda: state.is_serving,
        metrics=Metrics(),
        logs=NO_LOGS,
    )


@asynccontextmanager
async def _open(door: RpcDoor, **more: Any) -> AsyncIterator[Any]:
    target, *_ = await door.open(**more)
    try:
        async with grpc.aio.insecure_channel(target) as channel:
            yield channel
    finally:
        await door.drain(0)


async def _outcome(channel: Any, method: str, data: bytes = b"") -> str:
    try:
        await channel.unary_unary(method)(data, wait_for_ready=True, timeout=30)
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return "OK"


async def _services(channel: Any) -> list[str]:
    request = message_class("grpc.reflection.v1.ServerReflectionRequest")(list_services="")
    call = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(
        iter([request.SerializeToString()]), wait_for_ready=True
    )
    response = message_class("grpc.reflection.v1.ServerReflectionResponse")
    (data,) = [message async for message in call]
    return [found.name for found in response.FromString(data).list_services_response.service]


async def test_the_services_are_there_and_reflection_tells_of_them(
    core: ServerCore, port: int
) -> None:
    async with _open(_door(core, port=port, enable_session_service=True)) as channel:
        assert await _services(channel) == [
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            "tensorflow.ProfilerService",
            "tensorflow.serving.ModelService",
            "tensorflow.serving.PredictionService",
            "tensorflow.serving.SessionService",
        ]
        for method in (
            "/tensorflow.serving.PredictionService/Predict",
            "/tensorflow.serving.SessionService/SessionRun",
            _STATUS_CALL,
        ):
            assert await _outcome(channel, method) == "INVALID_ARGUMENT"


async def test_sessions_are_not_served_unless_a_flag_says_so(core: ServerCore, port: int) -> None:
    async with _open(_door(core, port=port)) as channel:
        assert "tensorflow.serving.SessionService" not in await _services(channel)
        run = "/tensorflow.serving.SessionService/SessionRun"
        assert await _outcome(channel, run) == "UNIMPLEMENTED"


async def test_the_profiler_and_health_follow_their_flags(core: ServerCore, port: int) -> None:
    door = _door(core, port=port, enable_profiler=False, enable_grpc_healthcheck_service=True)
    async with _open(door) as channel:
        services = await _services(channel)
        assert "tensorflow.ProfilerService" not in services
        assert "grpc.health.v1.Health" in services
        terminate = "/tensorflow.ProfilerService/Terminate"
        assert await _outcome(channel, terminate) == "UNIMPLEMENTED"
        assert await _outcome(channel, "/grpc.health.v1.Health/Check") == "OK"
    async with _open(_door(core, port=port)) as channel:
        assert await _outcome(channel, terminate) == "OK"
        assert await _outcome(channel, "/grpc.health.v1.Health/Check") == "UNIMPLEMENTED"


async def test_a_configuration_that_is_sent_is_applied(core: ServerCore, port: int) -> None:
    request = message_class("tensorflow.serving.ReloadConfigRequest")()
    request.config.model_config_list.SetInParent()
    async with _open(_door(core, port=port)) as channel:
        method = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
        assert await _outcome(channel, method, request.SerializeToString()) == "OK"
    assert core.labels("m") == {}


async def test_who_watches_is_told_what_changes_until_the_drain(
    core: ServerCore, port: int
) -> None:
    serving = _Serving()
    door = _door(core, serving, port=port, enable_grpc_healthcheck_service=True)
    async with _open(door) as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", wait_for_ready=True)
        assert await watch.read() == b"\x08\x01"
        serving.is_serving = False
        door.refresh_health()
        assert await watch.read() == b"\x08\x02"
        assert await door.drain(30) == 0
        assert await watch.read() is grpc.aio.EOF


async def test_without_health_there_is_nothing_to_refresh(core: ServerCore, port: int) -> None:
    async with _open(door := _door(core, port=port)):
        door.refresh_health()


async def test_the_lines_users_wait_for_are_logged(
    core: ServerCore, port: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "s"
    door = _door(core, port=port, grpc_socket_path=str(path))
    assert await door.open() == (f"{HOST}:{port}", f"unix:{path}")
    await door.drain(0)
    assert [record.message for record in caplog.records] == [
        "Using InsecureServerCredentials",
        "Using InsecureServerCredentials",
        "Profiler service is enabled",
        f"Running gRPC ModelServer at {HOST}:{port} ...",
        f"Running gRPC ModelServer at UNIX socket {path} ...",
    ]


@pytest.mark.parametrize(("host", "shown"), [("", "0.0.0.0"), ("::1", "[::1]")])
async def test_an_address_is_shown_as_it_is_written(
    core: ServerCore, port: int, host: str, shown: str
) -> None:
    door = _door(core, port=port, host=host)
    try:
        assert await door.open() == (f"{shown}:{port}",)
    except CannotListen:
        pytest.skip("there is no IPv6 here")
    finally:
        await door.drain(0)


async def test_a_socket_alone_will_do(core: ServerCore, tmp_path: Path) -> None:
    door = _door(core, port=0, grpc_socket_path=str(tmp_path / "s"))
    async with _open(door) as channel:
        assert await _outcome(channel, _STATUS_CALL) == "INVALID_ARGUMENT"


class TestTakenPort:
    @pytest.fixture
    def taken(self) -> Iterator[int]:
        with socket.create_server((HOST, 0)) as other:
            yield int(other.getsockname()[1])

    async def test_it_is_an_error(self, core: ServerCore, taken: int) -> None:
        door = _door(core, port=taken)
        with pytest.raises(CannotListen):
            await door.open()
        await door.drain(0)

    async def test_it_is_given_up_where_nobody_asked_for_it(
        self, core: ServerCore, taken: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert await _door(core, port=taken).open(is_port_needed=False) == ()
        assert [record.message for record in caplog.records] == [
            f"gRPC is not served: {HOST}, port {taken}: Address already in use. "
            "--port=N takes another port."
        ]

    async def test_a_socket_is_served_all_the_same(
        self, core: ServerCore, taken: int, tmp_path: Path
    ) -> None:
        door = _door(core, port=taken, grpc_socket_path=str(tmp_path / "s"))
        async with _open(door, is_port_needed=False) as channel:
            assert await _outcome(channel, _STATUS_CALL) == "INVALID_ARGUMENT"


async def test_the_tls_settings_are_for_the_port(
    core: ServerCore, port: int, tmp_path: Path
) -> None:
    file = tmp_path / "ssl.conf"
    file.write_text('server_key: "no key" server_cert: "no certificate"')
    door = _door(core, port=port, ssl_config_file=str(file))
    with pytest.raises(Exception, match="no matching PEM pair"):
        await door.open()
    await door.drain(0)


async def test_alts_is_asked_for_by_its_flag(core: ServerCore, port: int) -> None:
    door = _door(core, port=port, use_alts_credentials=True)
    with pytest.raises(CannotListen):
        await door.open()
    await asyncio.wait_for(door.drain(0), 30)

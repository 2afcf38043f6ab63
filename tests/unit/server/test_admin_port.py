"""Administration on a port or a socket of its own, and there alone."""

import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trustme
from tests.integration.certificates import ssl_config
from tests.local_sources import local_sources

from salver.config.options import ServerOptions
from salver.config.start_up import read_configuration
from salver.errors import NotFound, Unavailable
from salver.lifecycle.callers import Caller
from salver.management.core import CoreOptions, ServerCore
from salver.management.readiness import Readiness
from salver.metrics.registry import Metrics
from salver.protocols.administration import Administered, AdminRequest
from salver.protocols.api import ApiParts
from salver.rpc.errors import CannotListen
from salver.server.api_servers import ApiServers

HOST = "127.0.0.1"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad"
MONITOR = "/tensorflow.ProfilerService/Monitor"
NO_MODELS = b"\x0a\x02\x0a\x00"
ADMINISTRATIVE = [
    "/admin/v1/models/m:clear_quarantine",
    "/v2/repository/models/m/load",
    "/v2/repository/models/m/unload",
    "/v2/logging",
]


def _administer(_request: AdminRequest, _caller: Caller) -> Administered:
    raise NotFound("nothing is administered here")


def _load(*_arguments: Any) -> Any:
    raise NotImplementedError


async def _here(call: Callable[[], Any], size: int = 0) -> Any:
    return call()


@pytest.fixture
def core() -> Iterator[ServerCore]:
    core = ServerCore(_load, ("tensorflow",), CoreOptions(), local_sources())
    yield core
    core.close()


def free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def servers_of(core: ServerCore, **flags: Any) -> ApiServers:
    options = ServerOptions(**{"host": HOST, "port": 0, **flags})
    return ApiServers(
        ApiParts(
            core,
            read_configuration(options, ()),
            in_pool=_here,
            in_control=_here,
            unready=Readiness(core).problem,
            is_serving=lambda: True,
            metrics=Metrics(),
            administer=_administer,
        )
    )


@asynccontextmanager
async def opened(core: ServerCore, **flags: Any) -> AsyncIterator[ApiServers]:
    servers = servers_of(core, **flags)
    try:
        await servers.open(is_rest_needed=True, is_grpc_needed=True)
        yield servers
    finally:
        await servers.drain(0)


async def rest_codes(where: str) -> set[int]:
    unix = where.removeprefix("unix:") if where.startswith("unix:") else None
    transport = httpx.AsyncHTTPTransport(uds=unix)
    url = "http://localhost" if unix else f"http://{where}"
    async with httpx.AsyncClient(base_url=url, transport=transport) as client:
        assert (await client.get("/v1/models")).status_code == 200
        return {(await client.post(path)).status_code for path in ADMINISTRATIVE}


async def rpc_codes(where: str) -> set[str]:
    found = set()
    async with grpc.aio.insecure_channel(where) as channel:
        for method in (RELOAD, LOAD, MONITOR):
            data = NO_MODELS if method == RELOAD else b""
            call = channel.unary_unary(method)(data, wait_for_ready=True, timeout=30)
            found.add((await call.code()).name)
    return found


@pytest.mark.parametrize("transport", ["native", "grpcio"])
async def test_administration_is_answered_there_alone(
    core: ServerCore, tmp_path: Path, transport: str
) -> None:
    port, rest_port, admin_port = free_port(), free_port(), free_port()
    unix, admin_unix = tmp_path / "s", tmp_path / "a"
    flags = {
        "port": port, "rest_api_port": rest_port, "grpc_socket_path": str(unix),
        "admin_port": admin_port, "admin_socket_path": str(admin_unix),
        "grpc_transport": transport, "enable_profiler": True,
    }  # fmt: skip
    async with opened(core, **flags):
        is_native = transport == "native"
        both = [f"{HOST}:{port}", f"unix:{unix}", f"{HOST}:{rest_port}"]
        for where in both if is_native else both[:2]:
            assert await rpc_codes(where) == {"PERMISSION_DENIED"}
        for where in both if is_native else both[2:]:
            assert await rest_codes(where) == {403}
        for where in (f"{HOST}:{admin_port}", f"unix:{admin_unix}"):
            assert await rpc_codes(where) == {"OK", "UNAVAILABLE"}
            assert 403 not in await rest_codes(where)


async def test_the_socket_alone_will_do(core: ServerCore, tmp_path: Path) -> None:
    port, admin_unix = free_port(), tmp_path / "a"
    async with opened(core, rest_api_port=port, admin_socket_path=str(admin_unix)):
        assert await rpc_codes(f"{HOST}:{port}") == {"PERMISSION_DENIED"}
        assert await rest_codes(f"{HOST}:{port}") == {403}
        assert "OK" in await rpc_codes(f"unix:{admin_unix}")


async def test_the_socket_is_for_its_owner_and_group_and_goes_with_the_server(
    core: ServerCore, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    before = os.umask(0)
    try:
        async with opened(core, port=free_port(), admin_socket_path=str(path)):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
    finally:
        os.umask(before)
    assert not path.exists()


async def test_without_them_all_is_as_it_was(core: ServerCore) -> None:
    port, rest_port = free_port(), free_port()
    async with opened(core, port=port, rest_api_port=rest_port):
        assert "OK" in await rpc_codes(f"{HOST}:{port}")
        assert await rest_codes(f"{HOST}:{rest_port}") != {403}


async def test_a_place_that_is_taken_ends_the_start(core: ServerCore, tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        servers = servers_of(core, port=free_port(), admin_port=other.getsockname()[1])
        with pytest.raises(Unavailable, match="--admin_port"):
            await servers.open(is_rest_needed=False, is_grpc_needed=False)
        await servers.drain(0)
    taken = tmp_path / "file"
    taken.write_text("no socket")
    servers = servers_of(
        core, port=free_port(), admin_port=free_port(), admin_socket_path=str(taken)
    )
    with pytest.raises(CannotListen):
        await servers.open(is_rest_needed=False, is_grpc_needed=False)
    await servers.drain(0)


async def test_the_port_is_no_way_round_tls(core: ServerCore, tmp_path: Path) -> None:
    authority = trustme.CA()
    file = tmp_path / "ssl.conf"
    file.write_text(ssl_config(authority))
    admin_port = free_port()
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    flags = {"port": free_port(), "admin_port": admin_port, "ssl_config_file": str(file)}
    async with opened(core, **flags):
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.TransportError):
                await client.get(f"http://{HOST}:{admin_port}/v1/models")
        async with grpc.aio.secure_channel(f"{HOST}:{admin_port}", credentials) as channel:
            reload = channel.unary_unary(RELOAD)
            assert await reload(NO_MODELS, wait_for_ready=True, timeout=30) == b"\x0a\x00"

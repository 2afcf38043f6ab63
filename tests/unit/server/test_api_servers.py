import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import trustme
from tests.integration.certificates import ssl_config
from tests.local_sources import local_sources

from salver.config.model_options import LoadSettings
from salver.config.options import ServerOptions
from salver.config.start_up import read_configuration
from salver.errors import InvalidArgument
from salver.inference.servable import Servable
from salver.management.core import CoreOptions, ServerCore
from salver.management.readiness import Readiness
from salver.metrics.registry import Metrics
from salver.protocols.api import ApiParts
from salver.rpc.errors import CannotListen
from salver.server.api_servers import ApiServers
from salver.tracing.request import RequestTrace
from salver.tracing.sampling import Sampling
from salver.tracing.tracer import Tracer
from salver.vocabulary.servable import ServableId

HOST = "127.0.0.1"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
_RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
_NO_MODELS = b"\x0a\x02\x0a\x00"  # an empty list
TRANSPORTS = ("native", "grpcio")


def _load(settings: LoadSettings, id: ServableId, directory: str) -> Servable:
    raise NotImplementedError


@pytest.fixture
def core() -> Iterator[ServerCore]:
    core = ServerCore(_load, ("tensorflow",), CoreOptions(), local_sources())
    yield core
    core.close()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


async def _here(call: Callable[[], Any], size: int = 0) -> Any:
    return call()


def _servers(core: ServerCore, tracer: Tracer | None = None, **flags: Any) -> ApiServers:
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
            tracer=tracer,
        )
    )


async def _open(servers: ApiServers, *, is_needed: bool = True) -> None:
    await servers.open(is_rest_needed=is_needed, is_grpc_needed=is_needed)


@asynccontextmanager
async def _opened(core: ServerCore, **flags: Any) -> AsyncIterator[ApiServers]:
    servers = _servers(core, **flags)
    try:
        await _open(servers)
        yield servers
    finally:
        await servers.drain(0)


async def _rpc(target: str, method: str = _STATUS) -> str:
    async with grpc.aio.insecure_channel(target) as channel:
        try:
            data = _NO_MODELS if method == _RELOAD else b""
            await channel.unary_unary(method)(data, wait_for_ready=True, timeout=30)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
    return "OK"


async def _rest(port: int, path: str = "/v1/models", tls: ssl.SSLContext | None = None) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port, ssl=tls)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        await writer.wait_closed()
    return answer


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_each_api_answers_on_its_port(core: ServerCore, transport: str) -> None:
    port, rest_port = _free_port(), _free_port()
    flags = {"port": port, "rest_api_port": rest_port, "grpc_transport": transport}
    async with _opened(core, **flags) as servers:
        assert servers.is_open
        assert servers.grpc_addresses == (f"{HOST}:{port}",)
        assert servers.rest_url == f"http://{HOST}:{rest_port}"
        assert await _rpc(f"{HOST}:{port}") == "INVALID_ARGUMENT"
        assert (await _rest(rest_port)).startswith(b"HTTP/1.1 200 ")


async def test_of_what_a_cloud_probes_no_trace_is_made(core: ServerCore) -> None:
    taken: list[RequestTrace] = []
    tracer = Tracer(sampling=Sampling(1.0), sink=SimpleNamespace(put=taken.append))
    rest_port = _free_port()
    flags = {"rest_api_port": rest_port, "cloud_contract": "sagemaker"}
    async with _opened(core, tracer=tracer, **flags):
        assert (await _rest(rest_port, "/ping")).startswith(b"HTTP/1.1 ")
        assert (await _rest(rest_port, "/v1/models")).startswith(b"HTTP/1.1 200 ")
    assert [trace.target for trace in taken] == ["/v1/models"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_lines_users_wait_for_are_logged(
    core: ServerCore, tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: str
) -> None:
    caplog.set_level(logging.INFO)
    port, path = _free_port(), tmp_path / "s"
    flags = {"port": port, "grpc_socket_path": str(path), "grpc_transport": transport}
    async with _opened(core, **flags) as servers:
        assert servers.grpc_addresses == (f"{HOST}:{port}", f"unix:{path}")
    assert not path.exists()
    lines = [record.message for record in caplog.records]
    assert [line for line in lines if not line.startswith("Using ")] == [
        "Profiler service is enabled",
        f"Running gRPC ModelServer at {HOST}:{port} ...",
        f"Running gRPC ModelServer at UNIX socket {path} ...",
    ]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_socket_alone_will_do(core: ServerCore, tmp_path: Path, transport: str) -> None:
    path = str(tmp_path / "s")
    async with _opened(core, grpc_socket_path=path, grpc_transport=transport):
        assert await _rpc(f"unix:{path}") == "INVALID_ARGUMENT"


class TestTakenPort:
    @pytest.fixture
    def taken(self) -> Iterator[int]:
        with socket.create_server((HOST, 0)) as other:
            yield int(other.getsockname()[1])

    @pytest.mark.parametrize("transport", TRANSPORTS)
    async def test_it_is_an_error(self, core: ServerCore, taken: int, transport: str) -> None:
        servers = _servers(core, port=taken, grpc_transport=transport)
        with pytest.raises(CannotListen):
            await _open(servers)
        assert not servers.is_open
        await servers.drain(0)

    @pytest.mark.parametrize("transport", TRANSPORTS)
    async def test_it_is_given_up_where_nobody_asked_for_it(
        self, core: ServerCore, taken: int, caplog: pytest.LogCaptureFixture, transport: str
    ) -> None:
        servers = _servers(core, port=taken, grpc_transport=transport)
        await _open(servers, is_needed=False)
        assert servers.grpc_addresses == ()
        assert caplog.records[-1].message == (
            f"gRPC is not served: {HOST}, port {taken}: Address already in use. "
            "--port=N takes another port."
        )
        await servers.drain(0)

    @pytest.mark.parametrize("transport", TRANSPORTS)
    async def test_a_socket_is_served_all_the_same(
        self, core: ServerCore, taken: int, tmp_path: Path, transport: str
    ) -> None:
        path = str(tmp_path / "s")
        servers = _servers(core, port=taken, grpc_socket_path=path, grpc_transport=transport)
        await _open(servers, is_needed=False)
        assert await _rpc(f"unix:{path}") == "INVALID_ARGUMENT"
        await servers.drain(0)


class TestOnePort:
    async def test_the_rest_port_is_enough(self, core: ServerCore) -> None:
        port = _free_port()
        async with _opened(core, rest_api_port=port) as servers:
            assert servers.grpc_addresses == ()
            assert (await _rest(port)).startswith(b"HTTP/1.1 200 ")
            assert await _rpc(f"{HOST}:{port}") == "INVALID_ARGUMENT"
            assert await _rpc(f"{HOST}:{port}", _RELOAD) == "OK"

    async def test_the_grpc_port_is_enough(self, core: ServerCore) -> None:
        port = _free_port()
        async with _opened(core, port=port) as servers:
            assert servers.rest_url == f"http://{HOST}:{port}"
            assert (await _rest(port)).startswith(b"HTTP/1.1 200 ")
            assert await _rpc(f"{HOST}:{port}") == "INVALID_ARGUMENT"

    async def test_one_number_may_be_given_for_both(self, core: ServerCore) -> None:
        port = _free_port()
        async with _opened(core, port=port, rest_api_port=port) as servers:
            assert servers.rest_url == f"http://{HOST}:{port}"
            assert (await _rest(port)).startswith(b"HTTP/1.1 200 ")
            assert await _rpc(f"{HOST}:{port}", _RELOAD) == "OK"

    async def test_every_address_is_named_as_this_machine(self, core: ServerCore) -> None:
        port = _free_port()
        async with _opened(core, port=port, host="") as servers:
            assert servers.rest_url == f"http://localhost:{port}"

    async def test_what_administers_stays_on_the_grpc_port(self, core: ServerCore) -> None:
        port, rest_port = _free_port(), _free_port()
        async with _opened(core, port=port, rest_api_port=rest_port):
            assert await _rpc(f"{HOST}:{rest_port}") == "INVALID_ARGUMENT"
            assert await _rpc(f"{HOST}:{rest_port}", _RELOAD) == "PERMISSION_DENIED"
            assert (await _rest(port)).startswith(b"HTTP/1.1 200 ")
            assert await _rpc(f"{HOST}:{port}", _RELOAD) == "OK"

    async def test_a_flag_keeps_each_to_its_own(self, core: ServerCore) -> None:
        port, rest_port = _free_port(), _free_port()
        flags = {"port": port, "rest_api_port": rest_port, "enable_port_sharing": False}
        async with _opened(core, **flags):
            answer = await _rest(port)
            assert answer.startswith(b"HTTP/1.1 404 ")
            assert b"This port speaks gRPC" in answer
            preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            reader, writer = await asyncio.open_connection(HOST, rest_port)
            writer.write(preface)
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            writer.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class TestTls:
    def _trusting(self, authority: trustme.CA, *protocols: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        context.set_alpn_protocols(list(protocols))
        return context

    async def test_both_are_spoken_under_it(
        self, core: ServerCore, authority: trustme.CA, tmp_path: Path
    ) -> None:
        file = tmp_path / "ssl.conf"
        file.write_text(ssl_config(authority))
        port = _free_port()
        credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        async with _opened(core, port=port, ssl_config_file=str(file)) as servers:
            assert servers.rest_url == f"https://{HOST}:{port}"
            tls = self._trusting(authority, "http/1.1")
            assert (await _rest(port, tls=tls)).startswith(b"HTTP/1.1 200 ")
            async with grpc.aio.secure_channel(f"{HOST}:{port}", credentials) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary(_STATUS)(b"", wait_for_ready=True, timeout=30)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    async def test_a_port_that_speaks_no_http2_does_not_offer_it(
        self, core: ServerCore, authority: trustme.CA, tmp_path: Path
    ) -> None:
        file = tmp_path / "ssl.conf"
        file.write_text(ssl_config(authority))
        port, rest_port = _free_port(), _free_port()
        tls = self._trusting(authority, "h2", "http/1.1")
        flags = {"port": port, "rest_api_port": rest_port, "rest_ssl_config_file": str(file)}
        async with _opened(core, **flags):
            _, writer = await asyncio.open_connection(HOST, rest_port, ssl=tls)
            chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
            writer.close()
            assert chosen == "http/1.1"

    @pytest.mark.parametrize("transport", TRANSPORTS)
    async def test_settings_that_make_no_sense_are_refused(
        self, core: ServerCore, tmp_path: Path, transport: str
    ) -> None:
        file = tmp_path / "ssl.conf"
        file.write_text('server_key: "no key" server_cert: "no certificate"')
        flags: dict[str, Any] = {
            "port": _free_port(),
            "ssl_config_file": str(file),
            "grpc_transport": transport,
        }
        with pytest.raises(InvalidArgument, match="no matching PEM pair"):
            await _open(_servers(core, **flags))


async def test_alts_takes_the_library(core: ServerCore) -> None:
    servers = _servers(core, port=_free_port(), use_alts_credentials=True)
    with pytest.raises(CannotListen):
        await _open(servers)
    await asyncio.wait_for(servers.drain(0), 30)


async def test_arguments_only_the_library_knows_are_named(
    core: ServerCore, caplog: pytest.LogCaptureFixture
) -> None:
    async with _opened(core, port=_free_port(), grpc_channel_arguments="grpc.no_such=1"):
        assert "grpc.no_such=1 mean nothing" in caplog.text


async def test_an_access_log_that_cannot_be_opened_is_an_error(core: ServerCore) -> None:
    with pytest.raises(InvalidArgument, match="Could not open --access_log=/no/such: "):
        _servers(core, rest_api_port=_free_port(), access_log="/no/such")


async def test_connections_of_both_kinds_are_counted(core: ServerCore) -> None:
    port, rest_port = _free_port(), _free_port()
    async with _opened(core, port=port, rest_api_port=rest_port) as servers:
        async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary(_STATUS)(b"", wait_for_ready=True, timeout=30)
            reader, writer = await asyncio.open_connection(HOST, rest_port)
            writer.write(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readline()
            assert servers.connections() == 2
            assert servers.dropped_lines() == 0
        writer.close()


async def test_who_watches_the_health_is_told_of_the_drain(core: ServerCore) -> None:
    port = _free_port()
    servers = _servers(core, port=port, enable_grpc_healthcheck_service=True)
    await _open(servers)
    async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", wait_for_ready=True)
        assert await watch.read() == b"\x08\x01"
        servers.refresh_health()
        assert await servers.drain(30) == 0
        assert await watch.read() is grpc.aio.EOF

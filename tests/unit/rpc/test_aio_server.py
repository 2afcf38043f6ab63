"""What is this server's alone; what both do is put to both in tests/contract/rpc_servers."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from salver.config.tls import TlsConfig
from salver.errors import InvalidArgument, ServingError
from salver.protocols.methods import Call, MethodTable
from salver.rpc.aio_server import CannotListen, RpcServer

HOST = "127.0.0.1"


class _Methods:
    """A table, and what its methods saw."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def table(self) -> MethodTable:
        return {"/t.S/Echo": self.echo}

    def echo(self, data: bytes, call: Call) -> bytes:
        self.calls.append(call)
        return data


@pytest.fixture
async def methods() -> _Methods:
    return _Methods()


@pytest.fixture
async def server(methods: _Methods) -> AsyncIterator[RpcServer]:
    server = RpcServer(methods.table())
    yield server
    await server.drain(0)


@pytest.fixture
async def channel(server: RpcServer) -> AsyncIterator[Any]:
    ((_, port),) = server.listen_tcp(HOST, 0)
    await server.start()
    unlimited = (("grpc.max_receive_message_length", -1),)
    async with grpc.aio.insecure_channel(f"{HOST}:{port}", unlimited) as channel:
        yield channel


async def _outcome(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return "OK"


class TestDrain:
    async def test_a_server_that_is_never_quiet_drains_all_the_same(
        self,
        channel: Any,
        server: RpcServer,
        methods: _Methods,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("salver.rpc.aio_server._MOST_TURNS", 2)
        echo = channel.unary_unary("/t.S/Echo")
        calls = []
        draining = None
        while draining is None or not draining.done():
            calls.append(asyncio.ensure_future(_outcome(echo(b""))))
            await asyncio.sleep(0.0005)
            if methods.calls and draining is None:
                draining = asyncio.ensure_future(server.drain(30))
        assert await draining == 0
        assert "OK" in await asyncio.gather(*calls)


class TestListening:
    async def test_what_the_library_refuses_is_an_error_too(self, server: RpcServer) -> None:
        with pytest.raises(CannotListen) as caught:
            server.listen_unix("x" * 200)
        assert str(caught.value.hint).startswith("Failed to bind to address unix:xxx")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def config_of(authority: trustme.CA) -> Callable[..., TlsConfig]:
    certificate = authority.issue_cert("localhost", HOST)

    def make(*, custom_ca: str = "", client_verify: bool = False) -> TlsConfig:
        return TlsConfig(
            certificate.private_key_pem.bytes().decode(),
            "".join(pem.bytes().decode() for pem in certificate.cert_chain_pems),
            custom_ca,
            client_verify,
        )

    return make


class TestTls:
    async def test_verification_without_any_authority_is_refused(
        self,
        server: RpcServer,
        config_of: Callable[..., TlsConfig],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        with pytest.raises(InvalidArgument, match="client_verify needs custom_ca"):
            server.listen_tcp(HOST, 0, config_of(client_verify=True))

    async def test_alts_is_an_error_where_there_is_none(self, server: RpcServer) -> None:
        with pytest.raises(CannotListen) as caught:
            server.listen_tcp(HOST, 0, "alts")
        assert str(caught.value.hint).endswith("; ALTS works on Google Cloud only")

    async def test_what_secures_a_port_is_logged(
        self,
        server: RpcServer,
        config_of: Callable[..., TlsConfig],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO)
        server.listen_tcp(HOST, 0)
        server.listen_tcp(HOST, 0, config_of())
        with pytest.raises(ServingError):
            server.listen_tcp(HOST, 0, "alts")
        assert [record.message for record in caplog.records] == [
            "Using InsecureServerCredentials",
            "Using SSL credentials",
            "Using ALTS credentials",
        ]


def test_the_library_is_silent_on_standard_error() -> None:
    program = """
import asyncio, socket, ssl, sys
from salver.config.tls import TlsConfig
from salver.rpc.aio_server import CannotListen, RpcServer

async def main():
    server = RpcServer({})
    try:
        server.listen_unix("x" * 200)
    except CannotListen:
        pass
    server.listen_tcp("127.0.0.1", 0)
    await server.start()
    await server.drain(1)

asyncio.run(main())
"""
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")

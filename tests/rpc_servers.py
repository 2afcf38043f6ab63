"""Two servers of gRPC with one interface: ours, and the library's."""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from salver.config.grpc import ChannelArgument
from salver.config.tls import TlsConfig
from salver.protocols.methods import MethodTable
from salver.rpc import aio_server
from salver.rpc.errors import CannotListen
from salver.rpc.http2_arguments import transport_settings
from salver.rpc.http2_server import Http2Rpc
from salver.transport.listeners import open_listeners, open_unix_listener
from salver.transport.messages import Handler, HttpRequest, HttpResponse
from salver.transport.server import HttpServer
from salver.transport.tls import server_context

__all__ = ["SERVERS", "AnyServer", "NativeServer"]


class NativeServer:
    """An `HttpServer` with an `Http2Rpc`, asked as `aio_server.RpcServer` is."""

    def __init__(
        self,
        table: MethodTable,
        arguments: Sequence[ChannelArgument] = (),
        *,
        handler: Handler | None = None,
    ) -> None:
        settings = transport_settings(arguments)
        self.rpc = Http2Rpc(
            table, in_pool=_in_thread, settings=settings, has_requests=handler is not None
        )
        self.http = HttpServer(
            handler or _nothing,
            error_page=lambda status, text, _hint: HttpResponse(status, text.encode()),
            clock=time.time,  # noqa: TID251 - the clock that is injected
            run_in_pool=_in_thread,
            http2=self.rpc,
        )
        self._sockets: list[tuple[list[socket.socket], ssl.SSLContext | None]] = []
        self._paths: list[str] = []

    @property
    def in_flight(self) -> int:
        return self.rpc.in_flight

    def listen_tcp(
        self, host: str, port: int, security: TlsConfig | None = None
    ) -> tuple[tuple[str, int], ...]:
        context = _context(security)
        try:
            sockets = open_listeners(host, port)
        except OSError as error:
            where = f"{host or 'any address'}, port {port}"
            raise CannotListen(f"{where}: {error.strerror or error}") from error
        self._sockets.append((sockets, context))
        return tuple(each.getsockname()[:2] for each in sockets)

    def listen_unix(self, path: str, security: TlsConfig | None = None) -> None:
        context = _context(security)
        try:
            listener = open_unix_listener(path)
        except OSError as error:
            raise CannotListen(f"{path}: {error.strerror or error}") from error
        self._sockets.append(([listener], context))
        self._paths.append(path)

    async def start(self) -> None:
        while self._sockets:
            await self.http.serve(*self._sockets.pop())

    async def drain(self, grace_s: float) -> int:
        for sockets, _ in self._sockets:
            for each in sockets:
                each.close()
        cut: list[int] = []
        self.rpc.begin_drain()
        counting = asyncio.get_running_loop().call_later(
            grace_s, lambda: cut.append(self.in_flight)
        )
        await self.http.drain(grace_s)
        counting.cancel()
        await self.rpc.ended()
        for path in self._paths:
            with suppress(OSError):
                os.unlink(path)
        return sum(cut)


AnyServer = NativeServer | aio_server.RpcServer
SERVERS: dict[str, Callable[..., AnyServer]] = {
    "native": NativeServer,
    "grpcio": aio_server.RpcServer,
}


async def _in_thread(call: Callable[[], Any], size: int = 0) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, call)


def _nothing(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(404, b"")


def _context(security: TlsConfig | None) -> ssl.SSLContext | None:
    if security is None:
        return None
    return server_context(
        server_key=security.server_key,
        server_cert=security.server_cert,
        custom_ca=security.custom_ca,
        client_verify=security.client_verify,
        protocols=("h2", "http/1.1"),
    )
